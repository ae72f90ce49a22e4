"""Knees: where calculus puts them, and nowhere when a front does not bend."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.campaigns.report.knees import knee


def test_the_knee_of_a_hyperbola_is_its_middle() -> None:
    """Of y = 1 / x between 0.1 and 10 it is at x = 1."""
    x = np.geomspace(0.1, 10.0, 201)
    assert knee(np.column_stack([x, 1 / x])) == 100


def test_the_knee_is_where_the_slope_is_the_chord_s() -> None:
    """Of y = (1 - x)³ between 0 and 1 the slope is -1 at x = 1 - 1 / √3."""
    x = np.linspace(0.0, 1.0, 2001)
    found = knee(np.column_stack([x, (1 - x) ** 3]))
    assert found is not None
    assert x[found] == pytest.approx(1 - 1 / np.sqrt(3), abs=1e-3)


def test_the_knee_of_an_octant_is_its_diagonal() -> None:
    """Of a ball seen from the ideal corner, it is the point that gives up the same in each goal."""
    angles = np.linspace(0.0, np.pi / 2, 41)
    up, round_ = map(np.ravel, np.meshgrid(angles, angles, indexing="ij"))
    ball = np.column_stack([np.cos(up) * np.cos(round_), np.cos(up) * np.sin(round_), np.sin(up)])
    points = np.vstack([1 - ball, 1 - np.full((1, 3), 1 / np.sqrt(3))])
    assert knee(points) == len(points) - 1


@pytest.mark.parametrize(
    "points",
    [
        [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)],
        [(0.0, 1.0), (0.7, 0.7), (1.0, 0.0)],
        [(0.0, 1.0), (1.0, 0.0)],
        [(0.0, 1.0)],
        [(0.0, 0.0), (0.0, 0.0), (0.0, 0.0)],
        [(0.0, 0.0, 1.0), (0.1, 0.1, 0.5), (0.5, 0.2, 0.2), (1.0, 1.0, 0.0)],
    ],
    ids=["straight", "bent away", "two", "one", "all the same", "one is best in two goals"],
)
def test_some_fronts_have_no_knee(points: list[tuple[float, ...]]) -> None:
    """A front that is straight, bends away or has no chord of its own has none."""
    assert knee(np.array(points)) is None


@given(
    st.lists(st.floats(0.02, 0.98), min_size=2, max_size=12, unique=True),
    st.floats(1e-3, 1e3),
    st.floats(-10.0, 10.0),
    st.randoms(use_true_random=False),
)
def test_units_and_order_do_not_matter(
    inner: list[float], scale: float, shift: float, dice: random.Random
) -> None:
    """Other units, another zero and another order of the members give the same knee."""
    x = np.array([0.0, *inner, 1.0])
    points = np.column_stack([x, (1 - np.sqrt(x)) ** 2])
    order = list(range(len(x)))
    dice.shuffle(order)
    first, other = knee(points), knee((points * [scale, 1 / scale] + shift)[order])
    assert first is not None
    assert other is not None
    # Two members may lie equally far from the chord.
    distance = 1 - points.sum(axis=1)
    assert distance[order[other]] == pytest.approx(distance[first], abs=1e-6)
