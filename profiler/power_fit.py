"""The regression behind `power_model`: its priors, its evidence, and what it concludes.

Everything is a pure function of moments (weighted sums of products of regressors and power).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .hypotheses import Belief, Noise, Posterior, conclude
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
        places: Where each name stands among the names.
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
    places: Mapping[str, int]


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
        _places(columns),
    )


def _places(names: Iterable[str]) -> Mapping[str, int]:
    return {name: at for at, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Regression:
    """Where the regression stands; the next one starts from here."""

    curve: Curve
    mean: _Floats
    idle_w: float
    slope_w: float
    noise: float
    drift: float
    unlikeness: float
    bent: float

    def fit(
        self,
        covariance: _Floats,
        columns: Mapping[str, int],
        signals: int,
        typical: _Floats,
        lowest_w: float,
        highest_w: float,
        lowest_load: float,
        devices: int,
    ) -> Fit:
        """Return the conclusions, consumers in the columns' order.

        Args:
            covariance: Of the mean, from `regress`; it is taken over.
            columns: Of each consumer: the last ones, one after the other.
            signals: How many signals there are.
            typical: See `Fit`.
            lowest_w: Lowest power observed.
            highest_w: Highest power observed.
            lowest_load: Lowest load observed.
            devices: How many devices are taken together.
        """
        # At rest the device is as warm as its idle power keeps it.
        warm = BASE - 1
        covariance[0] += self.idle_w * covariance[warm]
        covariance[:, 0] += self.idle_w * covariance[:, warm]
        # What lies between rest and the least load ever seen is extrapolated.
        beyond = self.curve.regressors(lowest_load)[1:] @ self.mean[1:BASE]
        covariance[0, 0] += (_BEYOND_RATIO * float(beyond)) ** 2
        mean_w = float(self.mean[0] + self.idle_w * self.mean[warm])
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
        # Idle power takes the place of the last that is nobody's: no copy of the rest is made.
        covariance[warm], covariance[:, warm] = covariance[0], covariance[:, 0]
        covariance[warm, warm] = covariance[0, 0]
        kept = covariance[warm:, warm:]
        kept[1:] /= self.slope_w
        kept[:, 1:] /= self.slope_w
        return Fit(
            idle,
            tuple(columns),
            np.maximum(_LEAST, 1 + self.mean[BASE + signals :] / self.slope_w),
            self.mean[BASE : BASE + signals] / self.slope_w,
            kept,
            self.unlikeness,
            _BENT_RATIO * self.bent * devices,
            math.sqrt(self.noise),
            typical,
            _places(columns),
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
    observations: int,
    start: Regression | None,
    steps: int,
) -> tuple[Regression, _Floats]:
    """Fit power to work, and return where the regression stands and the covariance of its mean.

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
        observations: How many there were.
        start: Where the last regression ended.
        steps: How many steps.
    """
    now = start or Regression(
        curve=curve,
        mean=np.zeros(0),
        idle_w=max(0.7 * lowest_w, _LEAST_IDLE * highest_w),
        slope_w=max(highest_w - lowest_w, 0.2 * highest_w),
        noise=(_NOISE[0] * highest_w) ** 2,
        drift=(_DRIFT[0] * highest_w) ** 2,
        unlikeness=0.0,
        bent=0.0,
    )
    expected = Noise((_NOISE[0] * highest_w) ** 2, (_DRIFT[0] * highest_w) ** 2)
    for _ in range(steps):
        found = conclude(
            within,
            between,
            belief=_believed(now, prior, signals, highest_w),
            noise=Noise(now.noise, now.noise / block_s + now.drift),
            expected=expected,
            observations=observations,
        )
        now = _next(now, found, between, lowest_w, highest_w, block_s)
    return now, found.covariance()


def _believed(now: Regression, prior: Prior, signals: int, highest_w: float) -> Belief:
    mean, precision = np.zeros(BASE + signals), np.zeros(BASE + signals)
    precision[1] = 1 / (_SLOPE_RATIO * highest_w) ** 2
    wake = slice(2, 2 + len(WAKE_UNITS))
    mean[wake] = prior.wake[0] * now.idle_w
    precision[wake] = 1 / (prior.wake[1] * now.idle_w) ** 2
    precision[wake.stop : BASE - 1] = 1 / (prior.bend * now.slope_w) ** 2
    mean[BASE - 1], precision[BASE - 1] = prior.warmth[0], 1 / prior.warmth[1] ** 2
    precision[BASE:] = 1 / (_SIGNAL_RATIO * now.slope_w) ** 2
    return Belief(mean, precision, 1 / now.slope_w**2)


def _next(
    now: Regression,
    found: Posterior,
    between: Moments,
    lowest_w: float,
    highest_w: float,
    block_s: float,
) -> Regression:
    """Return where the regression stands after what was found."""
    weights = found.weights
    mixed: _Floats = weights @ np.array(found.fits)
    within = float(weights @ [one.within for one in found.noises])
    drift = float(weights @ [one.between for one in found.noises])
    noise = max(within, (_NOISE[1] * highest_w) ** 2)
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
        idle_w=max(min(rest_w, lowest_w), _LEAST_IDLE * highest_w),
        slope_w=slope_w,
        noise=noise,
        drift=max(drift - noise / block_s, (_DRIFT[1] * highest_w) ** 2),
        unlikeness=math.sqrt(float(weights @ np.square(found.unlikeness))),
        bent=bent,
    )
