"""Equations with ridges: whichever way they are solved, the solution is that of the textbook."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from joulery.profiler.ridges import Equations, Mixture, ridges

ROUNDING = 1e-6
"""Of the largest: what is left of sixteen digits where matrices span nine orders of magnitude."""

RIDGES = (0.05, 3.0, 0.4)
WEIGHTS = (0.2, 0.5, 0.3)


def alike(found: ArrayLike, expected: ArrayLike) -> bool:
    """Whether two results differ by rounding only."""
    largest = np.abs(expected).max()
    return bool(np.abs(np.subtract(found, expected)).max() <= ROUNDING * largest)


@given(
    consumers=st.integers(1, 120),
    seen=st.integers(2, 60),
    understated=st.integers(0, 30),
    loudness=st.sampled_from([1.0, 30.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_way_leads_to_the_same(
    consumers: int, seen: int, understated: int, loudness: float, seed: int
) -> None:
    """Of high rank or low, and even if less of it is said than there is, solutions are exact."""
    rng = np.random.default_rng(seed)
    width = 3 + consumers
    rows, others = rng.normal(size=(seen, width)), rng.normal(size=(4, width))
    # Nothing is believed of the first regressor; the last consumer never did a thing.
    rows[:, 0], rows[:, -1] = 1.0, 0.0
    rows *= loudness
    power = rows @ rng.normal(size=width) + rng.normal(size=seen)
    precision, mean = np.array([0.0, 2.0, 0.5]), np.array([0.0, 1.0, -1.0])
    equations = Equations(
        xx=rows.T @ rows,
        xy=rows.T @ power,
        yy=float(power @ power),
        precision=precision,
        pull=precision * mean,
    )
    other = others.T @ others
    # The rank that is said decides the way; where it is too little, it must be found out.
    prepared = ridges(equations, other, rank=max(seen - understated, 0), least=min(RIDGES))
    mixture, expected = Mixture(), np.zeros((width, width))
    for ridge, weight in zip(RIDGES, WEIGHTS, strict=True):
        diagonal = np.append(precision, np.full(consumers, ridge))
        whole = equations.xx + np.diag(diagonal)
        inverse = np.linalg.inv(whole)
        aim = equations.xy + np.append(equations.pull, np.zeros(consumers))
        found = prepared.at(ridge)
        doubt = found.doubt()
        assert alike(found.log_det, np.linalg.slogdet(whole)[1])
        assert alike(found.fit, np.linalg.solve(whole, aim))
        assert alike(doubt.fixed, inverse.diagonal() @ diagonal)
        assert alike(doubt.traced, (inverse * other).sum())
        expected += weight * inverse
        mixture.add(doubt.parts, 1000 + math.log(weight))
    assert alike(prepared.whole(mixture.mean()), expected)


@pytest.mark.parametrize("consumers", [1, 100])
def test_rounding_that_spoils_definiteness_does_not_stop_anything(consumers: int) -> None:
    """A square that came out too small still leaves something to go by."""
    row = np.append([1.0, 1.0], np.full(consumers, 0.5))
    xx = 1e8 * np.outer(row, row)
    xx[1, 1] -= 1e-5
    equations = Equations(
        xx=xx, xy=2e8 * row, yy=4e8, precision=np.array([0.0, 1e-6]), pull=np.zeros(2)
    )
    solution = ridges(equations, np.eye(len(xx)), rank=len(xx), least=1.0).at(1.0)
    assert np.isfinite(solution.fit).all()
    assert np.isfinite(solution.doubt().parts).all()
