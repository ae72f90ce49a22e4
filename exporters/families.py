"""What a scrape is made of: families of samples of the catalogue, in an immutable snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from .metrics import Metric

__all__ = ["Family", "Histogram", "Sample", "Snapshot", "Summary", "Value", "ordered"]


@dataclass(frozen=True, slots=True)
class Histogram:
    """A cumulative histogram, with the buckets that its service has.

    Args:
        bounds: Upper ends, ascending; the last is infinity.
        counts: How many values lie at or below each of them.
        sum: Of all values; `None` where the service does not tell.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float | None

    @property
    def count(self) -> float:
        """How many values there are."""
        return self.counts[-1]


@dataclass(frozen=True, slots=True)
class Summary:
    """How many values and their sum, where a service has no buckets.

    Args:
        count: How many.
        sum: Of all.
        quantiles: Pairs of quantile and value that the service computed; they cannot be added.
    """

    count: float
    sum: float
    quantiles: tuple[tuple[float, float], ...] = ()


Value = float | Histogram | Summary

Sample = tuple[tuple[str, ...], Value]
"""Values of the labels, in the order of the metric's, and the value."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with its samples."""

    metric: Metric
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a scrape may say.

    Args:
        families: In the order of the catalogue; those without samples are left out.
    """

    families: tuple[Family, ...]


def ordered(families: list[Family], catalogue: tuple[Metric, ...]) -> Snapshot:
    """Return a snapshot of families in the order of a catalogue, without the empty ones."""
    by_metric = {family.metric: family for family in families if family.samples}
    return Snapshot(families=tuple(by_metric[one] for one in catalogue if one in by_metric))
