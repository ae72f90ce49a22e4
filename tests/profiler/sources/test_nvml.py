"""GPUs through the real NVML binding, over a small NVML library compiled for the purpose.

Each case runs in a process of its own, since a process loads the library once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ...conftest import require_program

PROBE = """
import json, pynvml
from joulery.errors import SourceError
from joulery.profiler.sources.nvml import Nvml
try:
    source = Nvml(pynvml)
    print(json.dumps({
        "domains": [[d.name, d.form, str(d.kind), str(d.provenance), d.max_power_w, d.note]
                    for d in source.domains],
        "samples": [[r.value for r in source.sample()] for _ in range(2)],
    }))
except SourceError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the compiled library."""
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml.c")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [require_program("gcc"), "-shared", "-fPIC", "-o", str(target), str(source)], check=True
    )
    return folder


def probe(folder: Path, mode: str = "") -> Any:
    """Open the source in a process that finds its NVML in `folder`."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML": mode}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def test_counter_where_there_is_one_else_power(library: Path) -> None:
    """One GPU is read by its energy counter in joules, the other by its power in watts."""
    found = probe(library)
    assert found["domains"] == [
        ["gpu-0", "counter", "gpu", "measured", 600.0, "Counting GPU, GPU-aaaa"],
        ["gpu-1", "power", "gpu", "integrated", 5000.0, "Powerful GPU, GPU-bbbb"],
    ]
    (first, power_w), (second, _) = found["samples"]
    assert second - first == pytest.approx(1.5)
    assert power_w == 42.5


@pytest.mark.parametrize(
    ("mode", "error", "text"),
    [
        ("driver", "SourceUnavailable", "no NVIDIA driver"),
        ("none", "SourceUnavailable", "no GPU"),
        ("permission", "SourceForbidden", "/dev/nvidia"),
        ("lost", "SourceFailed", "GPU is lost"),
    ],
)
def test_what_stands_in_the_way_is_told_apart(
    library: Path, mode: str, error: str, text: str
) -> None:
    """No driver, no GPU, no permission and a lost GPU are different outcomes."""
    found = probe(library, mode)
    assert found["error"] == error
    assert text in found["text"]


def test_without_the_library(tmp_path: Path) -> None:
    """A machine without NVIDIA's library has no such sensor."""
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")  # hides the machine's own, if it has one
    found = probe(tmp_path)
    assert found["error"] == "SourceUnavailable"
