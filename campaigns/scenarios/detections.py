"""What detectors take and give, as clients see it; answers are sieved by score."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .base import Tensors

__all__ = ["BOXES", "CLASSES", "FRAME", "SCORES", "are_detections", "sieved"]

FRAME = "frame"
"""What clients send to one: UINT8, shape (N, height, width, 3): red, green, blue."""

BOXES = "boxes"
"""The output (N, slots, 4) of a detector: x1, y1, x2, y2 in pixels of the frame."""
SCORES = "scores"
"""The output (N, slots) that says how sure it is; a slot of score 0 is not used."""
CLASSES = "classes"
"""The output (N, slots) that says what it is."""


def are_detections(outputs: Iterable[str]) -> bool:
    """Return whether a model with such outputs is a detector."""
    return {BOXES, SCORES, CLASSES} <= set(outputs)


def sieved(answers: Tensors, threshold: float) -> dict[str, NDArray[np.generic]]:
    """Return the answers of a detector with the slots that are less sure not used."""
    scores: NDArray[np.floating] = np.asarray(answers[SCORES], dtype=np.float32)
    return {**answers, SCORES: np.where(scores >= threshold, scores, np.float32(0))}
