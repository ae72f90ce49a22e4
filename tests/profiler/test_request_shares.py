"""Busy time of an accelerator goes by requests, and none of it twice."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.profiler.request_shares import RequestShares


class Counts:
    """Counters that a test moves."""

    def __init__(self, **values: float) -> None:
        self.values = dict(values)

    def reader(self, name: str) -> Callable[[], float]:
        """Return what reads one counter."""
        return lambda: self.values[name]


def shares(counts: Counts, *names: str) -> RequestShares:
    """Return the shares of consumers whose counters are given."""
    return RequestShares(counts.reader("busy"), {name: counts.reader(name) for name in names})


def test_time_goes_by_requests() -> None:
    """Three of four requests bear three quarters of the busy time between two looks."""
    counts = Counts(busy=100.0, a=7.0, b=0.0)
    shared = shares(counts, "a", "b")
    counts.values |= {"busy": 108.0, "a": 10.0, "b": 1.0}
    assert shared.read() == {"a": 6.0, "b": 2.0}


def test_who_has_it_alone_has_all_of_it() -> None:
    """One consumer needs no requests; of several that sent none, nobody bears the time."""
    counts = Counts(busy=0.0, a=0.0, b=0.0)
    alone, several = shares(counts, "a"), shares(counts, "a", "b")
    counts.values["busy"] = 4.0
    assert alone.read() == {"a": 4.0}
    assert several.read() == {"a": 0.0, "b": 0.0}


def test_a_restarted_service_counts_from_zero() -> None:
    """A counter that fell has counted what it shows since its restart."""
    counts = Counts(busy=0.0, a=50.0, b=0.0)
    shared = shares(counts, "a", "b")
    counts.values |= {"busy": 4.0, "a": 3.0, "b": 1.0}
    assert shared.read() == {"a": 3.0, "b": 1.0}


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20
    )
)
def test_shares_never_fall_and_never_exceed_the_whole(
    steps: list[tuple[float, int, int]],
) -> None:
    """Whatever comes, shares grow and sum to the busy time in which somebody sent requests."""
    counts = Counts(busy=3.0, a=0.0, b=0.0)
    shared = shares(counts, "a", "b")
    before, claimed_s = {"a": 0.0, "b": 0.0}, 0.0
    for busy_s, a, b in steps:
        counts.values["busy"] += busy_s
        counts.values["a"] += a
        counts.values["b"] += b
        claimed_s += busy_s if a + b else 0.0
        now = dict(shared.read())
        assert all(now[name] >= before[name] for name in now)
        before = now
    assert math.fsum(before.values()) == pytest.approx(claimed_s)
