"""Intervals: against reference libraries, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import average_precision_score

from joulery.campaigns.intervals import (
    Interval,
    average_precision,
    block_bootstrap,
    means_with_pooled_spread,
)


def test_one_group_gets_the_t_interval_of_the_textbook() -> None:
    """With a single group, pooling changes nothing: it is Student's interval."""
    values = np.array([10.0, 11.0, 12.0, 13.5])
    (found,) = means_with_pooled_spread([values])
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_pooling_needs_repeats() -> None:
    """Without a group of two, and for a mean of 0, there are no bounds."""
    assert means_with_pooled_spread([np.array([3.0])]) == [Interval(value=3.0)]
    zero, other = means_with_pooled_spread([np.zeros(2), np.array([1.0, 1.1])])
    assert zero == Interval(value=0.0)
    assert other.low is not None


def test_a_single_trial_borrows_the_spread_of_the_others() -> None:
    """A group with one value gets a wider interval than a group with two of the same mean."""
    one, two = means_with_pooled_spread([np.array([1.0]), np.array([0.9, 1.1])])
    assert one.high is not None
    assert two.high is not None
    assert one.high > two.high


def test_pooled_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Over many made-up campaigns of 8 configurations and 2 repeats, 95 % of intervals cover."""
    rng = np.random.default_rng(3)
    truth = np.geomspace(0.001, 0.1, 8)
    held = 0
    for _ in range(500):
        groups = list(truth[:, None] * rng.normal(1.0, 0.05, (8, 2)))
        for interval, value in zip(means_with_pooled_spread(groups), truth, strict=True):
            low, high = interval.bounds
            held += bool(low <= value <= high)
    assert 0.93 < held / (500 * 8) < 0.97


@given(
    score=st.lists(st.integers(0, 5), min_size=2, max_size=40),
    seed=st.integers(0, 1000),
)
def test_average_precision_is_that_of_scikit_learn(score: list[int], seed: int) -> None:
    """With any ties and any whole weights, the area is what the reference library gives."""
    rng = np.random.default_rng(seed)
    scores = np.array(score, dtype=np.float64)
    label = (rng.random(len(scores)) < 0.5).astype(np.float64)
    label[0] = 1.0
    weights = rng.integers(1, 4, len(scores)).astype(np.float64)
    (found,) = average_precision(scores, label)(weights[None, :])
    expected = average_precision_score(label, scores, sample_weight=weights)
    assert found == pytest.approx(expected)


def _mean(values: NDArray[np.float64]) -> Interval:
    return block_bootstrap(
        lambda weights: np.asarray((weights @ values) / weights.sum(axis=1)),
        np.arange(len(values)),
        size=len(values),
    )


def test_the_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    """For independent samples the interval of a mean is that of the central limit theorem."""
    values = np.random.default_rng(1).exponential(1.0, 2000)
    found = _mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found.low is not None
    assert found.high is not None
    reach = 1.96 * values.std() / np.sqrt(2000)
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.2)


def test_neighbours_that_resemble_each_other_widen_the_interval() -> None:
    """The same values in runs of ten give a wider interval than in random order."""
    rng = np.random.default_rng(2)
    runs = np.repeat(rng.exponential(1.0, 100), 10)
    in_runs, shuffled = _mean(runs), _mean(rng.permutation(runs))
    assert np.ptp(in_runs.bounds) > 2 * np.ptp(shuffled.bounds)


def test_paired_draws_tell_apart_what_intervals_do_not() -> None:
    """Two models whose errors move together differ surely, though their intervals overlap."""
    values = np.random.default_rng(4).exponential(1.0, 500)
    one, two = _mean(values), _mean(values * 1.02)
    assert one.bounds[1] > two.bounds[0]
    assert not one.may_equal(two)
    assert one.may_equal(one)


def test_too_little_data_gives_no_bounds() -> None:
    """With fewer than ten blocks, or hardly a positive label, there is a value and no more."""
    assert _mean(np.arange(5.0)).low is None
    score, label = np.arange(1000.0), np.zeros(1000)
    label[7] = 1.0
    found = block_bootstrap(average_precision(score, label), np.arange(1000), size=1000)
    assert found.low is None


def test_without_draws_overlap_decides() -> None:
    """Intervals that share a point may be equal; a value without bounds is a point."""
    one = Interval(value=1.0, low=0.5, high=1.5)
    assert one.may_equal(Interval(value=1.4))
    assert not one.may_equal(Interval(value=1.6))
