"""Two readings of one device: told apart where they differ, and no verdict without evidence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.campaigns.agreement import Pair, Verdict, device, judge, pairs, seconds_needed
from joulery.campaigns.doctor import Section, agreement
from joulery.errors import SourceUnavailable
from joulery.profiler.counter import GapReason
from joulery.profiler.host import Host
from joulery.profiler.quantities import Energy, Provenance
from joulery.profiler.sources import discover
from joulery.profiler.sources.base import Domain, Kind, Reading
from joulery.profiler.sources.powercap import Powercap
from joulery.profiler.window import DomainEnergy

DOMAIN = Domain(
    name="package-0",
    kind=Kind.CPU,
    form="counter",
    provenance=Provenance.MEASURED,
    max_power_w=1500.0,
    update_s=1e-3,
)


@dataclass
class OtherReader:
    """A second source over files of joules or watts, with code and names of its own."""

    name: str
    files: dict[Domain, Path]

    @property
    def domains(self) -> tuple[Domain, ...]:
        return tuple(self.files)

    def sample(self) -> tuple[Reading, ...]:
        try:
            return tuple(Reading(d, int(path.read_text()) / 1e6) for d, path in self.files.items())
        except FileNotFoundError as error:
            raise SourceUnavailable(self.name, found=str(error)) from error


def _zone(root: Path, zone: str, name: str, energy_uj: int) -> Path:
    """Write a powercap zone as the kernel's powercap.rst lays it out; return its counter."""
    folder = root / "class/powercap" / zone
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    counter = folder / "energy_uj"
    counter.write_text(f"{energy_uj}\n")
    return counter


def _write(path: Path, value: int) -> None:
    """Replace a file at once: a reader sees the old or the new number, never half of one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{value}\n")
    fresh.replace(path)


@pytest.fixture
def draw() -> Iterator[Callable[[dict[Path, float]], None]]:
    """Return a function that makes counters run: each at its power in watts, on a thread."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def run(powers_w: dict[Path, float]) -> None:
        first = {path: int(path.read_text()) for path in powers_w}
        began_s = time.monotonic()
        while not stop.wait(0.0005):
            for path, power_w in powers_w.items():
                _write(path, first[path] + int(1e6 * power_w * (time.monotonic() - began_s)))

    def start(powers_w: dict[Path, float]) -> None:
        threads.append(threading.Thread(target=run, args=(powers_w,)))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def _compare(tree: Path, other: OtherReader, seconds: float = 0.5) -> Section:
    section = agreement([Powercap(tree), other], Host(), seconds=seconds)
    assert section is not None
    return section


def test_two_readings_of_one_counter_agree(
    tmp_path: Path, draw: Callable[[dict[Path, float]], None]
) -> None:
    """Two sources over one moving counter agree, each with the joules that really passed."""
    counter = _zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    draw({counter: 40.0})
    done: list[float] = []
    title, [row] = agreement(  # type: ignore[misc]
        [Powercap(tmp_path), OtherReader("other", {DOMAIN: counter})],
        Host(),
        seconds=0.5,
        progress=done.append,
    )
    assert title.startswith("Agreement in 0.")
    assert (row.what, row.state) == ("package-0", "agree")
    # 40 W for half a second, and what the meter took to stop.
    first_j = float(row.found.split()[0])
    assert first_j == pytest.approx(20.0, rel=0.3)
    assert "powercap:package-0" in row.found
    assert "other:package-0" in row.found
    assert done == sorted(done)
    assert 0 <= done[0] < done[-1] <= 1


def test_a_reading_that_tells_another_energy_disagrees(
    tmp_path: Path, draw: Callable[[dict[Path, float]], None]
) -> None:
    """A second reading that runs at twice the power is told, with what to do."""
    counter = _zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    double = tmp_path / "double"
    double.write_text("0")
    draw({counter: 40.0, double: 80.0})
    _, [row] = _compare(tmp_path, OtherReader("other", {DOMAIN: double}))
    assert (row.state, row.colour) == ("disagree", "red")
    assert row.remedy


def test_a_slow_sensor_needs_more_time(
    tmp_path: Path, draw: Callable[[dict[Path, float]], None]
) -> None:
    """A sensor with hardly an update in the time says too short, and how long would do."""
    counter = _zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    draw({counter: 40.0})
    slow = replace(DOMAIN, update_s=1.0)
    _, [row] = _compare(tmp_path, OtherReader("other", {slow: counter}), seconds=0.3)
    assert row.state == "too short"
    assert "--seconds 25" in row.remedy


def test_a_gap_leaves_no_verdict(tmp_path: Path, draw: Callable[[dict[Path, float]], None]) -> None:
    """A reading that fails midway makes the comparison unknown and names the gap."""
    counter = _zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    copy = tmp_path / "copy"
    copy.write_text("0")
    draw({counter: 40.0})
    threading.Timer(0.2, copy.unlink).start()
    _, [row] = _compare(tmp_path, OtherReader("other", {DOMAIN: copy}))
    assert row.state == "unknown"
    assert "other:package-0: failed" in row.found


