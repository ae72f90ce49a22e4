"""What a cumulative counter gained between two moments, when all one has are samples around them.

Between two samples a counter may have risen at any time. The value is that of a straight line; the
bounds hold whatever happened, so that what the scrape interval leaves unknown is in the interval.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Gain", "Missing", "gained"]

Samples = Sequence[tuple[float, float]]
"""Pairs of time and cumulative value, in order of time."""


class Missing(Exception):
    """The samples do not tell; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a counter gained.

    Args:
        value: By straight lines between samples.
        low: It gained no less.
        high: It gained no more.
    """

    value: float
    low: float
    high: float


def gained(samples: Samples, start_s: float, end_s: float, *, clock_error_s: float = 0.0) -> Gain:
    """Return what a counter gained from one moment to another.

    Args:
        samples: Some before the start and after the end among them.
        start_s: The one moment, on the samples' clock.
        end_s: The other.
        clock_error_s: How far off both may be.

    Raises:
        Missing: When there is no sample on the other side of a moment, or the counter fell.
    """
    if not samples:
        raise Missing("no samples")
    first, last = _around(samples, start_s, clock_error_s), _around(samples, end_s, clock_error_s)
    inside = samples[first.before : last.after + 1]
    if any(later < earlier for (_, earlier), (_, later) in itertools.pairwise(inside)):
        raise Missing("the counter fell, so that it began anew meanwhile")
    return Gain(
        value=last.value - first.value,
        low=max(0.0, samples[last.before][1] - samples[first.after][1]),
        high=samples[last.after][1] - samples[first.before][1],
    )


@dataclass(frozen=True, slots=True)
class _Around:
    """Indices of the samples around a moment, and the value in between."""

    before: int
    after: int
    value: float


def _around(samples: Samples, moment_s: float, error_s: float) -> _Around:
    times_s = [t_s for t_s, _ in samples]
    before = bisect_right(times_s, moment_s - error_s) - 1
    after = bisect_left(times_s, moment_s + error_s)
    if before < 0:
        raise Missing(f"the first sample came {times_s[0] - moment_s + error_s:.1f} s too late")
    if after == len(times_s):
        raise Missing(f"the last sample came {moment_s + error_s - times_s[-1]:.1f} s too early")
    # The nearest on each side may be nearer than those that are so surely.
    left = max(0, bisect_right(times_s, moment_s) - 1)
    right = min(bisect_left(times_s, moment_s), len(times_s) - 1)
    (left_s, left_value), (right_s, right_value) = samples[left], samples[right]
    share = 0.0 if right_s <= left_s else (moment_s - left_s) / (right_s - left_s)
    value = left_value + share * (right_value - left_value)
    return _Around(before, after, min(max(value, left_value), right_value))
