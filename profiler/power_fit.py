"""The regression behind `power_model`: its priors, its evidence, and what it concludes.

Everything is a pure function of moments (weighted sums of products of regressors and power).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .mean_range import MEAN_S
from .moments import BASE, WAKE_UNITS, Curve, Moments

__all__ = [
    "GONE",
    "LINE",
    "PLAIN",
    "PROCESSOR",
    "SYSTEM",
    "Fit",
    "IdlePower",
    "Prior",
    "Regression",
    "blank",
    "regress",
]

_Floats = NDArray[np.float64]

SYSTEM = ""
"""The name of all work that nobody named."""

GONE = "\0gone"
"""The name of all work of consumers that are forgotten: it counts, and is nobody's any more."""

UNLIKENESS = ((0.04, 0.2), (0.08, 0.3), (0.16, 0.25), (0.32, 0.15), (0.64, 0.1))
"""How unlike consumers' work may be, as the standard deviation of their power per unit of work,
and what each is believed before anything was seen. Measured services on one core type differ from
a few percent (alike) to a factor of two (memory-bound beside vector code)."""

_SLOPE_RATIO = 10.0
"""Full load may add up to about this many times the power seen so far (one deviation)."""

_SIGNAL_RATIO = 1.0
"""A signal twice the typical one changes the power of work by about this (one deviation)."""

_BENT_RATIO = 0.12
"""What the curve adds beyond its slope belongs to nobody alone: how much more of it one consumer
bears than its share of work, in deviations of that part."""

_NOISE = (0.01, 0.003)
"""Noise of a second's mean power, as a part of the highest: what is expected, and the least."""

_DRIFT = (0.01, 0.003)
"""Noise of minutes' means, likewise."""

_LEAST_IDLE = 0.01
"""Of the highest power: a smaller idle power still lets waking up cost something."""

_BEYOND_RATIO = 0.6
"""So much of what the curve says below the least load ever seen may be wrong (one deviation): the
least with which intervals hold the idle power of every recorded machine never seen at rest."""

_LOW_BY = 3.0
"""So many deviations the lowest of some hundred means lies below the truth."""

_EXPECTED = 3.0
"""The expected noise counts as much as so many observations."""

_LEAST = 0.05
"""Of the common slope, or of a consumer's power per work: never less, whatever was fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed of a kind of device before anything was seen; means and deviations.

    Args:
        wake: What waking up costs at each foot of the curve, over the idle power.
        bend: By how much of its mean slope the curve bends where it may (deviation).
        warmth: What the device leaks for each watt of the last minute's power.
    """

    wake: tuple[float, float]
    bend: float
    warmth: tuple[float, float]


PROCESSOR = Prior(wake=(0.2, 0.3), bend=1.0, warmth=(0.03, 0.03))
"""Five recorded machines draw 0 to 4 times their idle power more as soon as anything works, half
of them less than 0.6 times, and bend to less than a third of their first slope."""

PLAIN = Prior(wake=(0.0, 0.05), bend=0.5, warmth=(0.0, 0.03))
"""Memory and accelerators do not wake up at a moment's work, or not that anybody recorded."""

