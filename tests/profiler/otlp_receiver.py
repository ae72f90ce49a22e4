"""A real OTLP/HTTP receiver: an aiohttp server that decodes what exporters push."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from anyio.from_thread import start_blocking_portal
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Receiver", "receiving"]


def _attributes(pairs: Any) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@dataclass
class Receiver:
    """What has been pushed so far.

    Attributes:
        url: Where to push.
        metrics: For each metric its latest points: attributes and value, or count and sum.
        units: The unit of each metric.
        spans: Every span: its name, attributes, duration in seconds, status code, parent or not.
    """

    url: str = ""
    metrics: dict[str, list[tuple[dict[str, object], Any]]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    spans: list[dict[str, Any]] = field(default_factory=list)

    async def take_metrics(self, request: web.Request) -> web.Response:
        """Take one push of metrics."""
        message = ExportMetricsServiceRequest.FromString(await _body(request))
        for resource in message.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = getattr(metric, metric.WhichOneof("data")).data_points
                    self.units[metric.name] = metric.unit
                    self.metrics[metric.name] = [(_attributes(p.attributes), p) for p in points]
        return web.Response(content_type="application/x-protobuf")

    async def take_spans(self, request: web.Request) -> web.Response:
        """Take one push of spans."""
        message = ExportTraceServiceRequest.FromString(await _body(request))
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    {
                        "name": span.name,
                        "attributes": _attributes(span.attributes),
                        "duration_s": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                        "status": span.status.code,
                        "id": span.span_id,
                        "parent": span.parent_span_id,
                    }
                    for span in scope.spans
                ]
        return web.Response(content_type="application/x-protobuf")

    def count(self, name: str, **labels: object) -> int:
        """Return the sum of a counter, or the count of a histogram, over points with labels."""
        return sum(
            point.count if hasattr(point, "bucket_counts") else point.as_int
            for attributes, point in self.metrics.get(name, [])
            if attributes.items() >= labels.items()
        )


async def _body(request: web.Request) -> bytes:
    body = await request.read()
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


@asynccontextmanager
async def _served() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/v1/metrics", receiver.take_metrics)
    app.router.add_post("/v1/traces", receiver.take_spans)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on a thread of its own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_served()) as receiver,
    ):
        yield receiver
