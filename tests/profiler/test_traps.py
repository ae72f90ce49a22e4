"""Traps of real counters, each from the file or the played source to the window of a meter.

In each the energy is exactly what was drawn, or a gap with the right name: never zero for
unknown, never energy that nobody drew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from joulery.errors import SourceError, SourceForbidden, SourceUnavailable
from joulery.profiler.counter import GapReason
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.quantities import Provenance
from joulery.profiler.sources import Domain, Kind, Reading
from joulery.profiler.sources.base import Source
from joulery.profiler.sources.hwmon import Hwmon
from joulery.profiler.sources.powercap import Powercap
from joulery.profiler.window import WindowResult

from .fakes import PlayedCpu, Ticker
from .sources import trees
from .sources.trees import write

RANGE_UJ = 262_143_328_850
"""Of a Skylake server's package, as recorded."""

GPU = Domain(
    name="gpu-0",
    kind=Kind.GPU,
    form="counter",
    provenance=Provenance.MEASURED,
    max_power_w=600,
    update_s=0.1,
)


@pytest.fixture
def sys() -> Iterator[Path]:
    """Return a tree's root that every user may look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def package(sys: Path, energy_uj: int = 10**9, range_uj: int = RANGE_UJ) -> Path:
    """Write a machine of one package."""
    return trees.zone(sys, "intel-rapl:0", "package-0", energy_uj, range_uj)


class Run:
    """A meter on one source, a clock, and samples and windows as a test asks for them."""

    def __init__(self, source: Source) -> None:
        self.clock = Ticker()
        self.source = source
        self.meter = EnergyMeter([source], clock=self.clock, interval_s=None, work=PlayedCpu())
        self.meter.sample()

    def window(self, *steps: tuple[float, Callable[[], object]]) -> WindowResult:
        """Measure a window: in each step time passes, something happens, a sample is taken."""
        with self.meter.window("w") as window:
            for seconds, happen in steps:
                self.clock.advance(seconds)
                happen()
                self.meter.sample()
        return window.result


def joules(result: WindowResult) -> float:
    """Return the energy of a window that must be known."""
    assert result.energy is not None
    return result.energy.value_j


def gaps(result: WindowResult) -> set[GapReason]:
    """Return why the energy of a window is not known, once it is sure that it is not."""
    assert result.energy is None
    return {reason for entry in result.domains.values() for reason in entry.gaps}


def count(path: Path, energy_uj: int) -> Callable[[], object]:
    """Return what sets a counter."""
    return lambda: write(path, {"energy_uj": energy_uj})


class Held:
    """A GPU's counter that a test holds at a value, or at an error."""

    name, domains = "held", (GPU,)

    def __init__(self, value: float | SourceError) -> None:
        self.value = value

    def sample(self) -> tuple[Reading, ...]:
        """Return the value, or raise the error."""
        if isinstance(self.value, SourceError):
            raise self.value
        return (Reading(GPU, self.value),)

    def at(self, value: float | SourceError) -> tuple[float, Callable[[], object]]:
        """Return a step of a second that ends with another value."""
        return 1.0, lambda: setattr(self, "value", value)


def nothing() -> None:
    """Let nothing happen but time."""


def test_permission_lost_then_zero(sys: Path) -> None:
    """A counter that may not be read for a while, and then reads 0, is unknown until it counts."""
    path = package(sys)
    run = Run(Powercap(sys))
    (path / "energy_uj").chmod(0o000)
    with trees.unprivileged():
        assert gaps(run.window((1, nothing))) == {GapReason.FAILED}
    (path / "energy_uj").chmod(0o644)
    count(path, 0)()
    assert gaps(run.window((0.01, nothing))) == {GapReason.RESET}
    assert gaps(run.window((1, nothing))) == {GapReason.RESET}
    run.window((1, count(path, 5_000_000)))
    assert joules(run.window((1, count(path, 12_000_000)))) == pytest.approx(7.0)


def test_a_zero_between_readings_of_a_young_counter() -> None:
    """A 0 that is read once by mistake adds nothing when the counter returns, however small it is.

    The return would be plausible as energy: 50 J in a second.
    """
    gpu = Held(50.0)
    run = Run(gpu)
    assert gaps(run.window(gpu.at(0.0))) == {GapReason.RESET}
    assert gaps(run.window(gpu.at(51.0))) == {GapReason.IMPLAUSIBLE}
    assert joules(run.window(gpu.at(52.0))) == pytest.approx(1.0)


def test_a_range_that_cannot_be_read(sys: Path) -> None:
    """Without the range a wrap is a gap named reset, and growth is energy as ever."""
    path = trees.zone(sys, "intel-rapl:0", "package-0", 10**9, None)
    run = Run(Powercap(sys))
    assert joules(run.window((1, count(path, 1_100_000_000)))) == pytest.approx(100.0)
    assert gaps(run.window((1, count(path, 40_000_000)))) == {GapReason.RESET}
    assert joules(run.window((1, count(path, 90_000_000)))) == pytest.approx(50.0)


