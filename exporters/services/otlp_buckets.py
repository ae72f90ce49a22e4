"""Histograms of OTLP, checked, and in the buckets under which they are published.

Exponential buckets change their width while they are filled. They are published at powers of two,
which are always the same and always ends of such buckets: counts are added up, none is guessed.
Source: opentelemetry.io, "Metrics Data Model".
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

__all__ = ["Rejected", "explicit", "exponential"]

_MOST_BUCKETS = 64
"""So many of each series would be published."""

_MOST_EXPONENTIAL = 1024
_LOWEST, _HIGHEST = -13, 6
"""Exponents of the published powers of two: 0.12 ms to 64 s, each twice the one before."""

_COARSEST = -4
_FINEST = 20
"""Scales of exponential histograms; a finer one than that is not specified."""

Buckets = tuple[tuple[float, ...], tuple[int, ...]]
"""Upper ends without infinity, and how many values are in each bucket, the last beyond all ends."""


class Rejected(Exception):
    """A data point is refused; the text is the reason by which it is counted."""


def explicit(point: Any) -> Buckets:
    """Return the buckets of a `HistogramDataPoint`; one without any has its count alone.

    Raises:
        Rejected: They contradict each other, or are too many.
    """
    bounds, counts = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    if len(counts) > _MOST_BUCKETS + 1:
        raise Rejected("too_many_buckets")
    if not counts and not bounds:
        return (), (point.count,)
    if len(counts) != len(bounds) + 1:
        raise Rejected("bad_buckets")
    if not all(low < high for low, high in pairwise(bounds)) or not all(map(math.isfinite, bounds)):
        raise Rejected("bad_buckets")
    if sum(counts) != point.count:
        raise Rejected("bad_buckets")
    return bounds, counts


def exponential(point: Any) -> Buckets:
    """Return an `ExponentialHistogramDataPoint` at powers of two, from 2^-13 to 2^6.

    What lies below is in the first bucket, and what lies above in the last, which has no end: both
    are true of it. Scales below 0, whose buckets are wider, have those of the powers that they end
    at.

    Raises:
        Rejected: It has negative values, contradicts itself, or is too coarse or too large.
    """
    scale, positive, negative = point.scale, point.positive, point.negative
    if not _COARSEST <= scale <= _FINEST:
        raise Rejected("bad_buckets")
    if max(len(positive.bucket_counts), len(negative.bucket_counts)) > _MOST_EXPONENTIAL:
        raise Rejected("too_many_buckets")
    filled = [(n, c) for n, c in enumerate(positive.bucket_counts, positive.offset) if c]
    if any(negative.bucket_counts):
        raise Rejected("negative")
    if sum(c for _, c in filled) + point.zero_count != point.count:
        raise Rejected("bad_buckets")
    step = 1 << max(0, -scale)
    exponents = [e for e in range(_LOWEST, _HIGHEST + 1) if e % step == 0]
    # What counts as zero lies in the first bucket, if that is wide enough for it.
    if not 0 <= point.zero_threshold <= 2.0 ** exponents[0]:
        raise Rejected("bad_buckets")
    counts = [0] * (len(exponents) + 1)
    counts[0] = point.zero_count
    for index, count in filled:
        # A bucket has the values above base^index, up to base^(index + 1); base is 2^(2^-scale).
        exponent = (index >> scale) + 1 if scale >= 0 else (index + 1) * step
        place = (exponent - exponents[0]) // step
        counts[min(max(place, 0), len(exponents))] += count
    return tuple(2.0**e for e in exponents), tuple(counts)
