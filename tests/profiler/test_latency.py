"""Quantiles whose intervals keep their promise whatever the distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from joulery.profiler.latency import Quantile, quantile, requests_needed


@pytest.mark.parametrize(
    ("probability", "needed"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3688)]
)
def test_how_many_requests_a_percentile_needs(probability: float, needed: int) -> None:
    """With that many requests the interval exists, with one fewer it does not."""
    assert requests_needed(probability) == needed
    latencies_s = np.linspace(0.001, 1.0, needed)
    found = quantile(latencies_s, probability)
    assert found is not None
    assert found.high_s == 1.0 or probability == 0.5
    assert quantile(latencies_s[1:], probability) is None


@given(
    st.integers(1, 4000),
    st.floats(0.01, 0.999),
    st.sampled_from([0.8, 0.9, 0.95, 0.99]),
)
def test_the_interval_covers_as_promised(n: int, probability: float, confidence: float) -> None:
    """The two ranks leave at most half of the error on either side, and no narrower ranks would."""
    found = quantile(np.arange(1.0, n + 1), probability, confidence=confidence)
    tail = (1 - confidence) / 2 + 1e-12
    if found is None:
        assert n < requests_needed(probability, confidence=confidence)
        return
    low, high = int(found.low_s), int(found.high_s)
    assert 1 <= low <= found.value_s <= high <= n
    assert binom.cdf(low - 1, n, probability) <= tail
    assert binom.sf(high - 1, n, probability) <= tail
    assert binom.cdf(low, n, probability) >= tail - 2e-12
    assert binom.sf(high - 2, n, probability) >= tail - 2e-12


def test_intervals_of_real_draws_hold_the_true_quantile() -> None:
    """Of many seeded samples, about 95 % and not fewer have the true p90 in their interval."""
    rng = np.random.default_rng(7)
    truth = -np.log(1 - 0.9)
    found = [quantile(rng.exponential(size=200), 0.9) for _ in range(800)]
    held = [q is not None and q.low_s <= truth <= q.high_s for q in found]
    assert np.mean(held) >= 0.935  # 95 % less two standard errors of 800 trials


@given(st.lists(st.floats(0, 1e6), min_size=6, max_size=50), st.randoms())
def test_the_order_of_arrival_does_not_matter(values: list[float], random: object) -> None:
    """A quantile is a property of the set of latencies."""
    shuffled = sorted(values, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert quantile(np.array(values), 0.5) == quantile(np.array(shuffled), 0.5)


def test_the_rank_is_exact() -> None:
    """The 90th percentile of 1 to 100 is 90: rounding of 0.9 times 100 does not shift the rank."""
    found = quantile(np.arange(1.0, 101.0), 0.9)
    assert found == Quantile(value_s=90.0, low_s=84.0, high_s=96.0)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_questions_are_refused(probability: float) -> None:
    """Quantiles outside (0, 1) and latencies that are no numbers are errors."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile(np.ones(10), probability)
    with pytest.raises(ValueError, match="between 0 and 1"):
        requests_needed(probability)
    with pytest.raises(ValueError, match="numbers"):
        quantile(np.array([1.0, np.nan]), 0.5)


def test_what_was_not_answered_is_later_than_all() -> None:
    """A quantile among requests without an answer is infinite, one below them is as it would be."""
    latencies_s = np.append(np.arange(1.0, 961.0), np.full(40, np.inf))
    found = quantile(latencies_s, 0.9)
    assert found is not None
    assert found.value_s == 900
    assert np.isfinite(found.high_s)
    edge, beyond = quantile(latencies_s, 0.95), quantile(latencies_s, 0.98)
    assert edge is not None
    assert (edge.value_s, edge.high_s) == (950, np.inf)
    assert beyond is not None
    assert beyond.value_s == np.inf


def test_no_latencies_no_quantile() -> None:
    """Nothing was answered: there is no quantile, not one of zero."""
    assert quantile(np.array([]), 0.5) is None
