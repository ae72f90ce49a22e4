"""Quality: intervals against SciPy's, windows, and memory that is bounded."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from joulery.exporters.quality import (
    Counts,
    Key,
    Quality,
    Tally,
    Total,
    Verdicts,
    _student,
    mean_interval,
    wilson,
)

KEY = Key(model="m", variant="", exit="", metric="accuracy")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now_s: float = 1e6) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now_s


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counted: tuple[int, int]) -> None:
    """The interval of a share is that of SciPy, and holds the share."""
    correct, judged = counted
    low, high = wilson(correct, judged)
    expected = stats.binomtest(correct, judged).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)
    assert 0 <= low <= correct / judged <= high <= 1


@pytest.mark.parametrize(("correct", "judged"), [(0, 0), (2, 1), (-1, 1)])
def test_wilson_of_no_share(correct: int, judged: int) -> None:
    """Nothing judged has no interval, and neither has more than all."""
    with pytest.raises(ValueError, match=r"judged|share"):
        wilson(correct, judged)


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """Return the interval of the mean of scores."""
    return mean_interval(
        min(math.fsum(scores), len(scores)), len(scores), math.fsum(one * one for one in scores)
    )


@pytest.mark.parametrize("size", [20, 50, 400, 5000])
def test_many_scores_have_students_interval(size: int) -> None:
    """Of scores that vary about their middle the interval is that of SciPy's t test, about."""
    scores = np.random.default_rng(5).beta(4, 4, size=size).tolist()
    expected = stats.ttest_1samp(scores, 0.5).confidence_interval(0.95)
    second_order = 0.05 * float(expected.high - expected.low)
    assert interval(scores) == pytest.approx((expected.low, expected.high), abs=second_order)
    assert _student(size - 1) == pytest.approx(stats.t.ppf(0.975, size - 1), abs=5e-4)


def test_intervals_of_skewed_scores_hold_the_mean() -> None:
    """Where most scores are 1, the interval still holds the true mean nearly as often as it says.

    Student's does in less than 0.92 of these draws.
    """
    generator = np.random.default_rng(7)
    draws = np.where(generator.random((2000, 50)) < 0.9, 1.0, generator.random((2000, 50)))
    found = [interval(scores) for scores in draws.tolist()]
    assert sum(low <= 0.95 <= high for low, high in found) / 2000 > 0.92


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_right_and_wrong_are_scores(counted: tuple[int, int]) -> None:
    """Scores that are all 0 or 1 have the interval of a share."""
    correct, judged = counted
    assert mean_interval(correct, judged, correct) == wilson(correct, judged)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_intervals_of_scores_have_bounds(scores: list[float]) -> None:
    """Any scores have an interval within 0 to 1 about their mean, and at most that of a share."""
    low, high = interval(scores)
    correct, judged = min(math.fsum(scores), len(scores)), len(scores)
    assert 0 <= low <= high <= 1
    assert low - 1e-12 <= correct / judged <= high + 1e-12
    widest_low, widest_high = wilson(correct, judged)
    assert widest_low - 1e-12 <= low
    assert high <= widest_high + 1e-12
    if judged < 20 or len(set(scores)) == 1:
        assert (low, high) == (widest_low, widest_high)


@pytest.mark.parametrize(("correct", "judged"), [(0.0, 0), (1.5, 1), (30.0, 20)])
def test_no_scores_are_refused(correct: float, judged: int) -> None:
    """No scores, and what is no score, have no interval."""
    with pytest.raises(ValueError, match=r"judged|no share"):
        mean_interval(correct, judged, correct)


def test_intervals_of_scores_are_cheap() -> None:
    """An interval costs no more for many scores than for few: a snapshot asks for hundreds."""
    tally = Tally(clock=Clock())
    for number in range(1000):
        tally.add(KEY, number / 1000)
    began_s = time.process_time()
    for _ in range(100):
        tally.add(KEY, 0.5)
        assert tally.quality(KEY) is not None
    assert time.process_time() - began_s < 0.1


def test_nothing_judged_has_no_quality() -> None:
    """What nobody judged has no quality, in all and in a window; it is not 0."""
    clock = Clock()
    tally = Tally(clock=clock)
    assert tally.quality(KEY) is None
    assert tally.total(KEY) == Total(judged=0, correct=0.0, squares=0.0)
    assert tally.add(KEY, 0.0)
    clock.now_s += 4000
    assert tally.quality(KEY, 3600) is None
    found = tally.quality(KEY)
    assert found is not None
    assert (found.value, found.judged) == (0.0, 1)


