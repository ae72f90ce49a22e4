"""How sure a figure of a few trials is: intervals of means, ratios and quality figures.

Every interval is a 95 % one. Nothing here knows a dataset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Interval", "average_precision", "block_bootstrap", "means_with_pooled_spread"]

_Floats = NDArray[np.float64]
_LEVEL = 0.95
_TAILS = (0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2)
_FEWEST_BLOCKS = 10
_MOST_WEIGHTS = 1_000_000
_UNDEFINED_RATIO = 0.05
"""Share of draws that may be without a positive label, and so without a figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value and its 95 % interval; bounds are `None` where the data cannot give them.

    `draws`, shape (draws,), is there when the interval comes from a bootstrap.
    """

    value: float
    low: float | None = None
    high: float | None = None
    draws: _Floats | None = field(default=None, repr=False, compare=False)

    def may_equal(self, other: Interval) -> bool:
        """Whether the two values cannot be told apart.

        Draw by draw where both have the same draws; else their intervals overlap, and one
        without bounds counts as a point.
        """
        if self.draws is not None and other.draws is not None:
            low, high = np.nanquantile(self.draws - other.draws, _TAILS)
            return bool(low <= 0.0 <= high)
        low, high = self.bounds
        other_low, other_high = other.bounds
        return low <= other_high and other_low <= high

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of the interval; the value itself where they are not known."""
        return (
            self.value if self.low is None else self.low,
            self.value if self.high is None else self.high,
        )


def means_with_pooled_spread(groups: Sequence[_Floats]) -> list[Interval]:
    """Return the mean of each group with a t-interval from the spread of all groups together.

    With two or three repeats a group alone says next to nothing about its spread (t is 12.7 at
    one degree of freedom). The relative spread is taken to be one and the same in all groups, as
    in an analysis of variance, and its degrees of freedom are summed.

    Args:
        groups: Values of the repeats of each group, 0 or more, at least one each.

    Returns:
        One interval per group; without bounds when no group has two values, or the mean is 0.
    """
    means = [float(np.mean(group)) for group in groups]
    freedom = sum(len(group) - 1 for group, mean in zip(groups, means, strict=True) if mean > 0)
    if freedom == 0:
        return [Interval(value=mean) for mean in means]
    squares = math.fsum(
        float(np.sum((group / mean - 1.0) ** 2))
        for group, mean in zip(groups, means, strict=True)
        if mean > 0
    )
    reach = float(stats.t.ppf(_TAILS[1], freedom)) * math.sqrt(squares / freedom)
    return [
        Interval(
            value=mean,
            low=max(0.0, mean * (1.0 - reach / math.sqrt(len(group)))),
            high=mean * (1.0 + reach / math.sqrt(len(group))),
        )
        if mean > 0
        else Interval(value=mean)
        for group, mean in zip(groups, means, strict=True)
    ]


def average_precision(score: _Floats, label: _Floats) -> Callable[[_Floats], _Floats]:
    """Return a function of weights, shape (draws, n), that gives the area under precision-recall.

    The step-wise sum that `sklearn.metrics.average_precision_score` takes, for many weightings of
    the same answers at once. A draw without a positive label gives NaN.
    """
    order = np.argsort(-score, kind="stable")
    hit = label[order] > 0
    # Equal scores cannot be told apart by a threshold: the curve has one point per distinct score.
    last = np.append(np.diff(score[order]) != 0, True)

    def area(weights: _Floats) -> _Floats:
        ranked = weights[:, order]
        found = np.cumsum(ranked * hit, axis=1)[:, last]
        raised = np.cumsum(ranked, axis=1)[:, last]
        precision = np.divide(found, raised, out=np.zeros_like(found), where=raised > 0)
        with np.errstate(invalid="ignore"):
            return np.asarray(
                np.sum(np.diff(found, axis=1, prepend=0.0) * precision, axis=1) / found[:, -1]
            )

    return area


def block_bootstrap(
    statistic: Callable[[_Floats], _Floats],
    sample: NDArray[np.int64],
    *,
    size: int,
    draws: int = 600,
    seed: int = 0,
) -> Interval:
    """Return a statistic with its percentile interval under other draws of the test data.

    Neighbouring samples of a time series resemble each other, and one sample may have been asked
    several times, so that whole blocks of neighbouring samples are drawn, each as long as the cube
    root of the number of samples (Künsch 1989; Hall, Horowitz and Jing 1995 for the length). With
    one `size` and seed, draw k takes the same blocks for every statistic: they can be compared
    draw by draw.

    Args:
        statistic: Takes weights of shape (draws, n) and returns shape (draws,).
        sample: Shape (n,): which sample of the test data each answer belongs to, below `size`.
        size: Number of samples of the test data.
        draws: Number of resamples.
        seed: Same seed, same interval.

    Returns:
        The interval, with its draws; without bounds when the data has fewer than 10 blocks, or
        too many draws leave the statistic undefined.
    """
    value = float(statistic(np.ones((1, len(sample))))[0])
    length = max(1, round(size ** (1 / 3)))
    blocks = -(-size // length)
    if blocks < _FEWEST_BLOCKS:
        return Interval(value=value)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(np.float64)
    block = sample // length
    step = max(1, _MOST_WEIGHTS // len(sample))  # bounds the memory, not the result
    found = np.concatenate(
        [statistic(counts[at : at + step, block]) for at in range(0, draws, step)]
    )
    if np.isnan(found).mean() > _UNDEFINED_RATIO:
        return Interval(value=value)
    low, high = np.nanquantile(found, _TAILS)
    # A percentile interval may miss the value itself when the statistic is biased.
    return Interval(
        value=value, low=min(float(low), value), high=max(float(high), value), draws=found
    )
