"""Two samples of a few trials each: by what ratio they differ, and whether that may be chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..intervals import Interval

__all__ = [
    "ALIKE",
    "Contrast",
    "compare",
    "compare_brackets",
    "compare_matched",
    "corrected",
    "exponential",
]

ALIKE = 0.05
"""Ratios within 1 ± this are taken as practically the same."""
_LEVEL = 0.05
_ROUNDING = 1e-9
_FARTHEST = 700.0
"""Logarithms beyond have no ratio that a float can hold."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One sample over another.

    Args:
        counts: Values in each.
        ratio: Ratio of the geometric means, with its 95 % interval (Welch, on logarithms).
        p: Of the hypothesis that the ratio is 1; `None` where it cannot be tested.
        p_holm: The same, corrected for all that is compared beside it; see `corrected`.
        effect: Hedges' g of the logarithms; `None` without scatter.
        matched: Whether values were compared two by two.
        coarse: Whether what values are known to within leaves open which sample is higher, and
            they scatter by no more than that.
    """

    counts: tuple[int, int]
    ratio: Interval
    p: float | None = None
    p_holm: float | None = None
    effect: float | None = None
    matched: bool = False
    coarse: bool = False

    @property
    def equivalent(self) -> bool:
        """Whether the whole 95 % interval lies within ± 5 % of 1.

        That is two one-sided tests (Schuirmann 1987) at 2.5 % each.
        """
        low, high = self.ratio.low, self.ratio.high
        return low is not None and high is not None and 1 - ALIKE <= low <= high <= 1 + ALIKE

    @property
    def differs(self) -> bool:
        """Whether the difference is told from chance, after correction."""
        return self.p_holm is not None and self.p_holm < _LEVEL

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        if self.differs:
            word = "higher" if self.ratio.value > 1 else "lower"
            return f"{word}, by less than {ALIKE:.0%}" if self.equivalent else word
        if self.ratio.low == self.ratio.high == 1.0:
            return "the same"
        if self.equivalent:
            return f"equivalent within ±{ALIKE:.0%}"
        if self.coarse:
            return "not told apart at this resolution"
        if self.p is None:
            return "differs without scatter" if min(self.counts) > 1 else "not tested"
        return "not told apart"


def compare(one: _Floats, other: _Floats) -> Contrast | None:
    """Compare two samples of positive values.

    Logarithms are compared: figures of machines differ by factors, and the scatter of a figure
    grows with it. Variances need not agree (Welch 1947).

    Returns:
        `None` when one of them is empty, or holds a value that has no logarithm.
    """
    if not len(one) or not len(other) or min(one.min(), other.min()) <= 0:
        return None
    logs = np.log(one), np.log(other)
    counts = len(one), len(other)
    difference = float(logs[0].mean() - logs[1].mean())
    ratio = math.exp(difference)
    if all(np.ptp(part) <= _ROUNDING for part in logs):
        return _without_scatter(counts, ratio, difference)
    if min(counts) < 2:
        return Contrast(counts=counts, ratio=Interval(value=ratio))
    variances = _variances(*logs)
    found, p = _student(difference, *_welch(variances, counts))
    effect = _hedges(difference, variances, counts)
    return Contrast(counts=counts, ratio=found, p=p, effect=effect)


def compare_brackets(one: _Floats, other: _Floats) -> Contrast | None:
    """Compare two samples of positive values that are known to lie between two ends each.

    The ratio is that of the lower ends. Where a value lies between its ends is not guessed: means
    may be anything that the ends allow, and the interval reaches beyond both limits of that by
    Welch's (Horowitz and Manski 2000, JASA 95). A scatter finer than a bracket cannot be seen: that
    of values spread evenly over it (width / √12) is the least that is taken. So values that all end
    up in one bracket are not taken for exact.

    Args:
        one: Lower and upper end of each value, shape (n, 2).
        other: The same, shape (m, 2).

    Returns:
        `None` when one of them is empty.
    """
    if not len(one) or not len(other):
        return None
    logs = np.log(one), np.log(other)
    counts = len(one), len(other)
    difference = float(logs[0][:, 0].mean() - logs[1][:, 0].mean())
    above, below = (float(np.mean(part[:, 1] - part[:, 0])) for part in logs)
    if min(counts) < 2:
        return Contrast(counts=counts, ratio=Interval(value=math.exp(difference)))
    seen = [_variances(*(part[:, end] for part in logs)) for end in (0, 1)]
    variances = [
        max(*ends, width**2 / 12) for *ends, width in zip(*seen, (above, below), strict=True)
    ]
    found, p = _student(difference, *_welch(variances, counts), below=below, above=above)
    effect = _hedges(difference, variances, counts)
    overlap = -above - _ROUNDING <= difference <= below + _ROUNDING
    coarse = overlap and all(v <= w**2 for v, w in zip(variances, (above, below), strict=True))
    return Contrast(counts=counts, ratio=found, p=p, effect=effect, coarse=coarse)


def compare_matched(one: _Floats, other: _Floats) -> Contrast | None:
    """Compare values that belong together two by two: what the pairs share falls out.

    Args:
        one: Positive values, shape (n,).
        other: The one beside each.

    Returns:
        `None` when there are none, or one of them has no logarithm.
    """
    if not len(one) or min(one.min(), other.min()) <= 0:
        return None
    logs = np.log(one), np.log(other)
    steps = logs[0] - logs[1]
    counts = len(one), len(other)
    difference = float(steps.mean())
    if np.ptp(steps) <= _ROUNDING:
        return _without_scatter(counts, math.exp(difference), difference)
    error = float(np.std(steps, ddof=1)) / math.sqrt(len(steps))
    found, p = _student(difference, error, len(steps) - 1)
    effect = _hedges(difference, _variances(*logs), counts)
    return Contrast(counts=counts, ratio=found, p=p, effect=effect, matched=True)


def _variances(*parts: _Floats) -> list[float]:
    return [float(np.var(part, ddof=1)) for part in parts]


def _welch(variances: Sequence[float], counts: tuple[int, int]) -> tuple[float, float]:
    """Return the standard error of a difference of means, and Welch and Satterthwaite's freedom."""
    errors = [variance / n for variance, n in zip(variances, counts, strict=True)]
    freedom = sum(errors) ** 2 / sum(e**2 / (n - 1) for e, n in zip(errors, counts, strict=True))
    return math.sqrt(sum(errors)), freedom


