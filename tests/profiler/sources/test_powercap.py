"""RAPL zones of recorded machines: what is summed, what is dropped, what may not be read."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.profiler.counter import Delta, GapReason
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Kind
from joulery.profiler.sources.powercap import STUCK_S, Powercap, find_zones

from ...unprivileged import open_folder, run_unprivileged
from ..fakes import PlayedCpu, Ticker
from . import trees
from .trees import write


@pytest.fixture
def recorded(test_data: Path) -> Path:
    """Return the folder of recorded sysfs trees."""
    return test_data / "power" / "sysfs"


@pytest.fixture
def two_sockets(recorded: Path, tmp_path: Path) -> Path:
    """Return a copy of the two-socket tree whose counters a test may move."""
    return Path(shutil.copytree(recorded / "two_socket_dram" / "sys", tmp_path / "sys"))


def write_uj(sys: Path, zone: str, value_uj: int) -> None:
    """Set the counter of one zone."""
    (sys / "class/powercap" / zone / "energy_uj").write_text(f"{value_uj}\n")


@pytest.mark.parametrize(
    ("tree", "summed", "other", "dropped"),
    [
        ("amd_two_die", ["package-0-die-0"], [], {"intel-rapl:1": "mirrors package-0-die-0"}),
        (
            "two_socket_dram",
            ["package-0", "package-0/dram", "package-1", "package-1/dram"],
            [],
            {},
        ),
        (
            "procfs_powercap",
            ["package-0"],
            ["package-0/core"],
            {"intel-rapl:a": "mirrors package-0"},
        ),
        ("node_exporter_powercap_hwmon", ["package-0"], ["package-0/core"], {}),
        (
            "synthetic_kepler",
            ["package-0"],
            ["package-0/core"],
            {"intel-rapl:a": "mirrors package-0", "intel-rapl-mmio:0": "mirrors package-0"},
        ),
    ],
)
def test_each_joule_is_summed_once(
    recorded: Path, tree: str, summed: list[str], other: list[str], dropped: dict[str, str]
) -> None:
    """Packages and memory are summed; parts are reported; mirrors of any kind are dropped."""
    source = Powercap(recorded / tree / "sys")
    assert [domain.name for domain in source.domains if domain.summed] == summed
    assert [domain.name for domain in source.domains if not domain.summed] == other
    assert source.dropped == dropped
    assert {domain.provenance for domain in source.domains} == {Provenance.MEASURED}


def test_units_and_wraps_come_from_the_zone(recorded: Path) -> None:
    """Microjoules become joules, and each zone wraps where it says, memory before its package."""
    source = Powercap(recorded / "two_socket_dram" / "sys")
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
            assert zone.modulus_uj is not None
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


def test_two_real_dies_are_both_summed(recorded: Path, tmp_path: Path) -> None:
    """Dies whose counters tell different energies are two devices, not a mirror."""
    sys = Path(shutil.copytree(recorded / "amd_two_die" / "sys", tmp_path / "sys"))
    write_uj(sys, "intel-rapl:1", 8_123_456_789)
    assert [domain.summed for domain in Powercap(sys).domains] == [True, True]


def test_a_machine_without_counters(tmp_path: Path) -> None:
    """No powercap tree is an absent source, not a failure and not zero."""
    with pytest.raises(SourceUnavailable, match="no energy counter"):
        Powercap(tmp_path)


@pytest.mark.parametrize("text", ["", "energy", "-5", "1.5"])
def test_nonsense_is_a_failure(two_sockets: Path, text: str) -> None:
    """A counter that is empty or not a count leaves the others whole; if all are, it is said."""
    packages = [two_sockets / f"class/powercap/intel-rapl:{number}" for number in (0, 1)]
    (packages[1] / "energy_uj").write_text(text)
    source = Powercap(two_sockets)
    assert [reading.domain.name for reading in source.sample()] == [
        "package-0",
        "package-0/dram",
        "package-1/dram",
    ]
    for path in two_sockets.glob("class/powercap/*:*/energy_uj"):
        path.write_text(text)
    with pytest.raises(SourceFailed, match="intel-rapl:0"):
        source.sample()
    with pytest.raises(SourceFailed, match="intel-rapl:0"):
        Powercap(two_sockets)


def test_parts_do_not_stand_for_their_package(tmp_path: Path) -> None:
    """Where cores can be read and no package can, there is no source, so that others may join."""
    trees.zone(tmp_path, "intel-rapl:0", "package-0", 5)
    trees.zone(tmp_path, "intel-rapl:0:0", "core", 5)
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text("no number")
    with pytest.raises(SourceFailed, match="intel-rapl:0/"):
        Powercap(tmp_path)


def test_a_zone_that_goes_away(two_sockets: Path) -> None:
    """A zone that vanishes is left out; when the last is gone, the source is unavailable."""
    source = Powercap(two_sockets)
    (two_sockets / "class/powercap/intel-rapl:1/energy_uj").unlink()
    assert len(source.sample()) == len(source.domains) - 1
    shutil.rmtree(two_sockets / "class/powercap")
    with pytest.raises(SourceUnavailable):
        source.sample()


def test_one_unreadable_zone_makes_the_sum_unknown(two_sockets: Path) -> None:
    """The energy of a package that cannot be read is a gap: its neighbours are told, no sum is."""
    (two_sockets / "class/powercap/intel-rapl:1/energy_uj").write_text("")
    clock = Ticker()
    meter = EnergyMeter([Powercap(two_sockets)], clock=clock, interval_s=None, work=PlayedCpu())
    with meter, meter.window("w") as window:
        clock.advance(1.0)
        write_uj(two_sockets, "intel-rapl:0", 258_318_293_244)
    found = window.result
    whole = found.domains["powercap:package-0"].energy
    assert whole is not None
    assert whole.value_j == pytest.approx(100.0)
    assert found.domains["powercap:package-1"].gaps == {GapReason.FAILED: 1}
    assert found.energy is None


@pytest.mark.parametrize("state", ["forbidden", "absent", "zero", "nonsense"])
def test_a_zone_without_a_range_is_read(state: str) -> None:
    """Without a range the zone counts, a fall is a gap named reset, and the note says why."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = trees.zone(Path(folder), "intel-rapl:0", "package-0", 65_000_000_000, None)
        if state != "absent":
            write(path, {"max_energy_range_uj": {"zero": 0, "nonsense": "-"}.get(state, 7)})
        if state == "forbidden":
            (path / "max_energy_range_uj").chmod(0o000)
        with trees.unprivileged():
            source = Powercap(Path(folder))
        [domain] = source.domains
        assert domain.modulus_j is None
        assert "a gap, not a wrap" in domain.note
        clock = Ticker()
        meter = EnergyMeter([source], clock=clock, interval_s=None, work=PlayedCpu())
        windows = []
        for energy_uj in (65_010_000_000, 5_000_000):
            with meter, meter.window("w") as window:
                clock.advance(1.0)
                write(path, {"energy_uj": energy_uj})
            windows.append(window.result)
    grown, fell = windows
    assert grown.energy is not None
    assert grown.energy.value_j == pytest.approx(10.0)
    assert fell.energy is None
    assert fell.domains["powercap:package-0"].gaps == {GapReason.RESET: 1}


