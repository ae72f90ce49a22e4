"""What the processes of a pod tell, added up: totals that only grow while this exporter runs.

A process tells its own totals again and again, or what came since it last did. From either this
makes the steps by which the totals of its pod grow, so that a process that restarts, is late, or
says something twice changes nothing but what it should. Which points these are, `otlp_points` says.
Source: opentelemetry.io, "Metrics Data Model", temporality, resets and gaps.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..dialects.reading import Histogram, Reading, Summary, Told
from ..families import Value
from ..metrics import Metric
from ..quality import share
from ..service_metrics import QUALITY
from .otlp_points import Point
from .target import Pod
from .telling import bounded_told

__all__ = ["REPEATED", "TAKEN", "StreamLimits", "Streams"]

TAKEN = "taken"
REPEATED = "repeated"
"""It was told before, as by a client that did not hear the answer: no mistake, and no step."""

_RANGES = 8
"""How many time ranges of a delta stream are remembered, to know one that comes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What pods may cost.

    Args:
        pods: How many there may be; a node has far fewer.
        series: How many of one pod are published, while all of them are told.
        streams: How many are followed of one pod: series times processes.
        idle_s: How long one is remembered that tells nothing.
    """

    pods: int = 1000
    series: int = 128
    streams: int = 2000
    idle_s: float = 900.0


class Streams:
    """Totals of pods, from the points of their processes.

    A stream that began after this exporter counts from its start. Of an older one the first point
    says where it stands, and only what follows counts: its past was counted before. Streams that
    tell nothing for long are forgotten, their share of the totals stays. Where there is no room
    for a series, the one that nobody told for longest makes room, if it is as long; should it come
    back it begins at 0, which is a counter reset as after a restart of this exporter.

    Any thread may call this; the lock is held for one data point at a time, or one pod's reading.

    Args:
        began_ns: Unix time from which this exporter counts.
        clock: Monotonic seconds.
        limits: What pods may cost.
    """

    def __init__(
        self, *, began_ns: int, clock: Callable[[], float], limits: StreamLimits | None = None
    ) -> None:
        self._began_ns, self._clock = began_ns, clock
        self._limits = limits or StreamLimits()
        self._pods: dict[tuple[str, str, str], _PodTotals] = {}
        self._lock = threading.Lock()

    def add(self, pod: Pod, points: Sequence[Point]) -> str:
        """Take in what one data point tells; return `TAKEN`, `REPEATED`, or why it is refused.

        Args:
            pod: Whose it is.
            points: One or several, that tell different series.
        """
        with self._lock:
            totals = self._of(pod)
            if totals is None:
                return "too_many_pods"
            outcome = TAKEN
            for point in points:
                one = totals.add(point, self._clock())
                if one != TAKEN:
                    outcome = one
            if outcome not in (TAKEN, REPEATED):
                totals.problems[outcome] += 1
            totals.reading = None
            return outcome

    def refuse(self, pod: Pod, reason: str, count: int = 1) -> None:
        """Note that data points of a pod could not be taken."""
        with self._lock:
            totals = self._of(pod)
            if totals is not None:
                totals.problems[reason] += count
                totals.reading = None

    def keep_only(self, pods: Collection[Pod]) -> None:
        """Forget all pods but these, and streams that tell nothing any more.

        To be called now and then, once the pods of the node are known, and not before.
        """
        kept = {pod.labels for pod in pods}
        with self._lock:
            self._pods = {key: one for key, one in self._pods.items() if key in kept}
            for one in self._pods.values():
                one.forget_idle(self._clock())

    def readings(self) -> Mapping[Pod, Reading]:
        """Return the totals of each pod that told something."""
        with self._lock:
            every = list(self._pods.values())
        found = {}
        for one in every:
            with self._lock:
                found[one.pod] = one.read()
        return found

    def _of(self, pod: Pod) -> _PodTotals | None:
        totals = self._pods.get(pod.labels)
        if totals is None:
            if len(self._pods) >= self._limits.pods:
                return None
            totals = self._pods[pod.labels] = _PodTotals(pod, self._began_ns, self._limits)
        totals.pod = pod
        return totals


@dataclass(slots=True, kw_only=True)
class _Series:
    """One published series: what all streams that tell it add up to."""

    metric: Metric
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    totals: list[float]
    newest_ns: int
    """When the newest process began that tells it."""

    epoch: int = 0
    """How often it began anew, because its buckets changed."""

    heard_s: float = 0.0

    def told(self) -> list[Told]:
        """Return what is published: its value, or a quality with its interval, if it is known."""
        if self.metric is not QUALITY:
            return [Told(self.metric, self.labels, self._value())]
        zeros, ones, others, correct = self.totals
        # Scores have no interval without knowing each; where all were right or wrong, they do.
        if others or correct != ones:
            return []
        quality = share(correct, int(zeros + ones))
        return [] if quality is None else bounded_told(QUALITY, quality, self.labels)

    def _value(self) -> Value:
        if self.metric.type == "counter":
            return float(self.totals[0])
        if self.metric.type == "summary":
            return Summary(count=float(self.totals[0]), sum=float(self.totals[1]))
        buckets = len(self.bounds) + 1
        return Histogram(
            bounds=(*self.bounds, math.inf),
            counts=tuple(map(float, itertools.accumulate(self.totals[:buckets]))),
            sum=float(self.totals[buckets]) if len(self.totals) > buckets else None,
        )


@dataclass(slots=True, kw_only=True)
class _Stream:
    """One series of one process: its last point, or the time ranges of its last deltas."""

    heard_s: float = 0.0
    time_ns: int = 0
    epoch: int = 0
    values: tuple[float, ...] = ()
    ranges: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_RANGES))


class _PodTotals:
    """The series of one pod and the streams that they are made of."""

    def __init__(self, pod: Pod, began_ns: int, limits: StreamLimits) -> None:
        self.pod = pod
        self.problems: Counter[str] = Counter()
        self.reading: Reading | None = None
        self._limits = limits
        self._series: dict[tuple[str, tuple[str, ...]], _Series] = {}
        self._streams: dict[tuple[str, int], _Stream] = {}
        # A stream that began before this may have been counted already.
        self._counted_ns = began_ns

    def add(self, point: Point, now_s: float) -> str:
        """Take in one point; return what became of it."""
        stream_key = point.metric.name, point.stream
        stream = self._streams.get(stream_key)
        if stream is None:
            if len(self._streams) >= self._limits.streams:
                self.forget_idle(now_s)
            if len(self._streams) >= self._limits.streams:
                return "too_many_streams"
            stream = _Stream()
        series = self._of(point, now_s)
        if isinstance(series, str):
            return series
        self._streams[stream_key] = stream
        stream.heard_s = series.heard_s = now_s
        step = (_delta if point.delta else self._step)(series, stream, point)
        if isinstance(step, str):
            return step
        series.newest_ns = max(series.newest_ns, point.start_ns)
        stream.time_ns, stream.epoch = max(stream.time_ns, point.time_ns), series.epoch
        series.totals = [total + one for total, one in zip(series.totals, step, strict=True)]
        return TAKEN

    def _of(self, point: Point, now_s: float) -> _Series | str:
        """Return the series of a point with its buckets, or why it has none."""
        key = point.metric.name, point.labels
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= self._limits.series and not self._make_room(now_s):
                return "too_many_series"
            series = self._series[key] = _Series(
                metric=point.metric,
                labels=point.labels,
                bounds=point.bounds,
                totals=[0] * len(point.values),
                newest_ns=point.start_ns,
            )
        elif series.bounds != point.bounds or len(series.totals) != len(point.values):
            # What has different buckets cannot be added up: the process that began last decides.
            if point.start_ns < series.newest_ns:
                return "other_buckets"
            self.problems["buckets_changed"] += 1
            series.bounds, series.totals = point.bounds, [0] * len(point.values)
            series.epoch += 1
        return series

    def _make_room(self, now_s: float) -> bool:
        """Let the series go that nobody told for longest; return whether one was idle."""
        key = min(self._series, key=lambda one: self._series[one].heard_s)
        if now_s - self._series[key].heard_s <= self._limits.idle_s:
            return False
        self.forget_idle(now_s)  # all its streams among them
        del self._series[key]
        return True

    def _step(self, series: _Series, stream: _Stream, point: Point) -> Sequence[float] | str:
        """Return by how much a total of a process grew since its last point, or what is wrong."""
        last, is_new = stream.values, stream.epoch != series.epoch or not stream.values
        if not is_new and point.time_ns <= stream.time_ns:
            same = point.time_ns == stream.time_ns and point.values == last
            return REPEATED if same else "out_of_order"
        stream.values = point.values
        if is_new:
            is_whole = point.start_ns > self._counted_ns
            return point.values if is_whole else [0] * len(point.values)
        step = [new - old for new, old in zip(point.values, last, strict=True)]
        # What only grows has fallen: it began anew, without saying so.
        return point.values if min(step) < 0 else step

    def forget_idle(self, now_s: float) -> None:
        """Forget streams that told nothing for long."""
        idle = [
            key for key, one in self._streams.items() if now_s - one.heard_s > self._limits.idle_s
        ]
        for key in idle:
            # Should it come back, what it had told until now must not count again.
            self._counted_ns = max(self._counted_ns, self._streams.pop(key).time_ns)

    def read(self) -> Reading:
        """Return all totals; the same object until something changes."""
        if self.reading is None:
            told = tuple(itertools.chain.from_iterable(s.told() for s in self._series.values()))
            self.reading = Reading(told=told, problems=dict(self.problems))
        return self.reading


def _delta(_: _Series, stream: _Stream, point: Point) -> Sequence[float] | str:
    """Return what came since the last point, if it was not told before."""
    span = point.start_ns, point.time_ns
    if span in stream.ranges:
        return REPEATED
    # Older than all that is remembered: whether it was told before cannot be known any more.
    if len(stream.ranges) == _RANGES and point.time_ns <= min(end for _, end in stream.ranges):
        return "out_of_order"
    stream.ranges.append(span)
    return point.values
