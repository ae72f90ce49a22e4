"""Which cells of a full factorial a campaign measures when it cannot measure all.

Pure: the same cells, seed and design give the same choice. Levels are names here, numbers too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["fraction", "hypercube"]

Cell = Sequence[Hashable]
"""The levels of one combination, in the order of the factors; `None` where a factor is not said."""


def _coded(cells: Sequence[Cell]) -> tuple[NDArray[np.int64], list[int]]:
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
    "Generalized Subset Designs in Analytical Chemistry"), as pyDOE computes it: factors may have
    any number of levels, and the subsets of all `reduction` choices together are all cells.
    Combinations of it that do not exist are passed over.

    Args:
        cells: All combinations that exist, each once.
        reduction: 2 or more.

    Returns:
        Places in `cells`, ascending.

    Raises:
        ValueError: Two factors at least need several levels, and one of them `reduction` of them.
    """
    coded, sizes = _coded(cells)
    if len(sizes) < 2 or max(sizes) < reduction:
        raise ValueError(f"{sorted(sizes, reverse=True)} levels")
    from pyDOE3 import gsd

    places = {tuple(row): place for place, row in enumerate(coded.tolist())}
    wanted = (tuple(row) for row in np.asarray(gsd(sizes, reduction)).tolist())
    return sorted(places[row] for row in wanted if row in places)


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
