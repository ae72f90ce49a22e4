"""Ours: what `ServiceProfiler` tells at its Prometheus endpoint; see `profiler.instruments`."""

from __future__ import annotations

from ..metrics import high_of, low_of
from ..quality import share
from ..service_metrics import CORRECT, DURATION, ITEMS, JUDGED, QUALITY, REQUESTS
from .dialect import Dialect, Families, Hints
from .gather import Gathering, Key, Labels, Names
from .reading import Histogram, Reading

__all__ = ["DIALECT", "outcome_of"]

_OUTCOMES = frozenset({"ok", "error", "cancelled"})
_PREFIX = "joulery_inference_"


def outcome_of(labels: Labels) -> str:
    """Return how requests ended that have these labels, in a word of the catalogue."""
    outcome = labels.get("outcome", "")
    return outcome if outcome in _OUTCOMES else "unknown"


def translate(families: Families, hints: Hints) -> Reading:
    """Translate a scrape of a service that embeds a `ServiceProfiler`."""
    gathering = Gathering(families)
    names = Names(hints, model="model", variant="variant")
    form = names("exit", "precision", outcome=outcome_of)
    gathering.histograms(DURATION, f"{_PREFIX}duration_seconds", form)
    gathering.numbers(REQUESTS, f"{_PREFIX}requests", names(outcome=outcome_of))
    gathering.numbers(ITEMS, f"{_PREFIX}items", names())
    verdict = names("exit", "metric", method="feedback")
    judged = gathering.all_histograms(f"{_PREFIX}quality", verdict)
    for key, values in judged.items():
        _tell_quality(gathering, key, values)
    return gathering.reading()


def _tell_quality(gathering: Gathering, key: Key, values: Histogram) -> None:
    """Tell what feedback a service has had; a share only where each answer was right or wrong."""
    gathering.tell(JUDGED, key, values.count)
    if values.sum is None:
        return
    gathering.tell(CORRECT, key, values.sum)
    quality = share(values.sum, int(values.count)) if _is_binary(values) else None
    if quality is not None:
        since_ever = (*key, ("window", "all"))
        gathering.tell(QUALITY, since_ever, quality.value)
        gathering.tell(low_of(QUALITY), since_ever, quality.low)
        gathering.tell(high_of(QUALITY), since_ever, quality.high)


def _is_binary(values: Histogram) -> bool:
    """Return whether every value was 0 or 1: it lies at 0, or right below 1 with their sum."""
    at = dict(zip(values.bounds, values.counts, strict=True))
    below = [count for bound, count in at.items() if bound < 1.0]
    if 0.0 not in at or 1.0 not in at or not values.count.is_integer():
        return False
    return at[0.0] == below[-1] and at[1.0] == values.count == at[0.0] + (values.sum or 0.0)


DIALECT = Dialect(
    name="joulery",
    title="joulery",
    prefixes=tuple(
        f"{_PREFIX}{name}" for name in ("duration_seconds", "quality", "requests", "items")
    ),
    signature=(_PREFIX,),
    port_names=("joulery", "joulery-metrics"),
    port=9464,
    path="/metrics",
    translate=translate,
)
