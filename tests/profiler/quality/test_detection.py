"""Quality of object detections, against the COCO tools and by its own laws."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from joulery.profiler.quality.detection import (
    COCO_THRESHOLDS,
    Detections,
    FrameTruth,
    iou_matrix,
    mean_average_precision,
    pseudo_truth,
)

TOLERANCE = 1e-9
"""Both compute in doubles; they add in another order."""


def boxes_of(*boxes: Sequence[float]) -> NDArray[np.float32]:
    """Return boxes as the detectors have them."""
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def truth_of(*boxes: Sequence[float], classes: Sequence[int] | None = None) -> FrameTruth:
    """Return a frame's truth, persons unless said otherwise."""
    return FrameTruth(
        boxes=boxes_of(*boxes),
        classes=np.array(classes or [0] * len(boxes), dtype=np.int64),
        ids=np.arange(len(boxes)),
    )


def found_of(
    *boxes: Sequence[float],
    scores: Sequence[float] | None = None,
    classes: Sequence[int] | None = None,
) -> Detections:
    """Return a frame's detections, sure and of persons unless said otherwise."""
    return Detections(
        boxes=boxes_of(*boxes),
        scores=np.array(scores or [1.0] * len(boxes), dtype=np.float32),
        classes=np.array(classes or [0] * len(boxes), dtype=np.int64),
    )


def _random_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    corner = rng.uniform(0, 60, (count, 2))
    return np.hstack([corner, corner + rng.uniform(2, 50, (count, 2))]).astype(np.float32)


