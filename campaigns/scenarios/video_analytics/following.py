"""How good tracks are that are made of detections of some frames, and what lies between them."""

from __future__ import annotations

from collections.abc import Mapping

from ....profiler.quality.detection import Detections
from ....profiler.quality.tracking import TrackingJudge, TrackingScores
from .clips import Footage
from .matching import OVERLAP
from .tracker import Tracker, TrackerSettings

__all__ = ["followed", "our_tracker"]


def our_tracker() -> Tracker:
    """Return a tracker for detectors of heat maps, whose scores are lower than ByteTrack's."""
    return Tracker(TrackerSettings(high_score=0.35, birth_score=0.4))


def followed(footage: Footage, found: Mapping[int, Detections]) -> TrackingScores:
    """Follow what was found through each clip, from its first answered frame to its last.

    Args:
        footage: Clips with their truth.
        found: Detections by sample. Where a frame has none, tracks go on as they went, and are
            judged there too.
    """
    judge = TrackingJudge(OVERLAP)
    ends = (*footage.starts[1:], len(footage.frames))
    for start, end in zip(footage.starts, ends, strict=True):
        answered = [sample for sample in range(start, end) if sample in found]
        if not answered:
            continue
        tracker = our_tracker()
        for sample in range(answered[0], answered[-1] + 1):
            seen = found.get(sample)
            tracks = tracker.predict() if seen is None else tracker.update(seen)
            judge.update(footage.truths[sample], tracks)
        judge.next_sequence()
    return judge.scores()