@given(
    st.lists(st.tuples(st.floats(0, 9000), st.booleans()), max_size=60),
    st.sampled_from([300.0, 3600.0]),
)
def test_windows_count_what_is_in_them(events: list[tuple[float, bool]], window_s: float) -> None:
    """A window has all of the last seconds, and nothing of more than a step before; in any order.

    A verdict of an hour and more before the newest comes too late for any window.
    """
    counts = Counts()
    for at_s, right in events:
        counts.add(at_s, judged=1, correct=float(right))
    now_s = max((at_s for at_s, _ in events), default=0.0)
    found = counts.within(now_s, window_s)
    surely = [right for at_s, right in events if at_s >= now_s - window_s]
    perhaps = [right for at_s, right in events if at_s >= now_s - window_s - 10]
    assert len(surely) <= found.judged <= len(perhaps)
    assert sum(surely) <= found.correct <= sum(perhaps)
    every = counts.within(now_s, None)
    assert (every.judged, every.correct) == (len(events), sum(right for _, right in events))


def test_memory_is_bounded() -> None:
    """However many verdicts come and however long, little is kept of them."""
    clock = Clock()
    tally = Tally(clock=clock)
    for second in range(20_000):
        clock.now_s += 1
        tally.add(KEY, (second % 10) / 10)
    assert len(tally._series[KEY]._buckets) <= 362
    found, recent = tally.quality(KEY), tally.quality(KEY, 300)
    assert found is not None
    assert recent is not None
    assert found.judged == 20_000
    assert found.value == pytest.approx(0.45)
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(3.92 * 0.2872 / 20_000**0.5, rel=0.01)
    assert 300 <= recent.judged <= 310
    assert recent.low < recent.value < recent.high
    tally.trim(clock.now_s + 4000)
    assert not tally._series[KEY]._buckets
    assert tally.quality(KEY) == found


def test_series_are_bounded() -> None:
    """A pod that makes up names has a bounded number of them; the first ones go on."""
    tally = Tally(clock=Clock(), most=2)
    taken = [tally.add(KEY._replace(model=str(number)), 1.0) for number in range(4)]
    assert taken == [True, True, False, False]
    assert tally.add(KEY._replace(model="1"), 0.0)
    assert {key.model for key in tally} == {"0", "1"}


def test_restored_total_goes_on() -> None:
    """A series that goes on after a restart has its total, and in windows what is put there."""
    tally = Tally(clock=Clock())
    tally.restore(KEY, Total(judged=10, correct=7.5, squares=6.0))
    tally.restore_recent(KEY, 0.5, at_s=1e6 - 20)
    assert tally.total(KEY) == Total(judged=10, correct=7.5, squares=6.0)
    found, recent = tally.quality(KEY), tally.quality(KEY, 300)
    assert found is not None
    assert recent is not None
    assert (found.value, found.judged) == (0.75, 10)
    assert (recent.value, recent.judged) == (0.5, 1)


def test_passes_are_no_new_evidence() -> None:
    """A second pass over the same samples leaves the interval as it was; totals count both."""
    verdicts = Verdicts(4)
    found: list[Quality | None] = []
    for number in range(8):
        sample = number % 4
        exit_taken = "early" if sample < 3 else "late"
        verdicts.add(sample, float(sample != 1), exit_taken=exit_taken, at_s=float(number))
        if number in (3, 7):
            found.append(verdicts.quality("early", now_s=8.0, window_s=None))
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0].judged == 3
    assert found[0].value == pytest.approx(2 / 3)
    assert (found[0].low, found[0].high) == wilson(2, 3)
    assert verdicts.total("early") == Total(judged=6, correct=4.0, squares=4.0)
    recent = verdicts.quality("early", now_s=8.0, window_s=2.0)
    assert recent is not None
    assert (recent.judged, recent.value) == (1, 1.0)


def test_exits_are_bounded() -> None:
    """A server that makes up exits has a bounded number of them."""
    verdicts = Verdicts(100, most_exits=3)
    for sample in range(100):
        verdicts.add(sample, 1.0, exit_taken=str(sample), at_s=0.0)
    assert verdicts.exits == ("0", "1", "other")
    assert verdicts.total("other").judged == 98
