"""Data points of OTLP in our words: which metrics, labels and buckets, and which are refused."""

from __future__ import annotations

import bisect
import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from joulery.exporters import service_metrics as m
from joulery.exporters.services.identity import Claim
from joulery.exporters.services.otlp_buckets import Rejected, exponential
from joulery.exporters.services.otlp_messages import Malformed
from joulery.exporters.services.otlp_points import Point, Refusal, claim_of
from joulery.exporters.services.otlp_words import WORDS

from .otlp_requests import counter, histogram, message, read


def only(metric: Any) -> tuple[Point, ...]:
    """Return what a metric with one point tells."""
    [found] = read(message(metric))
    assert not isinstance(found, Refusal)
    return found


def reason(metric: Any) -> str:
    """Return why a metric with one point is refused."""
    [found] = read(message(metric))
    assert isinstance(found, Refusal)
    assert found.points == 1
    return found.reason


def labels(point: Point) -> dict[str, str]:
    """Return the labels of a point by name."""
    return dict(zip(point.metric.labels[3:], point.labels, strict=True))


def test_durations() -> None:
    """A duration keeps its buckets, and has the labels of its request."""
    [point] = only(
        histogram(
            [1, 2, 3],
            [0.1, 1.0],
            total=4.5,
            model="m",
            variant="int8",
            exit="early",
            precision="fp16",
            outcome="error",
        )
    )
    assert point.metric is m.DURATION
    assert (point.bounds, point.values) == ((0.1, 1.0), (1, 2, 3, 4.5))
    assert labels(point) == {
        "model": "m",
        "variant": "int8",
        "exit": "early",
        "precision": "fp16",
        "outcome": "error",
    }


def test_quality_is_judged_and_correct() -> None:
    """Values of feedback become how many were judged, their sum, and how many were 0 and 1."""
    judged, correct, quality = only(
        histogram(
            [1, 0, 3, 2],
            [0.0, 0.5, 1.0],
            total=9.0,
            name="joulery.inference.quality",
            unit="",
            model="m",
            metric="accuracy",
            precision="int8",
        )
    )
    assert (judged.metric, judged.values) == (m.JUDGED, (6,))
    assert (correct.metric, correct.values) == (m.CORRECT, (9.0,))
    assert (quality.metric, quality.values) == (m.QUALITY, (1, 3, 2, 9.0))
    expected = {"model": "m", "variant": "", "exit": "", "metric": "accuracy", "method": "feedback"}
    assert labels(judged) == labels(correct) == expected
    assert labels(quality) == {**expected, "window": "all"}


def test_counters() -> None:
    """Requests keep outcome, not the kind of error; items have neither."""
    [requests] = only(counter(3, outcome="error", error_type="ValueError", model="m"))
    assert (requests.metric, requests.values) == (m.REQUESTS, (3,))
    assert labels(requests) == {"model": "m", "variant": "", "outcome": "error"}
    [odd] = only(counter(3, outcome="of its own"))
    assert labels(odd)["outcome"] == "unknown"
    [items] = only(counter(2.5, name="joulery.inference.items", model="m", variant=8))
    assert (items.metric, items.values) == (m.ITEMS, (2.5,))
    assert labels(items) == {"model": "m", "variant": "8"}


def test_language_models() -> None:
    """OpenTelemetry's metrics of language model servers become durations, requests and stages."""
    model: dict[str, Any] = {"gen_ai__request__model": "llama"}
    duration, requests = only(
        histogram([2, 1], [1.0], name="gen_ai.server.request.duration", **model)
    )
    assert (duration.metric, requests.metric) == (m.DURATION, m.REQUESTS)
    assert requests.values == (3,)
    assert labels(requests) == {"model": "llama", "variant": "", "outcome": "ok"}
    failed, _ = only(
        histogram([1], [], name="gen_ai.server.request.duration", error__type="timeout", **model)
    )
    assert (failed.metric, labels(failed)["outcome"]) == (m.DURATION_SUMMARY, "error")
    for name, stage in (
        ("gen_ai.server.time_to_first_token", "first_token"),
        ("gen_ai.server.time_per_output_token", "next_token"),
    ):
        [point] = only(histogram([2, 1], [1.0], name=name, **model))
        assert (point.metric, labels(point)["stage"]) == (m.STAGE_DURATION, stage)


