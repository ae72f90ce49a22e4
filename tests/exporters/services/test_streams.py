"""Totals of pods: restarts, repeats, disorder, deltas, changed buckets, and bounds on all of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.exporters import service_metrics as m
from joulery.exporters.families import Histogram, Summary
from joulery.exporters.metrics import Metric, high_of, low_of
from joulery.exporters.quality import wilson
from joulery.exporters.services.otlp_points import Point
from joulery.exporters.services.streams import REPEATED, TAKEN, StreamLimits, Streams
from joulery.exporters.services.target import Pod

from ..test_quality import Clock
from .otlp_requests import BEGAN_NS, POD, value

OTHER = replace(POD, name="other", uid="uid-1")


def point(
    *values: float,
    start: int = BEGAN_NS + 1,
    at: int = BEGAN_NS + 100,
    stream: int = 1,
    delta: bool = False,
    bounds: tuple[float, ...] = (),
    metric: Metric = m.ITEMS,
    labels: tuple[str, ...] = ("m", ""),
) -> Point:
    """Return a point, of a counter unless it is said otherwise."""
    # As the reader of requests has it: the start is a part of what makes a cumulative stream.
    return Point(
        metric, labels, hash((stream, 0 if delta else start)), delta, start, at, bounds, values
    )


def duration(*values: float, bounds: tuple[float, ...] = (1.0,), **more: Any) -> Point:
    """Return a point of a histogram."""
    return point(*values, bounds=bounds, metric=m.DURATION, labels=("m", "", "", "", "ok"), **more)


def new(clock: Clock | None = None, **limits: Any) -> Streams:
    """Return streams of an exporter that began at `BEGAN_NS`."""
    return Streams(
        began_ns=BEGAN_NS, clock=clock or Clock(), limits=StreamLimits(**limits) if limits else None
    )


def outcomes(streams: Streams, *points: Point, pod: Pod = POD) -> list[str]:
    """Add points one by one; return what became of each."""
    return [streams.add(pod, [one]) for one in points]


def items(streams: Streams, pod: Pod = POD) -> float | None:
    """Return the published number of items."""
    found = value(streams, pod, m.ITEMS)
    assert found is None or isinstance(found, float)
    return found


def problems(streams: Streams, pod: Pod = POD) -> dict[str, int]:
    """Return the problems of a pod."""
    return streams.readings()[pod].problems


def test_a_process_that_began_after_us_counts_whole() -> None:
    """The first point of a younger process counts from its start, each further one what it adds."""
    streams = new()
    assert outcomes(streams, point(5), point(8, at=BEGAN_NS + 200)) == [TAKEN, TAKEN]
    assert items(streams) == 8


@pytest.mark.parametrize("start", [0, 1, BEGAN_NS])
def test_a_process_older_than_us_has_a_baseline(start: int) -> None:
    """What an older process told before this exporter began was counted then, and is not again."""
    streams = new()
    outcomes(streams, point(5, start=start))
    assert items(streams) == 0
    outcomes(streams, point(8, start=start, at=BEGAN_NS + 200))
    assert items(streams) == 3


def test_a_restart_of_this_exporter_counts_nothing_twice() -> None:
    """Two exporters after each other count together what the process counted while they ran."""
    clock = Clock()
    first = Streams(began_ns=10, clock=clock)
    second = Streams(began_ns=1_000, clock=clock)
    outcomes(first, point(4, start=20, at=100), point(9, start=20, at=900))
    outcomes(second, point(12, start=20, at=1_100), point(20, start=20, at=1_200))
    assert (items(first), items(second)) == (9, 8)


def test_a_process_that_starts_again_adds_up() -> None:
    """A later start, or a value that falls, is a reset: the new count adds to the old one."""
    streams = new()
    later = BEGAN_NS + 500
    outcomes(
        streams,
        point(10),
        point(4, start=later, at=later + 1),
        point(6, start=later, at=later + 2),
        point(1, start=later, at=later + 3),
    )
    assert items(streams) == 10 + 6 + 1


def test_processes_of_a_pod_add_up() -> None:
    """Several processes with the same labels are one series, also those that look the same."""
    streams = new()
    outcomes(
        streams,
        point(10, stream=1),
        point(20, stream=2),
        point(5, start=BEGAN_NS + 7),
        point(12, stream=1, at=BEGAN_NS + 200),
        point(9, start=BEGAN_NS + 7, at=BEGAN_NS + 200),
    )
    assert items(streams) == 12 + 20 + 9


def test_repeats_and_disorder_change_nothing() -> None:
    """A point that comes again is taken for what it is; one that is late is counted as refused."""
    streams = new()
    now, before = point(10), point(7, at=BEGAN_NS + 50)
    assert outcomes(streams, now, now, before, now._replace(values=(11,))) == [
        TAKEN,
        REPEATED,
        "out_of_order",
        "out_of_order",
    ]
    assert items(streams) == 10
    assert problems(streams) == {"out_of_order": 2}


def test_deltas_add_up_once() -> None:
    """Deltas add up in any order; the same time range counts once; what is too old is refused."""
    streams = new()

    def delta(count: int, n: int) -> Point:
        return point(count, delta=True, start=2_000 + n, at=2_001 + n)

    sent = [delta(3, 0), delta(4, 2), delta(5, 1), delta(4, 2)]
    assert outcomes(streams, *sent) == [TAKEN, TAKEN, TAKEN, REPEATED]
    assert items(streams) == 12
    outcomes(streams, *(delta(1, n) for n in range(10, 30)))
    assert outcomes(streams, delta(3, 0)) == ["out_of_order"]
    assert items(streams) == 32


def test_histograms_add_up_by_bucket() -> None:
    """Counts of buckets add up one by one, and are published from below."""
    streams = new()
    outcomes(
        streams,
        duration(1, 2, 3.5, stream=1),
        duration(4, 0, 0.5, stream=2),
        duration(2, 2, 4.0, stream=1, at=BEGAN_NS + 200),
    )
    assert value(streams, POD, m.DURATION) == Histogram((1.0, math.inf), (6.0, 8.0), 4.5)


def test_what_is_published_has_the_form_of_its_metric() -> None:
    """Histograms may lack their sum; summaries have count and sum."""
    streams = new()
    outcomes(
        streams,
        duration(1, 2),
        point(3, 2.5, metric=m.DURATION_SUMMARY, labels=("m", "", "", "", "ok")),
    )
    assert value(streams, POD, m.DURATION) == Histogram((1.0, math.inf), (1.0, 3.0), None)
    assert value(streams, POD, m.DURATION_SUMMARY) == Summary(count=3.0, sum=2.5)


def test_quality_needs_right_or_wrong() -> None:
    """Verdicts of right and wrong have a share with Wilson's interval; scores have none."""
    labels = ("m", "", "", "accuracy", "feedback", "all")
    streams = new()

    def verdicts(*values: float, **more: Any) -> Point:
        return point(*values, metric=m.QUALITY, labels=labels, **more)

    outcomes(streams, verdicts(0, 0, 0, 0.0))
    assert streams.readings()[POD].told == ()
    outcomes(streams, verdicts(1, 3, 0, 3.0, at=BEGAN_NS + 200), verdicts(1, 0, 0, 0.0, stream=2))
    bounds = [value(streams, POD, metric) for metric in (low_of(m.QUALITY), high_of(m.QUALITY))]
    assert value(streams, POD, m.QUALITY) == 3 / 5
    assert tuple(bounds) == wilson(3, 5)
    for scores in ((0, 2, 0, 1.995), (0, 0, 1, 0.5)):
        other = new()
        outcomes(other, verdicts(*scores))
        assert other.readings()[POD].told == ()


