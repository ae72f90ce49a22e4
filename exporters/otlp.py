"""Pushes what is scraped over OTLP as well, under OpenTelemetry's names where it has them.

Semantic conventions: `hw.energy` with `hw.id` and `hw.type` (hardware metrics), and
`k8s.pod.name`, `k8s.pod.uid`, `k8s.namespace.name`, `k8s.node.name`, `k8s.container.name`.
Where to, how often and with which headers, the standard variables say: OTEL_EXPORTER_OTLP_*,
OTEL_METRIC_EXPORT_INTERVAL.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .. import __version__
from ..errors import SpecError
from . import metrics as m
from .exposition import Scrape
from .families import Family, Histogram, Snapshot, Summary
from .metrics import Metric

__all__ = ["attribute_name", "data_of", "otlp_name", "pushing"]

_log = logging.getLogger(__name__)

_NAMES = {m.DEVICE_ENERGY.name: "hw.energy"}
_ATTRIBUTES = {
    "namespace": "k8s.namespace.name",
    "pod": "k8s.pod.name",
    "uid": "k8s.pod.uid",
}
_HARDWARE = {"domain": "hw.id", "kind": "hw.type"}
_UNITS = {"joules": "J", "seconds": "s", "watts": "W", "bytes": "By", "ratio": "1"}
_TYPES = {"dram": "memory"}
"""Values of `hw.type` where ours differ; the others are the same or of our own making."""

_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
_LAST_S = 3.0
"""What is pushed in the end may take so long: a pod that stops has few seconds."""


def otlp_name(metric: Metric) -> str:
    """Return the name of a metric over OTLP, which has dots and no unit."""
    if metric.name in _NAMES:
        return _NAMES[metric.name]
    return metric.name.removesuffix(f"_{metric.unit}").replace("_", ".")


def attribute_name(metric: Metric, label: str) -> str:
    """Return what a label is called over OTLP."""
    if metric.name in _NAMES and label in _HARDWARE:
        return _HARDWARE[label]
    return _ATTRIBUTES.get(label, f"joulery.{label}")


def _metric(family: Family, start_ns: int, now_ns: int) -> otel.Metric:
    metric = family.metric
    names = [attribute_name(metric, label) for label in metric.labels]
    points = []
    for values, value in family.samples:
        if isinstance(value, Histogram | Summary):
            continue  # the energy exporter has none
        attributes = {n: v for n, v in zip(names, values, strict=True) if v != ""}
        if "hw.type" in attributes:
            attributes["hw.type"] = _TYPES.get(attributes["hw.type"], attributes["hw.type"])
        points.append(
            otel.NumberDataPoint(
                attributes=attributes,
                start_time_unix_nano=start_ns,
                time_unix_nano=now_ns,
                value=value,
            )
        )
    data: otel.Sum | otel.Gauge = otel.Gauge(points)
    if metric.type == "counter":
        data = otel.Sum(points, otel.AggregationTemporality.CUMULATIVE, is_monotonic=True)
    return otel.Metric(
        name=otlp_name(metric),
        description=metric.help,
        unit=_UNITS.get(metric.unit, "1"),
        data=data,
    )


def data_of(snapshot: Snapshot, resource: Resource, start_ns: int, now_ns: int) -> otel.MetricsData:
    """Return a snapshot as the SDK's exporters take it; info metrics have no place there.

    The SDK's own instruments would keep every pod that ever was, and fold what is beyond 2,000
    sets of attributes into one.

    Args:
        snapshot: What is told.
        resource: Who tells it.
        start_ns: Unix time from which counters count.
        now_ns: Unix time of the snapshot.
    """
    metrics = [
        _metric(family, start_ns, now_ns)
        for family in snapshot.families
        if family.metric.type != "info"
    ]
    scope = InstrumentationScope("joulery.exporter", __version__)
    scoped = otel.ScopeMetrics(scope=scope, metrics=metrics, schema_url="")
    told = otel.ResourceMetrics(resource=resource, scope_metrics=[scoped], schema_url="")
    return otel.MetricsData(resource_metrics=[told])


def _interval_s() -> float:
    text = os.environ.get(_INTERVAL, "60000")
    try:
        interval_s = float(text) / 1e3
    except ValueError:
        interval_s = 0.0
    if not 0 < interval_s < float("inf"):
        raise SpecError(_INTERVAL, found=repr(text), expected="milliseconds, more than 0")
    return interval_s


@contextmanager
def pushing(scrape: Scrape, node: str) -> Iterator[None]:
    """Push the newest snapshot again and again meanwhile, and once more in the end.

    Args:
        scrape: Has the snapshot.
        node: The node's name.

    Raises:
        SpecError: The variable for the interval is no time.
    """
    resource = Resource.create(
        {
            "service.name": "joulery-exporter",
            "service.version": __version__,
            "service.instance.id": node,
            "k8s.node.name": node,
        }
    )
    interval_s, exporter, stop = _interval_s(), OTLPMetricExporter(), threading.Event()
    start_ns = time.time_ns()

    def push(timeout_s: float) -> None:
        snapshot = scrape.snapshot
        if snapshot is not None:
            data = data_of(snapshot, resource, start_ns, time.time_ns())
            exporter.export(data, timeout_millis=1e3 * timeout_s)  # it logs what fails

    def run() -> None:
        while not stop.wait(interval_s):
            push(interval_s)

    thread = threading.Thread(target=run, name="joulery-otlp", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        last = threading.Thread(target=push, args=(_LAST_S,), daemon=True)
        last.start()
        last.join(_LAST_S)
        exporter.shutdown()
