"""How figures change with what surrounds a service: its load, and any other condition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..intervals import Interval
from .contrasts import exponential
from .linear import Model
from .margins import contrast

__all__ = ["Change", "Ranking", "changes", "rankings"]

_FEWEST_RANKED = 3
_Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One configuration under two levels of a condition.

    Args:
        rest: Its levels of all else.
        level: The level of the condition.
        means: Geometric means of its trials at the reference level and at this one.
        ratio: This level over the reference level, with its 95 % interval.
    """

    rest: Mapping[str, str]
    level: str
    means: tuple[float, float]
    ratio: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Whether configurations keep their order when a condition changes.

    Args:
        level: The level that is compared with the reference level.
        tau: Kendall's tau-b of their order at the two, 1 for the same and -1 for the reverse.
        first: Which is lowest at the reference level and which at this one.
        count: How many configurations are measured at both.
    """

    level: str
    tau: float
    first: tuple[Mapping[str, str], Mapping[str, str]]
    count: int


def changes(model: Model, condition: str, levels: tuple[str, ...], *, robust: bool) -> list[Change]:
    """Return what a condition changes for each configuration, against its first level.

    Args:
        model: Fitted to the logarithm of a figure.
        condition: Name of the factor.
        levels: Its levels, the reference first.
        robust: Take HC3 errors.
    """
    at = list(model.sample.levels).index(condition)
    means = _means(model)
    found = []
    for cell, value in means.items():
        if cell[at] != levels[0]:
            continue
        for level in levels[1:]:
            other = (*cell[:at], level, *cell[at + 1 :])
            if other not in means:
                continue
            logs = contrast(model, other, cell, robust=robust)
            found.append(
                Change(
                    rest=_rest(model, cell, at),
                    level=level,
                    means=(value, means[other]),
                    ratio=None if logs is None else exponential(logs),
                )
            )
    return found


def rankings(found: list[Change]) -> list[Ranking]:
    """Return for each level of a condition whether the order of the configurations stays."""
    ranked = []
    for level in dict.fromkeys(change.level for change in found):
        mine = [change for change in found if change.level == level]
        if len(mine) < _FEWEST_RANKED:
            continue
        before, after = np.array([change.means for change in mine]).T
        tau = float(stats.kendalltau(before, after).statistic)
        if math.isfinite(tau):
            first = mine[int(np.argmin(before))].rest, mine[int(np.argmin(after))].rest
            ranked.append(Ranking(level=level, tau=tau, first=first, count=len(mine)))
    return ranked


def _means(model: Model) -> dict[_Key, float]:
    """Return the geometric mean of each combination."""
    by: dict[_Key, list[float]] = {}
    for cell, value in zip(model.sample.cells, model.sample.values, strict=True):
        by.setdefault(cell, []).append(float(value))
    return {cell: math.exp(math.fsum(values) / len(values)) for cell, values in by.items()}


def _rest(model: Model, cell: _Key, at: int) -> dict[str, str]:
    return {
        name: level
        for place, (name, level) in enumerate(zip(model.sample.levels, cell, strict=True))
        if place != at and level is not None
    }
