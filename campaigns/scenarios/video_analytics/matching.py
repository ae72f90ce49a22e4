"""How good the detections of one frame alone are: found, missed and made up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ....profiler.quality.detection import FrameTruth, inside_ratios, iou_matrix

__all__ = ["COUNTED_SCORE", "OVERLAP", "found_of", "frame_f1"]

COUNTED_SCORE = 0.3
"""From this score on something is taken for a detection where no scores are compared."""
OVERLAP = 0.5
"""How much a detection has to share with what it found: intersection over union."""


def found_of(
    truth: FrameTruth,
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    classes: NDArray[np.int64],
) -> tuple[int, int]:
    """Return how many objects of a frame are found, and how many detections found nothing.

    Args:
        truth: What there is to find; detections inside ignored regions found not nothing.
        boxes: Shape (k, 4): x1, y1, x2, y2 in pixels of the frame.
        scores: Shape (k,); those under `COUNTED_SCORE` do not count.
        classes: Shape (k,).
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= COUNTED_SCORE]
    overlaps = iou_matrix(boxes[order], truth.boxes)
    overlaps[classes[order][:, None] != truth.classes[None, :]] = 0.0
    found, lost = 0, []
    for place, row in enumerate(overlaps):
        best = int(row.argmax()) if len(row) else -1
        if best >= 0 and row[best] >= OVERLAP:
            found += 1
            overlaps[:, best] = 0.0
        else:
            lost.append(order[place])
    if lost and len(truth.ignored):
        lost = np.flatnonzero(inside_ratios(boxes[lost], truth.ignored) < OVERLAP).tolist()
    return found, len(lost)


def frame_f1(
    truth: FrameTruth,
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    classes: NDArray[np.int64],
) -> float:
    """Return F1 of one frame's detections, in [0, 1]; 1 for nothing where nothing is."""
    found, false = found_of(truth, boxes, scores, classes)
    whole = found + false + len(truth.boxes)
    return 2 * found / whole if whole else 1.0
