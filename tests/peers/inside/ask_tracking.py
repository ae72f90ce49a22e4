"""Runs in the trackers' environment: follows boxes by Roboflow's ByteTrack, judges by TrackEval."""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import MagicMock

# Boxes alone are followed and judged: the build of OpenCV that comes along, which needs the
# libraries of a display, is not loaded.
sys.modules["cv2"] = MagicMock()

import numpy as np  # noqa: E402
import supervision  # type: ignore[import-not-found]  # noqa: E402
import trackeval  # type: ignore[import-not-found]  # noqa: E402
from calls import packed, serve, unpacked  # type: ignore[import-not-found]  # noqa: E402
from trackers import ByteTrackTracker  # type: ignore[import-not-found]  # noqa: E402


def track(frames: list[dict[str, Any]], settings: dict[str, float]) -> list[dict[str, Any]]:
    """Follow the detections of each frame; one tracker for each class.

    Args:
        frames: Each with `boxes`, `scores` and `classes`.
        settings: Of the tracker.

    Returns:
        Per frame `boxes`, `classes` and `ids` of what is told to be a track.
    """
    trackers = {cls: ByteTrackTracker(**settings) for cls in (0, 1)}
    told = []
    for frame in frames:
        boxes, scores, classes = (unpacked(frame[key]) for key in ("boxes", "scores", "classes"))
        parts: dict[str, list[Any]] = {"boxes": [], "classes": [], "ids": []}
        for cls, tracker in trackers.items():
            mine = classes == cls
            found = supervision.Detections(
                xyxy=boxes[mine].reshape(-1, 4), confidence=scores[mine], class_id=classes[mine]
            )
            followed = tracker.update(found)
            for box, name in zip(followed.xyxy, followed.tracker_id, strict=True):
                if name >= 0:
                    parts["boxes"].append(box)
                    parts["classes"].append(cls)
                    parts["ids"].append(int(name) * 2 + cls)
        told.append(
            {
                "boxes": packed("FP32", np.array(parts["boxes"], dtype=np.float32).reshape(-1, 4)),
                "classes": packed("INT64", np.array(parts["classes"], dtype=np.int64)),
                "ids": packed("INT64", np.array(parts["ids"], dtype=np.int64)),
            }
        )
    return told


def judge(frames: list[dict[str, Any]], threshold: float) -> dict[str, float]:
    """Judge one sequence.

    Args:
        frames: Each with `objects` and `tracks`, the ids, and `overlaps`, 0 between classes.
        threshold: Least overlap of a match.
    """
    objects = _numbers([frame["objects"] for frame in frames])
    tracks = _numbers([frame["tracks"] for frame in frames])
    data = {
        "num_timesteps": len(frames),
        "gt_ids": objects,
        "tracker_ids": tracks,
        "num_gt_ids": 1 + max((int(ids.max()) for ids in objects if len(ids)), default=-1),
        "num_tracker_ids": 1 + max((int(ids.max()) for ids in tracks if len(ids)), default=-1),
        "num_gt_dets": sum(map(len, objects)),
        "num_tracker_dets": sum(map(len, tracks)),
        "similarity_scores": [
            unpacked(frame["overlaps"]).reshape(len(frame["objects"]), len(frame["tracks"]))
            for frame in frames
        ],
    }
    settings = {"THRESHOLD": threshold, "PRINT_CONFIG": False}
    clear = trackeval.metrics.CLEAR(settings).eval_sequence(data)
    identity = trackeval.metrics.Identity(settings).eval_sequence(data)
    return {
        "mota": float(clear["MOTA"]),
        "switches": float(clear["IDSW"]),
        "false_positives": float(clear["CLR_FP"]),
        "misses": float(clear["CLR_FN"]),
        "idf1": float(identity["IDF1"]),
        "identity_matches": float(identity["IDTP"]),
    }


def _numbers(frames: list[list[int]]) -> list[Any]:
    """Return ids numbered from 0."""
    names = sorted({name for ids in frames for name in ids})
    places = {name: place for place, name in enumerate(names)}
    return [np.array([places[name] for name in ids], dtype=int) for ids in frames]


if __name__ == "__main__":
    serve(track, judge)
