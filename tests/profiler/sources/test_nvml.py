"""GPUs through the real NVML binding, over a small NVML library compiled for the purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..nvml_library import compile_nvml, run_with

OPEN = """
import json, os, pynvml
from joulery.errors import SourceError
from joulery.profiler.sources.nvml import Nvml, NvmlPower

def at(seconds, words=None):
    os.environ["FAKE_NVML_CLOCK"] = str(seconds)
    if words is not None:
        os.environ["FAKE_NVML"] = words

def told(read):
    try:
        return {r.domain.name: r.value for r in read()}
    except SourceError as error:
        return {"error": type(error).__name__, "text": str(error)}

def described(source):
    return [[d.name, d.form, str(d.kind), str(d.provenance), d.summed, d.max_power_w, d.update_s,
             d.note] for d in source.domains]
"""

PROBE = """
at(10)
try:
    source = NvmlPower(pynvml) if os.environ.get("POWER") else Nvml(pynvml)
    first = told(source.sample)
    at(12)
    print(json.dumps({"domains": described(source), "samples": [first, told(source.sample)]}))
except SourceError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the compiled library."""
    return compile_nvml(tmp_path_factory.mktemp("nvml"))


def probe(folder: Path, words: str = "", **environment: str) -> Any:
    """Open the source and read it at 10 s and 12 s of the library's clock."""
    return run_with(folder, OPEN + PROBE, FAKE_NVML=words, **environment)


def test_the_library_has_the_layouts_of_the_binding(library: Path) -> None:
    """Every structure that the compiled library fills is as large as the binding's."""
    code = """
import ctypes, json, pynvml
pynvml.nvmlInit()
sizes = {}
for name in ("c_nvmlProcessInfo_v3_t", "c_nvmlProcessUtilizationSample_t", "c_nvmlFieldValue_t",
             "c_nvmlDeviceAttributes", "c_nvmlUtilization_t", "c_nvmlGpmSupport_t",
             "c_nvmlGpmMetric_t"):
    own = pynvml.nvmlLib.fake_size(name.encode())
    sizes[name] = [own, ctypes.sizeof(getattr(pynvml, name))]
print(json.dumps(sizes))
"""
    sizes = run_with(library, code)
    assert all(own == bound for own, bound in sizes.values()), sizes


def test_counter_where_there_is_one_else_power(library: Path) -> None:
    """One GPU is read by its energy counter in joules, the other by its power in watts."""
    found = probe(library)
    assert found["domains"] == [
        [
            *("gpu-0", "counter", "gpu", "measured", True, 600.0, 0.1),
            "Counting GPU, GPU-aaaa, energy counter",
        ],
        [
            *("gpu-1", "power", "gpu", "integrated", True, 5000.0, 0.1),
            "Powerful GPU, GPU-bbbb, instant power",
        ],
    ]
    first, second = found["samples"]
    assert second["gpu-0"] - first["gpu-0"] == pytest.approx(100.0)  # 2 s of 50 W
    assert second["gpu-1"] == 42.5


@pytest.mark.parametrize(
    ("words", "what", "update_s"),
    [
        ("nofields", "instant power", 0.1),  # a P100: its plain power is not averaged
        ("nofields,ampere", "power averaged over 1 s", 1.0),
    ],
)
def test_an_old_driver_tells_plain_power(
    library: Path, words: str, what: str, update_s: float
) -> None:
    """Without power fields the plain reading counts; since Ampere it is a mean of one second."""
    power = probe(library, words)["domains"][1]
    assert power[-1].endswith(what)
    assert power[-2] == update_s


def test_the_module_of_a_superchip_is_told_apart(library: Path) -> None:
    """A module's power is a platform's, never added to the GPU's that it holds."""
    found = probe(library, "module")
    module = found["domains"][1]
    assert module == [
        *("module-0", "power", "platform", "integrated", False, 1800.0, 0.1),
        "module: GPU, CPU and memory together",
    ]
    assert found["samples"][0]["module-0"] == 140.0


@pytest.mark.parametrize("words", ["", "module,scopeless"])
def test_no_module_is_made_up(library: Path, words: str) -> None:
    """Neither a GPU without module nor a driver that ignores the scope shows a module."""
    assert [d[0] for d in probe(library, words)["domains"]] == ["gpu-0", "gpu-1"]


def test_a_cut_gpu_is_one_board(library: Path) -> None:
    """In MIG mode there is one domain, the whole board's, and the note names the instances."""
    found = probe(library, "mig")
    assert [d[0] for d in found["domains"]] == ["gpu-0", "gpu-1"]
    assert "MIG: 3g.40gb, 1c.2g.20gb, 1c.2g.20gb" in found["domains"][0][-1]


