"""Writes a snapshot in Prometheus' text format or in OpenMetrics.

Specifications: Prometheus "Exposition formats", version 0.0.4, and OpenMetrics 1.0.0. The
client library writes the same ten times slower (`benchmarks/exporter_scale.py`), and would make
the exporter of a node with hundreds of pods the one that uses the most; its parsers judge this
file in the tests.
"""

from __future__ import annotations

import gzip
import math
import threading
from collections.abc import Iterator
from functools import lru_cache

from .families import Family, Histogram, Snapshot, Summary
from .metrics import Metric

__all__ = ["OPENMETRICS", "TEXT", "Scrape", "negotiated", "render"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_LABEL_SETS = 8192
_KEPT = ("namespace", "pod")
"""Written even when empty: else Prometheus would fill them in from its target, the exporter."""
_COMPRESSION = 1
"""Ten times smaller already; more would cost more than it saves on a node's network."""


@lru_cache(maxsize=_LABEL_SETS)
def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = (f'{n}="{_escaped(v)}"' for n, v in zip(names, values, strict=True) if v or n in _KEPT)
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _lines(family: Family, openmetrics: bool) -> Iterator[str]:
    metric = family.metric
    yield from _head(metric, openmetrics)
    series, names = metric.series, metric.labels
    for values, value in family.samples:
        if isinstance(value, Histogram):
            yield from _buckets(series, _labels(names, values), value, openmetrics)
        elif isinstance(value, Summary):
            yield from _quantiles(series, _labels(names, values), value)
        else:
            yield f"{series}{_labels(names, values)} {value!r}"


def _buckets(series: str, labels: str, value: Histogram, openmetrics: bool) -> Iterator[str]:
    for bound, count in zip(value.bounds, value.counts, strict=True):
        yield f"{series}_bucket{_with(labels, 'le', bound)} {count!r}"
    if value.sum is not None:
        yield f"{series}_sum{labels} {value.sum!r}"
    # OpenMetrics wants the count if and only if there is a sum.
    if value.sum is not None or not openmetrics:
        yield f"{series}_count{labels} {value.count!r}"


def _quantiles(series: str, labels: str, value: Summary) -> Iterator[str]:
    for quantile, at in value.quantiles:
        yield f"{series}{_with(labels, 'quantile', quantile)} {at!r}"
    yield f"{series}_sum{labels} {value.sum!r}"
    yield f"{series}_count{labels} {value.count!r}"


def _with(labels: str, name: str, value: float) -> str:
    """Add a label to others that are written already."""
    text = "+Inf" if value == math.inf else repr(float(value))
    return f'{labels[:-1]},{name}="{text}"}}' if labels else f'{{{name}="{text}"}}'


def _head(metric: Metric, openmetrics: bool) -> tuple[str, ...]:
    text = metric.help.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        text = text.replace('"', r"\"")
        unit = (f"# UNIT {metric.name} {metric.unit}",) if metric.unit else ()
        return (f"# TYPE {metric.name} {metric.type}", *unit, f"# HELP {metric.name} {text}")
    kind = "gauge" if metric.type == "info" else metric.type
    return (f"# HELP {metric.series} {text}", f"# TYPE {metric.series} {kind}")


def render(snapshot: Snapshot, *, openmetrics: bool = False) -> bytes:
    """Return the text of a scrape."""
    lines = [line for family in snapshot.families for line in _lines(family, openmetrics)]
    if openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def negotiated(accept: str) -> str:
    """Return the content type for an `Accept` header: OpenMetrics where it is asked for.

    A client that names both has named OpenMetrics to get it; one that refuses it says `q=0`.
    """
    for offer in accept.lower().split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        refused = any(part.replace(" ", "") in ("q=0", "q=0.0") for part in parameters)
        if name == "application/openmetrics-text" and not refused:
            return OPENMETRICS
    return TEXT


class Scrape:
    """Answers scrapes of the newest snapshot; each form is written once, whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._bodies: dict[tuple[str, bool], bytes] = {}

    def show(self, snapshot: Snapshot) -> None:
        """Serve this one from now on."""
        with self._lock:
            self._snapshot, self._bodies = snapshot, {}

    @property
    def ready(self) -> bool:
        """Whether there is anything to serve."""
        return self._snapshot is not None

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot; `None` before the first."""
        return self._snapshot

    def body(self, content_type: str, *, compressed: bool) -> bytes | None:
        """Return the newest snapshot in this form; `None` before the first."""
        with self._lock:
            if self._snapshot is None:
                return None
            form = (content_type, compressed)
            if form not in self._bodies:
                self._bodies[form] = self._made(self._snapshot, content_type, compressed)
            return self._bodies[form]

    def _made(self, snapshot: Snapshot, content_type: str, compressed: bool) -> bytes:
        plain = self._bodies.get((content_type, False))
        if plain is None:
            plain = render(snapshot, openmetrics=content_type == OPENMETRICS)
        return gzip.compress(plain, _COMPRESSION, mtime=0) if compressed else plain
