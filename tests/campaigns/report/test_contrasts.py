"""Two samples: against scipy, by error rates, and where there is nothing to test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from joulery.campaigns.intervals import Interval
from joulery.campaigns.report.contrasts import (
    Contrast,
    compare,
    compare_brackets,
    compare_matched,
    corrected,
)
from joulery.campaigns.search import Probe, RateSearch, bracket, next_rate_hz


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(1e-6, 1.0) | st.none(), max_size=12))
def test_p_values_are_corrected_over_what_was_tested(tested: list[float | None]) -> None:
    """Holm's correction counts the tests that were made, and leaves the others without one."""
    found = [Contrast(counts=(2, 2), ratio=Interval(value=1.0), p=p) for p in tested]
    raised = [one.p_holm for one in corrected(found) if one is not None]
    assert [p is None for p in raised] == [p is None for p in tested]
    known = sorted(p for p in tested if p is not None)
    least = [min(1.0, p * (len(known) - at)) for at, p in enumerate(known)]
    assert sorted(p for p in raised if p is not None) == pytest.approx(
        list(np.maximum.accumulate(least))
    )


def test_no_test_needs_no_correction() -> None:
    """Without p-values there are none."""
    assert corrected([]) == []
    assert corrected([None]) == [None]


def test_ratio_and_p_are_welch_s() -> None:
    """The ratio is that of geometric means; p and interval are scipy's on logarithms."""
    one, other = np.array([1.0, 1.2, 1.1, 1.3]), np.array([2.0, 2.6, 2.2])
    found = compare(one, other)
    assert found is not None
    test = stats.ttest_ind(np.log(one), np.log(other), equal_var=False)
    assert found.ratio.value == pytest.approx(stats.gmean(one) / stats.gmean(other))
    assert found.p == pytest.approx(test.pvalue)
    bounds = np.exp([*test.confidence_interval(0.95)])
    assert found.ratio.bounds == pytest.approx(tuple(bounds))


def test_the_effect_is_hedges_g() -> None:
    """It is Cohen's d times 1 - 3 / (4 df - 1), but for the third digit of that approximation."""
    one, other = np.exp([1.0, 2.0, 3.0, 4.0, 5.0]), np.exp([2.0, 3.0, 4.0, 5.0, 6.0])
    found = compare(one, other)
    assert found is not None
    cohen = -1.0 / np.sqrt(2.5)
    assert found.effect == pytest.approx(cohen * (1 - 3 / (4 * 8 - 1)), rel=2e-3)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_same_twice_rarely_differs(size: int) -> None:
    """Of 100 comparisons of 8 cells with themselves, 5 % or less have a false finding."""
    rng = np.random.default_rng(size)
    families, single = 0, 0
    for _ in range(100):
        cells = [np.exp(rng.normal(0.0, 0.1, (2, size))) for _ in range(8)]
        found = corrected([compare(*cell) for cell in cells])
        single += sum(one is not None and one.p is not None and one.p < 0.05 for one in found)
        families += any(one is not None and one.differs for one in found)
    assert single / (100 * 8) <= 0.055
    assert families / 100 <= 0.05


def test_equivalence_is_rarely_claimed_at_its_edge() -> None:
    """Of samples that differ by just 5 %, at most some 2.5 % are called equivalent."""
    rng = np.random.default_rng(8)
    claimed = 0
    for _ in range(200):
        one, other = np.exp(rng.normal(np.log(1.05), 0.01, 5)), np.exp(rng.normal(0, 0.01, 5))
        found = compare(one, other)
        claimed += found is not None and found.equivalent
    assert claimed <= stats.binom.ppf(0.99, 200, 0.025)


def test_outcomes_have_words() -> None:
    """Higher, lower, the same, equivalent, not told apart, not tested: each is said."""
    near = np.exp(np.random.default_rng(1).normal(0, 0.004, (2, 8)))
    pairs = {
        "higher": (np.array([2.0, 2.1, 2.2, 2.1]), np.array([1.0, 1.1, 1.05, 1.02])),
        "lower": (np.array([1.0, 1.1, 1.05, 1.02]), np.array([2.0, 2.1, 2.2, 2.1])),
        "the same": (np.ones(3), np.ones(2)),
        "differs without scatter": (np.ones(3), 2 * np.ones(2)),
        "equivalent within ±5%": (near[0], near[1]),
        "not told apart": (np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.5, 3.5])),
        "not tested": (np.array([1.0]), np.array([2.0, 2.5])),
    }
    found = corrected([compare(*pair) for pair in pairs.values()])
    assert [one.verdict for one in found if one is not None] == list(pairs)


def test_a_small_certain_difference_is_both() -> None:
    """What differs for sure, and by less than 5 %, is said to be so."""
    rng = np.random.default_rng(2)
    (found,) = corrected(
        [compare(np.exp(rng.normal(0.02, 0.002, 9)), np.exp(rng.normal(0.0, 0.002, 9)))]
    )
    assert found is not None
    assert found.verdict == "higher, by less than 5%"


