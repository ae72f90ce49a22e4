"""Qualities and totals as values of the catalogue, the same for feedback, probe and agreement."""

from __future__ import annotations

from ..dialects.reading import Told
from ..metrics import Metric, high_of, low_of
from ..quality import Key, Quality, Total
from ..service_metrics import CORRECT, JUDGED, QUALITY

__all__ = ["bounded_told", "quality_told", "total_told"]


def bounded_told(metric: Metric, quality: Quality, labels: tuple[str, ...]) -> list[Told]:
    """Return a share with the ends of its interval.

    Args:
        metric: That has companions for the ends.
        quality: The share.
        labels: After those of the pod, in the metric's order.
    """
    return [
        Told(metric, labels, quality.value),
        Told(low_of(metric), labels, quality.low),
        Told(high_of(metric), labels, quality.high),
    ]


def quality_told(key: Key, quality: Quality, *, method: str, window: str) -> list[Told]:
    """Return the quality of answers in a window."""
    return bounded_told(QUALITY, quality, (*key, method, window))


def total_told(key: Key, total: Total, *, method: str) -> list[Told]:
    """Return how many answers were judged, and what their verdicts add up to."""
    labels = (*key, method)
    return [Told(JUDGED, labels, float(total.judged)), Told(CORRECT, labels, total.correct)]
