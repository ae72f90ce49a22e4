"""Our tracker beside Roboflow's ByteTrack, and our judge of tracks beside TrackEval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from joulery.campaigns.scenarios.video_analytics.tracker import Tracker
from joulery.profiler.quality.detection import Detections, FrameTruth, iou_matrix
from joulery.profiler.quality.tracking import TrackingJudge, TrackingScores, Tracks

from ..campaigns.scenarios.walkers import crowd, detected
from ..profiler.quality.test_tracking import judged, random_frames
from .environments import environment
from .peer import Peer, packed, unpacked

TOLERANCE = 1e-9
WORSE = 0.01
"""By so much our tracker's mean MOTA and IDF1 may be under the peer's."""


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    """Yield the trackers' environment."""
    with Peer(environment("tracking"), "ask_tracking.py") as peer:
        yield peer


def _judged_by(peer: Peer, frames: list[tuple[FrameTruth, Tracks]]) -> dict[str, float]:
    told = []
    for truth, tracks in frames:
        overlaps = iou_matrix(truth.boxes, tracks.boxes)
        overlaps[truth.classes[:, None] != tracks.classes[None, :]] = 0.0
        told.append(
            {
                "objects": truth.ids.tolist(),
                "tracks": tracks.ids.tolist(),
                "overlaps": packed(overlaps),
            }
        )
    scores: dict[str, float] = peer("judge", frames=told, threshold=0.5)
    return scores


def _followed_by(peer: Peer, found: list[Detections]) -> list[Tracks]:
    frames = [
        {
            "boxes": packed(one.boxes),
            "scores": packed(one.scores),
            "classes": packed(one.classes.astype(np.int64)),
        }
        for one in found
    ]
    # What is sure, and what may begin a track, as in ours; all else is its own.
    settings = {"high_conf_det_threshold": 0.5, "track_activation_threshold": 0.6}
    told: list[dict[str, Any]] = peer("track", frames=frames, settings=settings)
    return [
        Tracks(scores=np.ones(len(one["ids"]["data"])), **{k: unpacked(one[k]) for k in one})
        for one in told
    ]


@pytest.mark.parametrize("seed", range(10))
def test_identities_as_trackeval(peer: Peer, seed: int) -> None:
    """IDF1 of random sequences is TrackEval's."""
    frames = random_frames(seed)
    ours, theirs = judged(frames), _judged_by(peer, frames)
    assert ours.identity_matches == theirs["identity_matches"]
    assert ours.idf1 == pytest.approx(theirs["idf1"], abs=TOLERANCE)


@pytest.mark.parametrize("seed", range(3))
def test_tracks_of_a_crowd_as_trackeval(peer: Peer, seed: int) -> None:
    """Of what a tracker says of a crowd, every figure is TrackEval's."""
    truths = crowd(seed)
    tracker = Tracker()
    frames = [
        (truth, tracker.update(found))
        for truth, found in zip(truths, detected(truths, seed), strict=True)
    ]
    ours, theirs = judged(frames), _judged_by(peer, frames)
    for name, value in theirs.items():
        assert getattr(ours, name) == pytest.approx(value, abs=TOLERANCE), name


def test_no_worse_than_the_peer(peer: Peer) -> None:
    """Over crowds of twelve our tracker is as good as the peer's, with the same detections."""
    means: dict[str, list[float]] = {"ours": [], "theirs": []}
    for seed in range(6):
        truths = crowd(seed, objects=12)
        found = detected(truths, seed)
        tracker = Tracker()
        for who, tracks in (
            ("ours", [tracker.update(one) for one in found]),
            ("theirs", _followed_by(peer, found)),
        ):
            scores = _scores(truths, tracks)
            assert scores.mota is not None
            assert scores.idf1 is not None
            means[who].append(scores.mota)
            means[who].append(scores.idf1)
    mota, idf1 = np.reshape(means["ours"], (-1, 2)).mean(axis=0)
    peer_mota, peer_idf1 = np.reshape(means["theirs"], (-1, 2)).mean(axis=0)
    assert peer_mota > 0.5, "the peer was asked wrongly"
    assert mota > peer_mota - WORSE
    assert idf1 > peer_idf1 - WORSE


def _scores(truths: list[FrameTruth], tracks: list[Tracks]) -> TrackingScores:
    judge = TrackingJudge()
    for truth, one in zip(truths, tracks, strict=True):
        judge.update(truth, one)
    return judge.scores()
