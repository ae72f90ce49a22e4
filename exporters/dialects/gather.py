"""Makes values of the catalogue of a scrape's families: what all dialects do alike.

Series that a dialect does not tell apart are added up. What is wrong with one is counted by its
reason, and it is left out together with those it would have been added to: a sum with a part
missing is not known. Nothing here looks back: a counter that began anew is passed on as it is.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TypeVar, cast

from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from ..metrics import Metric
from .dialect import Families, Hints
from .parsing import SeriesLabels
from .reading import Histogram, Reading, Summary, Told, Value, told

__all__ = ["MICROSECONDS", "MILLISECONDS", "Gathering", "Key", "Labels", "Names", "Naming"]

MILLISECONDS = 1e3
MICROSECONDS = 1e6
"""How many there are to a second; bounds are divided by them, which keeps them exact decimals."""

Labels = Mapping[str, str]
Key = tuple[tuple[str, str], ...]
"""Labels of a metric of ours, by name."""

Naming = Callable[[Labels], dict[str, str] | None]
"""Makes labels of ours of those that a server writes; `None`: the series is not wanted."""

_V = TypeVar("_V", float, Histogram, Summary)
_Read = Callable[[list[Sample], float], "_V | str"]
"""Reads one series, in units of which there are so many to one of ours, or tells what is wrong."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a server calls its models, to name series by.

    Args:
        hints: For what the server does not tell.
        model: Its label that names the model; empty: it has none.
        variant: Likewise.
        unsaid: What it writes for a variant where it knows none.
    """

    hints: Hints
    _: KW_ONLY
    model: str = ""
    variant: str = ""
    unsaid: str = ""

    def of(self, labels: Labels) -> dict[str, str]:
        """Return our labels for model and variant."""
        version = labels.get(self.variant, "")
        return {
            "model": labels.get(self.model, "") or self.hints.model,
            "variant": (version if version != self.unsaid else "") or self.hints.variant,
        }

    def __call__(self, *same: str, **others: str | Callable[[Labels], str | None]) -> Naming:
        """Return a naming that tells more than model and variant.

        Args:
            same: Labels that are called the same there and here.
            others: Labels of ours: their value, or a function of the server's labels that tells
                it, and `None` for a series that is not wanted.
        """

        def naming(labels: Labels) -> dict[str, str] | None:
            named = self.of(labels)
            for label in same:
                named[label] = labels.get(label, "")
            for label, said in others.items():
                value = said if isinstance(said, str) else said(labels)
                if value is None:
                    return None
                named[label] = value
            return named

        return naming


class Gathering:
    """What is told of the families of one scrape; each series of ours once, the first one holds."""

    def __init__(self, families: Families) -> None:
        self._families = families
        self._told: dict[tuple[str, tuple[str, ...]], Told] = {}
        self._problems: Counter[str] = Counter()

    def reading(self) -> Reading:
        """Return all that was told."""
        return Reading(told=tuple(self._told.values()), problems=dict(self._problems))

    def tell(self, metric: Metric, key: Key, value: Value) -> None:
        """Tell one value."""
        one = told(metric, value, **dict(key))
        self._told.setdefault((metric.name, one.labels), one)

    def numbers(self, metric: Metric, name: str, naming: Naming) -> None:
        """Tell counters or gauges of a family."""
        for key, value in self.sums(name, naming).items():
            self.tell(metric, key, value)

    def histograms(self, metric: Metric, name: str, naming: Naming, per: float = 1.0) -> bool:
        """Tell histograms of a family, in seconds; return whether there were any."""
        found = self.all_histograms(name, naming, per)
        for key, value in found.items():
            self.tell(metric, key, value)
        return bool(found)

    def summaries(self, metric: Metric, name: str, naming: Naming, per: float = 1.0) -> None:
        """Tell the summaries of a family, in seconds."""
        family = self._family(name, ("summary",))
        for key, value in self._added(family, "quantile", _summary, naming, per).items():
            self.tell(metric, key, value)

    def pairs(
        self,
        metric: Metric,
        name: str,
        counts: Mapping[Key, float],
        naming: Naming,
        per: float = 1.0,
    ) -> None:
        """Tell summaries of a counter of time, in seconds, and how often it was added to.

        Args:
            metric: Of the catalogue.
            name: Of the counter of time.
            counts: How often, by model and variant.
            naming: For the counter of time.
            per: Its units to a second.
        """
        for key, value in self.sums(name, naming, per).items():
            labels = dict(key)
            count = counts.get((("model", labels["model"]), ("variant", labels["variant"])))
            if count is None:
                self._problems["incomplete"] += 1
            else:
                self.tell(metric, key, Summary(count, value))

    def sums(self, name: str, naming: Naming, per: float = 1.0) -> dict[Key, float]:
        """Return counters or gauges of a family, added up."""
        family = self._family(name, ("counter", "gauge", "unknown", "untyped"))
        return self._added(family, "", _number, naming, per)

    def all_histograms(self, name: str, naming: Naming, per: float = 1.0) -> dict[Key, Histogram]:
        """Return histograms of a family, added up where they have equal bounds."""
        family = self._family(name, ("histogram",))
        return self._added(family, "le", _histogram, naming, per)

    def _family(self, name: str, types: tuple[str, ...]) -> Family | None:
        family = self._families.get(name)
        if family is not None and family.type not in types:
            self._problems["unexpected_type"] += 1
            return None
        return family

    def _added(
        self, family: Family | None, edge: str, read: _Read[_V], naming: Naming, per: float
    ) -> dict[Key, _V]:
        found: dict[Key, _V] = {}
        spoilt: set[Key] = set()
        for labels, samples in _series(family.samples if family else (), edge):
            named = naming(labels)
            if named is None:
                continue
            key = tuple(named.items())
            value = read(samples, per)
            if not isinstance(value, str) and key in found:
                value = _sum(found[key], value)
            if isinstance(value, str):
                self._problems[value] += 1
                spoilt.add(key)
            else:
                found[key] = value
        return {key: value for key, value in found.items() if key not in spoilt}


def _series(samples: Iterable[Sample], edge: str) -> Iterator[tuple[Labels, list[Sample]]]:
    """Yield the samples of each series: those whose labels differ in nothing but `edge`."""
    found: dict[frozenset[tuple[str, str]], list[Sample]] = {}
    for sample in samples:
        # All samples are made there; a check of each would take as long as what it saves.
        key = cast("SeriesLabels", sample.labels).without(edge)
        group = found.get(key)
        if group is None:
            found[key] = [sample]
        else:
            group.append(sample)
    for group in found.values():
        yield group[0].labels, group


def _number(samples: list[Sample], per: float) -> float | str:
    if len(samples) > 1:
        return "duplicate_series"
    value = float(samples[0].value)
    return _wrong(value) or value / per


def _wrong(value: float) -> str:
    """Say what is wrong with a number, of which none in the catalogue is negative."""
    if not math.isfinite(value):
        return "not_finite"
    return "negative" if value < 0 else ""


def _histogram(samples: list[Sample], per: float) -> Histogram | str:
    buckets: dict[float, float] = {}
    others: dict[str, float] = {}
    for name, labels, value, *_ in samples:
        if not 0 <= value < math.inf:
            return _wrong(value)
        if not name.endswith("_bucket"):
            if name in others:
                return "duplicate_series"
            others[name] = value
            continue
        try:
            bound = float(labels["le"]) / per
        except (KeyError, ValueError):
            return "bad_bound"
        if not bound > -math.inf:
            return "bad_bound"
        if bound in buckets:
            return "duplicate_series"
        buckets[bound] = value
    if math.inf not in buckets:
        return "no_infinity"
    bounds = tuple(sorted(buckets))
    counts = tuple([float(buckets[bound]) for bound in bounds])
    if any(later < earlier for earlier, later in itertools.pairwise(counts)):
        return "buckets_fall"
    return Histogram(bounds, counts, _sum_of(others, per))


def _summary(samples: list[Sample], per: float) -> Summary | str:
    quantiles: dict[float, float] = {}
    others: dict[str, float] = {}
    for sample in samples:
        if "quantile" in sample.labels:
            try:
                quantile = float(sample.labels["quantile"])
            except ValueError:
                return "bad_bound"
            if quantile in quantiles:
                return "duplicate_series"
            # That of no recent value is not a number: nothing is wrong, there is just none.
            if 0 <= quantile <= 1 and not _wrong(sample.value):
                quantiles[quantile] = sample.value / per
            continue
        wrong = _wrong(sample.value)
        if wrong or sample.name in others:
            return wrong or "duplicate_series"
        others[sample.name] = sample.value
    count = next((value for name, value in others.items() if name.endswith("_count")), None)
    total = _sum_of(others, per)
    if count is None or total is None:
        return "incomplete"
    return Summary(float(count), total, tuple(sorted(quantiles.items())))


def _sum_of(others: Mapping[str, float], per: float) -> float | None:
    return next((value / per for name, value in others.items() if name.endswith("_sum")), None)


def _sum(one: _V, other: _V) -> _V | str:
    """Return two values added, or why they cannot be."""
    if isinstance(one, Histogram) and isinstance(other, Histogram):
        if one.bounds != other.bounds:
            return "bounds_differ"
        counts = tuple([a + b for a, b in zip(one.counts, other.counts, strict=True)])
        total = None if one.sum is None or other.sum is None else one.sum + other.sum
        return _wrong(max(counts[-1], total or 0.0)) or Histogram(one.bounds, counts, total)
    if isinstance(one, Summary) and isinstance(other, Summary):
        # Quantiles cannot be added.
        added = Summary(one.count + other.count, one.sum + other.sum)
        return _wrong(max(added.count, added.sum)) or added
    assert isinstance(one, float)
    assert isinstance(other, float)
    return _wrong(one + other) or one + other