LINE = Prior(wake=(0.0, 0.01), bend=0.01, warmth=(0.0, 0.001))
"""An estimate is a line by its making."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePower:
    """Idle power with its 95 % interval, in watts."""

    value_w: float
    low_w: float
    high_w: float


@dataclass(frozen=True, slots=True)
class Fit:
    """What was learned: idle power, and each consumer's power per unit of work over the common.

    Args:
        idle: The idle power.
        names: The consumers, `SYSTEM` first, and `GONE` if any are forgotten.
        ratios: Of each consumer; 1 is the common power per unit of work.
        signal_ratios: What each signal's excess over the typical adds to a consumer's work.
        covariance: Of idle power (watts), signal ratios and consumers' ratios, in that order.
        unlikeness: Deviation of a consumer's ratio that was never seen.
        bent_ratio: Deviation of a share that comes from the curve alone.
        noise_w: Noise of a second's mean power.
        typical: Each signal per unit of work whose excess is 0.
    """

    idle: IdlePower
    names: tuple[str, ...]
    ratios: _Floats
    signal_ratios: _Floats
    covariance: _Floats
    unlikeness: float
    bent_ratio: float
    noise_w: float
    typical: _Floats

    def admitting(self, names: Mapping[str, object]) -> Fit:
        """Return the same with consumers that were never seen, alike but for their unlikeness."""
        new = tuple(name for name in names if name not in self.names)
        if not new:
            return self
        width = len(self.covariance)
        covariance = np.zeros((width + len(new), width + len(new)))
        covariance[:width, :width] = self.covariance
        covariance[range(width, width + len(new)), range(width, width + len(new))] = (
            self.unlikeness**2
        )
        return Fit(
            self.idle,
            (*self.names, *new),
            np.append(self.ratios, np.ones(len(new))),
            self.signal_ratios,
            covariance,
            self.unlikeness,
            self.bent_ratio,
            self.noise_w,
            self.typical,
        )


def blank(columns: Mapping[str, int], signals: int) -> Fit:
    """Return the fit of a device that is off."""
    width = 1 + signals + len(columns)
    return Fit(
        IdlePower(value_w=0.0, low_w=0.0, high_w=0.0),
        tuple(columns),
        np.ones(len(columns)),
        np.zeros(signals),
        np.zeros((width, width)),
        0.0,
        0.0,
        0.0,
        np.full(signals, math.inf),
    )


@dataclass(frozen=True, slots=True)
class Regression:
    """Where the regression stands; the next one starts from here."""

    curve: Curve
    mean: _Floats
    covariance: _Floats
    idle_w: float
    slope_w: float
    noise: float
    drift: float
    unlikeness: float
    bent: float

    def fit(
        self,
        columns: Mapping[str, int],
        signals: int,
        typical: _Floats,
        lowest_w: float,
        highest_w: float,
        lowest_load: float,
        devices: int,
    ) -> Fit:
        """Return the conclusions, consumers in the columns' order; for arguments see `Fit`."""
        # At rest the device is as warm as its idle power keeps it.
        at_rest = np.eye(len(self.mean))
        at_rest[0, BASE - 1] = self.idle_w
        covariance = at_rest @ self.covariance @ at_rest.T
        # What lies between rest and the least load ever seen is extrapolated.
        beyond = self.curve.regressors(lowest_load)[1:] @ self.mean[1:BASE]
        covariance[0, 0] += (_BEYOND_RATIO * float(beyond)) ** 2
        mean_w = float((at_rest @ self.mean)[0])
        half_w = 1.96 * math.sqrt(max(0.0, float(covariance[0, 0])))
        # The lowest power was drawn under some load or none, but it was measured with noise, and
        # of many means the lowest lies low. Noise is less where power is.
        less = lowest_w / highest_w
        value_w = min(max(0.0, mean_w), lowest_w + _LOW_BY * less * math.sqrt(self.noise / MEAN_S))
        top_w = lowest_w + _LOW_BY * less * math.sqrt(self.noise / MEAN_S + self.drift)
        idle = IdlePower(
            value_w=value_w,
            low_w=min(max(0.0, mean_w - half_w), value_w),
            high_w=max(value_w, min(mean_w + half_w, top_w)),
        )
        at = list(columns.values())
        keep = [0, *range(BASE, BASE + signals), *at]
        unit = np.full(len(keep), 1 / self.slope_w)
        unit[0] = 1.0
        return Fit(
            idle,
            tuple(columns),
            np.maximum(_LEAST, 1 + self.mean[at] / self.slope_w),
            self.mean[BASE : BASE + signals] / self.slope_w,
            covariance[np.ix_(keep, keep)] * np.outer(unit, unit),
            self.unlikeness,
            _BENT_RATIO * self.bent * devices,
            math.sqrt(self.noise),
            typical,
        )


def regress(
    within: Moments,
    between: Moments,
    *,
    prior: Prior,
    curve: Curve,
    signals: int,
    lowest_w: float,
    highest_w: float,
    block_s: float,
    start: Regression | None,
    steps: int,
) -> Regression:
    """Fit power to work.

    The noise decides how much the priors count, and the fit the noise: a few steps settle both.

    Args:
        within: Moments about the mean of each block of time.
        between: Moments of the blocks' means.
        prior: What is believed of such a device.
        curve: The curve that made the regressors.
        signals: How many signals there are.
        lowest_w: Lowest power observed.
        highest_w: Highest power observed.
        block_s: How long a block is.
        start: Where the last regression ended.
        steps: How many steps.
    """
    now = start or Regression(
        curve=curve,
        mean=np.zeros(0),
        covariance=np.zeros((0, 0)),
        idle_w=max(0.7 * lowest_w, _LEAST_IDLE * highest_w),
        slope_w=max(highest_w - lowest_w, 0.2 * highest_w),
        noise=(_NOISE[0] * highest_w) ** 2,
        drift=(_DRIFT[0] * highest_w) ** 2,
        unlikeness=0.0,
        bent=0.0,
    )
    for _ in range(steps):
        now = _step(now, prior, within, between, signals, lowest_w, highest_w, block_s)
    return now


