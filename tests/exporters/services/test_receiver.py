"""The receiver as services meet it: real SDKs push to a real server, in every form."""

from __future__ import annotations

import asyncio
import bisect
import gzip
import json
import random
import sys
import time
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource

from joulery.exporters import service_metrics as m
from joulery.profiler.instruments import DURATION_BOUNDS_S
from joulery.profiler.service import ServiceProfiler

from .otlp_requests import (
    AGO,
    GZIP,
    JSON,
    POD,
    PROTOBUF,
    REQUEST,
    counter,
    in_json,
    message,
    receiving,
    run,
    value,
)

SERVICE = """
import sys
from joulery.profiler.service import ServiceProfiler
profiler = ServiceProfiler(model="resnet", variant=sys.argv[2], endpoint=sys.argv[1])
for n in range(int(sys.argv[3])):
    with profiler.request(batch=2, request_id=str(n)) as request:
        request.exit_taken("early" if n % 2 else "late")
    profiler.feedback(str(n), accuracy=n % 4 != 0)
profiler.close()
"""


def pushing(url: str, *, resource: dict[str, str] | None = None, **options: Any) -> MeterProvider:
    """Return the SDK's provider, which pushes there when it is flushed."""
    exporter = OTLPMetricExporter(f"{url}/v1/metrics", timeout=10, **options)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=1e9)
    return MeterProvider([reader], Resource.create(resource or {}), shutdown_on_exit=False)


def test_services_with_our_profiler_add_up() -> None:
    """Two processes of one pod push latency, requests, items and quality: the sums are all's."""

    async def work() -> None:
        async with receiving() as place:
            processes = [
                await asyncio.create_subprocess_exec(
                    sys.executable, "-c", SERVICE, place.url, "int8", str(count)
                )
                for count in (8, 4)
            ]
            assert [await one.wait() for one in processes] == [0, 0]
            labels = {"model": "resnet", "variant": "int8"}
            assert value(place.streams, POD, m.REQUESTS, outcome="ok", **labels) == 12
            assert value(place.streams, POD, m.ITEMS, **labels) == 24
            for exit_, correct in (("early", 6), ("late", 3)):
                of_exit = {**labels, "exit": exit_}
                assert place.histogram(m.DURATION, outcome="ok", **of_exit).count == 6
                assert value(place.streams, POD, m.JUDGED, metric="accuracy", **of_exit) == 6
                assert value(place.streams, POD, m.CORRECT, metric="accuracy", **of_exit) == correct
                assert value(place.streams, POD, m.QUALITY, **of_exit) == correct / 6
            # What is not for us is no mistake: batches, the fate of feedback, and all spans.
            assert not place.streams.readings()[POD].problems
            assert set(place.receiver.points) == {"taken", "ignored"}
            assert set(place.receiver.requests) == {"ok", "ignored"}

    run(work)


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("temporality", list(AggregationTemporality)[1:])
def test_the_sdk_agrees_bucket_by_bucket(
    compression: Compression, temporality: AggregationTemporality
) -> None:
    """What the SDK recorded is published bucket by bucket, over several pushes, delta or not."""
    preferred: dict[type, Any] = dict.fromkeys((Counter, Histogram), temporality)
    values = [random.Random(7).lognormvariate(-3, 2) for _ in range(300)]

    async def work() -> None:
        async with receiving() as place:
            provider = pushing(place.url, compression=compression, preferred_temporality=preferred)
            meter = provider.get_meter("of its own")
            recording = meter.create_histogram(
                "joulery.inference.duration",
                unit="s",
                explicit_bucket_boundaries_advisory=DURATION_BOUNDS_S,
            )
            counting = meter.create_counter("joulery.inference.items")
            for n, one in enumerate(values):
                recording.record(one, {"model": "m", "outcome": "ok"})
                counting.add(2, {"model": "m"})
                if n % 100 == 99:
                    assert await asyncio.to_thread(provider.force_flush)
            await asyncio.to_thread(provider.shutdown)
            found = place.histogram(m.DURATION, model="m", outcome="ok")
            ordered = sorted(values)
            assert found.bounds[:-1] == DURATION_BOUNDS_S
            assert list(found.counts) == [
                float(bisect.bisect_right(ordered, bound)) for bound in found.bounds
            ]
            assert found.sum == pytest.approx(sum(values))
            assert value(place.streams, POD, m.ITEMS) == 600

    run(work)


def test_exponential_histograms_of_the_sdk() -> None:
    """Exponential buckets arrive at powers of two that stay while the SDK changes its scale."""
    values = [10.0**-n for n in range(1, 7)] * 3 + [100.0]
    preferred: dict[type, Any] = {Histogram: ExponentialBucketHistogramAggregation()}

    async def work() -> None:
        async with receiving() as place:
            provider = pushing(place.url, preferred_aggregation=preferred)
            recording = provider.get_meter("m").create_histogram(
                "gen_ai.server.time_to_first_token", unit="s"
            )
            bounds = set()
            for n, one in enumerate(values):
                recording.record(one, {"gen_ai.request.model": "llama"})
                assert await asyncio.to_thread(provider.force_flush)
                found = place.histogram(m.STAGE_DURATION, model="llama", stage="first_token")
                bounds.add(found.bounds)
                ordered = sorted(values[: n + 1])
                assert list(found.counts) == [
                    float(bisect.bisect_right(ordered, bound)) for bound in found.bounds
                ]
            await asyncio.to_thread(provider.shutdown)
            assert len(bounds) == 1

    run(work)


