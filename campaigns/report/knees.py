"""The knee of a Pareto front: where giving up a little of one goal gains most of the others.

It is the member farthest from the chord between the front's ends, or with three goals from the
plane through the best of each (Das 1999, Structural Optimization 18; for two goals it is what
Kneedle looks for, Satopää et al. 2011, ICDCS Workshops).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["knee"]

_FLAT = 1e-6
"""A front that bulges less than this share of its own extent has no knee."""


def knee(points: NDArray[np.float64]) -> int | None:
    """Return which member of a front is its knee.

    Each goal is scaled to run from 0 to 1 over the front. Where the front lies on or behind its
    chord there is no knee; nor is there when one member is the best in two goals, since then no
    chord (or plane) spans the front.

    Args:
        points: Members of the front, shape (n, goals), less is better in all.
    """
    count, goals = points.shape
    if count <= goals:
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    if np.any(high <= low):
        return None
    scaled = (points - low) / (high - low)
    # Of several that are best in a goal, the one that is best in the others as well.
    ends = [int(np.lexsort((scaled.sum(axis=1), scaled[:, goal]))[0]) for goal in range(goals)]
    if len(set(ends)) < goals:
        return None
    edges = scaled[ends[1:]] - scaled[ends[0]]
    normal = np.linalg.svd(edges)[2][-1]
    normal *= np.sign(normal.sum())
    if np.linalg.matrix_rank(edges, tol=1e-9) < goals - 1 or np.any(normal <= 0):
        return None
    distance = (scaled[ends[0]] - scaled) @ normal
    best = int(np.argmax(distance))
    return best if distance[best] > _FLAT else None
