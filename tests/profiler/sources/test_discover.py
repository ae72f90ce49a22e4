"""Which sources a machine gets, and what is said about the others."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import joulery.profiler.sources as sources
from joulery.profiler.host import Host
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Candidate, Domain, Kind, Source, SourceState, discover
from joulery.profiler.sources.base import SourceStatus

from ..fakes import PlayedSource, write_stat
from . import trees


@pytest.fixture
def bare(tmp_path: Path) -> Host:
    """Return a machine without any sensor."""
    write_stat(tmp_path, 0.0, now_s=100.0)
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : hypervisor\n")
    (tmp_path / "meminfo").write_text("MemTotal: 1000000 kB\n")
    return Host(sys=tmp_path, proc=tmp_path)


def test_the_estimate_stands_in(bare: Host) -> None:
    """Where no sensor covers the CPU, the estimate does, and says that it is one."""
    found = discover(bare)
    states = {status.name: status.state for status in found.statuses}
    assert states["powercap"] is SourceState.ABSENT
    assert states["estimate"] is SourceState.ESTIMATED
    assert "estimate:cpu" in found.summary
    assert {source.name for source in found.sources} >= {"estimate"}


def test_a_sensor_makes_the_estimate_needless(bare: Host, test_data: Path) -> None:
    """Where RAPL can be read there is no estimate, and the total is RAPL's zones."""
    tree = test_data / "power" / "sysfs" / "two_socket_dram" / "sys"
    found = discover(Host(sys=tree, proc=bare.proc))
    by_name = {status.name: status for status in found.statuses}
    assert by_name["powercap"].state is SourceState.MEASURED
    assert by_name["powercap"].domains == (
        "package-0",
        "package-0/dram",
        "package-1",
        "package-1/dram",
    )
    assert "estimate" not in by_name


def test_a_platform_that_is_not_there(bare: Host, test_data: Path) -> None:
    """Asking for a psys zone where there is none is an absence, and the estimate stands in."""
    tree = test_data / "power" / "sysfs" / "node_exporter_powercap_hwmon" / "sys"
    found = discover(Host(sys=tree, proc=bare.proc), psys=True)
    assert {s.name: s.state for s in found.statuses}["powercap"] is SourceState.ABSENT
    assert "estimate:cpu" in found.summary


def opened_elsewhere(host: Host) -> Source:
    """Return a source as another package would."""
    assert host.proc.is_dir()
    domain = Domain(
        name="board",
        kind=Kind.PLATFORM,
        form="power",
        provenance=Provenance.INTEGRATED,
        max_power_w=500,
    )
    return PlayedSource((domain,), [], name="elsewhere")