def test_no_buckets_is_a_summary() -> None:
    """A duration with count and sum alone is a summary; without the sum it is nothing."""
    metric = histogram([], [], total=2.5)
    metric.histogram.data_points[0].count = 3
    [point] = only(metric)
    assert (point.metric, point.values) == (m.DURATION_SUMMARY, (3, 2.5))
    metric.histogram.data_points[0].ClearField("sum")
    assert reason(metric) == "no_sum"
    [without] = only(histogram([1, 2], [1.0], total=None))
    assert without.values == (1, 2)


def test_what_is_not_ours_is_ignored() -> None:
    """Other metrics, ours without a word here, and points without a value are no mistake."""
    ended = counter(1)
    ended.sum.data_points[0].flags = 1
    several = counter(1, name="http.requests")
    several.sum.data_points.add()
    found = read(message(several, counter(1, name="joulery.inference.batches"), ended))
    assert found == [Refusal("ignored", 2), Refusal("ignored", 1), Refusal("ignored", 1)]


MANY: dict[str, Any] = {f"a{n}": "x" for n in range(65)}


def without(metric: Any, *path: str) -> Any:
    """Return a metric whose one point lacks a field, or has another type."""
    place = metric.histogram.data_points[0] if metric.HasField("histogram") else metric
    for name in path:
        place.ClearField(name)
    return metric


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (counter(-1), "negative"),
        (counter(-0.5), "negative"),
        (counter(float("nan")), "not_finite"),
        (counter(float("inf")), "not_finite"),
        (counter(1e19), "too_large"),
        (counter(1, time_ns=0), "bad_time"),
        (counter(1, start_ns=9_000), "bad_time"),
        (counter(1, start_ns=0, delta=True), "bad_time"),
        (counter(1, unit="By"), "wrong_unit"),
        (histogram([1], [], unit="ms"), "wrong_unit"),
        (counter(1, name="joulery.inference.duration", unit="s"), "wrong_type"),
        (histogram([1], [], name="joulery.inference.requests", unit=""), "wrong_type"),
        (histogram([1, 2, 3], [1.0]), "bad_buckets"),
        (histogram([1], [1.0]), "bad_buckets"),
        (histogram([], [1.0]), "bad_buckets"),
        (histogram([1, 2, 3], [1.0, 1.0]), "bad_buckets"),
        (histogram([1, 2, 3], [2.0, 1.0]), "bad_buckets"),
        (histogram([1, 2, 3], [1.0, float("nan")]), "bad_buckets"),
        (histogram([1, 2], [float("nan")]), "bad_buckets"),
        (histogram([1, 2, 3], [1.0, float("inf")]), "bad_buckets"),
        (histogram([0] * 101, list(range(100))), "too_many_buckets"),
        (histogram([1, 2], [1.0], total=float("nan")), "not_finite"),
        (histogram([1, 2], [1.0], total=-1.0), "negative"),
        (without(histogram([1, 2], [1.0]), "count"), "bad_buckets"),
        (counter(1, **MANY), "too_many_attributes"),
        (counter(1, model="x" * 20_000), "too_large"),
    ],
)
def test_points_that_are_refused(metric: Any, expected: str) -> None:
    """What cannot be true, or cannot be added up, is refused with its reason."""
    assert reason(metric) == expected


def test_sums_that_may_fall_are_refused() -> None:
    """A gauge, or a sum that may fall, is no counter."""
    metric = counter(1)
    metric.sum.is_monotonic = False
    assert reason(metric) == "wrong_type"
    gauge = counter(1)
    point = gauge.sum.data_points[0]
    gauge.gauge.data_points.append(point)
    assert reason(gauge) == "wrong_type"


def test_labels_are_bounded() -> None:
    """A label is cut to a hundred characters; what is longer still tells streams apart."""
    [first] = only(counter(1, model="x" * 200))
    [second] = only(counter(1, model="x" * 201))
    assert first.labels == second.labels
    assert len(first.labels[0]) == 100
    assert first.stream != second.stream


def test_streams_are_told_apart() -> None:
    """Attributes of any type, in any order, and the start make a stream; deltas have no start."""
    same = [only(counter(1, a="x", b=1))[0], only(counter(2, b=1, a="x", time_ns=4_000))[0]]
    assert same[0].stream == same[1].stream
    others = [
        only(counter(1, a="x", b=2))[0],
        only(counter(1, a="x", b=1, start_ns=2_500))[0],
        only(counter(1, a="x", b=1, c=["y"]))[0],
        only(counter(1, a="x", b=1, c=["z"]))[0],
    ]
    assert len({point.stream for point in (*others, same[0])}) == 5
    deltas = [only(counter(1, delta=True, start_ns=n, time_ns=n + 1))[0] for n in (1, 2)]
    assert deltas[0].stream == deltas[1].stream


