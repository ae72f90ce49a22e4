"""Requests of OTLP for tests, made point by point, and one place to receive them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import aiohttp
from aiohttp import web
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from joulery.exporters.families import Histogram, Value
from joulery.exporters.metrics import Metric
from joulery.exporters.services.identity import Identities
from joulery.exporters.services.otlp_messages import parts
from joulery.exporters.services.otlp_points import Point, Refusal, points_of
from joulery.exporters.services.otlp_words import WORDS
from joulery.exporters.services.receiver import Receiver, ReceiverLimits
from joulery.exporters.services.streams import Streams
from joulery.exporters.services.target import Pod
from joulery.exporters.web import serve

__all__ = [
    "AGO",
    "BEGAN_NS",
    "DURATION_NAME",
    "GZIP",
    "JSON",
    "OTHER",
    "POD",
    "PROTOBUF",
    "REQUEST",
    "REQUESTS_NAME",
    "Place",
    "attributes",
    "counter",
    "histogram",
    "in_json",
    "message",
    "read",
    "receiving",
    "receiving_as",
    "run",
    "value",
]

BEGAN_NS = 1_000
"""When the exporter began, for requests whose times are small numbers."""

POD = Pod(namespace="shop", name="recommender-0", uid="uid-0", addresses=("127.0.0.1",))
PROTOBUF = {"Content-Type": "application/x-protobuf"}
DURATION_NAME = "joulery.inference.duration"
REQUESTS_NAME = "joulery.inference.requests"
_DELTA, _CUMULATIVE = 1, 2


def attributes(place: Any, given: Mapping[str, Any]) -> None:
    """Add attributes to a part of a message; two underscores stand for a dot."""
    for key, one in given.items():
        pair = place.attributes.add()
        pair.key = key.replace("__", ".")
        if isinstance(one, bool):
            pair.value.bool_value = one
        elif isinstance(one, int):
            pair.value.int_value = one
        elif isinstance(one, float):
            pair.value.double_value = one
        elif isinstance(one, str):
            pair.value.string_value = one
        else:
            for text in one:
                pair.value.array_value.values.add().string_value = text


def message(*metrics: Any, **resource: str) -> ExportMetricsServiceRequest:
    """Return a request with one resource, and these metrics."""
    request = ExportMetricsServiceRequest()
    part = request.resource_metrics.add()
    attributes(part.resource, resource)
    part.scope_metrics.add().metrics.extend(metrics)
    return request


def _metric(name: str, unit: str) -> Any:
    metric = ExportMetricsServiceRequest().resource_metrics.add().scope_metrics.add().metrics.add()
    metric.name, metric.unit = name, unit
    return metric


def counter(
    count: float,
    *,
    name: str = REQUESTS_NAME,
    start_ns: int = 2_000,
    time_ns: int = 3_000,
    delta: bool = False,
    unit: str = "",
    **labels: Any,
) -> Any:
    """Return a metric that is a sum, with one point."""
    metric = _metric(name, unit)
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = _DELTA if delta else _CUMULATIVE
    point = metric.sum.data_points.add()
    point.start_time_unix_nano, point.time_unix_nano = start_ns, time_ns
    if isinstance(count, int):
        point.as_int = count
    else:
        point.as_double = count
    attributes(point, labels)
    return metric


def histogram(
    counts: Sequence[int],
    bounds: Sequence[float],
    *,
    total: float | None = 0.0,
    name: str = DURATION_NAME,
    start_ns: int = 2_000,
    time_ns: int = 3_000,
    delta: bool = False,
    unit: str = "s",
    **labels: Any,
) -> Any:
    """Return a metric that is a histogram with explicit buckets, with one point."""
    metric = _metric(name, unit)
    metric.histogram.aggregation_temporality = _DELTA if delta else _CUMULATIVE
    point = metric.histogram.data_points.add()
    point.start_time_unix_nano, point.time_unix_nano = start_ns, time_ns
    point.bucket_counts.extend(counts)
    point.explicit_bounds.extend(bounds)
    point.count = sum(counts)
    if total is not None:
        point.sum = total
    attributes(point, labels)
    return metric


def read(request: ExportMetricsServiceRequest) -> list[tuple[Point, ...] | Refusal]:
    """Return what a request tells."""
    body = request.SerializeToString()
    return [found for part in parts(body, WORDS) for found in points_of(body, part)]


def value(streams: Streams, pod: Pod, metric: Metric, /, **labels: str) -> Value | None:
    """Return what is published of one series; `None` if there is none.

    Raises:
        ValueError: Several series have these labels.
    """
    reading = streams.readings().get(pod)
    found = [
        one.value
        for one in (reading.told if reading else ())
        if one.metric is metric
        and labels.items() <= dict(zip(metric.labels[3:], one.labels, strict=True)).items()
    ]
    if len(found) > 1:
        raise ValueError(f"{len(found)} series of {metric.name}")
    return found[0] if found else None


OTHER = Pod(namespace="shop", name="other-0", uid="uid-1", addresses=("127.0.0.2",))
JSON = {"Content-Type": "application/json"}
GZIP = {**PROTOBUF, "Content-Encoding": "gzip"}
REQUEST = message(
    histogram([1, 2], [0.5], total=2.5, model="m", outcome="ok"),
    counter(3, model="m", outcome="ok"),
)
AGO = 1_500
"""A time from which `REQUEST` counts whole."""


class Place:
    """A receiver that is served, and a client of it.

    Attributes:
        url: Base URL.
        receiver: It.
        streams: Its streams.
        session: The client.
    """

    def __init__(
        self, url: str, receiver: Receiver, streams: Streams, session: aiohttp.ClientSession
    ) -> None:
        self.url, self.receiver, self.streams, self.session = url, receiver, streams, session

    async def post(
        self,
        body: Any,
        *,
        path: str = "/v1/metrics",
        headers: Mapping[str, str] = PROTOBUF,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Post a body; return status, body and headers of the answer."""
        if isinstance(body, ExportMetricsServiceRequest):
            body = body.SerializeToString()
        if isinstance(body, bytes):
            body = io.BytesIO(body)
        async with self.session.post(self.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers

    async def scraped(self) -> bool:
        """Return whether another page of the same server is still answered."""
        async with self.session.get(f"{self.url}/metrics") as answer:
            return answer.status == 200

    def histogram(self, metric: Metric, /, **labels: str) -> Histogram:
        """Return the histogram that is published for the pod `POD`."""
        found = value(self.streams, POD, metric, **labels)
        assert isinstance(found, Histogram)
        return found


def run(work: Callable[[], Any]) -> None:
    """Run a test's work in an event loop."""
    asyncio.run(work())


def in_json(request: ExportMetricsServiceRequest) -> bytes:
    """Return a request in OTLP's JSON."""
    text: str = json_format.MessageToJson(request, use_integers_for_enums=True, indent=None)
    return text.encode()


@contextlib.asynccontextmanager
async def receiving(
    *pods: Pod,
    limits: ReceiverLimits | None = None,
    began_ns: int | None = None,
    sender: str = "127.0.0.1",
) -> AsyncIterator[Place]:
    """Serve a receiver as the exporter does, and yield it with a client at an address."""
    streams = Streams(
        began_ns=time.time_ns() if began_ns is None else began_ns, clock=time.monotonic
    )
    receiver = Receiver(Identities(pods or (POD,)), streams, limits=limits)
    app = web.Application()
    receiver.add_routes(app)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="up 1\n")

    app.router.add_get("/metrics", page)
    urls: asyncio.Queue[str] = asyncio.Queue()
    stop = asyncio.Event()
    serving = asyncio.create_task(
        serve(app, listen="127.0.0.1:0", config=None, stop=stop, ready=urls.put_nowait)
    )
    try:
        url = await urls.get()
        connector = aiohttp.TCPConnector(local_addr=(sender, 0))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Place(url, receiver, streams, session)
    finally:
        stop.set()
        await serving


@contextlib.asynccontextmanager
async def receiving_as(sender: str, place: Place) -> AsyncIterator[Place]:
    """Yield the same receiver with a client at another address."""
    connector = aiohttp.TCPConnector(local_addr=(sender, 0))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Place(place.url, place.receiver, place.streams, session)