def test_dies_that_count_apart(tmp_path: Path) -> None:
    """A processor of several dies has one counter each, and memory with each: all are summed."""
    for die in range(4):
        package, own = divmod(die, 2)
        trees.zone(tmp_path, f"intel-rapl:{die}", f"package-{package}-die-{own}", die * 10**9)
        trees.zone(tmp_path, f"intel-rapl:{die}:0", "dram", die * 10**8)
    source = Powercap(tmp_path)
    assert source.dropped == {}
    assert [domain.name for domain in source.domains if domain.summed] == [
        f"package-{package}-die-{die}{part}"
        for package in (0, 1)
        for die in (0, 1)
        for part in ("", "/dram")
    ]


def test_zone_numbers_are_hexadecimal(tmp_path: Path) -> None:
    """Sixteen and more zones keep their order, and a mirror is one of the first."""
    for number in range(18):
        trees.zone(tmp_path, f"intel-rapl:{number:x}", f"package-{number}", number * 10**9)
    trees.zone(tmp_path, "intel-rapl:12", "package-18", 2 * 10**9)
    source = Powercap(tmp_path)
    assert [domain.name for domain in source.domains] == [f"package-{n}" for n in range(18)]
    assert source.dropped == {"intel-rapl:12": "mirrors package-2"}


