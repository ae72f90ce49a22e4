"""Where a service's metrics and spans go: pushed over OTLP, or pulled from a Prometheus endpoint.

Arguments decide, else the application's own OpenTelemetry SDK, else the standard `OTEL_*`
environment variables (opentelemetry.io, "Environment Variable Specification"). One set of
exporters serves all profilers of a process. What is recorded stands in `service`.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from prometheus_client import CollectorRegistry, start_http_server

from ..errors import SpecError

__all__ = [
    "Destination",
    "Export",
    "Telemetry",
    "applications_providers",
    "destination",
    "open_telemetry",
    "own_pod",
    "release",
]

Export = Literal["otlp", "prometheus", "none"]

GRACE_S = 2.0
"""How long the last push may take when a service ends; a collector that is away gets no more."""

PUSH_S = 3.0
"""How long one push may take, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise; the usual ten
seconds would hold up the end of a service whose collector takes connections and never answers."""

_KNOWN = {"metrics": ("otlp", "prometheus", "console"), "traces": ("otlp", "console")}
_TIMEOUTS = tuple(f"OTEL_EXPORTER_OTLP_{part}TIMEOUT" for part in ("", "METRICS_", "TRACES_"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where to send what.

    Args:
        metrics: "otlp", "prometheus" and "console", any of them.
        traces: "otlp" and "console", likewise.
        endpoint: Base URL of the OTLP/HTTP receiver; `None`: as `OTEL_EXPORTER_OTLP_*` say.
        push_s: How long one push may take; `None`: likewise.
        host: Where the Prometheus endpoint listens.
        port: Its port; 0 takes a free one.
        silent: Nothing goes anywhere, though nobody said so.
    """

    metrics: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    endpoint: str | None = None
    push_s: float | None = PUSH_S
    host: str = "localhost"
    port: int = 9464
    silent: bool = False


