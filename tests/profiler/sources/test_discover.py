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
from joulery.profiler.sources import Domain, Kind, Source, SourceState, discover

from ..fakes import PlayedSource, write_stat


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


def test_looking_for_sources_is_light() -> None:
    """Importing the meter and the sources loads neither codecarbon nor pandas nor NVML."""
    heavy = "{'codecarbon', 'pandas', 'pynvml', 'scipy'}"
    code = (
        "import sys, joulery.profiler.meter, joulery.profiler.sources;"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
