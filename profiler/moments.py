"""What a regression of power on work remembers: sums of products, and the curve's regressors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BASE", "WAKE_UNITS", "Curve", "Moments"]

_Floats = NDArray[np.float64]

WAKE_UNITS = (0.5, 4.0)
"""Waking up is over when so much work is done at once (cores, or accelerators)."""

_BENDS = (0.2, 0.4, 0.6, 0.8)
"""The curve may bend at these loads, since frequency falls and limits bind."""

BASE = 3 + len(WAKE_UNITS) + len(_BENDS)
"""Regressors that are nobody's: idle, load, waking up, bends, and last warmth."""

_STEP = 1e-3
_LEAST = 0.05
"""The curve is never flatter than this, of its mean slope: work is never for nothing."""


@dataclass(slots=True)
class Moments:
    """Weighted sums of products: all that least squares needs to remember."""

    xx: _Floats
    xy: _Floats
    yy: float
    weight: float
    count: float

    @classmethod
    def empty(cls, width: int) -> Moments:
        """Return the moments of nothing."""
        return cls(np.zeros((width, width)), np.zeros(width), 0.0, 0.0, 0.0)

    def add(self, row: _Floats, power_w: float, weight: float, count: float = 1.0) -> None:
        """Add one observation, or take it away again with a negative weight and count."""
        self.xx += np.outer(weight * row, row)
        self.xy += weight * power_w * row
        self.yy += weight * power_w**2
        self.weight += weight
        self.count += count

    def scale(self, factor: float) -> None:
        """Let everything count so much."""
        self.xx *= factor
        self.xy *= factor
        self.yy *= factor
        self.weight *= factor
        self.count *= factor

    def copy(self) -> Moments:
        """Return the same, of its own."""
        return Moments(self.xx.copy(), self.xy.copy(), self.yy, self.weight, self.count)

    def plus(self, other: Moments) -> Moments:
        """Return the sum with other moments."""
        return Moments(
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
            self.weight + other.weight,
            self.count + other.count,
        )

    def grow(self, number: int) -> None:
        """Make room for so many more regressors, last."""
        self.xx = np.pad(self.xx, (0, number))
        self.xy = np.pad(self.xy, (0, number))

    def insert(self, at: int, number: int) -> None:
        """Make room for regressors before one."""
        rows = np.insert(self.xx, [at] * number, 0.0, axis=0)
        self.xx = np.insert(rows, [at] * number, 0.0, axis=1)
        self.xy = np.insert(self.xy, [at] * number, 0.0)

    def seen_by(self, at: int, turned: _Floats) -> Moments:
        """Return the moments of other regressors, linear combinations of these.

        Args:
            at: The first regressor that is replaced.
            turned: The new ones, a row each, by those they replace; the others remain.
        """
        old, new = slice(at, at + turned.shape[1]), slice(at, at + turned.shape[0])
        before, after, following = slice(at), slice(old.stop, None), slice(new.stop, None)
        across = turned @ self.xx[old]
        xx = np.empty((len(self.xy) - old.stop + new.stop,) * 2)
        xy = np.empty(len(xx))
        xx[new, new], xy[new] = across[:, old] @ turned.T, turned @ self.xy[old]
        for mine, theirs in ((before, before), (following, after)):
            xx[new, mine], xx[mine, new] = across[:, theirs], across[:, theirs].T
            xx[mine, before], xx[mine, following] = self.xx[theirs, before], self.xx[theirs, after]
            xy[mine] = self.xy[theirs]
        return Moments(xx, xy, self.yy, self.weight, self.count)

    def merge(self, columns: Sequence[int], into: int) -> None:
        """Add some regressors to another, as if they had been one from the beginning."""
        self.xx[into] += self.xx[columns].sum(axis=0)
        self.xx[:, into] += self.xx[:, columns].sum(axis=1)
        self.xy[into] += self.xy[columns].sum()
        kept = np.delete(np.arange(len(self.xy)), columns)
        self.xx, self.xy = self.xx[np.ix_(kept, kept)], self.xy[kept]

    def residues(self, fits: _Floats) -> list[float]:
        """Return the weighted sum of squares that each fit leaves, a row each."""
        left = self.yy - 2 * fits @ self.xy + ((fits @ self.xx) * fits).sum(axis=1)
        return [max(0.0, one) for one in left.tolist()]


class Curve:
    """Power over load: a line that jumps at its foot and may bend.

    Args:
        capacity: Units of work a second at full load.
        weights: Of each regressor, in watts; a straight line if not given.
    """

    def __init__(self, capacity: float, weights: _Floats | None = None) -> None:
        self.capacity = capacity
        self._weights = weights
        self._slope_w = 1.0

    def at_slope(self, slope_w: float) -> Curve:
        """Return the same curve, its steepness told over this slope."""
        curve = Curve(self.capacity, self._weights)
        curve._slope_w = slope_w
        return curve

    def regressors(self, load: float) -> _Floats:
        """Return what multiplies each weight, at a load between 0 and 1."""
        units = load * self.capacity
        wake = (units / (units + unit) for unit in WAKE_UNITS)
        return np.array([1.0, load, *wake, *(max(0.0, load - bend) for bend in _BENDS), 0.0])

    def steepness(self, load: float) -> float:
        """Return what a unit of work draws at a load, over the mean: frequency falls with load.

        That is the slope of the chord, without waking up: it weighs how unlike work shows.
        """
        if self._weights is None:
            return 1.0
        return max(_LEAST, self.chord_w(load) / self._slope_w)

    def chord_w(self, load: float) -> float:
        """Return the power of work at a load over the load, the first foot aside, in watts.

        The slower one is hardly told from the slope where there are few processors.
        """
        assert self._weights is not None
        load = max(load, _STEP)
        work = self.regressors(load)
        work[[0, 2]] = 0.0
        return float(self._weights @ work) / load

    def slope_w(self, load: float) -> float:
        """Return what a little more load draws more, in watts for full load."""
        assert self._weights is not None
        low, high = max(0.0, load - _STEP), load + _STEP
        step = self.regressors(high) - self.regressors(low)
        return float(self._weights @ step) / (high - low)
