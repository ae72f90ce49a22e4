"""What detectors answer of one picture with some things in it, in each layout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulery.campaigns.scenarios.video_analytics.user_detector import UserDetector

__all__ = [
    "ALL", "COCO", "FRAME", "KEPT", "SIDE", "THINGS", "assert_found", "centernet", "end_to_end",
    "ssd", "yolov5", "yolov8",
]  # fmt: skip

FRAME = np.zeros((160, 320, 3), dtype=np.uint8)
"""In a letterbox of 640 by 640 it is twice as large, under 160 rows of grey."""
SIDE = 640

DOG = 16
THINGS = (
    # In pixels of the frame, COCO's number of 80, score.
    ((10.0, 20.0, 50.0, 120.0), 0, 0.9),
    ((100.0, 40.0, 220.0, 100.0), 2, 0.8),
    ((15.0, 26.0, 55.0, 126.0), 0, 0.7),  # the first again
    ((106.0, 42.0, 222.0, 98.0), 7, 0.6),  # the second again, taken for a truck
    ((250.0, 30.0, 300.0, 90.0), DOG, 0.95),
    ((250.0, 100.0, 300.0, 150.0), 2, 0.01),  # not sure enough
)
COCO: dict[int | str, int] = {"person": 0, "Car": 1, "truck": 1}
"""Names that a user says; no metadata has them, so that they are COCO's own."""
KEPT = ((0, 0), (1, 1))
"""Without doubles: which of them, and our class of it."""
ALL = ((0, 0), (1, 1), (2, 0), (3, 1))
"""With doubles, where the detector is one that removes them itself."""


def _letterboxed() -> NDArray[np.float64]:
    """Return the boxes in the picture."""
    boxes = np.array([box for box, _, _ in THINGS])
    letterboxed: NDArray[np.float64] = boxes * 2 + np.array([0, 160, 0, 160])
    return letterboxed


def _centres(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]])


def _one_hot(rows: int, classes: int) -> NDArray[np.float64]:
    table = np.full((rows, classes), 0.001)
    for row, (_, cls, score) in enumerate(THINGS):
        table[row, cls] = score
    return table


def yolov5(anchors: int = 2000) -> dict[str, NDArray[Any]]:
    """Return them as YOLOv5 does."""
    rows = np.zeros((anchors, 85), dtype=np.float32)
    rows[: len(THINGS), :4] = _centres(_letterboxed())
    for row, (_, cls, score) in enumerate(THINGS):
        rows[row, 4], rows[row, 5 + cls] = 0.96, score / 0.96
    return {"output0": rows[None]}


def yolov8(anchors: int = 2100) -> dict[str, NDArray[Any]]:
    """Return them as YOLOv8 and 11 do."""
    rows = np.zeros((anchors, 84), dtype=np.float32)
    rows[: len(THINGS), :4] = _centres(_letterboxed())
    rows[: len(THINGS), 4:] = _one_hot(len(THINGS), 80)
    return {"output0": rows.T[None].copy()}


def end_to_end(slots: int = 300) -> dict[str, NDArray[Any]]:
    """Return them as detectors do that remove doubles themselves."""
    rows = np.zeros((slots, 6), dtype=np.float32)
    rows[: len(THINGS), :4] = _letterboxed()
    rows[: len(THINGS), 4] = [score for _, _, score in THINGS]
    rows[: len(THINGS), 5] = [cls for _, cls, _ in THINGS]
    return {"output0": rows[None]}


def ssd(slots: int = 100) -> dict[str, NDArray[Any]]:
    """Return them as TensorFlow's SSD does."""
    boxes = np.zeros((1, slots, 4), dtype=np.float32)
    corners = np.array([box for box, _, _ in THINGS]) / np.array([320, 160, 320, 160])
    boxes[0, : len(THINGS)] = corners[:, [1, 0, 3, 2]]
    classes, scores = np.ones((1, slots)), np.zeros((1, slots))
    # COCO's numbers with gaps: one more than without, up to the trucks.
    classes[0, : len(THINGS)] = [cls + 1 for _, cls, _ in THINGS]
    scores[0, : len(THINGS)] = [score for _, _, score in THINGS]
    # What stands after the number of detections is no detection.
    scores[0, len(THINGS)] = 0.99
    number = np.array([len(THINGS)])
    return {
        "detection_boxes": boxes,
        "detection_classes": classes,
        "detection_scores": scores,
        "num_detections": number.astype(np.float64),
    }


def centernet(cell: int = 4) -> dict[str, NDArray[Any]]:
    """Return them as CenterNet does."""
    heat = np.full((1, 80, SIDE // cell, SIDE // cell), 1e-4, dtype=np.float32)
    size = np.zeros((1, 2, SIDE // cell, SIDE // cell), dtype=np.float32)
    offset = np.zeros_like(size)
    # No two of a class next to each other: the heat map itself tells what is a peak.
    for (x, y, width, height), (_, cls, score) in zip(
        _centres(_letterboxed()) / cell, THINGS, strict=True
    ):
        row, column = int(y), int(x)
        heat[0, cls, row, column] = score
        size[0, :, row, column] = width, height
        offset[0, :, row, column] = x - column, y - row
    return {"hm": heat, "wh": size, "reg": offset}


def assert_found(detector: UserDetector, expected: tuple[tuple[int, int], ...]) -> None:
    """See that a detector finds those things, each with our class."""
    found = detector.detect(FRAME)
    boxes = np.array([THINGS[row][0] for row, _ in expected])
    np.testing.assert_allclose(found.boxes, boxes, atol=0.01)
    assert found.classes.tolist() == [cls for _, cls in expected]
    np.testing.assert_allclose(found.scores, [THINGS[row][2] for row, _ in expected], rtol=1e-4)
    assert found.boxes.dtype == np.float32
    assert found.classes.dtype == np.int64
