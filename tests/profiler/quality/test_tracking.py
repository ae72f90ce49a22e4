"""Quality of tracks, against py-motmetrics and by its own laws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import motmetrics
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulery.profiler.quality.detection import FrameTruth, iou_matrix
from joulery.profiler.quality.tracking import TrackingJudge, TrackingScores, Tracks

TOLERANCE = 1e-9

Frames = list[tuple[FrameTruth, Tracks]]


def random_frames(seed: int) -> Frames:
    """Return a sequence of crossing objects with lost, swapped, shifted and invented tracks."""
    rng = np.random.default_rng(seed)
    count, length = int(rng.integers(1, 8)), int(rng.integers(1, 40))
    start = rng.uniform(0, 80, (count, 2))
    speed = rng.normal(0, 2, (count, 2))
    size = rng.uniform(8, 40, (count, 2))
    classes = rng.integers(0, 2, count)
    names = np.arange(count)
    noise, lost, swapped = rng.uniform(0, 6), rng.uniform(0, 0.4), rng.uniform(0, 0.2)
    frames: Frames = []
    for step in range(length):
        corner = start + speed * step
        boxes = np.hstack([corner, corner + size]).astype(np.float32)
        there = rng.uniform(size=count) < 0.9
        seen = there & (rng.uniform(size=count) >= lost)
        if rng.uniform() < swapped:
            names = rng.permutation(names)
        if rng.uniform() < swapped:
            names[rng.integers(count)] = 100 + step
        invented = int(rng.integers(0, 3))
        false = rng.uniform(0, 80, (invented, 2))
        false = np.hstack([false, false + rng.uniform(8, 40, (invented, 2))])
        found = np.vstack([boxes[seen] + rng.normal(0, noise, (int(seen.sum()), 4)), false])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        kinds = np.concatenate([classes[seen], rng.integers(0, 2, invented)])
        ids = np.concatenate([names[seen], 1000 + rng.permutation(5)[:invented]])
        frames.append(
            (
                FrameTruth(boxes=boxes[there], classes=classes[there], ids=np.flatnonzero(there)),
                Tracks(boxes=found, scores=np.ones(len(found)), classes=kinds, ids=ids),
            )
        )
    return frames


def judged(frames: Frames, threshold: float = 0.5) -> TrackingScores:
    """Return our scores of one sequence."""
    judge = TrackingJudge(threshold)
    for truth, tracks in frames:
        judge.update(truth, tracks)
    return judge.scores()


def _of_motmetrics(sequences: Sequence[Frames], threshold: float) -> dict[str, float]:
    """Return what py-motmetrics says of some sequences together."""
    metrics = ["mota", "idf1", "num_switches", "num_false_positives", "num_misses", "num_objects"]
    accumulators = []
    for frames in sequences:
        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        for truth, tracks in frames:
            distances = 1 - iou_matrix(truth.boxes, tracks.boxes)
            distances[1 - distances < threshold] = np.nan
            distances[truth.classes[:, None] != tracks.classes[None, :]] = np.nan
            accumulator.update(truth.ids, tracks.ids, distances)
        accumulators.append(accumulator)
    host = motmetrics.metrics.create()
    table = host.compute_many(
        accumulators, metrics=metrics, names=range(len(sequences)), generate_overall=True
    )
    found: dict[str, float] = table.loc["OVERALL"].to_dict()
    return found


def _assert_same(scores: TrackingScores, theirs: dict[str, float]) -> None:
    assert scores.objects == theirs["num_objects"]
    assert scores.switches == theirs["num_switches"]
    assert scores.false_positives == theirs["num_false_positives"]
    assert scores.misses == theirs["num_misses"]
    for ours, key in ((scores.mota, "mota"), (scores.idf1, "idf1")):
        if ours is None:
            assert not math.isfinite(theirs[key])
        else:
            assert ours == pytest.approx(theirs[key], abs=TOLERANCE)


@pytest.mark.parametrize("seed", range(15))
def test_random_sequences_as_motmetrics(seed: int) -> None:
    """Random sequences have the counts, MOTA and IDF1 of py-motmetrics."""
    frames = random_frames(seed)
    _assert_same(judged(frames), _of_motmetrics([frames], 0.5))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=3), st.sampled_from([0.3, 0.7]))
def test_several_sequences_as_motmetrics(seeds: list[int], threshold: float) -> None:
    """Sequences one after the other, whose ids are each its own, have the overall figures."""
    sequences = [random_frames(seed) for seed in seeds]
    judge = TrackingJudge(threshold)
    for frames in sequences:
        for truth, tracks in frames:
            judge.update(truth, tracks)
        judge.next_sequence()
    _assert_same(judge.scores(), _of_motmetrics(sequences, threshold))


def _frame(*objects: tuple[int, float], classes: Sequence[int] | None = None) -> FrameTruth:
    """Return boxes of 10 by 20 pixels: who, and where along x."""
    return FrameTruth(
        boxes=np.array([(x, 0, x + 10, 20) for _, x in objects], dtype=np.float32).reshape(-1, 4),
        classes=np.array(classes or [0] * len(objects), dtype=np.int64),
        ids=np.array([name for name, _ in objects], dtype=np.int64),
    )


def _tracks(*objects: tuple[int, float], classes: Sequence[int] | None = None) -> Tracks:
    truth = _frame(*objects, classes=classes)
    return Tracks(
        boxes=truth.boxes, scores=np.ones(len(objects)), classes=truth.classes, ids=truth.ids
    )


def test_by_hand() -> None:
    """A perfect frame, a swap, a miss with a false alarm: 2 switches, MOTA 1 - 4 / 6."""
    scores = judged(
        [
            (_frame((1, 0), (2, 50)), _tracks((7, 0), (8, 50))),
            (_frame((1, 0), (2, 50)), _tracks((8, 0), (7, 50))),
            (_frame((1, 0), (2, 50)), _tracks((8, 0), (7, 90))),
        ]
    )
    assert (scores.switches, scores.misses, scores.false_positives) == (2, 1, 1)
    assert scores.mota == pytest.approx(1 - 4 / 6)
    # Object 1 is 8 twice, object 2 is 7 once: the best that one track each can do.
    assert (scores.identity_matches, scores.idf1) == (3, 0.5)


def test_a_match_stays_while_it_may() -> None:
    """A pair of before stays matched although another track is now nearer."""
    scores = judged(
        [
            (_frame((1, 0)), _tracks((7, 0))),
            (_frame((1, 0)), _tracks((7, 3), (8, 0))),
        ]
    )
    assert (scores.switches, scores.false_positives, scores.misses) == (0, 1, 0)


def test_a_track_of_another_class_is_not_a_match() -> None:
    """A vehicle on a person is a miss and a false alarm."""
    scores = judged([(_frame((1, 0)), _tracks((7, 0), classes=[1]))])
    assert (scores.misses, scores.false_positives, scores.idf1) == (1, 1, 0.0)


def test_nothing_to_judge() -> None:
    """Without objects there is no MOTA, without any box no IDF1, and neither is 0."""
    empty = judged([(_frame(), _tracks())])
    assert (empty.mota, empty.idf1) == (None, None)
    false = judged([(_frame(), _tracks((1, 0)))])
    assert (false.mota, false.idf1, false.false_positives) == (None, 0.0, 1)
    assert TrackingJudge().scores().mota is None


def test_ignored_regions() -> None:
    """In an ignored region a stray track is no false alarm, and a right one still counts."""
    truth = FrameTruth(
        boxes=np.array([(0.0, 0, 10, 20)]),
        classes=np.array([0]),
        ids=np.array([1]),
        ignored=np.array([(0.0, 0, 60, 20)]),
    )
    scores = judged([(truth, _tracks((7, 0), (8, 40), (9, 80)))])
    assert (scores.misses, scores.false_positives, scores.tracked) == (0, 1, 2)
    assert scores.identity_matches == 1


def test_tracks_as_truth() -> None:
    """Tracks taken as truth agree with themselves entirely, id by id."""
    tracks = [tracks for _, tracks in random_frames(3)]
    scores = judged([(one.as_truth(), one) for one in tracks])
    assert (scores.mota, scores.idf1, scores.switches) == (1.0, 1.0, 0)


def test_what_cannot_be_judged() -> None:
    """An id twice in a frame, senseless thresholds and wrong shapes are refused."""
    with pytest.raises(ValueError, match="tracks stands twice"):
        TrackingJudge().update(_frame((1, 0)), _tracks((7, 0), (7, 50)))
    with pytest.raises(ValueError, match="truth stands twice"):
        TrackingJudge().update(_frame((1, 0), (1, 50)), _tracks())
    for threshold in (0.0, 1.1):
        with pytest.raises(ValueError, match="threshold"):
            TrackingJudge(threshold)
    with pytest.raises(ValueError, match="shape"):
        Tracks(
            boxes=np.zeros((1, 4)), scores=np.ones(1), classes=np.zeros(1, int), ids=np.ones(2, int)
        )