@pytest.mark.parametrize("values", [[], [0.0, 1.0], [-1.0, 1.0]])
def test_nothing_and_zero_are_not_compared(values: list[float]) -> None:
    """Without a logarithm there is no ratio."""
    assert compare(np.array(values), np.array([1.0, 2.0])) is None


def test_what_pairs_share_falls_out() -> None:
    """Two by two, a difference of 1 % shows through a scatter of half, and only so."""
    shared = np.exp(np.random.default_rng(3).normal(0, 0.5, 6))
    other = shared * 1.01 * np.exp(np.random.default_rng(4).normal(0, 0.001, 6))
    matched, apart = compare_matched(other, shared), compare(other, shared)
    assert matched is not None
    assert apart is not None
    reference = stats.ttest_rel(np.log(other), np.log(shared))
    assert matched.p == pytest.approx(reference.pvalue)
    assert matched.p is not None
    assert apart.p is not None
    assert matched.p < 1e-4 < 0.5 < apart.p


def _found(search: RateSearch, truth: float) -> tuple[float, float]:
    """Return between which rates a search puts a truth."""
    probes: list[Probe] = []
    while (rate_hz := next_rate_hz(search, probes)) is not None:
        probes.append(Probe(rate_hz=rate_hz, kept=rate_hz <= truth))
    kept_hz, failed_hz = bracket(probes)
    return kept_hz or search.lowest_hz, failed_hz or search.highest_hz


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("scatter", [0.0, 0.02, 0.1, 0.4])
def test_intervals_of_brackets_hold_the_truth(size: int, scatter: float) -> None:
    """Searches of any scatter and range: 95 % of intervals or more hold the ratio of the truths.

    And of two searches for one truth, at most 5 % are told apart.
    """
    rng = np.random.default_rng((size, round(100 * scatter)))
    ranges = (
        RateSearch(lowest_hz=1, highest_hz=3000, resolution_ratio=0.1),
        RateSearch(lowest_hz=2, highest_hz=2000, resolution_ratio=0.3),
    )
    missed, false = 0, 0
    for _ in range(200):
        truths = rng.uniform(40, 80, 2)
        one, other = (
            np.array([_found(search, rng.lognormal(np.log(t), scatter)) for _ in range(size)])
            for search, t in zip(ranges, truths, strict=True)
        )
        again = np.array(
            [_found(ranges[0], rng.lognormal(np.log(truths[0]), scatter)) for _ in range(size)]
        )
        found, same = compare_brackets(one, other), compare_brackets(one, again)
        assert found is not None
        assert same is not None
        assert same.p is not None
        low, high = found.ratio.bounds
        missed += not low <= truths[0] / truths[1] <= high
        false += same.p < 0.05
    assert missed / 200 <= 0.05
    assert false / 200 <= 0.05


def test_one_bracket_is_not_taken_for_exact() -> None:
    """Blocks that all end at one rate have an interval, wider than the brackets allow."""
    same = np.array([[100.0, 110.0]] * 3)
    (found,) = corrected([compare_brackets(same, same)])
    assert found is not None
    low, high = found.ratio.bounds
    assert low < 1 / 1.1 < 1.1 < high
    assert low * high == pytest.approx(1.0)
    assert found.p == 1.0
    assert found.verdict == "not told apart at this resolution"


def test_brackets_next_to_each_other_are_not_told_apart() -> None:
    """Rates one step apart may be next to the same; three steps apart, they differ."""
    steps = 100.0 * 1.1 ** np.arange(6)
    blocks = [np.array([[low, 1.1 * low]] * 3) for low in steps]
    near, far = corrected(
        [compare_brackets(blocks[0], blocks[1]), compare_brackets(blocks[5], blocks[0])]
    )
    assert near is not None
    assert far is not None
    assert near.ratio.value == pytest.approx(1 / 1.1)
    assert near.verdict == "not told apart at this resolution"
    assert far.verdict == "higher"


def test_narrow_brackets_are_values() -> None:
    """As brackets close, ratio, interval, p and effect are those of Welch's test on values."""
    rng = np.random.default_rng(5)
    one, other = np.exp(rng.normal(0.3, 0.1, 4)), np.exp(rng.normal(0, 0.2, 5))
    exact = compare(one, other)
    found = compare_brackets(
        *(np.column_stack([values, values * (1 + 1e-9)]) for values in (one, other))
    )
    assert exact is not None
    assert found is not None
    assert found.ratio.bounds == pytest.approx(exact.ratio.bounds, rel=1e-6)
    assert (found.p, found.effect) == pytest.approx((exact.p, exact.effect), rel=1e-6)


def test_few_brackets_are_not_tested() -> None:
    """Of one block there is a ratio without an interval; of none there is nothing."""
    one, two = np.array([[200.0, 220.0]]), np.array([[100.0, 110.0]] * 2)
    found = compare_brackets(one, two)
    assert found is not None
    assert found.ratio.value == pytest.approx(2.0)
    assert found.ratio.low is None
    assert found.verdict == "not tested"
    assert compare_brackets(np.empty((0, 2)), two) is None