def test_the_memory_mapped_interface_is_a_mirror(tmp_path: Path) -> None:
    """The same zone through memory-mapped registers is dropped; alone it is a zone."""
    trees.zone(tmp_path, "intel-rapl-mmio:0", "package-0", 9_000_000)
    assert [domain.name for domain in Powercap(tmp_path).domains] == ["package-0"]
    trees.zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    trees.zone(tmp_path, "intel-rapl:1", "psys", 7_000_000)
    source = Powercap(tmp_path)
    assert source.dropped == {"intel-rapl-mmio:0": "mirrors package-0"}
    assert source.sample()[0].value == 5.0
    assert {d.name: d.summed for d in source.domains} == {"package-0": True, "psys": False}


def test_what_may_rest(tmp_path: Path) -> None:
    """A package that stands still is broken; memory, cores and what has no name may rest."""
    trees.zone(tmp_path, "intel-rapl:0", "package-0", 5)
    trees.zone(tmp_path, "intel-rapl:0:0", "core", 5)
    trees.zone(tmp_path, "intel-rapl:0:1", "dram", 5)
    (tmp_path / "class/powercap/intel-rapl:0:0/name").unlink()
    assert {domain.name: domain.stuck_s for domain in Powercap(tmp_path).domains} == {
        "package-0": STUCK_S,
        "package-0/intel-rapl:0:0": None,
        "package-0/dram": None,
    }


def test_a_forbidden_counter_comes_with_its_remedy(recorded: Path) -> None:
    """Counters that only root may read are forbidden, and the error says how to allow them."""
    with tempfile.TemporaryDirectory() as folder:
        sys = Path(
            shutil.copytree(recorded / "node_exporter_powercap_hwmon" / "sys", f"{folder}/sys")
        )
        Path(folder).chmod(0o755)
        for counter in sys.glob("class/powercap/*/energy_uj"):
            counter.chmod(0o400 if os.geteuid() == 0 else 0o000)
        with trees.unprivileged(), pytest.raises(SourceForbidden) as caught:
            Powercap(sys)
    assert "chmod a+r" in str(caught.value)


def test_a_counter_differs_through_the_one_helper(recorded: Path) -> None:
    """The source subtracts nothing: two samples of a tree at rest are the same reading."""
    source = Powercap(recorded / "procfs_powercap" / "sys")
    assert source.sample() == source.sample()
    assert not isinstance(source.sample()[0], Delta)


def test_zones_hidden_from_a_container_are_forbidden(tmp_path: Path) -> None:
    """Links to a folder that the container runtime hides are no machine without counters."""
    root = tmp_path / "class/powercap"
    root.mkdir(parents=True)
    (root / "intel-rapl:0").symlink_to("../../devices/virtual/powercap/intel-rapl/intel-rapl:0")
    with pytest.raises(SourceForbidden, match=r"intel-rapl:0.*hidden.*mount the host's /sys"):
        Powercap(tmp_path)


def test_folders_closed_to_us_are_forbidden() -> None:
    """Who may not look into the folder of the zones does not say that there are none."""
    program = (
        "import sys; from pathlib import Path\n"
        "from joulery.errors import SourceForbidden\n"
        "from joulery.profiler.sources.powercap import Powercap\n"
        "try:\n    Powercap(Path(sys.argv[1]))\n"
        "except SourceForbidden as error:\n    print(error)\n"
    )
    with open_folder() as tree:
        root = tree / "class/powercap"
        (root / "intel-rapl:0").mkdir(parents=True)
        for closed in (root, root / "intel-rapl:0"):
            closed.chmod(0o700)
            ended = run_unprivileged("-c", program, str(tree))
            closed.chmod(0o755)
            assert f"powercap {closed}: found Permission denied; chmod" in ended.stdout
