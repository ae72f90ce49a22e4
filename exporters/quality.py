"""How good answers are, and how sure that is: counts, windows and 95 % intervals.

Nothing here knows where a verdict came from. Of what nobody judged there is no quality: `None`,
never 0. Clocks are passed in as times, in seconds; only their differences count.
"""

from __future__ import annotations

import math
import random
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
_MOST_VALUES = 1000
_DRAWS = 500
_FEWEST_VALUES = 20
_SEED = 20260


def wilson(correct: float, judged: int, z: float = 1.959964) -> tuple[float, float]:
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


def mean_interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of scores within 0 to 1.

    A percentile bootstrap with a fixed seed: the same values have the same interval. Where it
    cannot know the spread, below 20 values or while all are equal, it is Wilson's.

    Raises:
        ValueError: There are no values, or some are not within 0 to 1.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise ValueError("scores lie within 0 to 1")
    if scores.size < _FEWEST_VALUES or scores.min() == scores.max():
        return wilson(min(float(scores.sum()), scores.size), scores.size)
    generator = np.random.default_rng(_SEED)
    chosen = generator.integers(0, scores.size, size=(_DRAWS, scores.size), dtype=np.int32)
    low, high = np.quantile(scores[chosen].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


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


class Counts:
    """How many there were and what they add up to: in all, and in windows.

    Windows are kept in steps of 10 s, an hour at most, so memory is bounded whatever comes; a
    window reaches back up to one step further than it says.

    Args:
        judged: How many there were before.
        correct: What these add up to.
    """

    __slots__ = ("_buckets", "correct", "judged")

    def __init__(self, judged: int = 0, correct: float = 0.0) -> None:
        self.judged, self.correct = judged, correct
        self._buckets: dict[int, list[float]] = {}

    def add(self, at_s: float, *, judged: int, correct: float) -> None:
        """Add to all, and to the windows that `at_s` lies in."""
        self.judged += judged
        self.correct += correct
        self.add_recent(at_s, judged=judged, correct=correct)

    def add_recent(self, at_s: float, *, judged: int, correct: float) -> None:
        """Add to the windows alone, for what `all` has already."""
        index = math.floor(at_s / _BUCKET_S)
        bucket = self._buckets.get(index)
        if bucket is None:
            newest = max(self._buckets, default=index)
            if (newest - index) * _BUCKET_S > _LONGEST_S:
                return  # no window reaches back to it
            bucket = self._buckets[index] = [0, 0.0]
            oldest = max(newest, index) - math.ceil(_LONGEST_S / _BUCKET_S)
            for old in [one for one in self._buckets if one < oldest]:
                del self._buckets[old]
        bucket[0] += judged
        bucket[1] += correct

    def within(self, now_s: float, window_s: float | None) -> tuple[int, float]:
        """Return how many there were in a window, and what they add up to."""
        if window_s is None:
            return self.judged, self.correct
        first = math.floor((now_s - window_s) / _BUCKET_S)
        inside = [bucket for index, bucket in self._buckets.items() if index >= first]
        return int(sum(one[0] for one in inside)), math.fsum(one[1] for one in inside)


class Key(NamedTuple):
    """What a series of verdicts is about, within one pod."""

    model: str
    variant: str
    exit: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """All verdicts of one series.

    Args:
        judged: How many.
        correct: What they add up to.
        binary: All of them were right or wrong, 1 or 0.
    """

    judged: int
    correct: float
    binary: bool


class _Series:
    """Verdicts of one key: their counts, and a sample of them if they are scores."""

    __slots__ = ("binary", "cached", "counts", "newest", "reservoir", "seen")

    def __init__(self, total: Total | None = None) -> None:
        self.counts = Counts() if total is None else Counts(total.judged, total.correct)
        self.binary = total is None or total.binary
        self.reservoir, self.seen = array("d"), 0
        self.newest: deque[tuple[float, float]] = deque(maxlen=_MOST_VALUES)
        self.cached: dict[float | None, tuple[tuple[int, float], Quality]] = {}

    def add(self, at_s: float, value: float, generator: random.Random) -> None:
        """Count a verdict."""
        self.counts.add(at_s, judged=1, correct=value)
        self.remember(at_s, value, generator)

    def remember(self, at_s: float, value: float, generator: random.Random) -> None:
        """Take a verdict into the samples; those of right and wrong alone need none."""
        if self.binary and value in (0.0, 1.0):
            return
        self.binary = False
        self.newest.append((at_s, value))
        # Each value seen is in the sample with the same chance: Vitter's algorithm R.
        self.seen += 1
        if len(self.reservoir) < _MOST_VALUES:
            self.reservoir.append(value)
        elif (place := generator.randrange(self.seen)) < _MOST_VALUES:
            self.reservoir[place] = value

    def quality(self, now_s: float, window_s: float | None) -> Quality | None:
        """Return the quality in a window."""
        judged, correct = self.counts.within(now_s, window_s)
        if self.binary or not judged:
            return share(correct, judged)
        known = self.cached.get(window_s)
        if known is not None and known[0] == (judged, correct):
            return known[1]
        values: Iterable[float] = self.reservoir
        if window_s is not None:
            values = [value for at_s, value in self.newest if at_s >= now_s - window_s]
        quality = _scored(correct, judged, np.fromiter(values, dtype=np.float64))
        self.cached[window_s] = (judged, correct), quality
        return quality


def _scored(correct: float, judged: int, sample: NDArray[np.float64]) -> Quality:
    """Return the mean of scores, with an interval whose spread a sample of them tells."""
    value = min(1.0, correct / judged)
    if min(sample.size, judged) < _FEWEST_VALUES:
        low, high = wilson(min(correct, judged), judged)
    else:
        low, high = mean_interval(sample)
        # The sample's spread, about the mean of all, as narrow as their number makes it.
        mean, factor = float(sample.mean()), math.sqrt(min(sample.size, judged) / judged)
        low, high = value - (mean - low) * factor, value + (high - mean) * factor
    return Quality(
        value=value, low=min(value, max(0.0, low)), high=max(value, min(1.0, high)), judged=judged
    )


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
        self._series: dict[Key, _Series] = {}
        self._random = random.Random(_SEED)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._series)

    def add(self, key: Key, value: float, *, at_s: float | None = None) -> bool:
        """Count a verdict, 0 to 1, as of `at_s` or now; return whether there was room for it."""
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= self._most:
                return False
            series = self._series[key] = _Series()
        series.add(self._clock() if at_s is None else at_s, value, self._random)
        return True

    def restore(self, key: Key, total: Total) -> None:
        """Begin a series with what an earlier life of it added up to."""
        self._series[key] = _Series(total)

    def restore_recent(self, key: Key, value: float, *, at_s: float) -> None:
        """Put a verdict that a restored total has already into the windows again."""
        series = self._series.get(key)
        if series is not None:
            series.counts.add_recent(at_s, judged=1, correct=value)
            series.remember(at_s, value, self._random)

    def total(self, key: Key) -> Total:
        """Return all verdicts of a series; of an unknown one none."""
        series = self._series.get(key)
        if series is None:
            return Total(judged=0, correct=0.0, binary=True)
        return Total(
            judged=series.counts.judged, correct=series.counts.correct, binary=series.binary
        )

    def quality(self, key: Key, window_s: float | None = None) -> Quality | None:
        """Return the quality in a window, or of all; `None` if nothing was judged in it."""
        series = self._series.get(key)
        return None if series is None else series.quality(self._clock(), window_s)


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
            self._totals.append([0, 0.0])
        self._at_s[sample], self._value[sample], self._exit[sample] = at_s, value, index
        self._totals[index][0] += 1
        self._totals[index][1] += value

    def total(self, exit_taken: str) -> Total:
        """Return all verdicts on answers of an exit, repeated ones included."""
        judged, correct = self._totals[self._exits[exit_taken]]
        return Total(judged=int(judged), correct=correct, binary=True)

    def quality(self, exit_taken: str, *, now_s: float, window_s: float | None) -> Quality | None:
        """Return the share of right samples among those judged last in a window."""
        chosen = self._exit == self._exits[exit_taken]
        if window_s is not None:
            chosen &= self._at_s >= now_s - window_s
        return share(float(self._value[chosen].sum()), int(chosen.sum()))
