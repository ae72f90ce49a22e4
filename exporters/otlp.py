"""Pushes what is scraped over OTLP as well, under OpenTelemetry's names where it has them.

Semantic conventions: `hw.energy` with `hw.id` and `hw.type` (hardware metrics), and
`k8s.pod.name`, `k8s.pod.uid`, `k8s.namespace.name`, `k8s.node.name`, `k8s.container.name`.
Where to, how often and with which headers, the standard variables say: OTEL_EXPORTER_OTLP_*,
OTEL_METRIC_EXPORT_INTERVAL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from .. import __version__
from . import metrics as m
from .exposition import Scrape
from .metrics import CATALOGUE, Metric

__all__ = ["attribute_name", "otlp_name", "pushing"]

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


def _observer(scrape: Scrape, metric: Metric) -> Callable[[CallbackOptions], Iterator[Observation]]:
    names = [attribute_name(metric, label) for label in metric.labels]

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        for values, value in scrape.samples(metric):
            attributes = {n: v for n, v in zip(names, values, strict=True) if v != ""}
            if "hw.type" in attributes:
                attributes["hw.type"] = _TYPES.get(attributes["hw.type"], attributes["hw.type"])
            yield Observation(value, attributes)

    return observe


@contextmanager
def pushing(scrape: Scrape, node: str) -> Iterator[None]:
    """Push the newest snapshot again and again meanwhile, and once more in the end.

    Args:
        scrape: Has the snapshot.
        node: The node's name.
    """
    resource = Resource.create(
        {
            "service.name": "joulery-exporter",
            "service.version": __version__,
            "service.instance.id": node,
            "k8s.node.name": node,
        }
    )
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    meter = provider.get_meter("joulery.exporter", __version__)
    for metric in CATALOGUE:
        if metric.type == "info":
            continue
        make = (
            meter.create_observable_counter
            if metric.type == "counter"
            else meter.create_observable_gauge
        )
        make(
            otlp_name(metric),
            [_observer(scrape, metric)],
            unit=_UNITS.get(metric.unit, "1"),
            description=metric.help,
        )
    try:
        yield
    finally:
        provider.shutdown()