def test_words_are_of_the_catalogue() -> None:
    """Each word makes as many labels as its metric has, and each metric is served."""
    for instrument in WORDS.values():
        for word in instrument.words:
            for metric in (word.metric, word.plain):
                if metric is not None:
                    assert metric in m.SERVICE_CATALOGUE
                    assert len(word.labels({})) == len(metric.labels) - 3


def test_claims() -> None:
    """A resource says who it is by the attributes of the conventions; large ones are refused."""
    resource = message(
        k8s__pod__uid="u", k8s__pod__name="p", k8s__namespace__name="n", service__name="s"
    )
    body = resource.resource_metrics[0].resource.SerializeToString()
    assert claim_of(body) == Claim(namespace="n", name="p", uid="u", service="s")
    assert claim_of(b"") == Claim()
    many = message(**{f"a{n}": "x" for n in range(300)}).resource_metrics[0].resource
    for wrong in (b"\x0a\x05", b"\x0a\x02ab" * 10_000, many.SerializeToString()):
        with pytest.raises(Malformed):
            claim_of(wrong)


durations = st.lists(st.floats(1e-7, 1e4), min_size=1, max_size=60)


@given(durations, st.integers(8, 160))
def test_exponential_buckets_agree_with_the_values(values: list[float], buckets: int) -> None:
    """What the SDK put into exponential buckets is counted at powers of two as the values are."""
    reader = InMemoryMetricReader()
    view = View(
        instrument_name="*",
        aggregation=ExponentialBucketHistogramAggregation(max_size=buckets),
    )
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    recording = provider.get_meter("m").create_histogram("joulery.inference.duration", unit="s")
    for one in values:
        recording.record(one)
    data: Any = reader.get_metrics_data()
    [told] = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    provider.shutdown()
    point = ExponentialHistogramDataPoint(
        scale=told.scale, count=told.count, zero_count=told.zero_count
    )
    point.positive.offset = told.positive.offset
    point.positive.bucket_counts.extend(told.positive.bucket_counts)
    bounds, counts = exponential(point)
    below = [bisect.bisect_right(sorted(values), bound) for bound in bounds]
    assert list(itertools.accumulate(counts)) == [*below, len(values)]
    if told.scale >= 0:
        assert bounds == tuple(2.0**e for e in range(-13, 7))


@given(st.integers(-4, 20), st.integers(-2000, 2000))
def test_exponential_buckets_are_within(scale: int, index: int) -> None:
    """Each exponential bucket is counted where its ends are enclosed, and so are zeros."""
    point = ExponentialHistogramDataPoint(scale=scale, count=5, zero_count=2)
    point.positive.offset = index
    point.positive.bucket_counts.append(3)
    bounds, counts = exponential(point)
    assert sum(counts) == 5
    zeros = [2] + [0] * len(bounds)
    [place] = [n for n, c in enumerate(counts) if c - zeros[n]]
    # Ends as logarithms to base 2, which are exact.
    ends = [-math.inf, *(math.log2(bound) for bound in bounds), math.inf]
    assert ends[place] <= index * 2.0**-scale or place == 0
    assert (index + 1) * 2.0**-scale <= ends[place + 1]


def test_exponential_buckets_that_are_refused() -> None:
    """Negative values, contradictions, and buckets wider than a thousand are refused."""
    good = ExponentialHistogramDataPoint(count=3, zero_count=1)
    good.positive.bucket_counts.append(2)
    assert sum(exponential(good)[1]) == 3
    for change, expected in (
        ({"count": 4}, "bad_buckets"),
        ({"scale": 21}, "bad_buckets"),
        ({"scale": -5}, "bad_buckets"),
        ({"zero_threshold": 1.0}, "bad_buckets"),
        ({"zero_threshold": float("nan")}, "bad_buckets"),
        ({"negative": {"bucket_counts": [1]}, "count": 4}, "negative"),
        ({"positive": {"bucket_counts": [0] * 2000}}, "too_many_buckets"),
    ):
        wrong = ExponentialHistogramDataPoint()
        wrong.CopyFrom(good)
        wrong.MergeFrom(ExponentialHistogramDataPoint(**change))
        with pytest.raises(Rejected, match=expected):
            exponential(wrong)
