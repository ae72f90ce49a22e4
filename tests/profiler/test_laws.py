"""Laws that hold whatever happens: nothing is lost, nothing is made, and windows add up.

A played machine of processors, memory and accelerators goes through any sequence of times, with
consumers that come and go; what its counters moved by is the truth.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulery.errors import SourceFailed
from joulery.profiler.attribution import (
    Attribution,
    IdlePolicy,
    attribute_window,
    observe_window,
)
from joulery.profiler.ledger import Ledger
from joulery.profiler.meter import EnergyMeter, Window, WindowResult
from joulery.profiler.power_model import PowerModel
from joulery.profiler.quantities import Energy, Provenance, sum_energy
from joulery.profiler.sources import Domain, Kind
from joulery.profiler.usage import Usage

from .fakes import DrawnSource, PlayedCpu, Ticker

ROUNDING = 1e-9
"""Relative: sums in another order."""

TINY_J = 1e-6
"""Differences of floating-point counters of tens of kilojoules."""

CPUS = 2
POLICIES: list[IdlePolicy] = ["none", "time_share", "request", "reservation"]
NAMES = ("a", "b", "c")


def domain(name: str, kind: Kind, *, summed: bool = True, modulus_j: float | None = None) -> Domain:
    """Return a counter of a device that draws less than 500 W."""
    return Domain(
        name=name,
        kind=kind,
        form="counter",
        provenance=Provenance.MEASURED,
        max_power_w=500,
        summed=summed,
        modulus_j=modulus_j,
        resolution_j=1e-4,
        update_s=1e-3,
    )


DEVICES = (
    domain("package-0", Kind.CPU, modulus_j=40_000.0),
    domain("dram", Kind.DRAM, modulus_j=10_000.0),
    domain("core", Kind.CPU, summed=False),
    domain("gpu-0", Kind.GPU),
    domain("gpu-1", Kind.GPU),
)


@dataclass(frozen=True, slots=True)
class Step:
    """What happens in one time.

    Attributes:
        seconds: How long it is.
        powers_w: Of each device.
        loads: For those who are there, the part of the CPUs and of the GPUs they use.
        system: The part of the CPUs that nobody named uses.
        failing: Devices that cannot be read at its end.
        windows: The windows that are open in it.
    """

    seconds: float
    powers_w: tuple[float, ...]
    loads: Mapping[str, tuple[float, float]]
    system: float
    failing: frozenset[int] = frozenset()
    windows: frozenset[int] = frozenset()


def steps(*, failing: bool = False, windows: int = 0) -> st.SearchStrategy[list[Step]]:
    """Return sequences of times, in which devices may fail and so many windows open and close."""
    step = st.builds(
        Step,
        st.floats(0.1, 15.0),
        st.tuples(*[st.floats(0, 450)] * len(DEVICES)),
        st.dictionaries(st.sampled_from(NAMES), st.tuples(st.floats(0, 0.3), st.floats(0, 0.3))),
        st.floats(0, 0.1),
        st.frozensets(st.integers(0, len(DEVICES) - 1), max_size=2 * failing),
        st.frozensets(st.integers(0, max(0, windows - 1)), max_size=windows),
    )
    return st.lists(step, min_size=1, max_size=6)


@dataclass(slots=True)
class Played:
    """The machine, its meter, and everyone who uses it.

    Args:
        counted: Somebody counts the work on the accelerators.
    """

    counted: bool = True
    clock: Ticker = field(default_factory=Ticker)
    work: PlayedCpu = field(default_factory=PlayedCpu)
    drawn_j: list[float] = field(default_factory=lambda: [39_000.0, 9_000.0, 0.0, 5.0, 7.0])
    failing: frozenset[int] = frozenset()
    used: dict[str, Usage] = field(default_factory=dict)
    present: dict[str, ExitStack] = field(default_factory=dict)

    def meter(self) -> EnergyMeter:
        """Return a meter of every device."""
        source = DrawnSource({device: self._reader(at) for at, device in enumerate(DEVICES)})
        return EnergyMeter([source], clock=self.clock, interval_s=None, work=self.work)

    def _reader(self, at: int) -> Callable[[], float]:
        def read() -> float:
            if at in self.failing:
                raise SourceFailed(DEVICES[at].name)
            return self.drawn_j[at] % (DEVICES[at].modulus_j or math.inf)

        return read

    def admit(self, meter: EnergyMeter, names: Mapping[str, object]) -> None:
        """Let consumers come, and those that are not named go."""
        for name in [name for name in self.present if name not in names]:
            self.present.pop(name).close()
        for name in [name for name in names if name not in self.present]:
            self.used.setdefault(name, Usage(cpu_s=5.0, gpu_s=3.0 if self.counted else None))
            self.present[name] = ExitStack()
            readers = {name: lambda name=name: self.used[name]}
            self.present[name].enter_context(meter.consumers(readers))

    def happen(self, step: Step) -> None:
        """Let one time pass."""
        self.clock.advance(step.seconds)
        for at, power_w in enumerate(step.powers_w):
            self.drawn_j[at] += power_w * step.seconds
        self.work.busy_s += CPUS * step.seconds * step.system
        for name, (cpu, gpu) in step.loads.items():
            spent_s = CPUS * step.seconds * cpu
            self.work.busy_s += spent_s
            gpu_s = gpu * 2 * step.seconds if self.counted else None
            self.used[name] = self.used[name].plus(Usage(cpu_s=spent_s, gpu_s=gpu_s))
        self.failing = step.failing


def summed_j(step: Step) -> float:
    """Return what the summed devices drew in one time."""
    return step.seconds * math.fsum(
        power_w for power_w, device in zip(step.powers_w, DEVICES, strict=True) if device.summed
    )


def laps_of(played: Played, some: list[Step]) -> list[WindowResult]:
    """Play times, a lap for each."""
    laps = []
    with played.meter() as meter, meter.window("laps") as window:
        for step in some:
            played.admit(meter, step.loads)
            played.happen(step)
            laps.append(window.lap())
        played.admit(meter, {})
    return laps


def settled(
    laps: list[WindowResult], policy: IdlePolicy, owner: str | None = None
) -> tuple[list[Attribution | None], Ledger]:
    """Share every lap out, and add up."""
    models: dict[Kind, PowerModel] = {}
    ledger, found = Ledger(), []
    for lap in laps:
        observe_window(models, lap)
        shares = {name: 0.9 / len(lap.usage) for name in lap.usage}
        one = attribute_window(
            lap, models, owner=owner, owed_j=ledger.owed_j, idle_policy=policy, shares=shares
        )
        ledger.add(one, lap.duration_s)
        found.append(one)
    return found, ledger


def values_j(found: Attribution) -> float:
    """Return what all parts add up to."""
    return math.fsum(part.value_j for part in (found.idle, found.system, *found.parts.values()))


@given(steps(), st.sampled_from(POLICIES), st.booleans(), st.sampled_from([None, "a"]))
@settings(deadline=None)
def test_energy_is_conserved(
    some: list[Step], policy: IdlePolicy, counted: bool, owner: str | None
) -> None:
    """Idle, system and parts add up to what the counters moved by, in each lap and in total."""
    laps = laps_of(Played(counted), some)
    found, ledger = settled(laps, policy, owner)
    for lap, one, step in zip(laps, found, some, strict=True):
        assert one is not None
        assert one.parts.keys() == lap.usage.keys()
        assert one.total.value_j == pytest.approx(summed_j(step), rel=ROUNDING, abs=TINY_J)
        assert values_j(one) == pytest.approx(one.total.value_j, rel=ROUNDING, abs=TINY_J)
    whole_j = math.fsum(summed_j(step) for step in some)
    assert ledger.total is not None
    assert ledger.total.value_j == pytest.approx(whole_j, rel=ROUNDING, abs=TINY_J)
    closed = [ledger.close(name) for name in list(ledger.parts)[::2]]
    everything = [ledger.idle, ledger.system, *ledger.parts.values(), *closed]
    parts_j = [part.value_j for part in everything if part is not None]
    assert len(parts_j) == len(everything)
    assert math.fsum(parts_j) == pytest.approx(whole_j, rel=ROUNDING, abs=TINY_J)
    assert ledger.unknown_s == 0.0
    assert ledger.known_s == pytest.approx(sum(step.seconds for step in some))


@given(steps(), st.sampled_from(POLICIES), st.booleans())
@settings(deadline=None)
def test_parts_lie_within_the_device(some: list[Step], policy: IdlePolicy, counted: bool) -> None:
    """No part's interval is disordered, reaches below nothing, or above the devices' own."""
    found, _ = settled(laps_of(Played(counted), some), policy)
    for one in found:
        assert one is not None
        for part in (one.idle, one.system, *one.parts.values()):
            assert 0 <= part.low_j <= part.value_j <= part.high_j
            assert part.high_j <= one.total.high_j * (1 + ROUNDING)
        assert len(one.random_j) == 2 + len(one.parts)
        assert min(one.random_j) >= 0


@given(steps(failing=True), st.sampled_from(POLICIES))
@settings(deadline=None)
def test_totals_never_fall(some: list[Step], policy: IdlePolicy) -> None:
    """Over known and unknown times alike, nobody's total is ever less than it was."""
    laps = laps_of(Played(), some)
    before: dict[str, float] = {}
    for count in range(1, len(laps) + 1):
        found, ledger = settled(laps[:count], policy)
        assert [one is None for one in found] == [lap.energy is None for lap in laps[:count]]
        totals = {"total": ledger.total, "idle": ledger.idle, "system": ledger.system}
        now = {name: one.value_j for name, one in (totals | dict(ledger.parts)).items() if one}
        assert all(now[name] >= value_j for name, value_j in before.items())
        before = now


