"""The metrics of a service: their names, their labels and how many values a label may have.

Durations and quality go into OpenTelemetry histograms. What only counts is counted here and read
when it is collected: one record of the SDK costs more than everything else about a request.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections import Counter

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from .. import __version__

__all__ = [
    "DURATION_BOUNDS_S",
    "OTHER",
    "BoundedLabels",
    "Instruments",
    "Labels",
    "Series",
    "instruments_of",
]

Labels = tuple[tuple[str, str], ...]

DURATION_BOUNDS_S = (
    *(1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0),
)
"""Bounds of the histogram of durations: three to a decade."""

_QUALITY_BOUNDS = (
    *(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    *(0.95, 0.99, 1.0, 2.0, 5.0, 10.0, 100.0),
)
"""Ratios finely, errors of forecasts roughly; sum and count give the mean of either exactly."""

OTHER = "other"
"""What a label says instead of one value too many."""

_LONGEST_VALUE = 100

_COUNTERS = (
    ("requests", "{request}", "Requests that were answered, failed or were given up"),
    ("items", "{item}", "Items in the batches of requests"),
    ("batches", "{request}", "Requests by batch size; above 16 the next power of two"),
    ("answers", "{answer}", "Answers told so that labels can be joined, by what became of them"),
    ("feedback", "{value}", "Values of feedback by what became of them"),
    ("labels.folded", "{value}", f"Values that a label counts as '{OTHER}', having too many"),
)

_log = logging.getLogger(__name__)


class Instruments:
    """The instruments of one meter provider, shared by the profilers that record to it.

    Attributes:
        duration: Seconds of requests.
        quality: Values of feedback.
    """

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("joulery", __version__)
        self.duration = meter.create_histogram(
            "joulery.inference.duration",
            unit="s",
            description="Time to answer a request, from its intended start where that is given",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS_S,
        )
        self.quality = meter.create_histogram(
            "joulery.inference.quality",
            description="Quality of answers by metric, from feedback",
            explicit_bucket_boundaries_advisory=_QUALITY_BOUNDS,
        )
        self._counts = {name: Counter[Labels]() for name, _, _ in _COUNTERS}
        self._lock = threading.Lock()
        for name, unit, description in _COUNTERS:
            meter.create_observable_counter(
                f"joulery.inference.{name}",
                [functools.partial(self._observed, name)],
                unit=unit,
                description=description,
            )

    def count(self, *steps: tuple[str, Labels, int]) -> None:
        """Add to counters: name, labels and step of each."""
        with self._lock:
            for name, labels, step in steps:
                self._counts[name][labels] += step

    def _observed(self, name: str, _: CallbackOptions) -> list[Observation]:
        with self._lock:
            counts = list(self._counts[name].items())
        return [Observation(count, dict(labels)) for labels, count in counts]


_of_providers: weakref.WeakKeyDictionary[MeterProvider, Instruments] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def instruments_of(provider: MeterProvider) -> Instruments:
    """Return the instruments of a provider; the SDK ignores the callbacks of a second set."""
    with _lock:
        found = _of_providers.get(provider)
        if found is None:
            found = _of_providers[provider] = Instruments(provider)
        return found


class BoundedLabels:
    """Lets so many values of each label through; what is more becomes `OTHER`.

    Args:
        limit: Values of each label.
        instruments: Count what was folded.
        constant: Labels of that count.
    """

    def __init__(self, limit: int, instruments: Instruments, constant: Labels) -> None:
        self._limit, self._instruments, self._constant = limit, instruments, constant
        self._known: dict[str, set[str]] = {}
        self._full: set[str] = set()
        self._lock = threading.Lock()

    def admit(self, label: str, value: str) -> str:
        """Return the value, or `OTHER`; the first time of a label says so in the log."""
        known = self._known.get(label)
        if known is not None and value in known:
            return value
        with self._lock:
            known = self._known.setdefault(label, set())
            text = str(value)[:_LONGEST_VALUE]
            if text in known or len(known) < self._limit:
                known.add(text)
                return text
            first = label not in self._full
            self._full.add(label)
        if first:
            _log.warning(
                "the label %r has more than %d values; from %r on they count as %r",
                *(label, self._limit, text, OTHER),
            )
        self._instruments.count(("labels.folded", (*self._constant, ("label", label)), 1))
        return OTHER


class Series:
    """The labels of requests that end alike, put together once."""

    __slots__ = ("duration", "is_ok", "quality", "requests")

    def __init__(
        self, constant: Labels, outcome: str, error: str | None, exit_: str | None, form: str | None
    ) -> None:
        self.is_ok = outcome == "ok"
        ended = {"outcome": outcome, "error_type": error}
        shape = {"exit": exit_, "precision": form}
        known = {key: value for key, value in shape.items() if value is not None}
        self.duration = dict(constant) | {"outcome": outcome} | known
        self.quality = dict(constant) | known  # how it ended is not a label of its quality
        self.requests = (*constant, *((k, v) for k, v in ended.items() if v is not None))
