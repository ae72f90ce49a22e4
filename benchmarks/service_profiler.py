"""What `ServiceProfiler` adds to a request, beside a plain prometheus_client histogram.

Every way answers the same empty request, in turns, in one process; spans, metrics and answers go
to a real receiver in another process, so that pushing is part of the cost.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable

import prometheus_client
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer
from rich.console import Console
from rich.table import Table

from joulery import ServiceProfiler

__all__ = ["main"]

_ROUNDS = 20
_REQUESTS = 1000
_BUDGET_US = 50.0
_RECEIVER = """
import asyncio
from aiohttp import web
async def take(request):
    await request.read()
    return web.Response(content_type="application/x-protobuf")
async def main():
    app = web.Application()
    app.router.add_post("/v1/{signal}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def bare() -> None:
    """Answer a request, unprofiled."""


def ways(
    metrics: ServiceProfiler, answers: ServiceProfiler, spans: ServiceProfiler, tracer: Tracer
) -> dict[str, Callable[[], object]]:
    """Return what is compared: each answers one request."""
    registry = prometheus_client.CollectorRegistry()
    observe = prometheus_client.Histogram(
        "duration", "duration", ["model", "outcome"], registry=registry
    ).labels("m", "ok")
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    record = provider.get_meter("benchmark").create_histogram("duration", unit="s").record

    # What the profiler says of a request below.
    labels = {"model": "m", "variant": "v", "outcome": "ok", "exit": "early", "precision": "int8"}
    numbers = itertools.count()  # ids are the clients'

    def by_prometheus() -> None:
        began_s = time.perf_counter()
        bare()
        observe.observe(time.perf_counter() - began_s)

    def by_opentelemetry() -> None:
        began_s = time.perf_counter()
        bare()
        record(time.perf_counter() - began_s, labels)

    def by_opentelemetry_with_spans() -> None:
        began_s = time.perf_counter()
        with tracer.start_as_current_span("inference m") as span:
            bare()
            span.set_attributes(labels)
            record(time.perf_counter() - began_s, labels)

    def by_profiler() -> None:
        with metrics.request(batch=8) as request:
            bare()
            request.exit_taken("early")
            request.precision("int8")

    def by_profiler_with_answers() -> None:
        with answers.request(batch=8, request_id=f"request-{next(numbers)}") as request:
            bare()
            request.exit_taken("early")
            request.precision("int8")
            request.predicted(7)

    def by_profiler_with_spans() -> None:
        with spans.request(batch=8) as request:
            bare()
            request.exit_taken("early")
            request.precision("int8")

    return {
        "bare call": bare,
        "prometheus_client: Histogram.observe": by_prometheus,
        "OpenTelemetry SDK: Histogram.record": by_opentelemetry,
        "OpenTelemetry SDK: the same and a span": by_opentelemetry_with_spans,
        "joulery: metrics": by_profiler,
        "joulery: metrics, decorator": metrics(bare),
        "joulery: metrics, an id and its answer told": by_profiler_with_answers,
        "joulery: metrics and spans": by_profiler_with_spans,
    }


def times_us(answer: Callable[[], object]) -> list[float]:
    """Return the time of each of many requests, in microseconds."""
    found = []
    for _ in range(_REQUESTS):
        began_ns = time.perf_counter_ns()
        answer()
        found.append((time.perf_counter_ns() - began_ns) / 1e3)
    return found


def measured(endpoint: str) -> dict[str, list[float]]:
    """Return the sorted times of every way; they take turns, so that all meet the same noise."""
    metrics = ServiceProfiler("m", "v", export="prometheus", port=0)
    answers = ServiceProfiler("m", "v", export="prometheus", port=0, answers=endpoint)
    spans = ServiceProfiler("m", "v", endpoint=endpoint)
    exporter = OTLPSpanExporter(f"{endpoint}/v1/traces")
    traced = TracerProvider(shutdown_on_exit=False)
    traced.add_span_processor(BatchSpanProcessor(exporter))
    compared = ways(metrics, answers, spans, traced.get_tracer("benchmark"))
    found: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(_ROUNDS):
        for name, answer in compared.items():
            found[name] += times_us(answer)
            time.sleep(0.05)  # spans are pushed in batches: 1000 fit the queue of 2048
    for profiler in (metrics, answers, spans):
        profiler.close()
    traced.shutdown()
    return {name: sorted(some) for name, some in found.items()}


def main() -> None:
    """Measure and print a table."""
    with subprocess.Popen(
        [sys.executable, "-c", _RECEIVER], stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout is not None
        try:
            found = measured(f"http://127.0.0.1:{int(receiver.stdout.readline())}")
        finally:
            receiver.terminate()
    table = Table(title=f"Time of one empty request ({_ROUNDS} rounds of {_REQUESTS})")
    for head in ("way", "median, µs", "p99, µs", f"within {_BUDGET_US:g} µs"):
        table.add_column(head)
    for name, some in found.items():
        within = sum(each < _BUDGET_US for each in some) / len(some)
        median, late = some[len(some) // 2], some[int(0.99 * len(some))]
        table.add_row(name, f"{median:.1f}", f"{late:.1f}", f"{within:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
