"""Heat of GPUs through the real NVML binding, over the small NVML library of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .nvml_library import compile_nvml, run_with

PROBE = """
import json, os, pynvml
from joulery.errors import SourceError
from joulery.profiler.gpu_thermal import GpuThermals

def read():
    heat = thermals.read()
    return [heat.temperature_c, heat.slowed_s]

try:
    os.environ["FAKE_NVML_CLOCK"] = "10"
    thermals = GpuThermals(pynvml)
    rows = [read()]
    os.environ["FAKE_NVML_CLOCK"] = "12"
    rows.append(read())
    os.environ["FAKE_NVML"] += os.environ.get("THEN", "")
    rows.append(read())
except SourceError as error:
    rows.append(type(error).__name__)
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the compiled library."""
    return compile_nvml(tmp_path_factory.mktemp("nvml"))


def probe(folder: Path, words: str = "", **environment: str) -> Any:
    """Read all GPUs at 10 s and twice at 12 s of the library's clock."""
    return run_with(folder, PROBE, FAKE_NVML=words, **environment)


def test_the_warmest_gpu_counts_and_slowdowns_add_up(library: Path) -> None:
    """GPU 0 is slowed for a quarter of its time, GPU 1 is not; each had been for 7 s."""
    at_rest = [61, 14.0]
    assert probe(library) == [at_rest] * 3
    assert probe(library, "slowed") == [[61, 16.5], [61, 17.0], [61, 17.0]]


def test_what_one_gpu_does_not_tell_is_not_known(library: Path) -> None:
    """A GPU without a sensor leaves the warmest unknown; no counters at all are no zero."""
    assert probe(library, "dark1")[0] == [None, 14.0]
    assert probe(library, "nofields")[0] == [61, None]


def test_a_lost_gpu_is_a_failure(library: Path) -> None:
    """While a GPU is lost nothing is said of heat."""
    assert probe(library, "slowed", THEN=",lost0")[-1] == "SourceFailed"
