"""Schedules: when requests are sent and what they ask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from joulery.campaigns.course import _schedules
from joulery.campaigns.loads import (
    ClosedLoad,
    Load,
    MultiStreamLoad,
    OfflineLoad,
    SingleStreamLoad,
    SteadyLoad,
)
from joulery.campaigns.schedule import ClosedSchedule, make_schedule, stream, warmup_load
from joulery.campaigns.spec import parse_spec

from .tiny import PLANNED, TinyWorkload

rates = st.floats(min_value=0.5, max_value=2000.0)
counts = st.integers(min_value=1, max_value=500)


@given(rate_hz=rates, samples=counts, seed=st.integers(0, 2**32))
def test_times_ascend_inside_the_stretch_and_samples_exist(
    rate_hz: float, samples: int, seed: int
) -> None:
    """Whatever the load, times ascend within the stretch and every sample is one there is."""
    schedule = make_schedule(
        SteadyLoad(rate_hz=rate_hz), duration_s=2.0, samples=samples, rng=stream(seed)
    )
    assert np.all(np.diff(schedule.intended_s) >= 0)
    assert np.all((schedule.intended_s >= 0) & (schedule.intended_s <= 2.0))
    assert len(schedule.samples) == len(schedule.intended_s)
    assert np.all((schedule.samples >= 0) & (schedule.samples < samples))


def test_a_load_asks_the_same_wherever_it_stands(tmp_path: Path) -> None:
    """Two campaigns that list their loads otherwise ask the same; another load, something else."""
    spec = parse_spec(
        {
            "name": "tiny",
            "scenarios": [{"scenario": "tiny", "factors": {"model": ["double"]}}],
            "loads": [{"rate_hz": 50.0}, {"rate_hz": 60.0}],
        }
    )
    workload = TinyWorkload(tmp_path)

    def asked(**changes: Any) -> list[int]:
        _, window = _schedules(replace(PLANNED, **changes), spec, workload)
        return list(window.samples)

    assert asked(load_index=0) == asked(load_index=1)
    assert asked() != asked(load=SteadyLoad(rate_hz=50.5))[: len(asked())]
    assert asked() != asked(repeat=2)


@given(samples=counts)
def test_no_sample_is_asked_twice_before_all_were_asked(samples: int) -> None:
    """Samples are drawn without replacement, round after round."""
    load = SteadyLoad(arrival="constant", rate_hz=300.0)
    schedule = make_schedule(load, duration_s=1.0, samples=samples, rng=stream(1))
    for start in range(0, len(schedule.samples), samples):
        part = schedule.samples[start : start + samples]
        assert len(set(part)) == len(part)


def test_poisson_gaps_are_exponential() -> None:
    """The gaps of 20,000 arrivals follow the exponential distribution of the rate asked for."""
    schedule = make_schedule(
        SteadyLoad(rate_hz=200.0), duration_s=100.0, samples=10, rng=stream(7, "x")
    )
    gaps = np.diff(schedule.intended_s)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 200.0)).pvalue > 0.01


def test_a_stream_follows_from_its_names_alone() -> None:
    """The same names give the same numbers, other names others."""
    first, again, other = (stream(3, *names).random(4) for names in (("a", 1), ("a", 1), ("a", 2)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(samples=counts, stride=st.integers(1, 9))
def test_frames_are_asked_in_their_order(samples: int, stride: int) -> None:
    """Each so-many-th one from some place on, and so many times fewer requests."""
    load = SteadyLoad(arrival="constant", rate_hz=90.0)
    schedule = make_schedule(load, duration_s=1.0, samples=samples, rng=stream(1), stride=stride)
    assert len(schedule.samples) == 90 // stride
    assert np.all((schedule.samples >= 0) & (schedule.samples < samples))
    assert np.all(np.diff(schedule.samples) % samples == stride % samples)


@given(rate_hz=rates, of=st.integers(1, 7))
def test_parts_are_the_whole(rate_hz: float, of: int) -> None:
    """Several senders together send each request once, each its share and in order."""
    whole = make_schedule(SteadyLoad(rate_hz=rate_hz), duration_s=1.0, samples=9, rng=stream(1))
    parts = [whole.part(index, of) for index in range(of)]
    times_s = np.concatenate([part.intended_s for part in parts])
    samples = np.concatenate([part.samples for part in parts])
    order = np.argsort(times_s, kind="stable")
    assert np.array_equal(times_s[order], whole.intended_s)
    assert np.array_equal(samples[order], whole.samples)
    assert max(map(len, (p.samples for p in parts))) - min(map(len, (p.samples for p in parts))) < 2


def _closed(load: Load, duration_s: float = 10.0, samples: int = 50) -> ClosedSchedule:
    found = make_schedule(load, duration_s=duration_s, samples=samples, rng=stream(2))
    assert isinstance(found, ClosedSchedule)
    return found


def test_thoughts_have_their_distribution() -> None:
    """Exponential thoughts have their mean, constant ones are it; nobody begins in step."""
    exponential = _closed(ClosedLoad(arrival="closed", users=40, think_time_s=0.2))
    assert stats.kstest(exponential.think_s.ravel(), "expon", args=(0, 0.2)).pvalue > 0.01
    assert stats.kstest(exponential.first_s, "expon", args=(0, 0.2)).pvalue > 0.01
    constant = _closed(
        ClosedLoad(arrival="closed", users=40, think_time_s=0.2, think_time="constant")
    )
    assert np.all(constant.think_s == 0.2)
    assert stats.kstest(constant.first_s, "uniform", args=(0, 0.2)).pvalue > 0.01


@pytest.mark.parametrize(
    "load",
    [
        ClosedLoad(arrival="closed", users=3, think_time_s=0.1),
        OfflineLoad(arrival="offline", samples=130),
    ],
)
def test_a_closed_schedule_follows_from_its_seed(load: Load) -> None:
    """The same stream gives the same thoughts and questions, another gives others."""
    first, again = _closed(load), _closed(load)
    assert np.array_equal(first.think_s, again.think_s)
    assert np.array_equal(first.samples, again.samples)
    other = make_schedule(load, duration_s=10.0, samples=50, rng=stream(3))
    assert not np.array_equal(first.samples, other.samples)


@pytest.mark.parametrize(("of", "samples"), [(1, 130), (3, 130), (5, 2), (7, 64)])
def test_offline_parts_ask_everything_once(of: int, samples: int) -> None:
    """However many senders, the whole has its number, and each sample is asked as often."""
    whole = _closed(OfflineLoad(arrival="offline", samples=samples, in_flight=4))
    parts = [whole.part(index, of) for index in range(of)]
    assert sum(part.number or 0 for part in parts) == samples
    assert sum(len(part.first_s) for part in parts) == 4
    asked = np.concatenate([part.samples[: part.number] for part in parts])
    assert np.array_equal(np.sort(asked), np.sort(whole.samples))
    assert all(len(part.first_s) for part in parts if part.number)


def test_one_sender_is_enough_for_one_stream() -> None:
    """Streams are one user, whoever else could send."""
    for load in (
        SingleStreamLoad(arrival="single_stream"),
        MultiStreamLoad(arrival="multi_stream", samples_per_query=4),
    ):
        parts = [_closed(load).part(index, 3) for index in range(3)]
        assert [len(part.first_s) for part in parts] == [1, 0, 0]
        assert parts[0].per_query == (4 if isinstance(load, MultiStreamLoad) else 1)


def test_warm_up_rounds_are_alike() -> None:
    """What comes all at once is warmed up by as many users, and what is steady by itself."""
    warm = warmup_load(OfflineLoad(arrival="offline", samples=9, in_flight=5))
    assert warm == ClosedLoad(arrival="closed", users=5)
    steady = SteadyLoad(rate_hz=3.0)
    assert warmup_load(steady) == steady
