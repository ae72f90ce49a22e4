"""How good answers are, and how sure that is: counts, windows and 95 % intervals.

Nothing here knows where a verdict came from. Of what nobody judged there is no quality: `None`,
never 0. Clocks are passed in as times, in seconds; only their differences count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = [
    "WINDOWS",
    "Counts",
    "Key",
    "Quality",
    "Tally",
    "Total",
    "Verdicts",
    "mean_interval",
    "share",
    "wilson",
]

WINDOWS: Mapping[str, float | None] = {"all": None, "300": 300.0, "3600": 3600.0}
"""Lengths of the windows, in seconds, by the label that they have; `None`: since ever."""

_LONGEST_S = 3600.0
_BUCKET_S = 10.0
_FEWEST_VALUES = 20
_EQUAL_VARIANCE = 1e-12
"""Below it scores are all equal, up to the rounding of their sums."""

_Z = 1.959964

_Sums = tuple[float, float, float]
"""How many verdicts, what they add up to, and what their squares do."""

_NONE: _Sums = (0, 0.0, 0.0)


def wilson(correct: float, judged: float, z: float = _Z) -> tuple[float, float]:
    """Return the score interval of a share, 95 % unless `z` says otherwise.

    Unlike the normal approximation it holds for few answers and for shares near 0 and 1.

    Args:
        correct: How many were right; a sum of scores within 0 to 1 is allowed, and then the
            interval is wider than needed: no such scores vary more than right and wrong do.
        judged: Out of how many.
        z: Quantile of the standard normal distribution.

    Raises:
        ValueError: Nothing was judged, or more was right than that.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927) 209-212; recommended in Brown, Cai and DasGupta, Statistical Science 16 (2001).
    """
    if judged <= 0:
        raise ValueError("nothing was judged: there is no share, and no interval")
    if not 0 <= correct <= judged:
        raise ValueError(f"{correct} of {judged} is no share")
    share, square = correct / judged, z * z / judged
    centre = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / judged + square / (4 * judged))
    # Rounding must not push the value itself out, at 0 and at 1.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def mean_interval(correct: float, judged: int, squares: float) -> tuple[float, float]:
    """Return the 95 % interval of the mean of scores within 0 to 1, from their sums.

    It is Wilson's, for as many verdicts of right and wrong as would tell the mean as precisely as
    these scores do: it is that of a share when they are all 0 or 1, narrower the less they vary,
    and Student's, about, when there are many. Where the spread cannot be known, below 20 scores
    or while all are equal, it is that of a share, which is wider than needed.

    Args:
        correct: What the scores add up to.
        judged: How many there are.
        squares: What their squares add up to.

    Raises:
        ValueError: There are no scores, or they do not lie within 0 to 1.

    Source: E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small
    expected number of positive counts estimated from survey data", Survey Methodology 24 (1998):
    the effective number, and its correction for the spread being an estimate itself.
    """
    if judged >= _FEWEST_VALUES:
        mean = correct / judged
        variance = (squares - correct * mean) / (judged - 1)
        if variance > _EQUAL_VARIANCE:
            shrunk = (_Z / _student(judged - 1)) ** 2
            effective = judged * mean * (1 - mean) / variance * shrunk
            if effective > judged:
                return wilson(mean * effective, effective)
    return wilson(correct, judged)


def _student(freedom: int) -> float:
    """Return the 0.975 quantile of Student's distribution, to 0.0005 from 19 degrees on.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 26.7.5.
    """
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    return _Z + first / freedom + second / freedom**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A share or mean within 0 to 1, with its 95 % interval.

    Args:
        value: The share of right answers, or the mean of scores.
        low: Lower end of the interval.
        high: Upper end.
        judged: How many answers it is made of.
    """

    value: float
    low: float
    high: float
    judged: int


