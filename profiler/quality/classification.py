"""Quality of classifications: plain functions over true and answered class numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["accuracy", "confusion_matrix", "macro_f1"]


def confusion_matrix(truth: ArrayLike, answers: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count which class was answered for which.

    Args:
        truth: Shape (n,): class numbers, each in [0, classes).
        answers: Shape (n,): likewise.
        classes: How many there are.

    Returns:
        Shape (classes, classes): row the truth, column the answer.

    Raises:
        ValueError: When the shapes differ or a number is no class.
    """
    right, said = np.asarray(truth, dtype=np.int64), np.asarray(answers, dtype=np.int64)
    if right.ndim != 1 or right.shape != said.shape:
        raise ValueError(f"shapes need to be (n,), found {right.shape} and {said.shape}")
    for numbers in (right, said):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < classes:
            raise ValueError(
                f"classes need to be in [0, {classes}), found {numbers.min()} to {numbers.max()}"
            )
    counts = np.bincount(right * classes + said, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64, copy=False)


def accuracy(confusion: NDArray[np.int64]) -> float | None:
    """Return the share of right answers; `None` when there are none.

    Args:
        confusion: Shape (classes, classes), see `confusion_matrix`.
    """
    total = int(confusion.sum())
    return None if total == 0 else int(np.trace(confusion)) / total


def macro_f1(confusion: NDArray[np.int64]) -> float | None:
    """Return the mean over classes of the harmonic mean of precision and recall.

    A class counts when it is somebody's truth or answer, as in scikit-learn: one that was only
    answered, always wrongly, counts as 0, and one that does not occur does not count.

    Args:
        confusion: Shape (classes, classes), see `confusion_matrix`.

    Returns:
        In [0, 1]; `None` when there are no answers.
    """
    true, said = confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = true + said > 0
    if not occurs.any():
        return None
    scores = 2 * np.diag(confusion)[occurs] / (true + said)[occurs]
    return float(scores.mean())
