"""Marginal means: what a level of a factor gives in the mean of all else, with intervals.

Every mean weighs the combinations of the other factors alike, however often each was measured,
and counts only those that were measured at every level: else levels would be compared on
different ground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..intervals import Interval
from .linear import Model

__all__ = ["Margin", "Margins", "contrast", "marginal_means", "means_of"]

_LEVEL = 0.05
_Floats = NDArray[np.float64]
_Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """The mean of one level, or of one pair of levels, on the scale of the analysis."""

    levels: tuple[str, ...]
    mean: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """The means of all levels of a factor.

    Args:
        factor: Its name.
        means: One per level; their intervals hold for all levels together (Bonferroni).
        alike: Pairs of levels that Tukey and Kramer's test does not tell apart at 5 %.
        combinations: How many combinations of the other factors are averaged over.
    """

    factor: str
    means: tuple[Margin, ...]
    alike: tuple[tuple[str, str], ...]
    combinations: int


def marginal_means(
    model: Model, factor: str, levels: Sequence[str], *, robust: bool
) -> Margins | None:
    """Return the means of the levels of a factor.

    Args:
        model: The fitted model.
        factor: The factor.
        levels: Its levels in the order wanted; those without a trial are left out.
        robust: Take HC3 errors.

    Returns:
        `None` when there are no two levels that share a combination of the other factors.
    """
    there = [level for level in levels if level in model.sample.levels[factor]]
    found = means_of(model, (factor,), [(level,) for level in there], robust=robust, at_once=True)
    if found is None or len(there) < 2:
        return None
    means, rows, count = found
    return Margins(
        factor=factor,
        means=tuple(means),
        alike=tuple(_alike(model, there, rows, robust=robust)),
        combinations=count,
    )


def means_of(
    model: Model,
    factors: tuple[str, ...],
    wanted: Sequence[tuple[str, ...]],
    *,
    robust: bool,
    at_once: bool = False,
) -> tuple[list[Margin], _Floats, int] | None:
    """Return the means of some levels of one or more factors, where all can be compared.

    Args:
        model: The fitted model.
        factors: The factors.
        wanted: Which of their levels.
        robust: Take HC3 errors.
        at_once: Whether the intervals hold for all of them together (Bonferroni), not each.

    Returns:
        The means, their rows in terms of the model's basis, and over how many combinations of the
        other factors they are taken; `None` when no combination is there for all.
    """
    cells = _by_rest(model, factors, wanted)
    shared = set.intersection(*(set(own) for own in cells)) if cells else set()
    if not shared:
        return None
    # Within a combination, what only some levels have (exits, say) is averaged.
    columns = np.array(
        [
            np.mean([np.mean(own[rest], axis=0) for rest in sorted(shared, key=str)], axis=0)
            for own in cells
        ]
    )
    rows = model.coefficients(columns)
    if rows is None:
        return None
    share = _LEVEL / (len(wanted) if at_once else 1)
    reach = float(stats.t.ppf(1.0 - share / 2, model.freedom))
    means = [
        Margin(levels=levels, mean=_interval(value, reach * error))
        for levels, (value, error) in zip(wanted, _estimates(model, rows, robust), strict=True)
    ]
    return means, rows, len(shared)


def contrast(model: Model, one: _Key, other: _Key, *, robust: bool) -> Interval | None:
    """Return by how much one combination of levels exceeds another, with its 95 % interval."""
    rows = model.coefficients(np.array([model.row_of(one) - model.row_of(other)]))
    if rows is None:
        return None
    [(value, error)] = _estimates(model, rows, robust)
    return _interval(value, float(stats.t.ppf(1.0 - _LEVEL / 2, model.freedom)) * error)


def _interval(value: float, reach: float) -> Interval:
    return Interval(value=value, low=value - reach, high=value + reach)


def _estimates(model: Model, rows: _Floats, robust: bool) -> list[tuple[float, float]]:
    """Return value and standard error of each row."""
    found = (model.robust if robust else model.fitted).t_test(rows)
    effects, errors = np.ravel(found.effect).tolist(), np.ravel(found.sd).tolist()
    return list(zip(effects, errors, strict=True))


def _by_rest(
    model: Model, factors: tuple[str, ...], wanted: Sequence[tuple[str, ...]]
) -> list[dict[_Key, list[_Floats]]]:
    """Return for each wanted level the rows of its combinations, by the other factors' levels.

    A factor that does not apply to one of the wanted levels is no ground for comparison.
    """
    names = list(model.sample.levels)
    inside = [names.index(name) for name in factors]
    cells = list(dict.fromkeys(model.sample.cells))
    of = [[c for c in cells if tuple(c[at] for at in inside) == levels] for levels in wanted]
    rest = [
        at
        for at in range(len(names))
        if at not in inside and not any(own and all(c[at] is None for c in own) for own in of)
    ]
    found: list[dict[_Key, list[_Floats]]] = []
    for own in of:
        by: dict[_Key, list[_Floats]] = {}
        for cell in own:
            by.setdefault(tuple(cell[at] for at in rest), []).append(model.row_of(cell))
        found.append(by)
    return found


def _alike(
    model: Model, levels: Sequence[str], rows: _Floats, *, robust: bool
) -> list[tuple[str, str]]:
    """Return the pairs of levels that cannot be told apart (Tukey 1953, Kramer 1956)."""
    where = list(combinations(range(len(levels)), 2))
    differences = np.array([rows[one] - rows[other] for one, other in where])
    found = []
    for (one, other), (value, error) in zip(
        where, _estimates(model, differences, robust), strict=True
    ):
        if error == 0 and value == 0:
            p = 1.0
        else:
            ratio = math.inf if error == 0 else abs(value) / error
            p = float(stats.studentized_range.sf(math.sqrt(2) * ratio, len(levels), model.freedom))
        if p >= _LEVEL:
            found.append((levels[one], levels[other]))
    return found
