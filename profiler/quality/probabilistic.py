"""Quality of probabilistic forecasts: pinball loss, and what share of truths intervals hold.

Plain functions over arrays; point forecasts are judged by `forecasting`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["coverage", "crossings", "pinball"]

Floats = NDArray[np.float64]


def pinball(truth: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]) -> float:
    """Return the mean pinball loss over all levels (Koenker & Bassett 1978), in the data's unit.

    At level 0.5 it is half of the mean absolute error.

    Args:
        truth: Shape (answers, ...).
        quantiles: Shape (answers, levels, ...).
        levels: Of the quantiles, each above 0 and below 1.

    Raises:
        ValueError: When the shapes do not fit, there is no value, or a level is out of range.
    """
    right, said, at = _fitting(truth, quantiles, levels)
    over = right[:, None] - said
    return float(np.maximum(at * over, (at - 1) * over).mean())


def coverage(truth: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Return the share of truths inside their interval, both ends included: a ratio in [0, 1].

    Args:
        truth: Any shape.
        low: As `truth`.
        high: As `truth`.

    Raises:
        ValueError: When the shapes differ or there is no value.
    """
    right, below, above = (np.asarray(one, dtype=np.float64) for one in (truth, low, high))
    if not right.shape == below.shape == above.shape or right.size == 0:
        shapes = f"{right.shape}, {below.shape} and {above.shape}"
        raise ValueError(f"truth and both ends need one shape and a value, found {shapes}")
    return float(((below <= right) & (right <= above)).mean())


def crossings(quantiles: ArrayLike) -> float:
    """Return the share of neighbouring quantiles in the wrong order: 0 for a distribution.

    Args:
        quantiles: Shape (answers, levels, ...), levels rising.

    Raises:
        ValueError: When there are no two quantiles of an answer.
    """
    steps = np.diff(np.asarray(quantiles, dtype=np.float64), axis=1)
    if steps.size == 0:
        raise ValueError(f"crossings need two quantiles, found shape {np.shape(quantiles)}")
    return float((steps < 0).mean())


def _fitting(
    truth: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]
) -> tuple[Floats, Floats, Floats]:
    """Return all three as arrays that broadcast along the levels."""
    right = np.asarray(truth, dtype=np.float64)
    said = np.asarray(quantiles, dtype=np.float64)
    at = np.asarray(levels, dtype=np.float64)
    if right.size == 0 or said.shape != (*right.shape[:1], len(at), *right.shape[1:]):
        raise ValueError(
            f"{len(at)} quantiles of truth need its shape and an axis for them, "
            f"found shapes {right.shape} and {said.shape}"
        )
    if not ((at > 0) & (at < 1)).all():
        raise ValueError(f"levels need to be above 0 and below 1, found {list(levels)}")
    return right, said, at.reshape(-1, *(1,) * (right.ndim - 1))
