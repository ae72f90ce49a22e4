"""The work of one consumer: a queue that serves what arrives, no faster than its cores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from joulery.profiler.simulator.load import Consumer, Queue

TICK_S = 0.01


def queue(seed: int = 1, **changes: float) -> Queue:
    """Return the queue of a consumer of two busy cores of four, with some traits changed."""
    return Queue(Consumer(**({"name": "one", "busy": 2.0} | changes)), np.random.default_rng(seed))  # type: ignore[arg-type]


def served_s(of: Queue, seconds: float, *, start_s: float = 0.0) -> NDArray[np.float64]:
    """Return the work of so many seconds, tick by tick."""
    ticks = round(seconds / TICK_S)
    return of.work_s(start_s + TICK_S * np.arange(ticks, dtype=np.float64), TICK_S)


def slow_reference(
    arrived_s: NDArray[np.float64], room_s: float
) -> tuple[NDArray[np.float64], float]:
    """Serve a queue tick by tick, and return what was served and what waits at the end."""
    waiting_s, served = 0.0, []
    for arrival_s in arrived_s:
        there_s = waiting_s + arrival_s
        served.append(min(there_s, room_s))
        waiting_s = there_s - served[-1]
    return np.array(served), waiting_s


@given(
    seed=st.integers(0, 2**32 - 1),
    busy=st.floats(0.01, 8.0),
    cores=st.floats(0.5, 4.0),
    request_s=st.floats(0.001, 1.0),
    cuts=st.lists(st.integers(1, 200), min_size=1, max_size=5),
)
def test_the_queue_is_served_as_a_loop_would(
    seed: int, busy: float, cores: float, request_s: float, cuts: list[int]
) -> None:
    """Work is what a loop over ticks serves of the same arrivals, however time is cut."""
    one = queue(seed, busy=busy, cores=cores, request_s=request_s)
    ticks = sum(cuts)
    arrivals = np.random.default_rng(seed).poisson(busy / request_s * TICK_S, ticks)
    arrived_s = arrivals.astype(np.float64) * request_s
    expected_s, waiting_s = slow_reference(arrived_s, cores * TICK_S)
    found, at = [], 0
    for cut in cuts:
        found.append(served_s(one, cut * TICK_S, start_s=at * TICK_S))
        at += cut
    assert np.concatenate(found) == pytest.approx(expected_s, abs=1e-9)
    # Nothing is lost: what was not served yet is served as soon as nothing more arrives.
    left_s = float(arrived_s.sum() - np.concatenate(found).sum())
    assert left_s == pytest.approx(waiting_s, abs=1e-9)


def test_a_consumer_uses_its_mean_on_average() -> None:
    """Over a long time a consumer is as busy as it says, and never busier than its cores."""
    work_s = served_s(queue(busy=1.5, cores=2.0), 2000.0)
    assert work_s.sum() / 2000.0 == pytest.approx(1.5, rel=0.02)
    assert work_s.max() <= 2.0 * TICK_S * (1 + 1e-9)
    assert work_s.min() >= 0.0


def test_overload_is_served_at_full_cores() -> None:
    """What arrives faster than it is served fills the cores, and goes on after the arrivals."""
    one = queue(busy=8.0, cores=4.0)
    assert served_s(one, 10.0)[100:] == pytest.approx(np.full(900, 4.0 * TICK_S))


def test_nobody_works_before_or_after_its_life() -> None:
    """Work begins with the consumer and ends with it; what still waits then is given up."""
    one = queue(busy=8.0, cores=4.0, starts_s=2.0, ends_s=5.0)
    work_s = served_s(one, 4.0)
    assert work_s[:200].sum() == 0.0
    assert work_s[200:].sum() > 0.0
    work_s = served_s(one, 4.0, start_s=4.0)
    assert work_s[:100].sum() > 0.0
    assert work_s[100:].sum() == 0.0
    assert served_s(one, 4.0, start_s=8.0).sum() == 0.0


def test_bursts_come_and_go() -> None:
    """A bursty consumer is off as long as it says, and as busy as ever while it is on."""
    work_s = served_s(queue(on_s=10.0, off_s=30.0), 40_000.0)
    seconds = work_s.reshape(-1, 100).sum(axis=1)
    assert (seconds > 0).mean() == pytest.approx(0.25, abs=0.03)
    assert np.median(seconds[seconds > 0]) == pytest.approx(2.0, rel=0.05)


def test_the_same_seed_works_the_same() -> None:
    """Chance is the generator's alone."""
    bursty = {"on_s": 1.0, "off_s": 2.0}
    one, same, other = (served_s(queue(seed, **bursty), 60.0) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