def _student(
    difference: float, error: float, freedom: float, *, below: float = 0.0, above: float = 0.0
) -> tuple[Interval, float]:
    """Return the ratio of a difference of logarithms with its 95 % interval, and its p-value.

    The difference itself is only known to lie between so much below and so much above.
    """
    reach = float(stats.t.ppf(1.0 - _LEVEL / 2, freedom)) * error
    low, high = difference - below, difference + above
    logs = Interval(value=difference, low=low - reach, high=high + reach)
    p = 2.0 * float(stats.t.sf(max(low, -high, 0.0) / error, freedom))
    return exponential(logs), p


def exponential(logs: Interval) -> Interval:
    """Return a ratio from the interval of its logarithm."""
    low, value, high = (
        math.exp(min(max(one, -_FARTHEST), _FARTHEST))
        for one in (logs.bounds[0], logs.value, logs.bounds[1])
    )
    return Interval(value=value, low=low, high=high)


def _without_scatter(counts: tuple[int, int], ratio: float, difference: float) -> Contrast:
    """Return what can be said when no value differs from the others of its sample.

    Figures that follow from the same answers to the same requests are so. Of a difference between
    two constants, chance is no explanation, and there is nothing to test it by.
    """
    if abs(difference) <= _ROUNDING and min(counts) > 1:
        return Contrast(counts=counts, ratio=Interval(value=1.0, low=1.0, high=1.0), p=1.0)
    return Contrast(counts=counts, ratio=Interval(value=ratio))


def _hedges(difference: float, variances: Sequence[float], counts: tuple[int, int]) -> float:
    """Return Hedges' g: the difference over the pooled spread, without small samples' bias."""
    freedom = sum(counts) - 2
    squares = math.fsum(v * (n - 1) for v, n in zip(variances, counts, strict=True))
    exact = math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)
    return difference / math.sqrt(squares / freedom) * math.exp(exact) / math.sqrt(freedom / 2)


def corrected(found: Sequence[Contrast | None]) -> list[Contrast | None]:
    """Return contrasts with p-values after Holm (1979) over all that were tested."""
    from statsmodels.stats.multitest import multipletests

    tested = [one.p for one in found if one is not None and one.p is not None]
    raised = iter(multipletests(tested, method="holm")[1].tolist())
    return [
        one if one is None or one.p is None else replace(one, p_holm=next(raised)) for one in found
    ]