def test_the_newest_process_decides_on_buckets() -> None:
    """With other buckets a series starts anew, and older processes with the old ones are out."""
    streams = new()
    later = BEGAN_NS + 500
    outcomes(streams, duration(1, 2, 3.0))
    newer = duration(5, 6, 7, 9.0, bounds=(0.5, 1.0), stream=2, start=later, at=later + 1)
    older = duration(2, 2, 4.0, at=later + 2)
    assert outcomes(streams, newer, older, older) == [TAKEN, "other_buckets", "other_buckets"]
    assert value(streams, POD, m.DURATION) == Histogram((0.5, 1.0, math.inf), (5, 11, 18), 9.0)
    assert problems(streams) == {"buckets_changed": 1, "other_buckets": 2}
    with_sum = duration(9, 9, bounds=(0.5,), stream=2, start=later, at=later + 3)
    assert outcomes(streams, with_sum) == [TAKEN]
    assert value(streams, POD, m.DURATION) == Histogram((0.5, math.inf), (9, 18), None)


def test_series_are_bounded() -> None:
    """A pod has so many series; further ones are refused and counted, the others go on."""
    streams = new(series=3)
    found = outcomes(streams, *(point(1, labels=(str(n), ""), stream=n) for n in range(5)))
    assert found == [TAKEN] * 3 + ["too_many_series"] * 2
    assert outcomes(streams, point(2, labels=("0", ""), stream=0, at=BEGAN_NS + 200)) == [TAKEN]
    assert len(streams.readings()[POD].told) == 3
    assert outcomes(streams, point(1), pod=OTHER) == [TAKEN]