def test_other_packages_add_sources(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point adds its source; one that cannot be loaded is a failure with its name."""
    points = [
        EntryPoint("elsewhere", f"{__name__}:opened_elsewhere", sources.ENTRY_POINTS),
        EntryPoint("broken", "no_such_module:source", sources.ENTRY_POINTS),
    ]
    # Installing a package is the only other way to add an entry point.
    monkeypatch.setattr(sources, "entry_points", lambda group: points if group else [])
    found = discover(bare)
    states = {status.name: status.state for status in found.statuses}
    assert states["elsewhere"] is SourceState.INTEGRATED
    assert states["broken"] is SourceState.FAILED
    assert "estimate" not in states


def found_in(sys: Path, *, proc: Path | None = None) -> tuple[set[str], dict[str, SourceStatus]]:
    """Return what is summed of a recorded tree, and every status by its source."""
    found = discover(Host(sys=sys, proc=proc or sys / "no-proc"), drivers=False)
    summed = set(filter(None, found.summary.split(", ")))
    return summed, {status.name: status for status in found.statuses}


def test_a_recorded_tree_never_asks_this_machine(bare: Host, test_data: Path) -> None:
    """Of a recorded tree only files are read: drivers and the estimate say that it has none."""
    summed, statuses = found_in(bare.sys, proc=bare.proc)
    assert summed == set()
    for name, what in (("nvml", "no driver"), ("estimate", "no load")):
        assert statuses[name].state is SourceState.ABSENT
        assert statuses[name].what.startswith("a recorded tree has ")
        assert what in statuses[name].what
    for tree in sorted((test_data / "power/sysfs").iterdir()):
        _, statuses = found_in(tree / "sys")
        assert {"powercap", "nvml", "hwmon"} <= statuses.keys()
        assert statuses["nvml"].state is SourceState.ABSENT


def test_zones_that_were_left_out_are_told(test_data: Path) -> None:
    """The status of a source names what it dropped, and why."""
    _, statuses = found_in(test_data / "power/sysfs/amd_two_die/sys")
    assert "left out intel-rapl:1: mirrors package-0-die-0" in statuses["powercap"].what


def test_the_processor_is_summed_once(tmp_path: Path) -> None:
    """What RAPL and a chip both tell of the processor comes from RAPL; a GPU joins; a meter not."""
    trees.zone(tmp_path, "intel-rapl:0", "package-0", 5)
    trees.amdgpu(tmp_path, 0, "0000:03:00.0", 120)
    trees.amdgpu(tmp_path, 1, "0000:0c:00.0", 15, apu=True)
    trees.power_meter(tmp_path, 3)
    summed, statuses = found_in(tmp_path)
    assert summed == {"powercap:package-0", "hwmon:amdgpu-0000:03:00.0/PPT"}
    assert "reported, not summed: powercap has the cpu" in statuses["hwmon"].what


def test_a_meter_beside_rapl(tmp_path: Path) -> None:
    """A meter of the whole machine is summed where it is alone, and reported beside RAPL."""
    trees.power_meter(tmp_path)
    assert found_in(tmp_path)[0] == {"hwmon:power_meter/power1"}
    trees.zone(tmp_path, "intel-rapl:0", "package-0", 5)
    summed, statuses = found_in(tmp_path)
    assert summed == {"powercap:package-0"}
    assert "it holds what others sum (powercap)" in statuses["hwmon"].what


def test_a_platform_is_summed_alone(tmp_path: Path) -> None:
    """Where psys is asked for, it is the whole sum, GPUs of other sources included."""
    trees.zone(tmp_path, "intel-rapl:0", "package-0", 5)
    trees.zone(tmp_path, "intel-rapl:1", "psys", 9)
    trees.amdgpu(tmp_path, 0, "0000:03:00.0", 120)
    found = discover(Host(sys=tmp_path, proc=tmp_path / "none"), psys=True, drivers=False)
    assert found.summary == "powercap:psys"
    assert {source.name for source in found.sources} >= {"powercap", "hwmon"}


def test_a_board_input_is_summed_alone(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Jetson's input is the sum; a later source of a GPU is reported, and nothing estimated."""
    trees.jetson_orin_nx(bare.sys)
    offer(monkeypatch, gpu=("gpu-0", Kind.GPU))
    found = discover(bare)
    assert found.summary == "hwmon:ina3221/VDD_IN"
    assert "estimate" not in {status.name for status in found.statuses}
    assert {source.name for source in found.sources} >= {"hwmon", "gpu"}


def offer(
    monkeypatch: pytest.MonkeyPatch, *, second: bool = False, **sources_: tuple[str, Kind]
) -> None:
    """Add played sources to the one list, each with a domain that it would sum."""
    known = sources._openers

    def opener(name: str, domain: str, kind: Kind) -> Candidate:
        shown = Domain(
            name=domain,
            kind=kind,
            form="power",
            provenance=Provenance.INTEGRATED,
            max_power_w=500,
        )
        played = PlayedSource((shown,), [(50.0,)], name=name)
        return Candidate(name=name, opener=lambda _: played, second=second)

    more = [opener(name, *shown) for name, shown in sources_.items()]
    # The list is the project's own; other hardware's lines stand in for hardware that is not here.
    monkeypatch.setattr(sources, "_openers", lambda *, psys: [*known(psys=psys), *more])


def test_accelerators_add(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs and NPUs of different sources are different devices: all of them are summed."""
    trees.zone(bare.sys, "intel-rapl:0", "package-0", 5)
    trees.amdgpu(bare.sys, 0, "0000:03:00.0", 120)
    offer(monkeypatch, other=("gpu-0", Kind.GPU), npu=("npu-0", Kind.NPU))
    assert set(discover(bare).summary.split(", ")) == {
        "powercap:package-0",
        "hwmon:amdgpu/PPT",
        "other:gpu-0",
        "npu:npu-0",
    }


def test_a_second_reading_is_never_summed(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that compares is read beside the others, even where there is no other."""
    offer(monkeypatch, second=True, wall=("machine", Kind.PLATFORM))
    found = discover(bare)
    assert {name.split(":")[0] for name in found.summary.split(", ")} == {"estimate"}
    [wall] = [source for source in found.sources if source.name == "wall"]
    [domain] = wall.domains
    assert not domain.summed
    assert domain.note == "reported, not summed: a second reading"
    [reading] = wall.sample()
    assert reading.domain is domain, "readings are of the domains that the source shows"
    assert reading.value == 50.0


def test_looking_for_sources_is_light() -> None:
    """Importing the meter and the sources loads neither codecarbon nor pandas nor NVML."""
    heavy = "{'codecarbon', 'pandas', 'pynvml', 'scipy'}"
    code = (
        "import sys, joulery.profiler.meter, joulery.profiler.sources;"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
