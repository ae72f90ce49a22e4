"""The intervals of shares: what is not known of a device, of its idle power, and of unlike work.

`attribution` says what the shares are for; here they are computed with their doubt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .parts import Parts
from .power_fit import SYSTEM, Fit
from .quantities import Energy, Provenance, apportioned

__all__ = ["ESTIMATED_ACTIVE_FACTOR", "Bounds", "Margin", "Split", "split_work"]

_Floats = NDArray[np.float64]

ESTIMATED_ACTIVE_FACTOR = 1.5
"""A model knows what load adds less well than the whole, of which idle is a large part: for the
active part of an estimate both ends of the interval move by this factor. 95 % of the recorded
loads of five machines then lie inside."""

_LEAST_RATIO = 0.05
"""Of the common power per work: nobody works for nothing, whatever was learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Shares of the active energy, `system` first, and what is not known about them.

    Args:
        fit: What was learned.
        shares: Of `system` and each consumer; they sum to 1, or are 0 without any work.
        doubt: Variance of each share: unlike work, and what the curve gives to nobody alone.
        with_idle: Covariance of each share with the idle power, in watts.
    """

    fit: Fit
    shares: _Floats
    doubt: _Floats
    with_idle: _Floats


def split_work(
    fit: Fit,
    work_s: Mapping[str, float],
    system_s: float,
    signals: Mapping[str, tuple[float, ...]],
) -> Split:
    """Share active energy by work, each weighed by what was learned of its consumer.

    Consumers that were never seen are alike, but for their unlikeness.
    """
    at = np.array([fit.places[SYSTEM], *(fit.places.get(name, -1) for name in work_s)])
    seen = at >= 0
    work = np.array([max(0.0, system_s), *work_s.values()])
    excess = _excess(fit, work_s, signals)
    weights = work * np.where(seen, fit.ratios[at], 1.0) + excess @ fit.signal_ratios
    weights = np.maximum(weights, _LEAST_RATIO * work)
    whole = weights.sum()
    if whole <= 0:
        nothing = np.zeros(len(at))
        return Split(fit=fit, shares=nothing, doubt=nothing, with_idle=nothing)
    shares = weights / whole
    unlike, with_idle = _doubts(fit, at, work / whole, excess / whole, shares)
    bent = fit.bent_ratio * shares * (1 - shares)
    return Split(
        fit=fit,
        shares=shares,
        doubt=np.maximum(unlike, 0.0) + bent**2,
        with_idle=with_idle,
    )


def _excess(
    fit: Fit, work_s: Mapping[str, float], signals: Mapping[str, tuple[float, ...]]
) -> _Floats:
    """Return each consumer's signals over the typical ones of its work, `system` first."""
    known = len(fit.signal_ratios)
    excess = np.zeros((1 + len(work_s), known))
    rows = [row for row, name in enumerate(work_s, start=1) if name in signals]
    if rows and known:
        names = [name for name in work_s if name in signals]
        spent_s = np.array([work_s[name] for name in names])
        excess[rows] = np.array([signals[name] for name in names]) / fit.typical - spent_s[:, None]
    return excess


