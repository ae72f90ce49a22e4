"""What each hypothesis of how unlike consumers are concludes from moments, and how likely it is.

A hypothesis is a deviation of consumers' power per unit of work. Bayesian linear regression gives
its conclusions, and its evidence (MacKay 1992).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .moments import Moments
from .ridges import Equations, Mixture, Ridges, ridges

__all__ = ["UNLIKENESS", "Belief", "Noise", "Posterior", "conclude"]

_Floats = NDArray[np.float64]

UNLIKENESS = ((0.08, 0.3), (0.16, 0.25), (0.04, 0.2), (0.32, 0.15), (0.64, 0.1))
"""How unlike consumers' work may be, as the standard deviation of their power per unit of work,
and what each is believed before anything was seen. Measured services on one core type differ from
a few percent (alike) to a factor of two (memory-bound beside vector code). The likeliest first."""

_OUT_OF_THE_QUESTION = 1e-9
"""A hypothesis so much less likely than another is left out: it would change nothing."""

_EXPECTED = 3.0
"""The expected noise counts as much as so many observations."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed before anything was seen.

    Args:
        mean: Of what is nobody's; that of consumers is 0.
        precision: Of what is nobody's; none of the first.
        consumer: Precision of each consumer, were their unlikeness 1.
    """

    mean: _Floats
    precision: _Floats
    consumer: float


@dataclass(frozen=True, slots=True)
class Noise:
    """Variances of the power of one observation within a block, and of a block's mean."""

    within: float
    between: float


@dataclass(slots=True)
class Posterior:
    """What each possible hypothesis concludes; the mixture gathers their covariances."""

    inverses: Ridges
    mixture: Mixture = field(default_factory=Mixture)
    unlikeness: list[float] = field(default_factory=list)
    evidence: list[float] = field(default_factory=list)
    fits: list[_Floats] = field(default_factory=list)
    noises: list[Noise] = field(default_factory=list)

    @property
    def weights(self) -> _Floats:
        """How likely each is; they sum to 1."""
        weights = np.exp(np.array(self.evidence) - max(self.evidence))
        found: _Floats = weights / weights.sum()
        return found

    def covariance(self) -> _Floats:
        """Return the covariance of all together: of each, and of their means."""
        weights, fits = self.weights, np.array(self.fits)
        off = fits - weights @ fits
        covariance = self.inverses.whole(self.mixture.mean())
        covariance += (off.T * weights) @ off
        return covariance


def conclude(
    within: Moments,
    between: Moments,
    *,
    belief: Belief,
    noise: Noise,
    expected: Noise,
    observations: int,
) -> Posterior:
    """Let each hypothesis conclude.

    Args:
        within: Moments about the mean of each block of time; first of what is nobody's.
        between: Moments of the blocks' means.
        belief: What is believed of the regressors.
        noise: The noise as it is taken to be now.
        expected: The noise that is expected.
        observations: How many there were.
    """
    base, width = len(belief.mean), len(within.xy)
    data = within.xx / noise.within
    data += between.xx / noise.between
    told = within.xy / noise.within + between.xy / noise.between
    power = within.yy / noise.within + between.yy / noise.between
    pull = belief.precision * belief.mean
    equations = Equations(xx=data, xy=told, yy=power, precision=belief.precision, pull=pull)
    precisions = [belief.consumer / unlikeness**2 for unlikeness, _ in UNLIKENESS]
    found = Posterior(ridges(equations, between.xx, rank=observations, least=min(precisions)))
    certain = float(np.log(belief.precision[1:]).sum())
    fixed, traced = [], []
    for precision, (unlikeness, chance) in zip(precisions, UNLIKENESS, strict=True):
        solution = found.inverses.at(precision)
        fit, off, strays = solution.fit, solution.fit[:base] - belief.mean, solution.fit[base:]
        surprise = solution.log_det - certain - (width - base) * math.log(precision)
        # What the fit leaves of the data and of the beliefs, but for what is the same for all.
        surprise += float(fit @ (data @ fit) - 2 * fit @ told)
        surprise += float(belief.precision @ off**2 + precision * (strays @ strays))
        evidence = math.log(chance) - 0.5 * surprise
        if evidence < max(found.evidence, default=evidence) + math.log(_OUT_OF_THE_QUESTION):
            continue
        inverse = solution.doubt()
        found.mixture.add(inverse.parts, evidence)
        found.unlikeness.append(unlikeness)
        found.evidence.append(evidence)
        found.fits.append(fit)
        fixed.append(inverse.fixed)
        traced.append(inverse.traced)
    fits = np.array(found.fits)
    left = zip(within.residues(fits), between.residues(fits), strict=True)
    for n, (inside, outside) in enumerate(left):
        spent_between = traced[n] / noise.between
        # What the data fixes and what the beliefs fix add up to all there is.
        freedom = within.count - (width - fixed[n] - spent_between)
        found.noises.append(
            Noise(
                _pooled(inside, freedom, expected.within),
                _pooled(outside, between.weight - spent_between, expected.between),
            )
        )
    return found


def _pooled(left: float, freedom: float, expected: float) -> float:
    """Return the noise that residues show, with what was expected of it."""
    return (left + _EXPECTED * expected) / (max(0.0, freedom) + _EXPECTED)