def _random(
    seed: int, *, ignored: bool = False, coarse: bool = False
) -> tuple[list[FrameTruth], list[Detections]]:
    """Return frames whose detections are shifted truth, missed truth and inventions."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(int(rng.integers(1, 12))):
        count = int(rng.integers(0, 9))
        boxes = _random_boxes(rng, count)
        classes = rng.integers(0, 3, count)
        seen = rng.uniform(size=count) < 0.8
        shifted = boxes[seen] + rng.normal(0, rng.uniform(0.1, 6), (int(seen.sum()), 4))
        shifted[:, 2:] = np.maximum(shifted[:, 2:], shifted[:, :2] + 0.5)
        invented = int(rng.integers(0, 6))
        found = np.vstack([shifted, _random_boxes(rng, invented)]).astype(np.float32)
        scores = rng.uniform(0.01, 1, len(found))
        if coarse:
            # Whole pixels and few scores: overlaps and scores are often equal.
            boxes, found = boxes.round(), np.maximum(found.round(), 0)
            scores = np.ceil(scores * 3) / 3
        detected = np.concatenate([classes[seen], rng.integers(0, 4, invented)])
        detections.append(Detections(boxes=found, scores=scores, classes=detected))
        truths.append(
            FrameTruth(
                boxes=boxes,
                classes=classes,
                ids=np.arange(count),
                ignored=_random_boxes(rng, int(ignored) * int(rng.integers(0, 3))),
            )
        )
    return truths, detections


def _coco(
    truths: Sequence[FrameTruth],
    detections: Sequence[Detections],
    thresholds: Sequence[float],
    limit: int = 100,
) -> float | None:
    """Return what the COCO tools say."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []

    def annotate(frame: int, box: NDArray[np.floating], cls: int, crowd: int) -> None:
        x1, y1, x2, y2 = map(float, box)
        size = [x1, y1, x2 - x1, y2 - y1]
        entry = {"id": len(annotations) + 1, "image_id": frame, "category_id": cls, "bbox": size}
        annotations.append(entry | {"area": size[2] * size[3], "iscrowd": crowd})

    for frame, (truth, found) in enumerate(zip(truths, detections, strict=True)):
        for box, cls in zip(truth.boxes, truth.classes, strict=True):
            annotate(frame, box, int(cls), 0)
        for box in truth.ignored:
            for cls in range(4):
                annotate(frame, box, cls, 1)
        for box, score, cls in zip(found.boxes, found.scores, found.classes, strict=True):
            x1, y1, x2, y2 = map(float, box)
            entry = {"image_id": frame, "category_id": int(cls), "score": float(score)}
            results.append(entry | {"bbox": [x1, y1, x2 - x1, y2 - y1]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": frame} for frame in range(len(truths))],
            "annotations": annotations,
            "categories": [{"id": cls} for cls in range(4)],
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.params.iouThrs = np.asarray(thresholds)
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.params.maxDets = [limit]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"]
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


@pytest.mark.parametrize("thresholds", [(0.5,), COCO_THRESHOLDS], ids=["0.5", "0.5:0.95"])
@pytest.mark.parametrize("seed", range(30))
def test_random_frames_as_coco(seed: int, thresholds: tuple[float, ...]) -> None:
    """Random frames of three classes have the very precision that the COCO tools tell."""
    truths, detections = _random(seed, ignored=seed % 3 == 1, coarse=seed % 3 == 2)
    ours = mean_average_precision(truths, detections, thresholds)
    assert ours == pytest.approx(_coco(truths, detections, thresholds), abs=TOLERANCE)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.sampled_from([1, 3, 100]))
def test_any_frames_as_coco(seed: int, ignored: bool, coarse: bool, limit: int) -> None:
    """Ignored regions, ties and a limit of detections change nothing of the agreement."""
    truths, detections = _random(seed, ignored=ignored, coarse=coarse)
    thresholds = (0.3, 0.5, 0.75, 1.0)
    if not any(len(found.scores) for found in detections):
        return  # the COCO tools refuse to load no results at all
    ours = mean_average_precision(truths, detections, thresholds, limit=limit)
    assert ours == pytest.approx(_coco(truths, detections, thresholds, limit), abs=TOLERANCE)


def test_nothing_to_find() -> None:
    """Without anything to find there is no figure, whatever was found; unfound things are 0."""
    nobody, somebody = truth_of(), truth_of((0, 0, 5, 9))
    assert mean_average_precision([], [], (0.5,)) is None
    assert mean_average_precision([nobody], [found_of((0, 0, 5, 9))], (0.5,)) is None
    assert mean_average_precision([somebody], [found_of()], (0.5,)) == 0.0
    assert mean_average_precision([somebody], [found_of((0, 0, 5, 9))], (0.5, 1.0)) == 1.0


def test_a_false_alarm_costs_by_its_score() -> None:
    """An invention surer than the find halves the precision; a less sure one costs nothing."""
    truth = [truth_of((0, 0, 10, 10))]
    pair = ((0, 0, 10, 10), (50, 50, 60, 60))
    surer = [found_of(*pair, scores=[0.4, 0.6])]
    less_sure = [found_of(*pair, scores=[0.6, 0.4])]
    assert mean_average_precision(truth, surer, (0.5,)) == pytest.approx(0.5)
    assert mean_average_precision(truth, less_sure, (0.5,)) == 1.0


def test_unused_slots_and_other_classes() -> None:
    """A slot of score 0 is nothing; a find of another class finds nothing."""
    truth = [truth_of((0, 0, 10, 10))]
    unused = found_of((50, 50, 60, 60), (0, 0, 10, 10), scores=[0.0, 0.5])
    assert mean_average_precision(truth, [unused], (0.5,)) == 1.0
    vehicle = found_of((0, 0, 10, 10), classes=[1])
    assert mean_average_precision(truth, [vehicle], (0.5,)) == 0.0


def test_what_does_not_belong_together() -> None:
    """Wrong shapes, other numbers of frames and senseless thresholds are refused."""
    truth, found = truth_of((0, 0, 1, 1)), found_of((0, 0, 1, 1))
    with pytest.raises(ValueError, match="1 frames of truth, 2 of detections"):
        mean_average_precision([truth], [found, found], (0.5,))
    for thresholds in ((), (0.0,), (1.5,)):
        with pytest.raises(ValueError, match="thresholds"):
            mean_average_precision([truth], [found], thresholds)
    with pytest.raises(ValueError, match="shape"):
        FrameTruth(boxes=np.zeros((2, 4)), classes=np.zeros(2, int), ids=np.zeros(3, int))
    with pytest.raises(ValueError, match="shape"):
        Detections(boxes=np.zeros((2, 3)), scores=np.zeros(2), classes=np.zeros(2, int))


def test_overlaps() -> None:
    """Overlaps of known boxes; boxes that only touch, and empty ones, share nothing."""
    left = boxes_of((0, 0, 10, 10), (3, 3, 3, 3))
    right = boxes_of((0, 0, 10, 10), (5, 0, 15, 10), (10, 0, 20, 10), (3, 3, 3, 3))
    expected = np.array([[1, 1 / 3, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(iou_matrix(left, right), expected)
    assert iou_matrix(left, boxes_of()).shape == (2, 0)


def test_pseudo_truth() -> None:
    """Answers of at least the threshold become truth: the model agrees with itself entirely."""
    answer = found_of((0, 0, 9, 9), (20, 0, 30, 9), (40, 0, 50, 9), scores=[0.9, 0.5, 0.0])
    agreed = pseudo_truth(answer, 0.5)
    np.testing.assert_array_equal(agreed.boxes, answer.boxes[:2])
    assert agreed.ids.tolist() == [0, 1]
    assert len(pseudo_truth(answer, 0.0).boxes) == 2
    assert mean_average_precision([agreed], [answer], COCO_THRESHOLDS) == 1.0
