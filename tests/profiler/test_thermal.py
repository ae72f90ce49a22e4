"""Temperatures and throttle counters: recorded trees, and trees as kernel documents have them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.profiler.thermal import Thermometer, ThrottleCounter

from .sources.trees import chip, throttles, unprivileged, write


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Return a folder that every user may look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def zone(sys: Path, number: int, kind: str, millidegrees: int) -> Path:
    """Write a thermal zone (Documentation/driver-api/thermal/sysfs-api.rst)."""
    files = {"type": kind, "temp": millidegrees}
    return write(sys / f"class/thermal/thermal_zone{number}", files)


def test_a_recorded_machine_tells_its_two_packages(test_data: Path) -> None:
    """Of thirteen sensors in a recorded tree, the packages of the two processors are read."""
    recorded = test_data / "power/sysfs/node_exporter_powercap_hwmon/sys"
    thermometer = Thermometer(recorded)
    assert thermometer.names == ("coretemp Physical id 0",) * 2
    assert thermometer.read_c() == 55.0


def test_the_warmest_package_counts(tmp_path: Path) -> None:
    """Two sockets have the temperature of the warmer one; their cores are not asked."""
    for number, millidegrees in enumerate((41_000, 63_000)):
        files: dict[str, object] = {"name": "coretemp", "temp1_label": f"Package id {number}"}
        files |= {"temp1_input": millidegrees, "temp2_label": "Core 0", "temp2_input": 99_000}
        chip(tmp_path, number, files)
    assert Thermometer(tmp_path).read_c() == 63.0


def test_the_die_goes_before_the_control_value(tmp_path: Path) -> None:
    """AMD's Tctl, which may stand 20 degrees too high, gives way to Tdie where that is told."""
    files = {"name": "k10temp", "temp1_label": "Tctl", "temp1_input": 70_000}
    chip(tmp_path, 0, files)
    assert Thermometer(tmp_path).read_c() == 70.0
    chip(tmp_path, 0, files | {"temp2_label": "Tdie", "temp2_input": 50_000})
    assert Thermometer(tmp_path).read_c() == 50.0


@pytest.mark.parametrize("kind", ["x86_pkg_temp", "cpu-thermal", "CPU-therm", "soc_thermal0"])
def test_thermal_zones_stand_in_for_hwmon(tmp_path: Path, kind: str) -> None:
    """Without a chip of hwmon the processor's zone is read, never the board's or the battery's."""
    zone(tmp_path, 0, "acpitz", 27_800)
    zone(tmp_path, 1, kind, 48_500)
    zone(tmp_path, 2, "battery-thermal", 31_000)
    thermometer = Thermometer(tmp_path)
    assert thermometer.names == (f"thermal_zone1 {kind}",)
    assert thermometer.read_c() == 48.5
    chip(tmp_path, 0, {"name": "cpu_thermal", "temp1_input": 47_000})
    assert Thermometer(tmp_path).names == ("cpu_thermal temp1",)


def test_absent_forbidden_broken_and_zero_differ(open_path: Path) -> None:
    """No sensor, one that may not be read, one that answers nonsense, and 0 °C are four things."""
    with pytest.raises(SourceUnavailable, match="no sensor of a processor"):
        Thermometer(open_path)
    folder = chip(open_path, 0, {"name": "cpu_thermal", "temp1_input": 0})
    thermometer = Thermometer(open_path)
    assert thermometer.read_c() == 0.0
    path = folder / "temp1_input"
    path.chmod(0o200)
    with unprivileged(), pytest.raises(SourceForbidden) as forbidden:
        thermometer.read_c()
    assert str(path) in str(forbidden.value)
    path.chmod(0o600)
    path.write_text("-274000\n")
    with pytest.raises(SourceFailed, match="-274 °C"):
        Thermometer(open_path)
    path.write_text("warm\n")
    with pytest.raises(SourceFailed, match="a whole number"):
        thermometer.read_c()
    path.unlink()
    with pytest.raises(SourceUnavailable):
        thermometer.read_c()


def test_each_core_and_package_counts_once(tmp_path: Path) -> None:
    """Two threads of a core tell the same events, and four CPUs those of their package."""
    for cpu, (package, core, events) in enumerate([(0, 0, 3), (0, 1, 5), (0, 0, 3), (0, 1, 5)]):
        throttles(tmp_path, cpu, package=package, core=core, events=events, of_package=10)
    throttles(tmp_path, 4, package=1, core=0, events=100, of_package=1000)
    counter = ThrottleCounter(tmp_path)
    assert counter.counters == 5
    assert counter.read() == 3 + 5 + 10 + 100 + 1000


def test_counters_that_are_not_there_are_not_zero(tmp_path: Path) -> None:
    """Without counters there is no count; with counters at rest it is 0; one that goes is told."""
    with pytest.raises(SourceUnavailable):
        ThrottleCounter(tmp_path)
    folder = throttles(tmp_path, 0, package=0, core=0, events=0, of_package=0)
    counter = ThrottleCounter(tmp_path)
    assert counter.read() == 0
    (folder / "core_throttle_count").unlink()
    with pytest.raises(SourceUnavailable):
        counter.read()