def test_the_platform_may_draw_more_than_its_parts_but_not_less(
    tmp_path: Path, draw: Callable[[dict[Path, float]], None]
) -> None:
    """A board that reads above the sum of its parts agrees, one that reads below does not."""
    counters = {
        _zone(tmp_path, "intel-rapl:0", "package-0", 0): 30.0,
        _zone(tmp_path, "intel-rapl:1", "package-1", 900_000_000): 30.0,
    }
    board = replace(DOMAIN, name="board", kind=Kind.PLATFORM, summed=False, max_power_w=9000.0)
    for name in ("above", "below"):
        (tmp_path / name).write_text("0")
    draw({**counters, tmp_path / "above": 90.0, tmp_path / "below": 45.0})
    for name, state in (("above", "agree"), ("below", "disagree")):
        _, [row] = _compare(tmp_path, OtherReader("bmc", {board: tmp_path / name}))
        assert (row.what, row.state) == ("board and its parts", state)
        assert "powercap:package-0 + powercap:package-1" in row.found


def test_what_is_read_once_is_not_compared(test_data: Path) -> None:
    """Recorded machines whose devices are read once, or by sensors of unknown use: no pair."""
    for name in ("two_socket_dram", "synthetic_kepler", "node_exporter_powercap_hwmon"):
        host = Host(sys=test_data / f"power/sysfs/{name}/sys")
        # pyRAPL, where it is installed, is a second reader of every machine with RAPL.
        found = [one for one in discover(host, drivers=False).sources if one.name != "pyrapl"]
        assert found
        assert pairs(found) == ()
        assert agreement(found, host) is None


@pytest.mark.parametrize(
    ("name", "kind", "other"),
    [
        ("package-0/dram", Kind.DRAM, "dram-0"),
        ("package-1", Kind.CPU, "Package 1"),
        ("gpu-3", Kind.GPU, "3"),
    ],
)
def test_one_device_under_two_names(name: str, kind: Kind, other: str) -> None:
    """Sources name a device as they like; kind, number and further words tell which it is."""
    assert device(replace(DOMAIN, name=name, kind=kind)) == device(
        replace(DOMAIN, name=other, kind=kind)
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("package-0", Kind.CPU), ("package-1", Kind.CPU)),
        (("package-0", Kind.CPU), ("package-0/core", Kind.CPU)),
        (("package-0", Kind.CPU), ("package-0/dram", Kind.DRAM)),
        (("gpu-0", Kind.GPU), ("gpu-0/mig-0", Kind.GPU)),
    ],
)
def test_other_devices_are_others(first: tuple[str, Kind], second: tuple[str, Kind]) -> None:
    """A part is not its whole, a neighbour not the device, memory not its processor."""
    one, other = (device(replace(DOMAIN, name=name, kind=kind)) for name, kind in (first, second))
    assert one != other


def test_time_needed_is_that_of_the_slowest() -> None:
    """The slowest sensor decides how long to measure; nothing to compare takes no time."""
    quick = Pair(device="a", first=("x:a",), second=("y:a",), covers=False, update_s=0.001)
    assert seconds_needed([]) == 0
    assert seconds_needed([quick, replace(quick, update_s=0.1)]) == pytest.approx(2.5)


_JOULES = st.floats(0, 1e6, allow_subnormal=False)


@given(_JOULES, _JOULES, _JOULES, _JOULES, st.booleans())
def test_a_verdict_is_never_against_the_intervals(
    first_j: float, first_width_j: float, second_j: float, second_width_j: float, covers: bool
) -> None:
    """Equal energies never disagree; energies further apart than both widths always do."""
    energies = [
        Energy(
            value_j=value_j,
            low_j=value_j - width_j,
            high_j=value_j + width_j,
            provenance=Provenance.MEASURED,
        )
        for value_j, width_j in ((first_j, first_width_j), (second_j, second_width_j))
    ]
    pair = Pair(device="a", first=("x:a",), second=("y:a",), covers=covers, update_s=0.0)
    entries = {
        f"{source}:a": DomainEnergy(
            source=source, domain="a", kind=Kind.CPU, summed=True, energy=energy, gaps={}
        )
        for source, energy in zip("xy", energies, strict=True)
    }
    said = judge(pair, entries)
    apart_j, width_j = first_j - second_j, first_width_j + second_width_j
    if first_j == second_j or (covers and apart_j > 0):
        assert said.verdict is not Verdict.DISAGREE
    elif abs(apart_j) > width_j:
        assert said.verdict is Verdict.DISAGREE
    assert said.low_j is not None and said.high_j is not None  # noqa: PT018 - for the types
    assert said.low_j <= apart_j <= said.high_j
    broken = {**entries, "y:a": replace(entries["y:a"], energy=None, gaps={GapReason.RESET: 1})}
    unknown = judge(pair, broken)
    assert (unknown.verdict, unknown.difference_j) == (Verdict.UNKNOWN, None)
    assert unknown.gaps == ("y:a: reset",)