def test_streams_are_bounded_and_idle_ones_make_room() -> None:
    """A pod has so many streams; those that are idle give way, and their share of totals stays."""
    clock = Clock()
    streams = new(clock, streams=2, idle_s=60.0)
    assert outcomes(streams, *(point(1, stream=n) for n in range(3))) == [
        TAKEN,
        TAKEN,
        "too_many_streams",
    ]
    clock.now_s += 61
    young = BEGAN_NS + 5_000
    assert outcomes(streams, point(7, stream=2, start=young, at=young + 1)) == [TAKEN]
    assert items(streams) == 9


def test_series_that_are_idle_make_room() -> None:
    """A new series takes the room of the one idle for longest, which begins anew if it is back."""
    clock = Clock()
    streams = new(clock, series=2, idle_s=60.0)
    a, b, c = (("m", variant) for variant in "abc")
    outcomes(streams, point(5, labels=a), point(6, labels=b, stream=2))
    clock.now_s += 60
    outcomes(streams, point(7, labels=b, stream=2, at=BEGAN_NS + 200))
    late: Any = {"stream": 3, "start": BEGAN_NS + 300, "at": BEGAN_NS + 400}
    assert outcomes(streams, point(1, labels=c, **late)) == ["too_many_series"]
    clock.now_s += 1
    assert outcomes(streams, point(1, labels=c, **late)) == [TAKEN]
    assert {one.labels: one.value for one in streams.readings()[POD].told} == {b: 7, c: 1}
    clock.now_s += 61
    again = [point(n, labels=a, at=BEGAN_NS + 500 + n) for n in (8, 9)]
    assert outcomes(streams, *again) == [TAKEN, TAKEN]
    assert {one.labels: one.value for one in streams.readings()[POD].told} == {c: 1, a: 1}


def test_a_stream_that_was_forgotten_counts_nothing_twice() -> None:
    """A stream that comes back after it was forgotten has a baseline, and goes on from there."""
    clock = Clock()
    streams = new(clock, idle_s=60.0)
    outcomes(streams, point(10))
    clock.now_s += 61
    streams.keep_only([POD])
    assert items(streams) == 10
    outcomes(streams, point(12, at=BEGAN_NS + 200))
    assert items(streams) == 10
    outcomes(streams, point(15, at=BEGAN_NS + 300))
    assert items(streams) == 13


def test_pods_are_bounded_and_forgotten() -> None:
    """There are so many pods; those that are gone make room, and start anew if they come back."""
    streams = new(pods=1)
    outcomes(streams, point(1))
    assert outcomes(streams, point(1), pod=OTHER) == ["too_many_pods"]
    streams.refuse(OTHER, "malformed")
    assert set(streams.readings()) == {POD}
    streams.keep_only([OTHER])
    assert streams.readings() == {}
    assert outcomes(streams, point(4), pod=OTHER) == [TAKEN]


