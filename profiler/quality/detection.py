"""Quality of object detections: average precision as COCO defines it.

Plain functions over boxes of frames; running detectors, and following objects, happens elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "COCO_THRESHOLDS",
    "Boxes",
    "Detections",
    "FrameTruth",
    "check_columns",
    "inside_ratios",
    "iou_matrix",
    "mean_average_precision",
    "pseudo_truth",
]

Boxes = NDArray[np.floating]
"""Shape (boxes, 4): x1, y1, x2, y2 in pixels of the full frame, x to the right, y down."""

COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""The overlaps over which COCO takes the mean: 0.5, 0.55, …, 0.95."""

_RECALLS = np.linspace(0.0, 1.0, 101)
# COCO's own guard against overlaps that round to just under 1.
_NEARLY_ONE = 1 - 1e-10


def _no_boxes() -> Boxes:
    return np.zeros((0, 4), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTruth:
    """What there is to see in one frame.

    Args:
        boxes: Shape (n, 4): x1, y1, x2, y2 in pixels of the full frame.
        classes: Shape (n,): class numbers.
        ids: Shape (n,): which object each is; the same number in every frame of a video.
        ignored: Shape (m, 4): regions where nothing is judged, for any class: what is found
            there and nowhere else counts neither for nor against the detector.

    Raises:
        ValueError: When the shapes do not belong together.
    """

    boxes: Boxes
    classes: NDArray[np.int64]
    ids: NDArray[np.int64]
    ignored: Boxes = field(default_factory=_no_boxes)

    def __post_init__(self) -> None:
        check_columns(self.boxes, self.classes, self.ids)
        check_columns(self.ignored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What a detector found in one frame.

    Args:
        boxes: Shape (k, 4): x1, y1, x2, y2 in pixels of the full frame.
        scores: Shape (k,): above 0, the surer the higher; a slot of score 0 is not used.
        classes: Shape (k,): class numbers.

    Raises:
        ValueError: When the shapes do not belong together.
    """

    boxes: Boxes
    scores: NDArray[np.floating]
    classes: NDArray[np.int64]

    def __post_init__(self) -> None:
        check_columns(self.boxes, self.scores, self.classes)


def check_columns(boxes: Boxes, *columns: NDArray[np.generic]) -> None:
    """Raise `ValueError` unless there are n boxes, shape (n, 4), and n values in each column."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or any(c.shape != boxes.shape[:1] for c in columns):
        found = [boxes.shape, *(column.shape for column in columns)]
        raise ValueError(f"boxes need shape (n, 4) and each column (n,), found {found}")


def iou_matrix(left: ArrayLike, right: ArrayLike) -> NDArray[np.float64]:
    """Return the overlap of every pair of boxes: intersection over union, in [0, 1].

    Args:
        left: Shape (n, 4): x1, y1, x2, y2.
        right: Shape (m, 4).

    Returns:
        Shape (n, m); 0 where both boxes are empty.
    """
    a, b = (np.asarray(boxes, dtype=np.float64).reshape(-1, 4) for boxes in (left, right))
    shared = _intersections(a, b)
    union = _areas(a)[:, None] + _areas(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _areas(boxes: Boxes) -> NDArray[np.float64]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    area: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return area


def _intersections(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    shared: NDArray[np.float64] = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    return shared


def mean_average_precision(
    truths: Sequence[FrameTruth],
    detections: Sequence[Detections],
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    *,
    limit: int = 100,
) -> float | None:
    """Return the mean over classes and thresholds of COCO's average precision.

    For each class that occurs in the truth and each threshold: detections, surest first, take the
    free box of their frame and class that they overlap most, when by the threshold at least; the
    precision, made to fall as recall grows, is averaged at 101 recalls from 0 to 1 (Lin et al.
    2014, "Microsoft COCO"; the numbers are those of pycocotools).

    Args:
        truths: Per frame; ids are not looked at.
        detections: Per frame, in the order of `truths`.
        thresholds: Least overlaps, each in (0, 1].
        limit: How many detections of a frame and class count, surest first.

    Returns:
        In [0, 1]; `None` when no frame holds anything to find.

    Raises:
        ValueError: When the numbers of frames differ or there is no threshold.
    """
    if len(truths) != len(detections):
        raise ValueError(f"{len(truths)} frames of truth, {len(detections)} of detections")
    if not thresholds or not all(0 < threshold <= 1 for threshold in thresholds):
        raise ValueError(f"thresholds need to be in (0, 1], found {list(thresholds)}")
    least = np.minimum(np.asarray(thresholds, dtype=np.float64), _NEARLY_ONE)
    known = [np.asarray(truth.classes) for truth in truths]
    classes = np.unique(np.concatenate(known)) if known else ()
    if len(classes) == 0:
        return None
    return float(
        np.mean([_precisions(truths, detections, least, int(cls), limit) for cls in classes])
    )


def _precisions(
    truths: Sequence[FrameTruth],
    detections: Sequence[Detections],
    thresholds: NDArray[np.float64],
    cls: int,
    limit: int,
) -> NDArray[np.float64]:
    """Return the average precision of one class for each threshold."""
    wanted = sum(int((truth.classes == cls).sum()) for truth in truths)
    frames = list(_matched(truths, detections, thresholds, cls, limit))
    scores = np.concatenate([scores for scores, _, _ in frames])
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([hit for _, hit, _ in frames], axis=1)[:, order]
    judged = np.concatenate([judged for _, _, judged in frames], axis=1)[:, order]
    right = np.cumsum(hits & judged, axis=1, dtype=np.float64)
    wrong = np.cumsum(~hits & judged, axis=1, dtype=np.float64)
    recall = right / wanted
    counted = right + wrong
    precision = np.divide(right, counted, out=np.zeros_like(right), where=counted > 0)
    # The best precision at this recall or a higher one.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    result = np.zeros(len(thresholds))
    for row in range(len(thresholds)):
        at = np.searchsorted(recall[row], _RECALLS, side="left")
        result[row] = precision[row][at[at < len(order)]].sum() / len(_RECALLS)
    return result


def _matched(
    truths: Sequence[FrameTruth],
    detections: Sequence[Detections],
    thresholds: NDArray[np.float64],
    cls: int,
    limit: int,
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield, per frame, scores (k,), and (thresholds, k): whether each hits, whether it counts."""
    for truth, found in zip(truths, detections, strict=True):
        chosen = np.flatnonzero((found.classes == cls) & (found.scores > 0))
        chosen = chosen[np.argsort(-found.scores[chosen], kind="stable")][:limit]
        boxes = found.boxes[chosen]
        overlaps = iou_matrix(boxes, truth.boxes[truth.classes == cls])
        hits = _greedy(overlaps, thresholds)
        judged = np.ones_like(hits)
        if len(truth.ignored) and len(boxes):
            inside = inside_ratios(boxes, truth.ignored)
            judged = hits | (inside[None, :] < thresholds[:, None])
        yield found.scores[chosen], hits, judged


def inside_ratios(boxes: Boxes, regions: Boxes) -> NDArray[np.float64]:
    """Return, per box, the largest share of its area that lies in one of some regions."""
    a, b = np.asarray(boxes, dtype=np.float64), np.asarray(regions, dtype=np.float64)
    area = _areas(a)[:, None]
    shared = _intersections(a, b)
    ratio = np.divide(shared, area, out=np.zeros_like(shared), where=area > 0)
    best: NDArray[np.float64] = ratio.max(axis=1, initial=0.0)
    return best


def _greedy(overlaps: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return, shape (thresholds, detections): whether each detection takes a free box."""
    hits = np.zeros((len(thresholds), len(overlaps)), dtype=bool)
    if overlaps.shape[1] == 0:
        return hits
    taken = np.zeros((len(thresholds), overlaps.shape[1]), dtype=bool)
    rows = np.arange(len(thresholds))
    last = overlaps.shape[1] - 1
    for index, row in enumerate(overlaps):
        free = np.where(taken, -1.0, row[None, :])
        # Of equal overlaps the last, as COCO does.
        best = last - np.argmax(free[:, ::-1], axis=1)
        hit = free[rows, best] >= thresholds
        hits[:, index] = hit
        taken[rows[hit], best[hit]] = True
    return hits


def pseudo_truth(detections: Detections, threshold: float) -> FrameTruth:
    """Return the answers of a reference model as if they were the truth.

    Figures against it tell the agreement with that model, never the accuracy.

    Args:
        detections: One frame's answers of the reference model.
        threshold: Least score of an answer that is taken.

    Returns:
        Ids number the objects of this frame only; for ids that hold from frame to frame, take
        the tracks of the reference model (`Tracks.as_truth`).
    """
    keep = (detections.scores >= threshold) & (detections.scores > 0)
    return FrameTruth(
        boxes=detections.boxes[keep],
        classes=detections.classes[keep],
        ids=np.arange(int(keep.sum()), dtype=np.int64),
    )
