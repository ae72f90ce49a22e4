"""The intervals of shares: what is not known of a device, of its idle power, and of unlike work.

`attribution` says what the shares are for; here they are computed with their doubt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .power_fit import SYSTEM, Fit
from .quantities import Energy, Provenance

__all__ = ["ESTIMATED_ACTIVE_FACTOR", "Margin", "Split", "split_work"]

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
        gradient: Of each share, by idle power (0), signal ratios and consumers' ratios.
    """

    fit: Fit
    shares: _Floats
    gradient: _Floats

    @property
    def doubt(self) -> _Floats:
        """Variance of each share: unlike work, and what the curve gives to nobody alone."""
        unlike = ((self.gradient @ self.fit.covariance) * self.gradient).sum(axis=1)
        bent = self.fit.bent_ratio * self.shares * (1 - self.shares)
        doubt: _Floats = np.maximum(unlike, 0.0) + bent**2
        return doubt

    @property
    def with_idle(self) -> _Floats:
        """Covariance of each share with the idle power, in watts."""
        together: _Floats = self.gradient @ self.fit.covariance[:, 0]
        return together


def split_work(
    fit: Fit,
    work_s: Mapping[str, float],
    system_s: float,
    signals: Mapping[str, tuple[float, ...]],
) -> Split:
    """Share active energy by work, each weighed by what was learned of its consumer."""
    at = [fit.names.index(SYSTEM), *(fit.names.index(name) for name in work_s)]
    work = np.array([max(0.0, system_s), *work_s.values()])
    known = len(fit.signal_ratios)
    excess = np.zeros((len(at), known))
    for row, (name, spent_s) in enumerate(work_s.items(), start=1):
        if name in signals and known:
            excess[row] = np.array(signals[name]) / fit.typical - spent_s
    weights = work * fit.ratios[at] + excess @ fit.signal_ratios
    weights = np.maximum(weights, _LEAST_RATIO * work)
    whole = weights.sum()
    gradient = np.zeros((len(at), len(fit.covariance)))
    if whole <= 0:
        return Split(fit=fit, shares=np.zeros(len(at)), gradient=gradient)
    shares = weights / whole
    gradient[:, 1 : 1 + known] = (excess - np.outer(shares, excess.sum(axis=0))) / whole
    columns = np.array(at) + 1 + known
    gradient[:, columns] = (np.diag(work) - np.outer(shares, work)) / whole
    return Split(fit=fit, shares=shares, gradient=gradient)


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

    def parts(self, idle_shares: _Floats, work_shares: _Floats) -> list[tuple[Energy, float]]:
        """Return each part, idle first, and the half-width that is chance of this time alone."""
        active_j = self.energy.value_j - self.idle_j
        idle = self.split.fit.idle
        # The first part is idle itself, which has no share in the work.
        doubt = np.array([0.0, *self.split.doubt]) * active_j**2
        cross = np.array([0.0, *self.split.with_idle]) * active_j * self.duration_s
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
        found = []
        for n, (idle_share, work_share) in enumerate(zip(idle_shares, work_shares, strict=True)):
            # The node's rest is rounded to a tick at both ends; it is nobody's but the workers'.
            rounding_j = 0.0 if n == 0 else work_share * self.work_noise * active_j
            low_j, high_j = self._device(float(idle_share), float(work_share))
            value_j = float(idle_share) * self.idle_j + float(work_share) * active_j
            top_j = value_j + math.hypot(high_j, float(wider_j[n]), rounding_j)
            part = Energy(
                value_j=value_j,
                low_j=max(0.0, value_j - math.hypot(low_j, float(lower_j[n]), rounding_j)),
                high_j=min(top_j, max(self.energy.high_j, value_j)),
                provenance=_apportioned(self.energy.provenance),
            )
            edge_j = max(idle_share, work_share) * self.edge_j
            found.append((part, math.hypot(rounding_j, float(edge_j))))
        return found

    def _device(self, idle_share: float, work_share: float) -> tuple[float, float]:
        """Return how far the device's own error moves a part, down and up, in joules."""
        whole = self.energy
        if whole.provenance is not Provenance.ESTIMATED or whole.value_j == 0:
            share = max(idle_share, work_share)
            return share * (whole.value_j - whole.low_j), share * (whole.high_j - whole.value_j)
        idle_j = idle_share * self.idle_j
        active_j = work_share * (whole.value_j - self.idle_j)
        low, high = whole.low_j / whole.value_j, whole.high_j / whole.value_j
        wide = ESTIMATED_ACTIVE_FACTOR
        return (
            idle_j * (1 - low) + active_j * (1 - low / wide),
            idle_j * (high - 1) + active_j * (high * wide - 1),
        )


def _apportioned(provenance: Provenance) -> Provenance:
    """Return what a share of such a whole is: an estimate's share remains an estimate."""
    estimated = provenance is Provenance.ESTIMATED
    return Provenance.ESTIMATED if estimated else Provenance.APPORTIONED
