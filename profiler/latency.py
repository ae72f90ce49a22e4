"""Exact quantiles of latencies, with intervals that assume nothing about their distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrik

__all__ = ["Quantile", "quantile", "requests_needed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """A quantile of latencies with its confidence interval.

    Args:
        value_s: The order statistic at rank ceil(n·p); infinite where no answer came.
        low_s: Lower end of the interval, itself one of the latencies_s.
        high_s: Upper end, likewise.
    """

    value_s: float
    low_s: float
    high_s: float


def quantile(
    latencies_s: NDArray[np.float64], probability: float, *, confidence: float = 0.95
) -> Quantile | None:
    """Return a quantile and its two-sided interval between order statistics.

    How many of n latencies lie below the true quantile is binomial, so two ranks bound it with at
    least the confidence asked, half of the error on either side (Conover, Practical Nonparametric
    Statistics, §3.2).

    Args:
        latencies_s: Shape (n,), in any order; infinite: there was no answer, later than any.
        probability: Which quantile, between 0 and 1, both excluded.
        confidence: Of the interval, between 0 and 1, both excluded.

    Returns:
        The quantile; `None` when there are too few latencies for the interval to exist, see
        `requests_needed`.

    Raises:
        ValueError: When an argument is out of its range, or a latency is no number.
    """
    _check(probability, confidence)
    if latencies_s.ndim != 1 or not (latencies_s > -np.inf).all():
        raise ValueError("latencies must be one row of numbers")
    n = latencies_s.size
    tail = (1 - confidence) / 2
    if n == 0:
        return None
    low = _binomial_quantile(tail, n, probability)
    high = _binomial_quantile(1 - tail, n, probability) + 1
    if low < 1 or high > n:
        return None
    # The product of exact tenths may lie a hair above the whole number meant.
    rank = max(1, math.ceil(n * probability - 1e-9))
    ordered = np.sort(latencies_s)
    return Quantile(
        value_s=float(ordered[rank - 1]),
        low_s=float(ordered[low - 1]),
        high_s=float(ordered[high - 1]),
    )


def requests_needed(probability: float, *, confidence: float = 0.95) -> int:
    """Return how many latencies a quantile needs for its interval to exist.

    Raises:
        ValueError: When an argument is out of its range.
    """
    _check(probability, confidence)
    # The largest latency must lie above the quantile, the smallest below it, each with all but
    # half of the error: probability**n and (1 - probability)**n are at most that half.
    rarest = max(probability, 1 - probability)
    return math.ceil(math.log((1 - confidence) / 2) / math.log(rarest))


def _binomial_quantile(level: float, n: int, probability: float) -> int:
    """Return the smallest k with P(B <= k) >= level, for B binomial."""
    near = math.ceil(float(bdtrik(level, n, probability)))
    return near - 1 if near >= 1 and float(bdtr(near - 1, n, probability)) >= level else near


def _check(probability: float, confidence: float) -> None:
    if not 0 < probability < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"probability and confidence must lie between 0 and 1, found {probability}, "
            f"{confidence}"
        )
