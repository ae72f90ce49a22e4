"""What differences of counters and sums of power promise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.counter import CounterDiff, Delta, Gap, GapReason, PowerSum

MODULUS_J = 65_532.610987
MAX_POWER_W = 1000.0


def counter(**changes: float | None) -> CounterDiff:
    """Return a difference of a counter like a RAPL package's."""
    settings: dict[str, float | None] = {"max_power_w": MAX_POWER_W, "modulus_j": MODULUS_J}
    return CounterDiff(**(settings | changes))  # type: ignore[arg-type]


@given(
    st.floats(0, MODULUS_J - 1),
    st.lists(st.tuples(st.floats(0.001, 30), st.floats(0, MAX_POWER_W)), min_size=1, max_size=60),
)
def test_wraps_are_forward_progress(start_j: float, steps: list[tuple[float, float]]) -> None:
    """Whatever a device draws and however often its counter wraps, the energies add up to it."""
    differ, t_s, drawn_j = counter(), 0.0, 0.0
    assert differ.update(start_j, t_s) == Gap(start_s=0, end_s=0, reason=GapReason.BASELINE)
    total_j = 0.0
    for elapsed_s, power_w in steps:
        t_s += elapsed_s
        drawn_j += elapsed_s * power_w
        step = differ.update((start_j + drawn_j) % MODULUS_J, t_s)
        assert isinstance(step, Delta)
        assert step.energy_j >= 0
        total_j += step.energy_j
    assert math.isclose(total_j, drawn_j, rel_tol=1e-9, abs_tol=1e-6)


@given(st.lists(st.tuples(st.floats(-2, 200), st.floats(0, MODULUS_J)), max_size=40))
def test_no_reading_makes_an_impossible_energy(samples: list[tuple[float, float]]) -> None:
    """Any readings at any times give gaps, or energies that the device can have drawn."""
    differ, t_s = counter(), 0.0
    for elapsed_s, reading_j in samples:
        t_s += elapsed_s
        step = differ.update(reading_j, t_s)
        assert step.end_s >= step.start_s
        if isinstance(step, Delta):
            most_j = MAX_POWER_W * differ.margin * (step.end_s - step.start_s)
            assert 0 <= step.energy_j <= most_j


@pytest.mark.parametrize(
    ("first_j", "then_j", "elapsed_s", "modulus_j", "reason"),
    [
        (500.0, 3.0, 1.0, None, GapReason.RESET),
        (500.0, 3.0, 1.0, MODULUS_J, GapReason.RESET),
        (500.0, 9000.0, 1.0, MODULUS_J, GapReason.IMPLAUSIBLE),
        (500.0, 501.0, 70.0, MODULUS_J, GapReason.TOO_LONG),
        (500.0, 501.0, -1.0, MODULUS_J, GapReason.CLOCK),
        (MODULUS_J * 2, 3.0, 1.0, MODULUS_J, GapReason.RESET),
    ],
)
def test_what_is_not_believed_is_named(
    first_j: float, then_j: float, elapsed_s: float, modulus_j: float | None, reason: GapReason
) -> None:
    """A fall without a wrap, a jump, an ambiguous pause and a clock that steps back are gaps."""
    differ = counter(modulus_j=modulus_j)
    differ.update(first_j, 100.0)
    step = differ.update(then_j, 100.0 + elapsed_s)
    assert isinstance(step, Gap)
    assert step.reason is reason
    assert step.end_s > step.start_s


def test_after_a_gap_the_counter_goes_on() -> None:
    """The reading that made a gap is the next baseline: one reset costs one interval."""
    differ = counter()
    differ.update(500.0, 0.0)
    assert isinstance(differ.update(2.0, 1.0), Gap)
    assert differ.update(12.0, 2.0) == Delta(start_s=1.0, end_s=2.0, energy_j=10.0)


def test_counters_move_in_lumps() -> None:
    """A step of one whole update within a millisecond is energy, not an implausible jump."""
    differ = counter(update_s=0.1)
    differ.update(0.0, 0.0)
    step = differ.update(90.0, 0.001)
    assert isinstance(step, Delta)
    assert step.energy_j == 90.0


def test_a_counter_that_stops_is_stuck() -> None:
    """A counter may rest; resting too long is a gap, and so is the step that ends the rest."""
    differ = counter(stuck_s=2.0)
    differ.update(7.0, 0.0)
    seen = [differ.update(reading_j, t_s) for t_s, reading_j in ((1, 7), (2, 7), (3, 9), (4, 10))]
    assert [step.reason if isinstance(step, Gap) else step.energy_j for step in seen] == [
        0.0,
        GapReason.STUCK,
        GapReason.STUCK,
        1.0,
    ]


def test_two_looks_at_one_instant_lose_nothing() -> None:
    """Energy read twice at the same clock reading is counted once, with the next interval."""
    differ = counter()
    differ.update(0.0, 1.0)
    assert differ.update(5.0, 1.0) == Delta(start_s=1.0, end_s=1.0, energy_j=0.0)
    assert differ.update(8.0, 2.0) == Delta(start_s=1.0, end_s=2.0, energy_j=8.0)


@pytest.mark.parametrize("differ", [counter(), PowerSum(max_power_w=MAX_POWER_W)])
def test_a_failed_reading_hides_its_time(differ: CounterDiff | PowerSum) -> None:
    """From the last good reading to the first good one after a failure, all time is in gaps."""
    differ.update(5.0, 0.0)
    steps = [differ.miss(1.0), differ.miss(2.0), differ.update(6.0, 3.0)]
    assert [(step.start_s, step.end_s) for step in steps] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    assert [step.reason for step in steps if isinstance(step, Gap)] == [
        GapReason.FAILED,
        GapReason.FAILED,
        GapReason.BASELINE,
    ]


@given(st.floats(0, 900), st.floats(0, 900), st.floats(0.01, 4.9))
def test_power_is_summed_between_readings(before_w: float, after_w: float, dt_s: float) -> None:
    """Two power readings give the trapezium, and a spread that reaches from one to the other."""
    power = PowerSum(max_power_w=MAX_POWER_W)
    power.update(before_w, 0.0)
    step = power.update(after_w, dt_s)
    assert isinstance(step, Delta)
    assert step.energy_j + step.spread_j == pytest.approx(max(before_w, after_w) * dt_s)
    assert step.energy_j - step.spread_j == pytest.approx(min(before_w, after_w) * dt_s)


def test_power_gaps_are_named() -> None:
    """Nonsense power, a long pause and a clock that steps back are gaps, each with its reason."""
    power = PowerSum(max_power_w=MAX_POWER_W)
    samples = [(0.0, 10.0), (1.0, 5000.0), (2.0, 10.0), (20.0, 10.0), (19.0, 10.0)]
    steps = [power.update(power_w, t_s) for t_s, power_w in samples]
    assert [step.reason if isinstance(step, Gap) else None for step in steps] == [
        GapReason.BASELINE,
        GapReason.IMPLAUSIBLE,
        GapReason.BASELINE,
        GapReason.TOO_LONG,
        GapReason.CLOCK,
    ]


@pytest.mark.parametrize("wrong", [{"max_power_w": 0.0}, {"modulus_j": -1.0}, {"margin": math.nan}])
def test_bounds_must_be_positive(wrong: dict[str, float]) -> None:
    """A counter without sensible bounds cannot be told from a broken one and is refused."""
    with pytest.raises(ValueError, match="positive"):
        counter(**wrong)
