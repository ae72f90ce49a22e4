"""Which cells of a full factorial a campaign measures when it cannot measure all.

Pure: the same cells, seed and design give the same choice. Levels are names here, numbers too.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["fraction", "hypercube"]

Codes = NDArray[np.int64]
Cell = Sequence[Hashable]
"""The levels of one combination, in the order of the factors; `None` where a factor is not said."""

_TRIES = 300
"""More make fractions no better, among factors of two to six levels."""
_MOST_RATIO = 1.25
"""A fraction that kept its levels by many more cells than asked for would be none."""


def _coded(cells: Sequence[Cell]) -> tuple[Codes, list[int]]:
    """Return cells by the numbers of their levels, in order of appearance, and how many each has.

    Factors of a single level are left out: there is nothing to choose of them.
    """
    columns, sizes = [], []
    for column in zip(*cells, strict=True):
        numbers = {level: number for number, level in enumerate(dict.fromkeys(column))}
        if len(numbers) > 1:
            columns.append([numbers[level] for level in column])
            sizes.append(len(numbers))
    return np.array(columns, dtype=np.int64).reshape(len(columns), len(cells)).T, sizes


def fraction(cells: Sequence[Cell], reduction: int) -> list[int]:
    """Return about one cell in `reduction`, each level as often as every other as far as it goes.

    A generalized subset design (Surowiec, Vikström, Hector, Johansson, Williams & Trygg 2017,
    "Generalized Subset Designs in Analytical Chemistry"): factors may have any number of levels,
    and its `reduction` complementary subsets together are all cells. Cells are in one subset when
    their levels' numbers, each factor's times a step, sum up to one remainder. Steps are those of
    pyDOE; or, where factors have fewer levels than `reduction`, or combinations do not exist, steps
    that do better. Of all these subsets the best is taken: no more cells than about asked for,
    levels that do not occur, levels that come more or less often than their share, and pairs of
    levels that never meet count against one, in this order.

    Args:
        cells: All combinations that exist, each once.
        reduction: 2 or more.

    Returns:
        Places in `cells`, ascending. Where no subset has every level, some are missing.

    Raises:
        ValueError: Two factors at least need several levels, and one of them `reduction` of them.
    """
    coded, sizes = _coded(cells)
    if len(sizes) < 2 or max(sizes) < reduction:
        raise ValueError(f"{sorted(sizes, reverse=True)} levels")
    pairs = [
        np.unique(coded[:, pair], axis=0, return_inverse=True)[1].ravel()
        for pair in itertools.combinations(range(len(sizes)), 2)
    ]
    plain = np.array([-1] * (len(sizes) - 1) + [1])
    others = np.random.default_rng(0).integers(reduction, size=(_TRIES, len(sizes)))
    subsets = (coded @ steps % reduction for steps in (plain, *others))
    judged = (_best(subset, list(coded.T), pairs, reduction) for subset in subsets)
    return min(judged, key=lambda one: one[0])[1]


def _best(
    subset: Codes, factors: Sequence[Codes], pairs: Sequence[Codes], reduction: int
) -> tuple[tuple[int, ...], list[int]]:
    """Return what counts against the best of the complementary subsets, and its places.

    Args:
        subset: Which one each cell is in.
        factors: The level of each cell, a factor each.
        pairs: The pair of levels of each cell, a pair of factors each.
        reduction: How many subsets there are.
    """
    cells = len(subset)

    def counts(kinds: Codes) -> Codes:
        """Return how often each kind comes in each subset."""
        number = int(kinds.max()) + 1
        flat = np.bincount(kinds * reduction + subset, minlength=number * reduction)
        return flat.reshape(number, reduction)

    sizes = np.bincount(subset, minlength=reduction)
    most = _MOST_RATIO * -(-cells // reduction)
    levels = [counts(factor) for factor in factors]
    shares = [level.sum(axis=1, keepdims=True) for level in levels]
    off = [
        np.ptp(level * reduction - share, axis=0)
        for level, share in zip(levels, shares, strict=True)
    ]
    off.append(np.abs(sizes * reduction - cells))
    against = np.array(
        [
            np.where(sizes > most, sizes, 0),
            np.sum([(level == 0).sum(axis=0) for level in levels], axis=0),
            np.max(off, axis=0),
            np.sum(off, axis=0),
            np.sum([(counts(pair) == 0).sum(axis=0) for pair in pairs], axis=0),
        ]
    )
    best = int(np.lexsort(against[::-1])[0])
    return tuple(against[:, best].tolist()), np.flatnonzero(subset == best).tolist()


def hypercube(cells: Sequence[Cell], number: int, seed: int) -> list[int]:
    """Return so many cells that spread over all factors: a Latin hypercube.

    Points are those of SciPy (`scipy.stats.qmc.LatinHypercube`, optimised for low discrepancy), so
    that each factor's levels come equally often, as far as they divide. A point whose combination
    does not exist, or is taken, goes to the free one that shares most levels with it.

    Args:
        cells: All combinations that exist, each once.
        number: How many to choose.
        seed: Decides the points, and between combinations that are alike.

    Returns:
        Places in `cells`, ascending; all of them where there are no more than asked for.
    """
    if number >= len(cells):
        return list(range(len(cells)))
    from scipy.stats import qmc

    coded, sizes = _coded(cells)
    rng = np.random.default_rng(seed)
    sampler = qmc.LatinHypercube(len(sizes), rng=rng, optimization="random-cd")
    points = np.floor(sampler.random(number) * sizes).astype(np.int64)
    free = np.ones(len(cells), dtype=bool)
    chosen = []
    for point in points:
        shared = (coded == point).sum(axis=1) + rng.random(len(cells)) / 2
        place = int(np.argmax(np.where(free, shared, -1.0)))
        free[place] = False
        chosen.append(place)
    return sorted(chosen)
