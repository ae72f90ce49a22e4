"""Pareto fronts of any goals, and their knees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..analysis import Analysis
from ..cells import GOALS, Cell, Goal
from .knees import knee

__all__ = ["PAIRS", "Knee", "front_of", "knee_of", "knees"]

PAIRS: tuple[tuple[Goal, Goal], ...] = (
    ("energy", "quality"),
    ("latency", "quality"),
    ("energy", "latency"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """The knee of one front.

    Args:
        load: The load of the front.
        goals: What it is a front of.
        size: Members of the front.
        cell: The knee; `None` where the front has none.
    """

    load: str
    goals: tuple[Goal, ...]
    size: int
    cell: Cell | None


def front_of(analysis: Analysis, cells: Sequence[Cell], goals: Sequence[Goal]) -> list[Cell]:
    """Return the cells that no other equals or beats in all goals, by the first of them.

    Of cells that are the same in every goal one stands for all.
    """
    known = [cell for cell in cells if all(cell.value(goal) is not None for goal in goals)]
    points = _points(analysis, known, goals)
    order = sorted(range(len(known)), key=lambda at: tuple(points[at]))
    front: list[int] = []
    for at in order:
        if not any(np.all(points[other] <= points[at]) for other in front):
            front.append(at)
    return [known[at] for at in front]


def knee_of(analysis: Analysis, front: Sequence[Cell], goals: Sequence[Goal]) -> Cell | None:
    """Return the knee of a front; energy and latency count by their logarithms, as drawn."""
    if not front:
        return None
    points = _points(analysis, front, goals)
    for column, goal in enumerate(goals):
        if goal != "quality" and np.all(points[:, column] > 0):
            points[:, column] = np.log(points[:, column])
    at = knee(points)
    return None if at is None else front[at]


def knees(analysis: Analysis, scenario: str) -> Iterator[Knee]:
    """Yield the knee of each front of a scenario: of each load, of two goals and of all three."""
    for load in analysis.loads(scenario):
        cells = analysis.of(scenario, load)
        for goals in (*PAIRS, tuple(GOALS)):
            front = front_of(analysis, cells, goals)
            if front:
                cell = knee_of(analysis, front, goals)
                yield Knee(load=load, goals=goals, size=len(front), cell=cell)


def _points(
    analysis: Analysis, cells: Sequence[Cell], goals: Sequence[Goal]
) -> NDArray[np.float64]:
    """Return the goals of some cells, less is better in all; shape (cells, goals)."""
    rows = [
        [
            analysis.sign(cell.scenario, goal) * (value.value if value else math.inf)
            for goal, value in ((goal, cell.value(goal)) for goal in goals)
        ]
        for cell in cells
    ]
    return np.array(rows, dtype=np.float64).reshape(len(cells), len(goals))