def test_a_counter_that_wraps_every_minute(sys: Path) -> None:
    """Sampling is bounded below half a wrap at full load, and then ten wraps add up exactly."""
    range_uj = 1500 * 60 * 10**6
    path = package(sys, 0, range_uj)
    bounded = EnergyMeter([Powercap(sys)], clock=Ticker(), interval_s=120, work=PlayedCpu())
    interval_s = bounded.interval_s
    assert interval_s is not None
    assert interval_s <= 30
    run = Run(Powercap(sys))
    drawn_uj = [round(1500e6 * interval_s * n) for n in range(1, round(600 / interval_s))]
    result = run.window(*((interval_s, count(path, uj % range_uj)) for uj in drawn_uj))
    assert joules(result) == pytest.approx(drawn_uj[-1] / 1e6)


def test_a_wrap_too_many_is_not_guessed(sys: Path) -> None:
    """Samples so far apart that the counter may have wrapped twice make a gap."""
    path = package(sys, 0, 1500 * 60 * 10**6)
    assert gaps(Run(Powercap(sys)).window((61, count(path, 10**9)))) == {GapReason.TOO_LONG}


@pytest.mark.parametrize(
    ("clock_s", "drawn_j", "reason"),
    [
        (8 * 3600, 9000, GapReason.TOO_LONG),  # a clock that runs through suspend (CLOCK_BOOTTIME)
        (0.1, 9000, GapReason.IMPLAUSIBLE),  # one that stands still in it (CLOCK_MONOTONIC)
        (0.1, -900, GapReason.RESET),  # and a processor that lost its counter there
    ],
)
def test_a_machine_that_was_suspended(
    sys: Path, clock_s: float, drawn_j: int, reason: GapReason
) -> None:
    """After a night of suspend the window is unknown, whichever clock and counter stood still."""
    path = package(sys)
    run = Run(Powercap(sys))
    assert gaps(run.window((clock_s, count(path, 10**9 + drawn_j * 10**6)))) == {reason}
    write(path, {"energy_uj": 2 * 10**9})
    run.window((3600, nothing))
    assert joules(run.window((1, count(path, 2_020_000_000)))) == pytest.approx(20.0)


@pytest.mark.parametrize("back_j", [520.0, 3.0])
def test_a_device_that_vanishes_and_returns(back_j: float) -> None:
    """While it is gone, and until it counts again, all is unknown, wherever its counter starts."""
    gone = SourceUnavailable("gpu-0", found="GPU is lost")
    gpu = Held(500.0)
    run = Run(gpu)
    away = run.window(gpu.at(gone), gpu.at(gone), gpu.at(back_j))
    assert gaps(away) == {GapReason.FAILED, GapReason.BASELINE}
    assert joules(run.window(gpu.at(back_j + 40.0))) == pytest.approx(40.0)


def test_a_returned_device_at_rest() -> None:
    """A device that came back with 0 and does not count shows no zero energy."""
    gpu = Held(500.0)
    run = Run(gpu)
    run.window(gpu.at(SourceUnavailable("gpu-0")), gpu.at(0.0))
    assert gaps(run.window((1, nothing))) == {GapReason.RESET}


def test_a_jump_to_terawatts_and_back(sys: Path) -> None:
    """An Intel GPU's counter that jumps by 2**48 uJ for one reading, and returns, adds nothing."""
    trees.xe(sys, 0, "0000:03:00.0", card_uj=5_000_000, pkg_uj=4_000_000)
    chip, run = sys / "class/hwmon/hwmon0", Run(Hwmon(sys))

    def card(energy_uj: int) -> Callable[[], object]:
        return lambda: write(chip, {"energy1_input": energy_uj})

    assert joules(run.window((1, card(105_000_000)))) == pytest.approx(100.0)
    jumped = run.window((1, card(2**48)), (1, card(305_000_000)))
    assert gaps(jumped) == {GapReason.IMPLAUSIBLE, GapReason.RESET}
    assert joules(run.window((1, card(405_000_000)))) == pytest.approx(100.0)


def test_a_jump_that_stays() -> None:
    """Where a counter jumps for good, the jump alone is lost."""
    gpu = Held(500.0)
    run = Run(gpu)
    assert gaps(run.window(gpu.at(7e12))) == {GapReason.IMPLAUSIBLE}
    assert joules(run.window(gpu.at(7e12 + 50))) == pytest.approx(50.0)


def test_a_package_that_never_moves(sys: Path) -> None:
    """A package whose counter stands still (some AMD systems) is stuck from the first window on."""
    package(sys)
    trees.zone(sys, "intel-rapl:0:0", "core", 10**6)
    run = Run(Powercap(sys))
    assert gaps(run.window((0.1, nothing))) == {GapReason.STUCK}
    core = run.window((1, nothing)).domains["powercap:package-0/core"]
    assert core.energy is not None, "a part may rest, and is not summed"