def windows_of(some: list[Step], count: int) -> list[tuple[range, WindowResult]]:
    """Play times with a lap for each, and windows that open and close as the times say.

    Returns:
        Which times each window or lap covers, and what it measured.
    """
    played, found = Played(), list[tuple[range, WindowResult]]()
    opened: dict[int, tuple[int, Window]] = {}
    with played.meter() as meter, meter.window("laps") as laps:
        for at, step in enumerate([*some, None]):
            wanted = frozenset[int]() if step is None else step.windows
            for number in range(count):
                if number in opened and number not in wanted:
                    since, window = opened.pop(number)
                    window.__exit__()
                    found.append((range(since, at), window.result))
                if number in wanted and number not in opened:
                    opened[number] = (at, meter.window(str(number)).__enter__())
            played.admit(meter, {} if step is None else step.loads)
            if step is not None:
                played.happen(step)
                found.append((range(at, at + 1), laps.lap()))
    return found


@given(steps(failing=True, windows=3))
@settings(deadline=None)
def test_windows_add_up(some: list[Step]) -> None:
    """Laps sum to any window around them: energies, work and gaps, however windows overlap."""
    found = windows_of(some, 3)
    laps = {span.start: lap for span, lap in found if lap.name == "laps"}
    for span, window in found:
        within = [laps[at] for at in span]
        assert window.duration_s == pytest.approx(sum(lap.duration_s for lap in within))
        assert window.busy_s == pytest.approx(sum(lap.busy_s for lap in within))
        for key, entry in window.domains.items():
            parts = [lap.domains[key] for lap in within]
            gaps = sum((Counter(part.gaps) for part in parts), Counter())
            assert gaps == entry.gaps
            assert (entry.energy is None) is bool(gaps)
            whole = sum_energy([part.energy for part in parts], errors="common")
            assert (whole is None) is (entry.energy is None)
            if whole is not None and entry.energy is not None:
                assert entry.energy.value_j == pytest.approx(
                    whole.value_j, rel=ROUNDING, abs=ROUNDING
                )
                assert entry.energy.high_j <= whole.high_j * (1 + ROUNDING)
        for name in {name for lap in within for name in lap.usage} | set(window.usage):
            parts_s = [lap.usage[name] for lap in within if name in lap.usage]
            assert window.usage[name].cpu_s == pytest.approx(sum(one.cpu_s for one in parts_s))
            assert window.usage[name].gpu_s == pytest.approx(
                sum(one.gpu_s for one in parts_s if one.gpu_s is not None)
            )


