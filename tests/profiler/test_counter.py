"""What differences of counters and sums of power promise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

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


@given(
    st.integers(100, 10**6),
    st.data(),
    st.lists(st.floats(0, 1), min_size=1, max_size=50),
)
def test_energy_is_exact_through_any_modulus(
    modulus_j: int, data: st.DataObject, shares: list[float]
) -> None:
    """Whole joules through any modulus, sampled at any times within its bound, come out exactly."""
    differ = CounterDiff(max_power_w=1.0, margin=1.0, modulus_j=modulus_j)
    start_j = data.draw(st.integers(0, modulus_j - 1))
    t_s, drawn_j, total_j = 0, 0, 0.0
    differ.update(start_j, t_s)
    for share in shares:
        elapsed_s = 1 + int(share * (differ.longest_s - 2))
        t_s += elapsed_s
        drawn_j += data.draw(st.integers(0, elapsed_s))
        step = differ.update((start_j + drawn_j) % modulus_j, t_s)
        assert isinstance(step, Delta)
        assert step.energy_j >= 0
        total_j += step.energy_j
    assert total_j == drawn_j


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 900)), min_size=2, max_size=30),
    st.sets(st.integers(0, 29)),
)
def test_more_samples_tell_the_same(steps: list[tuple[int, int]], kept: set[int]) -> None:
    """Leaving samples out in between does not change the sum, as long as the bound is kept."""
    sums = []
    for chosen in (set(range(len(steps))), kept | {len(steps) - 1}):
        differ = CounterDiff(max_power_w=1000, modulus_j=10**6)
        differ.update(0, 0)
        t_s = drawn_j = 0
        total_j = 0.0
        for number, (elapsed_s, power_w) in enumerate(steps):
            t_s += elapsed_s
            drawn_j += elapsed_s * power_w
            if number in chosen:
                step = differ.update(drawn_j % 10**6, t_s)
                assert isinstance(step, Delta)
                total_j += step.energy_j
        sums.append(total_j)
    assert sums[0] == sums[1]


@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 100),
            st.one_of(st.none(), st.just(math.nan), st.floats(-10, 2 * MODULUS_J), st.just(7.0)),
        ),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([None, MODULUS_J]),
    st.sampled_from([None, 2.0]),
)
def test_energies_and_gaps_cover_the_time(
    samples: list[tuple[float, float | None]], modulus_j: float | None, stuck_s: float | None
) -> None:
    """Whatever is read or missed, every moment is in one energy or one gap, and none in two."""
    differ = counter(modulus_j=modulus_j, stuck_s=stuck_s)
    t_s = 100.0
    steps: list[Delta | Gap] = []
    for elapsed_s, reading_j in samples:
        t_s += elapsed_s
        steps.append(differ.miss(t_s) if reading_j is None else differ.update(reading_j, t_s))
    assert steps[-1].end_s == t_s
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(steps))
    assert all(step.energy_j >= 0 for step in steps if isinstance(step, Delta))


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
        (500.0, MODULUS_J * 2, 1.0, MODULUS_J, GapReason.IMPLAUSIBLE),
        (500.0, math.nan, 1.0, None, GapReason.IMPLAUSIBLE),
        (500.0, -1.0, 1.0, MODULUS_J, GapReason.IMPLAUSIBLE),
    ],
)
def test_what_is_not_believed_is_named(
    first_j: float, then_j: float, elapsed_s: float, modulus_j: float | None, reason: GapReason
) -> None:
    """A fall, a jump, a long pause, a clock going back, an impossible value: gaps with names."""
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
    readings = [(0, 6), (1, 7), (2, 7), (3, 7), (4, 9), (5, 10)]
    assert told(differ, readings)[1:] == [1.0, 0.0, GapReason.STUCK, GapReason.STUCK, 1.0]


def test_a_counter_must_be_seen_to_count() -> None:
    """A counter that may not rest and never moved is stuck long before a rest would be."""
    differ = counter(stuck_s=2.0, update_s=0.001)
    assert told(differ, [(0, 7), (0.01, 7), (0.02, 7)])[1:] == [0.0, GapReason.STUCK]


def told(differ: CounterDiff, readings: Sequence[tuple[float, float]]) -> list[float | GapReason]:
    """Return what a counter says to readings, each with its time: energies, and names of gaps."""
    steps = [differ.update(reading_j, t_s) for t_s, reading_j in readings]
    return [step.reason if isinstance(step, Gap) else step.energy_j for step in steps]


@pytest.mark.parametrize("stuck_s", [None, 2.0])
@pytest.mark.parametrize("glitch_j", [0.0, 40_000.0])
def test_a_value_in_between_is_no_counter(glitch_j: float, stuck_s: float | None) -> None:
    """A counter that reads something else for a while makes gaps only: no energy, and no zero."""
    differ = counter(stuck_s=stuck_s)
    readings = [(0, 500), (1, 510), (2, glitch_j), (3, glitch_j), (4, 540), (5, 550)]
    *doubtful, last = told(differ, readings)[2:]
    assert all(isinstance(step, GapReason) for step in doubtful)
    assert last == 10.0


def test_two_wrong_values_in_a_row() -> None:
    """What was right is remembered through several wrong values: the return is no energy."""
    readings = [(0, 500), (1, 510), (2, 40_000), (3, 0), (4, 530), (5, 540)]
    assert told(counter(modulus_j=None), readings)[2:] == [
        GapReason.IMPLAUSIBLE,
        GapReason.RESET,
        GapReason.IMPLAUSIBLE,
        10.0,
    ]


def test_a_wrap_is_never_less_than_nothing() -> None:
    """A reading one step above the modulus and then 0 is no negative energy."""
    differ = counter(modulus_j=1e5, resolution_j=0.1)
    assert told(differ, [(0, 1e5 + 0.05), (1, 0)])[1:] == [0.0]


def test_after_a_loss_a_zero_is_no_energy() -> None:
    """A zero after failed readings is a value until it counts; a smaller value that counts is."""
    differ = counter()
    told(differ, [(0, 500), (1, 510)])
    differ.miss(2)
    assert told(differ, [(3, 0), (4, 0), (5, 0), (6, 20), (7, 50)]) == [
        GapReason.BASELINE,
        GapReason.RESET,
        GapReason.RESET,
        20.0,
        30.0,
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
