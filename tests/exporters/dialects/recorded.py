"""Recorded scrapes, whose origin `scrapes/README.md` tells, and readings as text to compare."""

from __future__ import annotations

from pathlib import Path

from joulery.exporters.dialects import DIALECTS, Dialect, Hints, Reading, parse, recognised
from joulery.exporters.dialects.reading import Value
from joulery.exporters.exposition import render
from joulery.exporters.families import Family, Sample, ordered
from joulery.exporters.metrics import Metric
from joulery.exporters.service_metrics import POD_LABELS, SERVICE_CATALOGUE

__all__ = ["POD", "READINGS", "SCRAPES", "as_text", "bodies", "read", "values"]

SCRAPES = Path(__file__).parent / "scrapes"
READINGS = Path(__file__).parent / "readings"
POD = ("shop", "server-0", "uid-0")


def bodies() -> dict[str, bytes]:
    """Return every recorded scrape by its name."""
    return {path.stem: path.read_bytes() for path in sorted(SCRAPES.glob("*.txt"))}


def read(
    body: bytes | str,
    dialect: Dialect | None = None,
    hints: Hints | None = None,
    *,
    openmetrics: bool = False,
) -> Reading:
    """Return the reading of a scrape, of the dialect that it is recognised as unless told."""
    if dialect is None:
        dialect = recognised(parse(body, DIALECTS, openmetrics=openmetrics))
        assert dialect is not None
    families = parse(body, [dialect], openmetrics=openmetrics)
    return dialect.translate(families, hints or Hints())


def values(reading: Reading, metric: Metric) -> dict[tuple[str, ...], Value]:
    """Return the values of one metric by its labels, the empty ones left out."""
    return {
        tuple(label for label in one.labels if label): one.value
        for one in reading.told
        if one.metric is metric
    }


def as_text(reading: Reading) -> str:
    """Return a reading as it would be served for a pod, and its problems."""
    found: dict[Metric, list[Sample]] = {}
    for one in reading.told:
        assert len(one.labels) == len(one.metric.labels) - len(POD_LABELS)
        found.setdefault(one.metric, []).append(((*POD, *one.labels), one.value))
    families = [Family(metric, tuple(samples)) for metric, samples in found.items()]
    problems = [f"# problem {reason}: {n}\n" for reason, n in sorted(reading.problems.items())]
    return render(ordered(families, SERVICE_CATALOGUE)).decode() + "".join(problems)