@pytest.mark.parametrize(
    ("processes", "note"),
    [("7:50:C,8:20:C", "time-sliced: 2 processes"), ("7:50:M,8:20:M,9:0:S", "MPS: 2 clients")],
)
def test_sharing_is_visible(library: Path, processes: str, note: str) -> None:
    """Time slicing and MPS are told in the note."""
    found = probe(library, FAKE_NVML_PROCESSES=processes)
    assert f"GPU-aaaa, {note}, energy counter" in found["domains"][0][-1]


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ("driver", "SourceUnavailable", "no NVIDIA driver"),
        ("none", "SourceUnavailable", "no GPU"),
        ("permission", "SourceForbidden", "/dev/nvidia"),
        ("denied0,denied1", "SourceForbidden", "/dev/nvidia"),
        ("mismatch", "SourceFailed", "reboot"),
        ("lost0,lost1", "SourceFailed", "GPU is lost"),
        ("denied0,dark1", "SourceUnavailable", "none with a power sensor"),
    ],
)
def test_what_stands_in_the_way_is_told_apart(
    library: Path, words: str, error: str, text: str
) -> None:
    """No driver, no GPU, no sensor, no permission and lost GPUs are different outcomes."""
    found = probe(library, words)
    assert found["error"] == error
    assert text in found["text"]


@pytest.mark.parametrize(
    ("words", "reason"), [("dark1", "neither energy nor power"), ("denied1", "may not be used")]
)
def test_what_is_not_counted_is_named(library: Path, words: str, reason: str) -> None:
    """A GPU without a sensor, or of others, is left out of the sum, and said to be."""
    code = """
from joulery.profiler.sources import discover
at(10)
[status] = [s for s in discover().statuses if s.name == "nvml"]
print(json.dumps([status.domains, status.what]))
"""
    domains, what = run_with(library, OPEN + code, FAKE_NVML=words)
    assert domains == ["gpu-0"]
    assert "left out gpu-1" in what
    assert reason in what


def test_one_lost_gpu_leaves_the_others_whole(library: Path) -> None:
    """A lost GPU is left out, counts again when it returns, and losing all is a failure."""
    code = """
at(10)
source = Nvml(pynvml)
rows = []
for seconds, words in ((11, ""), (12, "lost0"), (13, "lost0,lost1"), (14, "lost1"), (15, "")):
    at(seconds, words)
    rows.append(told(source.sample))
print(json.dumps(rows))
"""
    whole, one, none, other, both = run_with(library, OPEN + code)
    assert whole == {"gpu-0": 550.0, "gpu-1": 42.5}
    assert one == {"gpu-1": 42.5}
    assert none["error"] == "SourceFailed"
    assert "GPU is lost" in none["text"]
    assert other == {"gpu-0": 700.0}
    assert both == {"gpu-0": 750.0, "gpu-1": 42.5}


def test_a_gpu_lost_at_the_start_is_unknown_not_absent(library: Path) -> None:
    """A GPU that cannot be read at opening keeps its domain, without a reading until it returns."""
    code = """
at(10, "lost0")
source = Nvml(pynvml)
at(11, "lost0")
before = told(source.sample)
at(12, "")
print(json.dumps([described(source)[0], before, told(source.sample)]))
"""
    domain, before, after = run_with(library, OPEN + code)
    assert domain[0] == "gpu-0"
    assert "could not be read when opened: GPU is lost" in domain[-1]
    assert before == {"gpu-1": 42.5}
    assert after["gpu-0"] == 600.0


def test_power_beside_the_counter(library: Path) -> None:
    """The second source reads power of those GPUs that also count, and never adds to a total."""
    found = probe(library, POWER="1")
    [domain] = found["domains"]
    assert domain[:5] == ["gpu-0", "power", "gpu", "integrated", False]
    assert found["samples"][0] == {"gpu-0": 50.0}
    assert probe(library, "denied0", POWER="1")["error"] == "SourceUnavailable"


def test_counter_and_power_meter_alike(library: Path) -> None:
    """A meter over both gives one GPU two energies that agree, and counts only the counter."""
    code = """
from joulery.profiler.meter import EnergyMeter
clock = lambda: float(os.environ["FAKE_NVML_CLOCK"])
at(10, "denied1")
sources = [Nvml(pynvml), NvmlPower(pynvml), NvmlPower(pynvml, "averaged")]
with EnergyMeter(sources, clock=clock, interval_s=None) as meter, meter.window("w") as window:
    for step in range(1, 31):
        at(10 + step)
        meter.sample()
result = window.result
print(json.dumps([result.energy.value_j,
                  {key: one.energy.value_j for key, one in result.domains.items()}]))
"""
    total, domains = run_with(library, OPEN + code)
    assert total == pytest.approx(1500.0)
    assert domains == {
        "nvml:gpu-0": pytest.approx(1500.0),
        "nvml-power:gpu-0": pytest.approx(1500.0),
        "nvml-power-averaged:gpu-0": pytest.approx(1500.0),
    }


def test_without_the_library(tmp_path: Path) -> None:
    """A machine without NVIDIA's library has no such sensor."""
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")  # hides the machine's own, if it has one
    assert probe(tmp_path)["error"] == "SourceUnavailable"