def test_readings_are_not_made_twice() -> None:
    """A reading is the same object until its pod tells something, and does not change after."""
    streams = new()
    outcomes(streams, point(1))
    outcomes(streams, point(1), pod=OTHER)
    before = streams.readings()
    outcomes(streams, point(3, at=BEGAN_NS + 200))
    after = streams.readings()
    assert after[OTHER] is before[OTHER]
    assert [one.value for one in before[POD].told] == [1.0]
    assert [one.value for one in after[POD].told] == [3.0]


def test_a_pod_may_get_other_addresses() -> None:
    """A pod is the same when its addresses change: its totals go on, under what it is now."""
    streams = new()
    outcomes(streams, point(1))
    moved = replace(POD, addresses=("10.0.0.9",))
    outcomes(streams, point(3, at=BEGAN_NS + 200), pod=moved)
    assert list(streams.readings()) == [moved]
    assert items(streams, moved) == 3


actions = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["record", "push", "push", "again", "late", "restart"]),
        st.integers(0, 3),
    ),
    max_size=60,
)


class _Process:
    """A process that counts into buckets and pushes; it may start again."""

    def __init__(self, number: int, now: int) -> None:
        self.number, self.start = number, now
        self.counts = [0, 0]
        self.pushed: list[Point] = []

    def push(self, now: int) -> Point:
        one = duration(*self.counts, stream=self.number, start=self.start, at=now)
        self.pushed.append(one)
        return one


@given(actions)
def test_nothing_is_lost_or_counted_twice(steps: Sequence[tuple[int, str, int]]) -> None:
    """Whatever is repeated, late or restarted, totals are what was recorded until each push."""
    streams, clock = new(), itertools.count(BEGAN_NS + 1)
    processes = [_Process(n, next(clock)) for n in range(3)]
    ended, last = [0, 0], [[0, 0] for _ in processes]
    for number, action, amount in steps:
        one = processes[number]
        if action == "record":
            one.counts[amount % 2] += amount
        elif action == "push":
            assert streams.add(POD, [one.push(next(clock))]) == TAKEN
            last[number] = list(one.counts)
        elif action == "again" and one.pushed:
            assert streams.add(POD, [one.pushed[-1]]) == REPEATED
        elif action == "late" and len(one.pushed) > 1:
            assert streams.add(POD, [one.pushed[0]]) == "out_of_order"
        elif action == "restart":
            ended = [a + b for a, b in zip(ended, last[number], strict=True)]
            last[number] = [0, 0]
            processes[number] = _Process(number, next(clock))
    expected = [sum(column) for column in zip(ended, *last, strict=True)]
    found = value(streams, POD, m.DURATION)
    if found is None:
        assert expected == [0, 0]
        return
    assert isinstance(found, Histogram)
    assert found.counts == (expected[0], sum(expected))


points = st.builds(
    lambda metric, values, start, span, stream, delta, bounds: point(
        *values,
        start=start,
        at=start + span,
        stream=stream,
        delta=delta,
        bounds=bounds,
        metric=metric,
        labels=("m",) + ("",) * (len(metric.labels) - 4),
    ),
    st.just(m.DURATION),
    st.lists(st.integers(0, 10**18), min_size=3, max_size=3),
    st.integers(0, 3_000),
    st.integers(0, 50),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([(1.0,), (2.0,)]),
)


@given(st.lists(points, max_size=40))
def test_any_points_leave_sound_readings(sent: list[Point]) -> None:
    """Whatever points come, counters do not fall while buckets stay, and buckets ascend."""
    streams, before = new(), None
    for one in sent:
        streams.add(POD, [one])
        found = value(streams, POD, m.DURATION)
        if found is None:
            continue
        assert isinstance(found, Histogram)
        assert list(found.counts) == sorted(found.counts)
        if isinstance(before, Histogram) and before.bounds == found.bounds:
            changed = problems(streams).get("buckets_changed", 0)
            assert changed or all(a <= b for a, b in zip(before.counts, found.counts, strict=True))
        before = found
