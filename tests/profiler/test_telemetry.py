"""Where telemetry goes: arguments, the application's own SDK, the environment, or nowhere."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from joulery import ServiceProfiler
from joulery.errors import SpecError
from joulery.profiler.telemetry import PUSH_S, Destination, destination

from .otlp_receiver import receiving
from .scraping import families_of, value

OTLP = "http://collector:4318"


@pytest.mark.parametrize(
    ("environ", "arguments", "metrics", "traces"),
    [
        ({}, {}, (), ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": OTLP}, {}, ("otlp",), ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": OTLP}, {}, ("otlp",), ()),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, {}, ("prometheus",), ()),
        ({"OTEL_METRICS_EXPORTER": "otlp, prometheus"}, {}, ("otlp", "prometheus"), ()),
        ({"OTEL_TRACES_EXPORTER": "console"}, {}, (), ("console",)),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": OTLP, "OTEL_METRICS_EXPORTER": "none"},
            {},
            (),
            ("otlp",),
        ),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, {"export": "otlp"}, ("otlp",), ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, {"export": "prometheus"}, ("prometheus",), ("otlp",)),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, {"export": "none"}, (), ()),
        ({}, {"endpoint": OTLP}, ("otlp",), ("otlp",)),
        ({}, {"port": 9000}, ("prometheus",), ()),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_METRICS_EXPORTER": "otlp"}, {}, (), ()),
    ],
)
def test_arguments_win_over_the_environment(
    environ: dict[str, str],
    arguments: dict[str, str],
    metrics: tuple[str, ...],
    traces: tuple[str, ...],
) -> None:
    """Exporters are those of the arguments, else of the standard variables, else none."""
    found = destination(environ, **arguments)  # type: ignore[arg-type]
    assert (found.metrics, found.traces) == (metrics, traces)


def test_the_environment_tells_where() -> None:
    """Host, port and time limit come from the standard variables."""
    environ = {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "1234",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "7",
    }
    assert destination(environ) == Destination(
        metrics=("prometheus",), host="0.0.0.0", port=1234, push_s=None
    )
    assert destination({}) == Destination(push_s=PUSH_S, silent=True)


@pytest.mark.parametrize(
    ("variable", "value", "more"),
    [
        ("OTEL_METRICS_EXPORTER", "statsd", {}),
        ("OTEL_TRACES_EXPORTER", "prometheus", {}),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "http", {}),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "70000", {}),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", {"OTEL_METRICS_EXPORTER": "otlp"}),
    ],
)
def test_what_is_not_known_is_refused(variable: str, value: str, more: dict[str, str]) -> None:
    """A variable with a value that we do not follow is an error that names it and the value."""
    with pytest.raises(SpecError, match=variable) as raised:
        destination({variable: value, **more})
    assert value in str(raised.value)


def test_nowhere_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that goes nowhere because nobody said where is told so, with what to set."""
    for name in ("OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with caplog.at_level(logging.WARNING):
        ServiceProfiler("quiet", export="none").close()
        assert caplog.records == []
        profiler = ServiceProfiler("lost")
        with profiler.request():
            pass
        profiler.close()
    [record] = caplog.records
    assert "lost" in record.getMessage()
    assert "OTEL_METRICS_EXPORTER=prometheus" in record.getMessage()


APPLICATION = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
reader, spans, tracers = InMemoryMetricReader(), InMemorySpanExporter(), TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(spans))
metrics.set_meter_provider(MeterProvider([reader]))
trace.set_tracer_provider(tracers)
import joulery
profiler = joulery.ServiceProfiler("m")
with trace.get_tracer("app").start_as_current_span("http"):
    with profiler.request():
        pass
inner, outer = spans.get_finished_spans()
assert inner.parent.span_id == outer.context.span_id
[scope] = reader.get_metrics_data().resource_metrics[0].scope_metrics
print(*sorted(metric.name for metric in scope.metrics))
profiler.close()
"""


def test_an_application_with_its_own_sdk_is_followed() -> None:
    """Where the application set OpenTelemetry up, metrics and spans go there, as children."""
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", APPLICATION],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stderr == ""
    assert "joulery.inference.duration" in said.stdout.split()


def test_profilers_share_one_endpoint() -> None:
    """Two models in one process are told apart on one port, which closes with the last of them."""
    one = ServiceProfiler("one", export="prometheus", port=0)
    two = ServiceProfiler("two", export="prometheus", port=0)
    assert one.url == two.url
    for profiler in (one, two, two):
        with profiler.request():
            pass
    one.close()
    one.close()  # twice is once
    found = families_of(two)
    requests = found["joulery_inference_requests"]
    assert [value(requests, "_total", model=name) for name in ("one", "two")] == [1, 2]
    url = two.url
    two.close()
    assert url is not None
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


def test_a_taken_port_is_explained() -> None:
    """A port that another has fails at the start, with what can be done about it."""
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SpecError, match=f"localhost:{port}") as raised:
            ServiceProfiler("m", export="prometheus", port=port)
    assert "OTEL_METRICS_EXPORTER=otlp" in str(raised.value)


FORKED = """
import os, sys, urllib.request
import joulery
profiler = joulery.ServiceProfiler("m", export="prometheus", port=0)
port = int(profiler.url.split(":")[2].split("/")[0])
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    with profiler.request(): pass
    os.read(reading, 1)
    os._exit(0)
assert urllib.request.urlopen(profiler.url).status == 200
profiler.close()
joulery.ServiceProfiler("m", export="prometheus", port=port).close()
os.write(writing, b"x")
assert os.waitpid(child, 0)[1] == 0
print("ok")
"""


def test_a_forked_child_leaves_the_endpoint_to_its_parent() -> None:
    """A child that lives longer than the endpoint does not keep the port, where it is silent."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("ok\n", "")


ENDING = """
import sys
import joulery
profiler = joulery.ServiceProfiler("m", endpoint=sys.argv[1])
for _ in range(700):
    with profiler.request(): pass
"""


def test_the_end_of_a_service_loses_nothing() -> None:
    """What is still in memory when the interpreter ends is pushed, metrics and spans."""
    with receiving() as receiver:
        subprocess.run(
            [sys.executable, "-W", "error", "-c", ENDING, receiver.url], check=True, timeout=60
        )
        assert receiver.count("joulery.inference.duration") == 700
        assert len(receiver.spans) == 700


@pytest.mark.parametrize("listening", [False, True], ids=["refused", "silent"])
def test_a_collector_that_is_away_costs_nothing(
    listening: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """With a collector that refuses, or never answers, requests go on, and so does the end."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    if not listening:
        server.close()
    profiler = ServiceProfiler("m", endpoint=f"http://127.0.0.1:{port}")
    telemetry = profiler._telemetry
    assert telemetry is not None
    pushing = threading.Thread(target=profiler.flush)
    with profiler.request():
        pass
    pushing.start()  # a push is under way and fails while requests are answered
    slowest_s = 0.0
    for _ in range(2000):
        began_s = time.monotonic()
        with profiler.request():
            pass
        slowest_s = max(slowest_s, time.monotonic() - began_s)
    began_s = time.monotonic()
    profiler.close()
    closing_s = time.monotonic() - began_s
    pushing.join()
    server.close()
    # Loose, for a loaded machine: the point is that neither waits the ten seconds of a push.
    assert slowest_s < 2.0
    assert closing_s < 8.0
    assert caplog.records
    caplog.clear()