def _doubts(
    fit: Fit, at: NDArray[np.intp], work: _Floats, excess: _Floats, shares: _Floats
) -> tuple[_Floats, _Floats]:
    """Return the variance of each share, and its covariance with the idle power.

    A weight moves with its consumer's ratio (as its work) and with the signals' ratios (as its
    excess); a share, with that less its share of what moves them all. So no more is needed than
    the covariance's diagonal and its product with what moves them all.

    Args:
        fit: What was learned.
        at: Where each stands in the fit; less than 0 if it was never seen.
        work: Of each, over the sum of all weights.
        excess: Of each, over the same.
        shares: Of each.
    """
    covariance, first = fit.covariance, 1 + excess.shape[1]
    seen, known = at >= 0, slice(1, first)
    columns = at[seen] + first
    moved = np.zeros(len(covariance))
    moved[known], moved[columns] = excess.sum(axis=0), work[seen]
    with_all = covariance @ moved
    stranger = np.where(seen, 0.0, fit.unlikeness**2)
    # Of each weight: its variance, its covariance with all weights' sum, and with idle power.
    own = stranger * work**2 + ((excess @ covariance[known, known]) * excess).sum(axis=1)
    own[seen] += work[seen] ** 2 * covariance.diagonal()[columns]
    own[seen] += 2 * work[seen] * (excess[seen].T * covariance[known, columns]).sum(axis=0)
    common = stranger * work**2 + excess @ with_all[known]
    common[seen] += work[seen] * with_all[columns]
    idle = excess @ covariance[known, 0]
    idle[seen] += work[seen] * covariance[columns, 0]
    whole = float(moved @ with_all) + float(stranger @ work**2)
    unlike = own - 2 * shares * common + shares**2 * whole
    return unlike, idle - shares * float(moved @ covariance[:, 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Parts with their intervals, and the half-width of each that is chance of this time alone."""

    value_j: _Floats
    low_j: _Floats
    high_j: _Floats
    random_j: _Floats
    provenance: Provenance

    def energy(self, at: int) -> Energy:
        """Return one part."""
        return Energy(
            value_j=float(self.value_j[at]),
            low_j=float(self.low_j[at]),
            high_j=float(self.high_j[at]),
            provenance=self.provenance,
        )

    def parts(self, first: int, names: tuple[str, ...]) -> Parts:
        """Return the parts from the first on, by these names."""
        return Parts(
            names=names,
            value_j=self.value_j[first:],
            low_j=self.low_j[first:],
            high_j=self.high_j[first:],
            ranks=np.full(len(names), Parts.rank(self.provenance)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """Gives each part its interval.

    Four errors meet in a part. The device's energy: for a sensor an amount of joules that could
    belong to any part; for an estimate a factor common to all parts, wider for the active one.
    The idle power and the shares, from the regression. The counted work, from its resolution.
    """

    energy: Energy
    idle_j: float
    duration_s: float
    edge_j: float
    work_noise: float
    split: Split

    def parts(self, idle_shares: _Floats, work_shares: _Floats) -> Bounds:
        """Return each part, idle first."""
        active_j = self.energy.value_j - self.idle_j
        idle = self.split.fit.idle
        # The first part is idle itself, which has no share in the work.
        doubt = np.append(0.0, self.split.doubt) * active_j**2
        cross = np.append(0.0, self.split.with_idle) * active_j * self.duration_s
        # What idle takes, active lacks: a part that bears both in one share does not feel it.
        swing = idle_shares - work_shares
        known_w = 1.96 * math.sqrt(max(0.0, float(self.split.fit.covariance[0, 0])))
        up_j = max(0.0, idle.high_w * self.duration_s - self.idle_j)
        down_j = max(0.0, self.idle_j - idle.low_w * self.duration_s)

        def model_j(idle_j: _Floats) -> _Floats:
            """Combine idle power and shares, where idle may be off by so much."""
            cut = idle_j / (known_w * self.duration_s) if known_w > 0 else 0.0 * idle_j
            both = 1.96**2 * (doubt + 2 * np.minimum(cut, 1.0) * swing * cross)
            combined: _Floats = np.sqrt(np.maximum(both + (swing * idle_j) ** 2, 0.0))
            return combined

        rises = np.where(swing > 0, up_j, down_j)
        falls = np.where(swing > 0, down_j, up_j)
        wider_j, lower_j = model_j(rises), model_j(falls)
        # The node's rest is rounded to a tick at both ends; it is nobody's but the workers'.
        rounding_j = work_shares * self.work_noise * active_j
        rounding_j[0] = 0.0
        device_low_j, device_high_j = self._device(idle_shares, work_shares)
        value_j = idle_shares * self.idle_j + work_shares * active_j
        top_j = value_j + np.sqrt(device_high_j**2 + wider_j**2 + rounding_j**2)
        bottom_j = value_j - np.sqrt(device_low_j**2 + lower_j**2 + rounding_j**2)
        edge_j = np.maximum(idle_shares, work_shares) * self.edge_j
        return Bounds(
            value_j=value_j,
            low_j=np.maximum(0.0, bottom_j),
            high_j=np.minimum(top_j, np.maximum(self.energy.high_j, value_j)),
            random_j=np.hypot(rounding_j, edge_j),
            provenance=apportioned(self.energy.provenance),
        )

    def _device(self, idle_share: _Floats, work_share: _Floats) -> tuple[_Floats, _Floats]:
        """Return how far the device's own error moves each part, down and up, in joules."""
        whole = self.energy
        if whole.provenance is not Provenance.ESTIMATED or whole.value_j == 0:
            share = np.maximum(idle_share, work_share)
            return share * (whole.value_j - whole.low_j), share * (whole.high_j - whole.value_j)
        idle_j = idle_share * self.idle_j
        active_j = work_share * (whole.value_j - self.idle_j)
        low, high = whole.low_j / whole.value_j, whole.high_j / whole.value_j
        wide = ESTIMATED_ACTIVE_FACTOR
        return (
            idle_j * (1 - low) + active_j * (1 - low / wide),
            idle_j * (high - 1) + active_j * (high * wide - 1),
        )
