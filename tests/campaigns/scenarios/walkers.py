"""Objects that walk through a picture, and what a detector makes of them: for tests of trackers."""

from __future__ import annotations

import numpy as np

from joulery.profiler.quality.detection import Detections, FrameTruth, iou_matrix

__all__ = ["crowd", "detected"]

_WIDTH, _HEIGHT = 640.0, 480.0


def crowd(seed: int, *, objects: int = 10, frames: int = 200) -> list[FrameTruth]:
    """Return persons and vehicles that go their ways, turn a little, and leave the picture."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, objects)
    height = rng.uniform(50, 110, objects)
    width = height * np.where(classes == 0, 0.4, 1.6)
    middle = np.column_stack([rng.uniform(0, _WIDTH, objects), rng.uniform(0, _HEIGHT, objects)])
    pace = rng.normal(0, 2.0, (objects, 2))
    truths = []
    for _ in range(frames):
        pace += rng.normal(0, 0.05, (objects, 2))
        middle = middle + pace
        half = np.column_stack([width, height]) / 2
        boxes = np.hstack([middle - half, middle + half]).astype(np.float32)
        inside = ((middle > 0) & (middle < (_WIDTH, _HEIGHT))).all(axis=1)
        truths.append(
            FrameTruth(boxes=boxes[inside], classes=classes[inside], ids=np.flatnonzero(inside))
        )
    return truths


def detected(truths: list[FrameTruth], seed: int) -> list[Detections]:
    """Return what is seen of them: shifted, unsure where one hides another, with false alarms."""
    rng = np.random.default_rng(seed)
    found = []
    for truth in truths:
        overlaps = iou_matrix(truth.boxes, truth.boxes)
        hidden = np.triu(overlaps, 1).max(axis=1, initial=0.0)
        scores = np.clip(0.95 - 1.5 * hidden - rng.exponential(0.06, len(hidden)), 0.05, 0.99)
        seen = rng.uniform(size=len(hidden)) < np.where(hidden > 0.5, 0.3, 0.97)
        size = truth.boxes[:, 3:] - truth.boxes[:, 1:2]
        shifted = truth.boxes + rng.normal(0, 0.02, truth.boxes.shape) * size
        corner = rng.uniform(0, 400, (int(rng.poisson(0.3)), 2))
        false = np.hstack([corner, corner + rng.uniform(20, 80, corner.shape)])
        found.append(
            Detections(
                boxes=np.vstack([shifted[seen], false]).astype(np.float32),
                scores=np.concatenate([scores[seen], rng.uniform(0.1, 0.7, len(false))]),
                classes=np.concatenate([truth.classes[seen], rng.integers(0, 2, len(false))]),
            )
        )
    return found