def test_a_package_that_stops(sys: Path) -> None:
    """A counter that moved and stands still now is soon no rest; its next move hides nothing."""
    path = package(sys)
    run = Run(Powercap(sys))
    assert joules(run.window((1, count(path, 1_010_000_000)))) == pytest.approx(10.0)
    assert gaps(run.window((1, nothing))) == {GapReason.STUCK}
    assert gaps(run.window((1, count(path, 1_020_000_000)))) == {GapReason.STUCK}
    assert joules(run.window((1, count(path, 1_030_000_000)))) == pytest.approx(10.0)


def test_what_may_rest_does(sys: Path) -> None:
    """Memory and a GPU that draw nothing for a minute have measured zero: no gap."""
    path = package(sys)
    trees.zone(sys, "intel-rapl:0:0", "dram", 10**6)
    run = Run(Powercap(sys))
    seconds = [(1.0, count(path, (1000 + n) * 10**6)) for n in range(1, 61)]
    memory = run.window(*seconds).kinds[Kind.DRAM]
    assert memory is not None
    assert memory.value_j == 0.0
    assert joules(Run(Held(500.0)).window(*[(1.0, nothing)] * 60)) == 0.0


def test_a_driver_that_is_loaded_anew(sys: Path) -> None:
    """A counter that starts over costs the interval it fell in, no more."""
    trees.amd_energy(sys, (900_000_000,), cores=0)
    chip, run = sys / "class/hwmon/hwmon2", Run(Hwmon(sys))

    def socket(energy_uj: int) -> Callable[[], object]:
        return lambda: write(chip, {"energy1_input": energy_uj})

    assert gaps(run.window((1, socket(2_000_000)))) == {GapReason.RESET}
    assert joules(run.window((1, socket(82_000_000)))) == pytest.approx(80.0)


def test_a_clock_that_steps_back(sys: Path) -> None:
    """Energy read against a clock that went back is unknown; afterwards all is as before."""
    path = package(sys)
    run = Run(Powercap(sys))
    stepped = run.window((5, count(path, 1_050_000_000)), (-3, count(path, 1_080_000_000)))
    assert gaps(stepped) == {GapReason.CLOCK}
    assert joules(run.window((1, count(path, 1_090_000_000)))) == pytest.approx(10.0)


def test_a_reading_exactly_at_the_range(sys: Path) -> None:
    """The range is the highest reading, one step below the wrap: it costs that step, no window."""
    path = package(sys, RANGE_UJ - 10_000_000)
    run = Run(Powercap(sys))
    assert joules(run.window((1, count(path, RANGE_UJ)))) == pytest.approx(10.0)
    result = run.window((1, count(path, 15_000_000)))
    assert joules(result) == pytest.approx(15.0)
    assert result.energy is not None
    assert result.energy.high_j >= 15.0 + 61e-6


def test_a_reading_beyond_the_range(sys: Path) -> None:
    """A value that the counter cannot have is not believed, and neither is the way back."""
    path = package(sys)
    run = Run(Powercap(sys))
    beyond = run.window((1, count(path, RANGE_UJ + 10**9)), (1, count(path, 1_010_000_000)))
    assert gaps(beyond) == {GapReason.IMPLAUSIBLE, GapReason.BASELINE}


def test_one_forbidden_zone_leaves_the_others_whole(sys: Path) -> None:
    """Of two packages one loses its permission: the other is told, and no half sum."""
    paths = [
        trees.zone(sys, f"intel-rapl:{number}", f"package-{number}", (number + 1) * 10**9)
        for number in (0, 1)
    ]
    run = Run(Powercap(sys))
    (paths[1] / "energy_uj").chmod(0o000)

    with run.meter.window("w") as window:
        run.clock.advance(1)
        write(paths[0], {"energy_uj": 1_025_000_000})
        with trees.unprivileged():  # the kernel refuses root nothing
            run.meter.sample()
    result = window.result
    assert result.energy is None
    assert GapReason.FAILED in result.domains["powercap:package-1"].gaps
    whole = result.domains["powercap:package-0"].energy
    assert whole is not None
    assert whole.value_j == pytest.approx(25.0)


def test_a_whole_source_that_is_forbidden(sys: Path) -> None:
    """A source that loses all its rights says so with its remedy; the meter shows a gap."""
    path = package(sys)
    run = Run(Powercap(sys))
    (path / "energy_uj").chmod(0o000)
    with trees.unprivileged():
        with pytest.raises(SourceForbidden, match="chmod a"):
            run.source.sample()
        assert gaps(run.window((1, nothing))) == {GapReason.FAILED}
