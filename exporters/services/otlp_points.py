"""Data points of OTLP as values of our catalogue, each checked, or refused with a reason.

A value is a row of numbers that only grow: one for a counter; for a histogram the count of each
bucket, and then their sum. What they add up to, `streams` knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from ..metrics import Metric
from .identity import Claim
from .otlp_buckets import Rejected, explicit, exponential
from .otlp_messages import Malformed, Metrics, Part
from .otlp_words import WORDS, Instrument, Word

__all__ = ["IGNORED", "Point", "Refusal", "claim_of", "points_of"]

IGNORED = "ignored"

_MOST_POINT_BYTES = 16 * 1024
_LONGEST_LABEL = 100
_MOST_ATTRIBUTES = 64
_MOST_RESOURCE_BYTES = 32 * 1024
_MOST_RESOURCE_ATTRIBUTES = 256
_LARGEST = 1e18
"""No service counts so far, nor runs so long; sums of larger numbers would end in infinity."""

_NO_VALUE = 1
"""The flag of a point that only says that its series has ended."""


class Point(NamedTuple):
    """One value of one series of one process.

    A tuple, for there are thousands in a second.

    Attributes:
        metric: Of the catalogue.
        labels: After those of the pod.
        stream: Which series of which process it belongs to, since when it counts included.
        delta: It tells what came since the one before it, not since its start.
        start_ns: Unix time from which it counts; 0 if that is not told.
        time_ns: Unix time until which it does.
        bounds: Upper ends of its buckets, without infinity; of no histogram none.
        values: What it tells.
    """

    metric: Metric
    labels: tuple[str, ...]
    stream: int
    delta: bool
    start_ns: int
    time_ns: int
    bounds: tuple[float, ...]
    values: tuple[float, ...]


_Amounts = tuple[tuple[float, ...], tuple[float, ...], float | None]
"""Bounds and counts of buckets and their sum, or a number in place of the counts."""


class Refusal(NamedTuple):
    """Data points that are not taken: why, and how many."""

    reason: str
    points: int


def claim_of(resource: bytes) -> Claim:
    """Return who a resource says it is.

    Raises:
        Malformed: It is none, or too large.
    """
    if len(resource) > _MOST_RESOURCE_BYTES:
        raise Malformed(f"a resource has more than {_MOST_RESOURCE_BYTES} bytes")
    try:
        attributes = Resource.FromString(resource).attributes
    except DecodeError:
        raise Malformed("a resource cannot be read") from None
    if len(attributes) > _MOST_RESOURCE_ATTRIBUTES:
        raise Malformed(f"a resource has more than {_MOST_RESOURCE_ATTRIBUTES} attributes")
    said = dict(_pairs(attributes))
    return Claim(
        namespace=said.get("k8s.namespace.name", ""),
        name=said.get("k8s.pod.name", ""),
        uid=said.get("k8s.pod.uid", ""),
        service=said.get("service.name", ""),
    )


def points_of(body: bytes, part: Part) -> Iterator[tuple[Point, ...] | Refusal]:
    """Yield what each data point tells in our words, or why some tell nothing.

    Args:
        body: The request.
        part: Of it.
    """
    for metrics in part.metrics:
        instrument = WORDS.get(metrics.name)
        if instrument is None:
            yield Refusal(IGNORED, metrics.count)
            continue
        reason = _unfit(metrics, instrument)
        if reason:
            yield Refusal(reason, metrics.count)
            continue
        reader = _Reader(metrics, instrument, part.origin)
        for begin, end in metrics.points:
            try:
                yield reader.read(body[begin:end])
            except Rejected as rejected:
                yield Refusal(str(rejected), 1)


def _unfit(metrics: Metrics, instrument: Instrument) -> str:
    """Return why no point of a metric can be taken; empty if they can."""
    if metrics.unit not in instrument.units:
        return "wrong_unit"
    if instrument.is_histogram:
        is_fit = metrics.kind in ("histogram", "exponential_histogram")
    else:
        is_fit = metrics.kind == "sum" and metrics.monotonic
    return "" if is_fit else "wrong_type"


class _Reader:
    """Reads the points of one metric of one resource."""

    def __init__(self, metrics: Metrics, instrument: Instrument, origin: bytes) -> None:
        self._delta, self._words = metrics.delta, instrument.words
        self._origin = (origin, metrics.name)
        self._parse, self._amounts = _READERS[metrics.kind]

    def read(self, data: bytes) -> tuple[Point, ...]:
        """Return what a data point tells.

        Raises:
            Rejected: It cannot be taken.
        """
        if len(data) > _MOST_POINT_BYTES:
            raise Rejected("too_large")
        try:
            point = self._parse(data)
        except DecodeError:
            raise Rejected("malformed") from None
        if point.flags & _NO_VALUE:
            raise Rejected(IGNORED)
        start_ns, time_ns = point.start_time_unix_nano, point.time_unix_nano
        if not time_ns or start_ns > time_ns or (self._delta and not start_ns):
            raise Rejected("bad_time")
        if len(point.attributes) > _MOST_ATTRIBUTES:
            raise Rejected("too_many_attributes")
        attributes = dict(_pairs(point.attributes))
        amounts = self._amounts(point)
        # Two processes that call themselves the same began at different nanoseconds.
        since = 0 if self._delta else start_ns
        stream = hash((self._origin, frozenset(attributes.items()), since))
        points = []
        for word in self._words:
            metric, bounds, values = _part(word, amounts)
            labels = tuple([text[:_LONGEST_LABEL] for text in word.labels(attributes)])
            points.append(
                Point(metric, labels, stream, self._delta, start_ns, time_ns, bounds, values)
            )
        return tuple(points)


def _pairs(attributes: Any) -> Iterator[tuple[str, str]]:
    """Yield names and values of attributes; values that are no text as text."""
    for one in attributes:
        value = one.value
        yield one.key, value.string_value or _text(value)


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind in ("int_value", "double_value", "bool_value"):
        return str(getattr(value, kind))
    # Lists and the like are no label, but still tell series apart.
    return "" if kind in (None, "string_value") else str(value.SerializeToString())


def _number(point: Any) -> _Amounts:
    kind = point.WhichOneof("value")
    if kind is None:
        raise Rejected("malformed")
    return (), (_checked(getattr(point, kind)),), None


def _explicit(point: Any) -> _Amounts:
    return *explicit(point), _sum(point)


def _exponential(point: Any) -> _Amounts:
    return *exponential(point), _sum(point)


def _sum(point: Any) -> float | None:
    _checked(point.count)
    if point.min < 0:
        raise Rejected("negative")
    return _checked(point.sum) if point.HasField("sum") else None


def _checked(value: float) -> float:
    """Return a number that may be added up."""
    if not math.isfinite(value):
        raise Rejected("not_finite")
    if value < 0:
        raise Rejected("negative")
    if value > _LARGEST:
        raise Rejected("too_large")
    return value


def _part(word: Word, amounts: _Amounts) -> tuple[Metric, tuple[float, ...], tuple[float, ...]]:
    """Return the metric that a word makes of a data point, and its bounds and values."""
    bounds, counts, total = amounts
    if word.part == "count":
        return word.metric, (), (sum(counts),)
    is_plain = word.plain is not None and not bounds
    if total is None:
        if is_plain or word.part != "all":
            raise Rejected("no_sum")
        return word.metric, bounds, counts
    if word.part == "sum":
        return word.metric, (), (total,)
    if word.part == "verdicts":
        return word.metric, (), (*_verdicts(bounds, counts), total)
    metric = word.plain if word.plain is not None and is_plain else word.metric
    return metric, bounds, (*counts, total)


def _verdicts(bounds: tuple[float, ...], counts: tuple[float, ...]) -> tuple[float, float, float]:
    """Return how many values are 0, are in the bucket that ends at 1, and are elsewhere."""
    at = dict(zip(bounds, counts, strict=False))
    zeros, ones = at.get(0.0, 0), at.get(1.0, 0)
    return zeros, ones, sum(counts) - zeros - ones


_READERS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], _Amounts]]] = {
    "sum": (metrics_pb2.NumberDataPoint.FromString, _number),
    "histogram": (metrics_pb2.HistogramDataPoint.FromString, _explicit),
    "exponential_histogram": (metrics_pb2.ExponentialHistogramDataPoint.FromString, _exponential),
}
