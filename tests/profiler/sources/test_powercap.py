"""RAPL zones of recorded machines: what is summed, what is dropped, what may not be read."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.profiler.counter import Delta
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Kind
from joulery.profiler.sources.powercap import Powercap, find_zones

from ..fakes import PlayedCpu, Ticker

NOBODY = 65534


@pytest.fixture
def trees(test_data: Path) -> Path:
    """Return the folder of recorded sysfs trees."""
    return test_data / "power" / "sysfs"


@pytest.fixture
def two_sockets(trees: Path, tmp_path: Path) -> Path:
    """Return a copy of the two-socket tree whose counters a test may move."""
    return Path(shutil.copytree(trees / "two_socket_dram" / "sys", tmp_path / "sys"))


def write_uj(sys: Path, zone: str, value_uj: int) -> None:
    """Set the counter of one zone."""
    (sys / "class/powercap" / zone / "energy_uj").write_text(f"{value_uj}\n")


@pytest.mark.parametrize(
    ("tree", "summed", "other", "dropped"),
    [
        ("amd_two_die", ["package-0-die-0"], [], {"intel-rapl:1": "package-0-die-0"}),
        (
            "two_socket_dram",
            ["package-0", "package-0/dram", "package-1", "package-1/dram"],
            [],
            {},
        ),
        ("procfs_powercap", ["package-0"], ["package-0/core"], {"intel-rapl:a": "package-0"}),
        ("node_exporter_powercap_hwmon", ["package-0"], ["package-0/core"], {}),
        (
            "synthetic_kepler",
            ["package-0"],
            ["package-0/core"],
            {"intel-rapl:a": "package-0", "intel-rapl-mmio:0": "package-0"},
        ),
    ],
)
def test_each_joule_is_summed_once(
    trees: Path, tree: str, summed: list[str], other: list[str], dropped: dict[str, str]
) -> None:
    """Packages and memory are summed; parts are reported; mirrors of any kind are dropped."""
    source = Powercap(trees / tree / "sys")
    assert [domain.name for domain in source.domains if domain.summed] == summed
    assert [domain.name for domain in source.domains if not domain.summed] == other
    assert source.dropped == dropped
    assert {domain.provenance for domain in source.domains} == {Provenance.MEASURED}


def test_units_and_wraps_come_from_the_zone(trees: Path) -> None:
    """Microjoules become joules, and each zone wraps where it says, memory before its package."""
    source = Powercap(trees / "two_socket_dram" / "sys")
    readings = {reading.domain.name: reading.value for reading in source.sample()}
    moduli = {domain.name: domain.modulus_j for domain in source.domains}
    assert readings["package-0"] == 258218.293244
    assert readings["package-1/dram"] == 64930.394974
    assert moduli["package-0"] == 262143.328850
    assert moduli["package-1/dram"] == 65712.999613
    assert {d.name: d.kind for d in source.domains}["package-1/dram"] is Kind.DRAM


def test_wraps_of_a_recorded_machine_are_energy(two_sockets: Path) -> None:
    """Package and memory that pass their wraps within a window show what they drew, no more."""
    clock = Ticker()
    meter = EnergyMeter([Powercap(two_sockets)], clock=clock, interval_s=None, work=PlayedCpu())
    drawn_uj = {"0": 4_000_000_000, "0:0": 100_000_000, "1": 50_000_000, "1:0": 800_000_000}
    before = {zone.zone: zone for zone in find_zones(two_sockets)}
    with meter, meter.window("wrap") as window:
        clock.advance(30.0)
        for number, step_uj in drawn_uj.items():
            zone = before[f"intel-rapl:{number}"]
            write_uj(two_sockets, zone.zone, (zone.read_uj() + step_uj) % zone.modulus_uj)
    energy = window.result.energy
    assert energy is not None
    assert energy.value_j == pytest.approx(sum(drawn_uj.values()) / 1e6, rel=1e-9)
    assert energy.low_j < energy.value_j < energy.high_j
    assert all(interval.gap is None for interval in window.result.intervals)


def test_the_platform_only_when_asked(two_sockets: Path) -> None:
    """A psys zone holds everything else: it is summed alone, or reported beside the packages."""
    psys = two_sockets / "class/powercap/intel-rapl:2"
    psys.mkdir()
    for name, text in (("name", "psys"), ("energy_uj", "5"), ("max_energy_range_uj", "99999999")):
        (psys / name).write_text(text)
    apart, alone = Powercap(two_sockets), Powercap(two_sockets, psys=True)
    assert "psys" in {domain.name for domain in apart.domains if not domain.summed}
    assert [domain.name for domain in alone.domains if domain.summed] == ["psys"]


def test_no_platform_though_asked(two_sockets: Path) -> None:
    """Asking for a platform counter that is not there is an absence that lists what is."""
    with pytest.raises(SourceUnavailable, match="package-0"):
        Powercap(two_sockets, psys=True)


def test_two_real_dies_are_both_summed(trees: Path, tmp_path: Path) -> None:
    """Dies whose counters tell different energies are two devices, not a mirror."""
    sys = Path(shutil.copytree(trees / "amd_two_die" / "sys", tmp_path / "sys"))
    write_uj(sys, "intel-rapl:1", 8_123_456_789)
    assert [domain.summed for domain in Powercap(sys).domains] == [True, True]


def test_a_machine_without_counters(tmp_path: Path) -> None:
    """No powercap tree is an absent source, not a failure and not zero."""
    with pytest.raises(SourceUnavailable, match="no energy counter"):
        Powercap(tmp_path)


@pytest.mark.parametrize("text", ["", "energy", "-5", "1.5"])
def test_nonsense_is_a_failure(two_sockets: Path, text: str) -> None:
    """A counter that is empty or not a count fails, naming its file."""
    (two_sockets / "class/powercap/intel-rapl:1/energy_uj").write_text(text)
    with pytest.raises(SourceFailed, match="intel-rapl:1"):
        Powercap(two_sockets)


def test_a_zone_that_goes_away(two_sockets: Path) -> None:
    """A zone that vanishes after discovery is no longer available."""
    source = Powercap(two_sockets)
    (two_sockets / "class/powercap/intel-rapl:1/energy_uj").unlink()
    with pytest.raises(SourceUnavailable):
        source.sample()


def test_a_forbidden_counter_comes_with_its_remedy(trees: Path) -> None:
    """Counters that only root may read are forbidden, and the error says how to allow them."""
    with tempfile.TemporaryDirectory() as folder:
        sys = Path(shutil.copytree(trees / "node_exporter_powercap_hwmon" / "sys", f"{folder}/sys"))
        Path(folder).chmod(0o755)
        for counter in sys.glob("class/powercap/*/energy_uj"):
            counter.chmod(0o400 if os.geteuid() == 0 else 0o000)
        with unprivileged(), pytest.raises(SourceForbidden) as caught:
            Powercap(sys)
    assert "chmod a+r" in str(caught.value)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run without root's rights, if we have them."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_counter_differs_through_the_one_helper(trees: Path) -> None:
    """The source subtracts nothing: two samples of a tree at rest are the same reading."""
    source = Powercap(trees / "procfs_powercap" / "sys")
    assert source.sample() == source.sample()
    assert not isinstance(source.sample()[0], Delta)