def _believed(
    now: Regression, prior: Prior, width: int, signals: int, highest_w: float
) -> tuple[_Floats, _Floats]:
    """Return the prior's means and precisions, those of the consumers still for unlikeness 1."""
    mean, precision = np.zeros(width), np.zeros(width)
    precision[1] = 1 / (_SLOPE_RATIO * highest_w) ** 2
    wake = slice(2, 2 + len(WAKE_UNITS))
    mean[wake] = prior.wake[0] * now.idle_w
    precision[wake] = 1 / (prior.wake[1] * now.idle_w) ** 2
    precision[wake.stop : BASE - 1] = 1 / (prior.bend * now.slope_w) ** 2
    mean[BASE - 1], precision[BASE - 1] = prior.warmth[0], 1 / prior.warmth[1] ** 2
    precision[BASE : BASE + signals] = 1 / (_SIGNAL_RATIO * now.slope_w) ** 2
    precision[BASE + signals :] = 1 / now.slope_w**2
    return mean, precision


def _step(
    now: Regression,
    prior: Prior,
    within: Moments,
    between: Moments,
    signals: int,
    lowest_w: float,
    highest_w: float,
    block_s: float,
) -> Regression:
    mean, precision = _believed(now, prior, len(within.xy), signals, highest_w)
    drift = now.noise / block_s + now.drift
    data = within.xx / now.noise + between.xx / drift
    told = within.xy / now.noise + between.xy / drift
    fits, covariances, evidence, noises, drifts = [], [], [], [], []
    for unlikeness, belief in UNLIKENESS:
        believed = precision.copy()
        believed[BASE + signals :] /= unlikeness**2
        whole = data + np.diag(believed)
        covariance = np.linalg.inv(whole)
        fit = covariance @ (told + believed * mean)
        off = fit - mean
        left, left_between = within.residue(fit), between.residue(fit)
        surprise = np.linalg.slogdet(whole)[1] - np.log(believed[1:]).sum()
        surprise += left / now.noise + left_between / drift + believed @ off**2
        spent = float((covariance * within.xx).sum()) / now.noise
        spent_between = float((covariance * between.xx).sum()) / drift
        fits.append(fit)
        covariances.append(covariance)
        evidence.append(math.log(belief) - 0.5 * float(surprise))
        noises.append(_pooled(left, within.count - spent, _NOISE[0] * highest_w))
        drifts.append(_pooled(left_between, between.weight - spent_between, _DRIFT[0] * highest_w))
    weights = np.exp(np.array(evidence) - max(evidence))
    weights /= weights.sum()
    mixed = weights @ np.array(fits)
    covariance = sum(
        weight * (one + np.outer(fit - mixed, fit - mixed))
        for weight, one, fit in zip(weights, covariances, fits, strict=True)
    )
    noise = max(float(weights @ noises), (_NOISE[1] * highest_w) ** 2)
    load = float(between.xx[0, 1] / between.weight)
    line = Curve(now.curve.capacity, mixed[:BASE])
    active_w = float(mixed[1:BASE] @ line.regressors(load)[1:])
    slope_w, bent = now.slope_w, 0.5
    if load > 1e-3:
        slope_w = max(line.chord_w(load), _LEAST * highest_w)
        bent = min(1.0, max(0.0, 1 - line.slope_w(load) * load / max(active_w, 1e-9)))
    rest_w = float(mixed[0] + mixed[BASE - 1] * now.idle_w)
    return Regression(
        curve=line.at_slope(slope_w),
        mean=mixed,
        covariance=np.asarray(covariance),
        idle_w=max(min(rest_w, lowest_w), _LEAST_IDLE * highest_w),
        slope_w=slope_w,
        noise=noise,
        drift=max(float(weights @ drifts) - noise / block_s, (_DRIFT[1] * highest_w) ** 2),
        unlikeness=math.sqrt(float(weights @ [u**2 for u, _ in UNLIKENESS])),
        bent=bent,
    )


def _pooled(left: float, freedom: float, expected: float) -> float:
    """Return the noise that residues show, with what was expected of it."""
    return (left + _EXPECTED * expected**2) / (max(0.0, freedom) + _EXPECTED)
