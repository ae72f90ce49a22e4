"""Gaudi boards through the real pyhlml, over a small HLML library compiled for the purpose.

The binding loads one absolute path; a preloaded library of that name is the one that it gets.
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
from .service import Service

PROBE = """
import json
from joulery.errors import SourceError
from joulery.profiler.host import Host
from joulery.profiler.sources.openers import habana
now_s = [100.0]
try:
    source = habana(Host(clock=lambda: now_s[0]))
    busy = [source.busy_s()]
    now_s[0] += 8.0
    busy.append(source.busy_s())
    samples = []
    for _ in range(2):
        try:
            samples.append([[r.domain.name, r.value] for r in source.sample()])
        except SourceError as error:
            samples.append([type(error).__name__, str(error)])
    print(json.dumps({
        "domains": [[d.name, d.form, str(d.kind), str(d.provenance), d.max_power_w, d.note]
                    for d in source.domains],
        "samples": samples,
        "busy": busy,
    }))
except SourceError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""


BOTH = """
import sys
from joulery.profiler.host import Host
from joulery.profiler.sources.openers import npu_exporter
source = npu_exporter(Host(), {"JOULERY_NPU_METRICS_URL": sys.argv[1]})
print([domain.name for domain in source.domains], source.dropped)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the compiled library, under the name that the binding asks for."""
    target = tmp_path_factory.mktemp("hlml") / "libhlml.so"
    name = "-Wl,-soname,/usr/lib/habanalabs/libhlml.so"
    source = str(Path(__file__).with_name("hlml.c"))
    gcc = require_program("gcc")
    subprocess.run([gcc, "-shared", "-fPIC", name, "-o", str(target), source], check=True)
    return target


def probe(library: Path | None, mode: str = "") -> Any:
    """Open the source in a process that finds this library; it prints nothing but the answer."""
    preload = {} if library is None else {"LD_PRELOAD": str(library)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE],
        env=os.environ | preload | {"FAKE_HLML": mode},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def test_counter_where_there_is_one_else_power(library: Path) -> None:
    """One board is read by its energy counter in joules, the other by its power in watts."""
    found = probe(library)
    assert found["domains"] == [
        ["gaudi-0", "counter", "npu", "measured", 1200.0, "HL-225, 01P0-aaaa"],
        ["gaudi-1", "power", "npu", "integrated", 5000.0, "HL-205, 01P0-bbbb"],
    ]
    first, second = (dict(sample) for sample in found["samples"])
    assert second["gaudi-0"] - first["gaudi-0"] == pytest.approx(1.5)
    assert first["gaudi-1"] == 42.5


def test_busy_seconds_add_up_utilisation(library: Path) -> None:
    """A quarter busy for 8 s is 2 s of work; a board that does not tell is left out."""
    assert probe(library)["busy"] == [{"gaudi-0": 0.0}, {"gaudi-0": 2.0}]


def test_a_board_that_is_lost_leaves_the_other(library: Path) -> None:
    """A board that falls off the bus is left out; when all are lost the source says so."""
    found = probe(library, "lost")
    assert [[name for name, _ in sample] for sample in found["samples"]] == [["gaudi-0"]] * 2
    kind, text = probe(library, "all")["samples"][0]
    assert kind == "SourceFailed"
    assert "AipIsLost" in text


@pytest.mark.parametrize(("mode", "text"), [("driver", "no Gaudi driver"), ("none", "no board")])
def test_no_driver_and_no_board_are_absences(library: Path, mode: str, text: str) -> None:
    """Without a driver, and without a board, there is no such sensor."""
    found = probe(library, mode)
    assert found["error"] == "SourceUnavailable"
    assert text in found["text"]


def test_without_the_library() -> None:
    """A machine without Habana's library has no such sensor, and hears nothing of it on stdout."""
    if Path("/usr/lib/habanalabs/libhlml.so").exists():
        pytest.skip("this machine has Habana's library")
    assert probe(None)["error"] == "SourceUnavailable"


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("", "['ascend-0'] {'gaudi cards': 'their own source tells them'}"),
        ("driver", "['ascend-0', 'gaudi-0'] {}"),
    ],
)
def test_an_exporter_does_not_count_boards_again(library: Path, mode: str, said: str) -> None:
    """Boards that HLML tells are left out of the exporter; without a driver they are taken."""
    recorded = (Path(__file__).with_name("recorded") / "gaudi.prom").read_text()
    other = '# TYPE npu_chip_info_power gauge\nnpu_chip_info_power{id="0"} 70\n'
    with Service({"/metrics": recorded + other}) as service:
        done = subprocess.run(
            [sys.executable, "-c", BOTH, f"{service.url}/metrics"],
            env=os.environ | {"LD_PRELOAD": str(library), "FAKE_HLML": mode},
            check=True,
            capture_output=True,
            text=True,
        )
    assert done.stdout.strip() == said