def share(correct: float, judged: int) -> Quality | None:
    """Return the share of right answers with Wilson's interval; `None` if none was judged.

    Args:
        correct: How many were right, each judged right or wrong.
        judged: Out of how many.
    """
    if not judged:
        return None
    low, high = wilson(correct, judged)
    return Quality(value=correct / judged, low=low, high=high, judged=judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What verdicts of one series add up to.

    Args:
        judged: How many there are.
        correct: What they add up to.
        squares: What their squares add up to.
    """

    judged: int
    correct: float
    squares: float

    def quality(self) -> Quality | None:
        """Return their mean with its interval; `None` if there are none."""
        if not self.judged:
            return None
        correct = min(self.correct, float(self.judged))  # sums are rounded
        low, high = mean_interval(correct, self.judged, self.squares)
        value = correct / self.judged
        return Quality(value=value, low=min(value, low), high=max(value, high), judged=self.judged)


class Counts:
    """How many there were and what they add up to: in all, and in windows.

    Windows are kept in steps of 10 s, an hour at most, so memory is bounded whatever comes; a
    window reaches back up to one step further than it says.

    Args:
        judged: How many there were before.
        correct: What these add up to.
        squares: What the squares of these add up to; 0 where nobody asks for an interval.
    """

    __slots__ = ("_buckets", "_sums")

    def __init__(self, judged: int = 0, correct: float = 0.0, squares: float = 0.0) -> None:
        self._sums: _Sums = (judged, correct, squares)
        self._buckets: dict[int, _Sums] = {}

    def add(self, at_s: float, *, judged: int, correct: float, squares: float = 0.0) -> None:
        """Add to all, and to the windows that `at_s` lies in."""
        self._sums = _added(self._sums, (judged, correct, squares))
        self.add_recent(at_s, judged=judged, correct=correct, squares=squares)

    def add_recent(self, at_s: float, *, judged: int, correct: float, squares: float = 0.0) -> None:
        """Add to the windows alone, for what `all` has already."""
        index = math.floor(at_s / _BUCKET_S)
        bucket = self._buckets.get(index)
        if bucket is None:
            newest = max(self._buckets, default=index)
            if (newest - index) * _BUCKET_S > _LONGEST_S:
                return  # no window reaches back to it
            bucket = self._buckets[index] = _NONE
            self.trim(max(newest, index) * _BUCKET_S)
        self._buckets[index] = _added(bucket, (judged, correct, squares))

    def trim(self, now_s: float) -> None:
        """Let go what no window reaches back to any more."""
        oldest = math.floor((now_s - _LONGEST_S) / _BUCKET_S)
        for old in [one for one in self._buckets if one < oldest]:
            del self._buckets[old]

    def within(self, now_s: float, window_s: float | None) -> Total:
        """Return how many there were in a window, and what they add up to."""
        if window_s is None:
            judged, correct, squares = self._sums
        else:
            first = math.floor((now_s - window_s) / _BUCKET_S)
            inside = [bucket for index, bucket in self._buckets.items() if index >= first]
            judged, correct, squares = map(math.fsum, zip(_NONE, *inside, strict=True))
        return Total(judged=int(judged), correct=correct, squares=squares)


def _added(sums: _Sums, more: _Sums) -> _Sums:
    return sums[0] + more[0], sums[1] + more[1], sums[2] + more[2]


class Key(NamedTuple):
    """What a series of verdicts is about, within one pod."""

    model: str
    variant: str
    exit: str
    metric: str


class Tally:
    """Verdicts of one pod by model, variant, exit and metric: in all, and in windows.

    A verdict counts in the windows from when it is known, not from when the answer was given:
    labels may come days late.

    Args:
        clock: Seconds.
        most: How many series there are at most; the names are the pod's, and it may send any.
    """

    def __init__(self, *, clock: Callable[[], float], most: int = 100) -> None:
        self._clock, self._most = clock, most
        self._series: dict[Key, Counts] = {}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._series)

    def add(self, key: Key, value: float, *, at_s: float | None = None) -> bool:
        """Count a verdict, 0 to 1, as of `at_s` or now; return whether there was room for it."""
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= self._most:
                return False
            series = self._series[key] = Counts()
        at_s = self._clock() if at_s is None else at_s
        series.add(at_s, judged=1, correct=value, squares=value * value)
        return True

    def restore(self, key: Key, total: Total) -> None:
        """Begin a series with what an earlier life of it added up to."""
        self._series[key] = Counts(total.judged, total.correct, total.squares)

    def restore_recent(self, key: Key, value: float, *, at_s: float) -> None:
        """Put a verdict that a restored total has already into the windows again."""
        series = self._series.get(key)
        if series is not None:
            series.add_recent(at_s, judged=1, correct=value, squares=value * value)

    def trim(self, now_s: float) -> None:
        """Let go what no window reaches back to any more."""
        for series in self._series.values():
            series.trim(now_s)

    def forget(self, metric: str) -> None:
        """Forget all verdicts of a metric."""
        self._series = {key: one for key, one in self._series.items() if key.metric != metric}

    def total(self, key: Key) -> Total:
        """Return all verdicts of a series; of an unknown one none."""
        return self._series.get(key, Counts()).within(0.0, None)

    def quality(self, key: Key, window_s: float | None = None) -> Quality | None:
        """Return the quality in a window, or of all; `None` if nothing was judged in it."""
        series = self._series.get(key)
        return None if series is None else series.within(self._clock(), window_s).quality()


class Verdicts:
    """The latest verdict on each sample of a fixed set, by the exit that answered it.

    A deterministic model gives the same answer to the same sample each time, so passes after the
    first bring no new evidence: an interval that took them for it would shrink for ever. Here
    each sample counts once, with its last verdict: `judged` of a quality is how many distinct
    samples it rests on. The totals count every verdict, for they are what was done.

    Args:
        samples: How many there are in the set.
        most_exits: How many exits are told apart; further ones are together "other".
    """

    def __init__(self, samples: int, *, most_exits: int = 32) -> None:
        self._at_s = np.full(samples, -np.inf)
        self._value = np.zeros(samples, dtype=np.float32)
        self._exit = np.full(samples, -1, dtype=np.int16)
        self._exits: dict[str, int] = {}
        self._totals: list[list[float]] = []
        self._most_exits = most_exits

    @property
    def exits(self) -> tuple[str, ...]:
        """The exits that answered so far."""
        return tuple(self._exits)

    def add(self, sample: int, value: float, *, exit_taken: str, at_s: float) -> None:
        """Take in the verdict on a sample; it takes the place of an earlier one."""
        if exit_taken not in self._exits and len(self._exits) >= self._most_exits - 1:
            exit_taken = "other"
        index = self._exits.setdefault(exit_taken, len(self._exits))
        if index == len(self._totals):
            self._totals.append([0, 0.0, 0.0])
        self._at_s[sample], self._value[sample], self._exit[sample] = at_s, value, index
        self._totals[index][0] += 1
        self._totals[index][1] += value
        self._totals[index][2] += value * value

    def total(self, exit_taken: str) -> Total:
        """Return all verdicts on answers of an exit, repeated ones included."""
        judged, correct, squares = self._totals[self._exits[exit_taken]]
        return Total(judged=int(judged), correct=correct, squares=squares)

    def quality(self, exit_taken: str, *, now_s: float, window_s: float | None) -> Quality | None:
        """Return the share of right samples among those judged last in a window."""
        chosen = self._exit == self._exits[exit_taken]
        if window_s is not None:
            chosen &= self._at_s >= now_s - window_s
        return share(float(self._value[chosen].sum()), int(chosen.sum()))
