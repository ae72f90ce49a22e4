"""What a regression of power on work remembers: sums of products, and the curve's regressors."""

from __future__ import annotations

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

    def add(self, row: _Floats, power_w: float, weight: float) -> None:
        """Add one observation."""
        self.xx += weight * np.outer(row, row)
        self.xy += weight * power_w * row
        self.yy += weight * power_w**2
        self.weight += weight
        self.count += 1.0

    def scale(self, factor: float) -> None:
        """Let everything count so much."""
        self.xx *= factor
        self.xy *= factor
        self.yy *= factor
        self.weight *= factor
        self.count *= factor

    def plus(self, other: Moments, sign: float) -> Moments:
        """Return the sum with, or less, other moments."""
        return Moments(
            self.xx + sign * other.xx,
            self.xy + sign * other.xy,
            self.yy + sign * other.yy,
            self.weight + sign * other.weight,
            self.count + sign * other.count,
        )

    def grow(self) -> None:
        """Make room for one more regressor, last."""
        self.xx = np.pad(self.xx, (0, 1))
        self.xy = np.append(self.xy, 0.0)

    def insert(self, at: int, number: int) -> None:
        """Make room for regressors before one."""
        rows = np.insert(self.xx, [at] * number, 0.0, axis=0)
        self.xx = np.insert(rows, [at] * number, 0.0, axis=1)
        self.xy = np.insert(self.xy, [at] * number, 0.0)

    def seen_by(self, turned: _Floats) -> Moments:
        """Return the moments of other regressors, linear combinations of these."""
        xx = turned @ self.xx @ turned.T
        return Moments(xx, turned @ self.xy, self.yy, self.weight, self.count)

    def merge(self, column: int, into: int) -> None:
        """Add one regressor to another, as if they had been one from the beginning."""
        self.xx[into] += self.xx[column]
        self.xx[:, into] += self.xx[:, column]
        self.xy[into] += self.xy[column]
        self.xx = np.delete(np.delete(self.xx, column, axis=0), column, axis=1)
        self.xy = np.delete(self.xy, column)

    def residue(self, fit: _Floats) -> float:
        """Return the weighted sum of squares that a fit leaves."""
        return max(0.0, float(self.yy - 2 * fit @ self.xy + fit @ self.xx @ fit))


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