def destination(
    environ: Mapping[str, str],
    *,
    export: Export | None = None,
    endpoint: str | None = None,
    port: int | None = None,
) -> Destination:
    """Return where arguments and environment say that telemetry goes; the arguments win.

    Nothing goes anywhere when neither says so: the specification's default, OTLP to port 4318 of
    this machine, would only fill the log of a service that has no collector.

    Raises:
        SpecError: When a variable has a value that is not known here.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Destination()
    if export is None and endpoint is not None:
        export = "otlp"
    if export is None and port is not None:
        export = "prometheus"
    chosen = {signal: _chosen(signal, environ) for signal in _KNOWN}
    if export is not None:
        chosen["metrics"] = () if export == "none" else (export,)
        # A Prometheus endpoint has no place for spans; where the environment sends them, they go.
        if export != "prometheus":
            chosen["traces"] = chosen["metrics"]
    if endpoint is None and "otlp" in (*chosen["metrics"], *chosen["traces"]):
        _check_protocol(environ)
    return Destination(
        metrics=chosen["metrics"],
        traces=chosen["traces"],
        endpoint=None if endpoint is None else endpoint.rstrip("/"),
        push_s=None if any(environ.get(name) for name in _TIMEOUTS) else PUSH_S,
        host=environ.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost",
        port=_port(environ) if port is None else port,
        silent=export is None
        and not any(chosen.values())
        and not any(environ.get(f"OTEL_{signal.upper()}_EXPORTER") for signal in _KNOWN),
    )


def applications_providers() -> tuple[metrics.MeterProvider, trace.TracerProvider | None] | None:
    """Return the providers that the application set up for itself; `None` without any."""
    meters, tracers = metrics.get_meter_provider(), trace.get_tracer_provider()
    traced = isinstance(tracers, sdk_trace.TracerProvider)
    if not traced and not isinstance(meters, sdk_metrics.MeterProvider):
        return None
    return meters, tracers if traced else None


def _chosen(signal: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = [name.strip().lower() for name in environ.get(variable, "").split(",")]
    named = tuple(dict.fromkeys(name for name in names if name not in ("", "none")))
    unknown = [name for name in named if name not in _KNOWN[signal]]
    if unknown:
        raise SpecError(
            variable, found=", ".join(unknown), expected=" or ".join((*_KNOWN[signal], "none"))
        )
    if any(names):
        return named
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return ("otlp",) if any(environ.get(variable) for variable in endpoints) else ()


def _check_protocol(environ: Mapping[str, str]) -> None:
    for part in ("METRICS_", "TRACES_", ""):
        variable = f"OTEL_EXPORTER_OTLP_{part}PROTOCOL"
        protocol = environ.get(variable) or "http/protobuf"
        if protocol != "http/protobuf":
            raise SpecError(
                variable,
                found=protocol,
                expected="http/protobuf",
                remedy="set up the application's own OpenTelemetry SDK for another protocol; "
                "it is used where there is one",
            )


def _port(environ: Mapping[str, str]) -> int:
    variable = "OTEL_EXPORTER_PROMETHEUS_PORT"
    text = environ.get(variable) or "9464"
    if not text.isdecimal() or int(text) > 65535:
        raise SpecError(variable, found=text, expected="a port, 0 to 65535")
    return int(text)


class _Remembering(OTLPMetricExporter):
    """Remembers whether the collector took the last push."""

    reached = False

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        result = super().export(metrics_data, timeout_millis, **kwargs)
        self.reached = result is MetricExportResult.SUCCESS
        return result


class Telemetry:
    """The providers that a service records to, and the exporters behind them.

    Args:
        where: Where they send it.

    Attributes:
        meter_provider: For metrics.
        tracer_provider: For spans; `None` when none are wanted, so that none are made.
        url: Of the Prometheus endpoint, if there is one.

    Raises:
        SpecError: When the port of the Prometheus endpoint cannot be had.
    """

    def __init__(self, where: Destination) -> None:
        self.where = where
        self.users = 0
        self.url: str | None = None
        self._server: Any = None
        self._pushing: _Remembering | None = None
        self._spans: list[SpanExporter] = []
        readers = [self._reader(name) for name in where.metrics]
        # Shut down by `close`, which does not wait for a collector that is away.
        self.meter_provider: metrics.MeterProvider = sdk_metrics.MeterProvider(
            readers, shutdown_on_exit=False
        )
        self.tracer_provider: trace.TracerProvider | None = None
        if where.traces:
            provider = sdk_trace.TracerProvider(shutdown_on_exit=False)
            self._spans = [self._span_exporter(name) for name in where.traces]
            for exporter in self._spans:
                provider.add_span_processor(BatchSpanProcessor(exporter))
            self.tracer_provider = provider

    def flush(self) -> None:
        """Send now what waits to be sent; waits for the collector as long as OTLP does."""
        for provider in (self.meter_provider, self.tracer_provider):
            if isinstance(provider, sdk_metrics.MeterProvider | sdk_trace.TracerProvider):
                provider.force_flush()

    def close(self) -> None:
        """Push once more, `GRACE_S` at the longest where nobody takes it, and stop."""
        if isinstance(self.meter_provider, sdk_metrics.MeterProvider):
            self.meter_provider.shutdown(timeout_millis=1e3 * GRACE_S)
        if isinstance(self.tracer_provider, sdk_trace.TracerProvider):
            if self._pushing is not None and not self._pushing.reached:
                for exporter in self._spans:
                    exporter.shutdown()  # or every batch would be tried for ten seconds
            self.tracer_provider.shutdown()
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()

    def after_fork(self) -> None:
        """Give up the listening socket in a forked child, where no thread serves it."""
        if self._server is not None:
            self._server[0].socket.close()
            self._server = None

    def _reader(self, name: str) -> MetricReader:
        if name == "prometheus":
            return self._prometheus()
        if name == "console":
            return PeriodicExportingMetricReader(ConsoleMetricExporter())
        self._pushing = _Remembering(self._endpoint("metrics"), timeout=self.where.push_s)
        return PeriodicExportingMetricReader(self._pushing)

    def _span_exporter(self, name: str) -> SpanExporter:
        if name == "otlp":
            return OTLPSpanExporter(self._endpoint("traces"), timeout=self.where.push_s)
        return ConsoleSpanExporter()

    def _endpoint(self, signal: str) -> str | None:
        return None if self.where.endpoint is None else f"{self.where.endpoint}/v1/{signal}"

    def _prometheus(self) -> MetricReader:
        registry = CollectorRegistry()
        host, port = self.where.host, self.where.port
        try:
            self._server = start_http_server(port, host, registry)
        except OSError as error:
            raise SpecError(
                "the Prometheus endpoint",
                place=f"{host}:{port}",
                found=str(error),
                remedy="OTEL_EXPORTER_PROMETHEUS_PORT names another port, 0 a free one; several "
                "processes of one service push better: OTEL_METRICS_EXPORTER=otlp",
            ) from error
        self.url = f"http://{host}:{self._server[0].server_port}/metrics"
        return PrometheusMetricReader(scope_info_enabled=False, registry=registry)


def own_pod() -> dict[str, str]:
    """Return the pod that `OTEL_RESOURCE_ATTRIBUTES` says we are: `namespace`, `name`, `uid`."""
    found = Resource.create().attributes
    names = {key: f"k8s.pod.{key}" for key in ("name", "uid")} | {"namespace": "k8s.namespace.name"}
    return {key: str(found[name]) for key, name in names.items() if found.get(name)}


_lock = threading.Lock()
_shared: dict[Destination, Telemetry] = {}


def open_telemetry(where: Destination) -> Telemetry:
    """Return the telemetry of a destination, opened if nobody has; give it back to `release`.

    Raises:
        SpecError: See `Telemetry`.
    """
    with _lock:
        telemetry = _shared.get(where)
        if telemetry is None:
            telemetry = _shared[where] = Telemetry(where)
        telemetry.users += 1
        return telemetry


def release(telemetry: Telemetry) -> None:
    """Close a telemetry when its last user gives it back."""
    with _lock:
        telemetry.users -= 1
        if telemetry.users > 0 or _shared.pop(telemetry.where, None) is None:
            return
    telemetry.close()


def _close_all() -> None:
    with _lock:
        open_ones = list(_shared.values())
        _shared.clear()
    for telemetry in open_ones:
        telemetry.close()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for telemetry in _shared.values():
        telemetry.after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