def test_an_exporter_that_starts_again() -> None:
    """A service outlives an exporter: the next one counts what comes from then on, once."""
    later_ns = time.time_ns() + 3600 * 10**9

    async def work() -> None:
        async with receiving() as first, receiving(began_ns=later_ns) as second:
            readers = [
                PeriodicExportingMetricReader(
                    OTLPMetricExporter(f"{place.url}/v1/metrics"), export_interval_millis=1e9
                )
                for place in (first, second)
            ]
            provider = MeterProvider(readers, shutdown_on_exit=False)
            profiler = ServiceProfiler(model="m", meter_provider=provider)
            for expected in ((1, 0), (2, 1), (3, 2)):
                with profiler.request():
                    pass
                assert await asyncio.to_thread(provider.force_flush)
                found = [value(place.streams, POD, m.REQUESTS) for place in (first, second)]
                assert tuple(found) == expected
                durations = [place.histogram(m.DURATION).count for place in (first, second)]
                assert tuple(durations) == expected
            await asyncio.to_thread(provider.shutdown)

    run(work)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (REQUEST.SerializeToString(), PROTOBUF),
        (in_json(REQUEST), JSON),
        (gzip.compress(REQUEST.SerializeToString()), GZIP),
        (gzip.compress(in_json(REQUEST)), {**JSON, "Content-Encoding": "gzip"}),
        (in_json(REQUEST), {"Content-Type": "application/json; charset=utf-8"}),
    ],
)
def test_every_form_is_the_same(body: bytes, headers: dict[str, str]) -> None:
    """Protobuf, JSON and gzip tell the same, and are answered in their own form."""

    async def work() -> None:
        async with receiving(began_ns=AGO) as place:
            status, answer, said = await place.post(body, headers=headers)
            assert (status, answer) == (200, b"{}" if "json" in headers["Content-Type"] else b"")
            assert said["Content-Type"].split(";")[0] == headers["Content-Type"].split(";")[0]
            assert place.histogram(m.DURATION).counts == (1, 3)
            assert value(place.streams, POD, m.REQUESTS) == 3
            assert dict(place.receiver.points) == {"taken": 2}
            assert dict(place.receiver.requests) == {"ok": 1}
            # A client that did not hear the answer sends it again.
            assert (await place.post(body, headers=headers))[0] == 200
            assert value(place.streams, POD, m.REQUESTS) == 3
            assert dict(place.receiver.points) == {"taken": 2, "repeated": 2}

    run(work)


def test_what_is_refused_in_part_is_told() -> None:
    """Points that cannot be taken are told with their reasons, in the form of the request."""
    request = message(
        counter(1, model="m"), counter(float("nan")), counter(-1), counter(1, name="x")
    )

    async def work() -> None:
        async with receiving(began_ns=AGO) as place:
            status, answer, _ = await place.post(request)
            assert status == 200
            partial = ExportMetricsServiceResponse.FromString(answer).partial_success
            assert partial.rejected_data_points == 2
            assert partial.error_message == "negative: 1, not_finite: 1"
            status, answer, _ = await place.post(in_json(request), headers=JSON)
            assert json.loads(answer)["partialSuccess"]["rejectedDataPoints"] == "2"
            assert place.streams.readings()[POD].problems == {"negative": 2, "not_finite": 2}
            assert dict(place.receiver.requests) == {"partial": 2}
            assert place.receiver.points["ignored"] == 2

    run(work)


def test_traces_and_logs_are_thrown_away_kindly() -> None:
    """Traces and logs are answered as if taken, up to the same limits; nothing is kept."""

    async def work() -> None:
        async with receiving() as place:
            assert (await place.post(b"spans", path="/v1/traces"))[:2] == (200, b"")
            assert (await place.post(b"{}", path="/v1/logs", headers=JSON))[:2] == (200, b"{}")
            assert (await place.post(bytes(5_000_000), path="/v1/logs"))[0] == 413
            assert (await place.post(b"", path="/v1/traces", headers={}))[0] == 415
            assert (await place.post(b"no gzip", path="/v1/traces", headers=GZIP))[0] == 400
            assert place.receiver.requests == {"ignored": 2, "too_large": 1, "malformed": 2}
            async with place.session.get(f"{place.url}/v1/metrics") as answer:
                assert answer.status == 405

    run(work)


def test_an_empty_request_is_fine() -> None:
    """A request without any data is a success, as the specification has it."""

    async def work() -> None:
        async with receiving() as place:
            assert (await place.post(b""))[:2] == (200, b"")
            assert (await place.post(message()))[:2] == (200, b"")
            assert (await place.post(b"{}", headers=JSON))[:2] == (200, b"{}")
            assert place.receiver.requests == {"ok": 3}

    run(work)
