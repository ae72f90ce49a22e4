"""The tracker: who is who, through gaps, doubt and frames that the detector does not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from joulery.campaigns.scenarios.video_analytics.tracker import Tracker, TrackerSettings
from joulery.errors import SpecError
from joulery.profiler.quality.detection import Detections, FrameTruth
from joulery.profiler.quality.tracking import TrackingJudge, TrackingScores, Tracks

from .walkers import crowd, detected


def _seen(*objects: tuple[float, float], classes: Sequence[int] | None = None) -> Detections:
    """Return detections of 20 by 40 pixels: where along x, and how sure."""
    boxes = [(x, 100, x + 20, 140) for x, _ in objects]
    return Detections(
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        scores=np.array([score for _, score in objects], dtype=np.float32),
        classes=np.array(classes or [0] * len(objects), dtype=np.int64),
    )


def _judged(truths: list[FrameTruth], found: list[Detections], stride: int = 1) -> TrackingScores:
    judge, tracker = TrackingJudge(), Tracker()
    for number, (truth, detections) in enumerate(zip(truths, found, strict=True)):
        tracks = tracker.update(detections) if number % stride == 0 else tracker.predict()
        judge.update(truth, tracks)
    return judge.scores()


def _same(left: Tracks, right: Tracks) -> bool:
    return all(
        getattr(left, name).tobytes() == getattr(right, name).tobytes()
        for name in ("boxes", "scores", "classes", "ids")
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd(seed: int) -> None:
    """Ten objects that hide each other are followed, against a detector that errs a little."""
    truths = crowd(seed)
    scores = _judged(truths, detected(truths, seed))
    assert scores.mota is not None
    assert scores.idf1 is not None
    assert scores.mota > 0.85
    assert scores.idf1 > 0.85
    assert scores.switches < 0.01 * scores.objects


def test_more_stride_is_not_better() -> None:
    """Frames between are told by motion: a stride of 3 keeps most, one of 12 keeps less."""
    truths = crowd(5)
    found = detected(truths, 5)
    motas = [_judged(truths, found, stride).mota for stride in (1, 3, 12)]
    assert None not in motas
    first, third, twelfth = (mota or 0.0 for mota in motas)
    assert first > third > twelfth
    assert third > 0.75 * first


def test_the_same_video_twice() -> None:
    """The same detections give the same tracks, bit for bit."""
    found = detected(crowd(1), 1)
    first, second = Tracker(), Tracker()
    assert all(_same(first.update(one), second.update(one)) for one in found)


def test_frames_passed_by() -> None:
    """Frames that nobody asks for are one number of steps; those told by motion count too."""
    first, second = Tracker(), Tracker()
    for x in range(0, 60, 12):
        told = first.update(_seen((x, 0.9)), steps=3)
        if x:
            second.predict()
            second.predict()
        passed = second.update(_seen((x, 0.9)))
        assert (told.ids.tolist(), passed.ids.tolist()) == ([1], [1])
        np.testing.assert_allclose(told.boxes, passed.boxes, atol=1e-3)
    between = second.predict()
    # It has learnt to go 4 pixels a frame.
    assert between.boxes[0, 0] == pytest.approx(48 + 4, abs=1)
    assert between.boxes[0, 2] - between.boxes[0, 0] == pytest.approx(20, abs=0.5)
    with pytest.raises(ValueError, match="0 steps"):
        first.update(_seen(), steps=0)


def test_a_gap() -> None:
    """What moves on unseen comes back as itself; what stays away too long does not."""
    for gap, again in ((20, 1), (40, 2)):
        tracker = Tracker()
        for frame in range(15):
            assert tracker.update(_seen((3.0 * frame, 0.9))).ids.tolist() == [1]
        for _ in range(gap):
            assert tracker.update(_seen()).ids.tolist() == []
        x = 3.0 * (14 + gap + 1)
        tracker.update(_seen((x, 0.9)))
        assert tracker.update(_seen((x + 3, 0.9))).ids.tolist() == [again]


def test_doubtful_detections() -> None:
    """A less sure detection keeps a track and begins none; a still less sure one does nothing."""
    tracker = Tracker()
    assert tracker.update(_seen((0, 0.9), (100, 0.3))).ids.tolist() == [1]
    kept = tracker.update(_seen((1, 0.2), (100, 0.3)))
    assert kept.ids.tolist() == [1]
    assert kept.scores[0] == np.float32(0.2)
    assert tracker.update(_seen((2, 0.05))).ids.tolist() == []


def test_a_birth_needs_a_second_look() -> None:
    """After the first frame a track is told once it was seen twice; a flash is never told."""
    tracker = Tracker()
    tracker.update(_seen())
    assert tracker.update(_seen((0, 0.9), (200, 0.9))).ids.tolist() == []
    assert tracker.predict().ids.tolist() == []
    assert tracker.update(_seen((0, 0.9))).ids.tolist() == [1]
    assert tracker.update(_seen((0, 0.9), (200, 0.9))).ids.tolist() == [1]
    assert tracker.update(_seen((0, 0.9), (200, 0.9))).ids.tolist() == [1, 3]


def test_classes_are_apart() -> None:
    """A vehicle where a person was is another object, also in the same place at the same time."""
    tracker = Tracker()
    assert tracker.update(_seen((0, 0.9))).classes.tolist() == [0]
    tracker.update(_seen((0, 0.9), (0, 0.9), classes=[0, 1]))
    both = tracker.update(_seen((0, 0.9), (0, 0.9), classes=[1, 0]))
    assert (both.ids.tolist(), both.classes.tolist()) == ([1, 2], [0, 1])


def test_two_that_pass_each_other() -> None:
    """Two that cross keep their ids: their motion tells them apart."""
    tracker = Tracker()
    for frame in range(40):
        tracks = tracker.update(_seen((4.0 * frame, 0.9), (160 - 4.0 * frame, 0.9)))
    assert tracks.ids.tolist() == [1, 2]
    assert tracks.boxes[0, 0] == pytest.approx(156, abs=3)
    assert tracks.boxes[1, 0] == pytest.approx(4, abs=3)


def test_what_is_no_detection() -> None:
    """Unused slots, boxes without an area and boxes that are no numbers are left out."""
    boxes = [(0, 0, 10, 20), (5, 5, 5, 30), (9, 9, 3, 12), (np.nan, 0, 5, 5), (40, 0, 50, 20)]
    found = Detections(
        boxes=np.array(boxes, dtype=np.float32),
        scores=np.array([0.0, 0.9, 0.9, 0.9, 0.9], dtype=np.float32),
        classes=np.zeros(5, dtype=np.int64),
    )
    tracker = Tracker()
    for _ in range(3):
        tracks = tracker.update(found)
    np.testing.assert_allclose(tracks.boxes, [boxes[4]])
    assert tracks.ids.tolist() == [1]


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"high_score": 1.2}, "high_score"),
        ({"second_iou": -0.1}, "second_iou"),
        ({"low_score": 0.7}, "low_score"),
        ({"max_lost_frames": -1}, "max_lost_frames"),
    ],
)
def test_senseless_settings(settings: dict[str, float], place: str) -> None:
    """A setting that makes no sense is named."""
    with pytest.raises(SpecError, match="tracker") as caught:
        TrackerSettings(**settings)  # type: ignore[arg-type]
    assert caught.value.place == place
