"""Whether a confidence means what it says: plain functions over probabilities and outcomes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["brier_score", "expected_calibration_error", "multiclass_brier_score"]

_BINS = 15


def expected_calibration_error(
    outcomes: ArrayLike, confidence: ArrayLike, bins: int = _BINS
) -> float | None:
    """Return how far confidence is from the share of right answers, on average over bins.

    Rows are sorted by confidence into bins of the same number of rows (Nguyen & O'Connor 2015;
    equal widths would leave most of them almost empty); per bin, the difference of mean confidence
    and share of right answers counts by its number of rows (Naeini et al. 2015). Rows of the same
    confidence share a bin, the first that one of them falls into, so that the order of the rows
    does not matter.

    Args:
        outcomes: Shape (n,): whether each answer was right.
        confidence: Shape (n,): the probability that it is, in [0, 1].
        bins: How many.

    Returns:
        In [0, 1]; `None` when there are no rows.

    Raises:
        ValueError: When the shapes differ, there is no bin, or a confidence is no probability.
    """
    right, sure = _checked(outcomes, confidence)
    if bins < 1:
        raise ValueError(f"at least 1 bin is needed, found {bins}")
    if not len(sure):
        return None
    first = np.searchsorted(np.sort(sure), sure, side="left")
    gaps = np.bincount(first * bins // len(sure), weights=sure - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(sure))


def brier_score(outcomes: ArrayLike, confidence: ArrayLike) -> float | None:
    """Return the mean squared difference of a probability and what came (Brier 1950).

    Args:
        outcomes: Shape (n,): whether it came.
        confidence: Shape (n,): the probability that it would, in [0, 1].

    Returns:
        In [0, 1], 0 best; `None` when there are no rows.

    Raises:
        ValueError: When the shapes differ or a confidence is no probability.
    """
    right, sure = _checked(outcomes, confidence)
    return float(np.square(sure - right).mean()) if len(sure) else None


def multiclass_brier_score(truth: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Return the squared differences of class probabilities and truth, summed over classes.

    Args:
        truth: Shape (n,): class numbers.
        probabilities: Shape (n, classes), each in [0, 1].

    Returns:
        The mean over rows, in [0, 2], 0 best (Brier 1950, as it was first given); `None` when
        there are no rows.

    Raises:
        ValueError: When the shapes do not belong together, or a number is no class or probability.
    """
    given = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(truth, dtype=np.int64)
    if given.ndim != 2 or labels.shape != given.shape[:1]:
        raise ValueError(f"shapes need to be (n,) and (n, k), found {labels.shape}, {given.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < given.shape[1]:
        raise ValueError(f"classes need to be in [0, {given.shape[1]}), found others")
    came = labels[:, None] == np.arange(given.shape[1])
    right, sure = _checked(came.reshape(-1), given.reshape(-1))
    return float(np.square(sure - right).sum() / len(labels)) if len(labels) else None


def _checked(
    outcomes: ArrayLike, confidence: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    right = np.asarray(outcomes, dtype=bool).astype(np.float64)
    sure = np.asarray(confidence, dtype=np.float64)
    if right.ndim != 1 or right.shape != sure.shape:
        raise ValueError(f"shapes need to be (n,), found {right.shape} and {sure.shape}")
    # Written so that a value that is no number is refused too.
    if not ((sure >= 0.0) & (sure <= 1.0)).all():
        raise ValueError("probabilities need to be in [0, 1], found others")
    return right, sure