@given(steps(failing=True))
@settings(deadline=None)
def test_a_failure_hides_just_its_own_time(some: list[Step]) -> None:
    """A device that fails makes that lap and the next unknown, never smaller; then all is known."""
    laps = laps_of(Played(), some)
    failed = [frozenset[int](), *(step.failing for step in some)]
    for lap, step, before in zip(laps, some, failed[:-1], strict=True):
        hidden = step.failing | before
        for at, device in enumerate(DEVICES):
            entry = lap.domains[f"drawn:{device.name}"]
            if at in hidden:
                assert entry.energy is None
            else:
                assert entry.energy is not None
                expected_j = step.powers_w[at] * step.seconds
                assert entry.energy.value_j == pytest.approx(expected_j, rel=ROUNDING, abs=TINY_J)
        assert (lap.energy is None) is any(DEVICES[at].summed for at in hidden)


ENERGIES = st.builds(
    lambda value_j, below, above: Energy(
        value_j=value_j,
        low_j=value_j * below,
        high_j=value_j * above,
        provenance=Provenance.MEASURED,
    ),
    st.floats(0, 1e6),
    st.floats(0, 1),
    st.floats(1, 2),
)


@given(st.lists(ENERGIES, min_size=1, max_size=10), st.floats(0, 1e3))
def test_interval_arithmetic(parts: list[Energy], factor: float) -> None:
    """Common errors widen a sum no less than independent ones; scaling and summing commute."""
    common = sum_energy(parts, errors="common")
    independent = sum_energy(parts, errors="independent")
    scaled = sum_energy([part.scaled(factor) for part in parts], errors="independent")
    assert common is not None
    assert independent is not None
    assert scaled is not None
    slack_j = ROUNDING * common.high_j
    assert common.value_j == independent.value_j
    assert common.low_j <= independent.low_j + slack_j
    assert common.high_j >= independent.high_j - slack_j
    widest_j = max(part.high_j - part.value_j for part in parts)
    assert independent.high_j - independent.value_j >= widest_j - slack_j
    expected = independent.scaled(factor)
    for mine, theirs in zip(
        (scaled.low_j, scaled.value_j, scaled.high_j),
        (expected.low_j, expected.value_j, expected.high_j),
        strict=True,
    ):
        assert mine == pytest.approx(theirs, rel=ROUNDING, abs=ROUNDING)
    assert sum_energy([*parts, None], errors="common") is None
