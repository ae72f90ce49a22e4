"""Schedules: when requests are sent and what they ask."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from joulery.campaigns.schedule import make_schedule, stream
from joulery.campaigns.spec import Load

rates = st.floats(min_value=0.5, max_value=2000.0)
counts = st.integers(min_value=1, max_value=500)


@given(rate_hz=rates, samples=counts, seed=st.integers(0, 2**32))
def test_times_ascend_inside_the_stretch_and_samples_exist(
    rate_hz: float, samples: int, seed: int
) -> None:
    """Whatever the load, times ascend within the stretch and every sample is one there is."""
    schedule = make_schedule(
        Load(rate_hz=rate_hz), duration_s=2.0, samples=samples, rng=stream(seed)
    )
    assert np.all(np.diff(schedule.intended_s) >= 0)
    assert np.all((schedule.intended_s >= 0) & (schedule.intended_s <= 2.0))
    assert len(schedule.samples) == len(schedule.intended_s)
    assert np.all((schedule.samples >= 0) & (schedule.samples < samples))


@given(samples=counts)
def test_no_sample_is_asked_twice_before_all_were_asked(samples: int) -> None:
    """Samples are drawn without replacement, round after round."""
    load = Load(arrival="constant", rate_hz=300.0)
    schedule = make_schedule(load, duration_s=1.0, samples=samples, rng=stream(1))
    for start in range(0, len(schedule.samples), samples):
        part = schedule.samples[start : start + samples]
        assert len(set(part)) == len(part)


def test_poisson_gaps_are_exponential() -> None:
    """The gaps of 20,000 arrivals follow the exponential distribution of the rate asked for."""
    schedule = make_schedule(Load(rate_hz=200.0), duration_s=100.0, samples=10, rng=stream(7, "x"))
    gaps = np.diff(schedule.intended_s)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 200.0)).pvalue > 0.01


def test_a_stream_follows_from_its_names_alone() -> None:
    """The same names give the same numbers, other names others."""
    first, again, other = (stream(3, *names).random(4) for names in (("a", 1), ("a", 1), ("a", 2)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
