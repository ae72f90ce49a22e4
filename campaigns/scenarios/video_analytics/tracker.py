"""A tracker by detection: who is who from frame to frame, also where the detector did not look.

The association in two stages is that of ByteTrack (Zhang et al. 2022, "ByteTrack: Multi-Object
Tracking by Associating Every Detection Box"), the motion that of SORT's line (Bewley et al. 2016,
"Simple Online and Realtime Tracking"). Boxes alone count, never what they look like.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ....errors import SpecError
from ....profiler.quality.detection import Detections, iou_matrix
from ....profiler.quality.tracking import Tracks
from .motion import Motion, boxes_of, shapes_of

__all__ = ["Tracker", "TrackerSettings"]

Rows = NDArray[np.int64]

_NEW, _SEEN, _LOST = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """How a tracker decides; the values are ByteTrack's.

    Args:
        high_score: Detections from here on are matched first.
        low_score: Less sure ones are not looked at.
        birth_score: What a detection that belongs to no track needs to begin one.
        first_iou: Least overlap of a track and a sure detection.
        second_iou: Least overlap of a track and a less sure detection.
        birth_iou: Least overlap of a track seen once and the detection that confirms it.
        max_lost_frames: So long a track that nobody sees may come back.

    Raises:
        SpecError: When a score or an overlap is not in [0, 1], or the low score is the higher.
    """

    high_score: float = 0.5
    low_score: float = 0.1
    birth_score: float = 0.6
    first_iou: float = 0.2
    second_iou: float = 0.5
    birth_iou: float = 0.3
    max_lost_frames: int = 30

    def __post_init__(self) -> None:
        for name in ("high_score", "low_score", "birth_score", *_OVERLAPS):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SpecError("tracker", place=name, found=str(value), expected="0 to 1")
        if self.low_score > self.high_score:
            raise SpecError(
                "tracker",
                place="low_score",
                found=f"{self.low_score} above high_score {self.high_score}",
                expected="at most high_score",
            )
        if self.max_lost_frames < 0:
            raise SpecError(
                "tracker",
                place="max_lost_frames",
                found=str(self.max_lost_frames),
                expected="0 or more",
            )


_OVERLAPS = ("first_iou", "second_iou", "birth_iou")


_TRACK = np.dtype(
    [
        ("id", np.int64),
        ("class", np.int64),
        ("score", np.float64),
        ("state", np.int64),
        ("born", np.int64),
        ("seen", np.int64),
    ]
)
"""What is known of a track beside its motion; `born` and `seen` count frames."""


class Tracker:
    """Follows objects of several classes through one video; the same frames give the same ids.

    A sure detection that belongs to no track begins one, which is told once a second detection
    confirms it (at once in the first frame). Tracks that are not seen are lost, and come back when
    a sure detection lies where they would be by now. Ids count from 1, and none is used twice.

    Args:
        settings: How it decides.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = settings or TrackerSettings()
        self._frame = 0
        self._next_id = 1
        self._looked = False
        self._motion = Motion.at(np.zeros((0, 4)))
        self._tracks = np.zeros(0, dtype=_TRACK)

    def update(self, detections: Detections, steps: int = 1) -> Tracks:
        """Take in what the detector found in a frame.

        Args:
            detections: Of the frame; boxes without an area and slots of score 0 are left out.
            steps: How many frames after the one of the last call, `predict` or `update`, it is:
                3 when the two between were passed by.

        Returns:
            The tracks seen in this frame, by id.

        Raises:
            ValueError: When `steps` is not above 0.
        """
        if steps < 1:
            raise ValueError(f"a frame needs to come after the last, found {steps} steps")
        for _ in range(steps):
            self._step()
        self._associate(_usable(detections))
        self._looked = True
        return self._told()

    def predict(self) -> Tracks:
        """Pass on to the next frame, where the detector does not look.

        Returns:
            The tracks seen the last time that it did look, where they should be now, by id.
        """
        self._step()
        return self._told()

    def _step(self) -> None:
        self._frame += 1
        self._motion.step(self._tracks["state"] == _LOST)

    def _told(self) -> Tracks:
        rows = np.flatnonzero(self._tracks["state"] == _SEEN)
        rows = rows[np.argsort(self._tracks["id"][rows])]
        told = self._tracks[rows]
        return Tracks(
            boxes=boxes_of(self._motion.position[rows]),
            scores=told["score"].astype(np.float32),
            classes=told["class"].copy(),
            ids=told["id"].copy(),
        )

    def _associate(self, found: Detections) -> None:
        """Match in stages, let the unmatched be lost or go, and begin new tracks."""
        settings, tracks = self._settings, self._tracks
        sure = found.scores >= settings.high_score
        unsure = ~sure & (found.scores >= settings.low_score)
        overlaps = iou_matrix(boxes_of(self._motion.position), found.boxes)
        overlaps[tracks["class"][:, None] != found.classes[None, :]] = 0.0
        was_seen, is_new = tracks["state"] == _SEEN, tracks["state"] == _NEW
        open_tracks = np.ones(len(tracks), dtype=bool)
        open_found = np.ones(len(found.scores), dtype=bool)
        for group, boxes, least in (
            (~is_new, sure, settings.first_iou),
            (was_seen, unsure, settings.second_iou),
            (is_new, sure, settings.birth_iou),
        ):
            rows = np.flatnonzero(group & open_tracks)
            columns = np.flatnonzero(boxes & open_found)
            rows, columns = _matched(overlaps, rows, columns, least)
            self._see(rows, columns, found)
            open_tracks[rows] = False
            open_found[columns] = False
        tracks["state"][open_tracks & was_seen] = _LOST
        alive = self._frame - tracks["seen"] <= settings.max_lost_frames
        self._keep(alive & ~(open_tracks & is_new))
        self._begin(found, sure & open_found & (found.scores >= settings.birth_score))
        self._drop_doubles()

    def _see(self, rows: Rows, columns: Rows, found: Detections) -> None:
        if len(rows):
            self._motion.correct(rows, shapes_of(found.boxes[columns]))
            self._tracks["score"][rows] = found.scores[columns]
            self._tracks["state"][rows] = _SEEN
            self._tracks["seen"][rows] = self._frame

    def _keep(self, rows: NDArray[np.bool_]) -> None:
        if not rows.all():
            self._motion = self._motion.only(rows)
            self._tracks = self._tracks[rows]

    def _begin(self, found: Detections, chosen: NDArray[np.bool_]) -> None:
        """Begin a track for each of some detections."""
        count = int(chosen.sum())
        if not count:
            return
        born = np.zeros(count, dtype=_TRACK)
        born["id"] = np.arange(self._next_id, self._next_id + count)
        born["class"], born["score"] = found.classes[chosen], found.scores[chosen]
        born["state"] = _NEW if self._looked else _SEEN
        born["born"] = born["seen"] = self._frame
        self._next_id += count
        self._motion = self._motion.joined(Motion.at(shapes_of(found.boxes[chosen])))
        self._tracks = np.concatenate([self._tracks, born])

    def _drop_doubles(self) -> None:
        """Where a seen and a lost track lie upon each other, keep the one that was seen longer."""
        tracks = self._tracks
        seen = np.flatnonzero(tracks["state"] == _SEEN)
        lost = np.flatnonzero(tracks["state"] == _LOST)
        if not len(seen) or not len(lost):
            return
        boxes = boxes_of(self._motion.position)
        same = iou_matrix(boxes[seen], boxes[lost]) > _DOUBLE_IOU
        same &= tracks["class"][seen][:, None] == tracks["class"][lost][None, :]
        length = tracks["seen"] - tracks["born"]
        keep = np.ones(len(tracks), dtype=bool)
        for row, column in np.argwhere(same):
            older = length[seen[row]] > length[lost[column]]
            keep[lost[column] if older else seen[row]] = False
        self._keep(keep)


_DOUBLE_IOU = 0.85
_NOTHING = Detections(
    boxes=np.zeros((0, 4), dtype=np.float32),
    scores=np.zeros(0, dtype=np.float32),
    classes=np.zeros(0, dtype=np.int64),
)


def _usable(detections: Detections) -> Detections:
    boxes = detections.boxes
    good = (detections.scores > 0) & np.isfinite(boxes).all(axis=1)
    good &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return replace(
        detections,
        boxes=boxes[good],
        scores=detections.scores[good],
        classes=detections.classes[good],
    )


def _matched(
    overlaps: NDArray[np.float64], rows: Rows, columns: Rows, least: float
) -> tuple[Rows, Rows]:
    """Return pairs of the given rows and columns that overlap enough, of the largest sum."""
    gains = overlaps[np.ix_(rows, columns)]
    gains = np.where((gains >= least) & (gains > 0), gains, 0.0)
    if not gains.any():
        return rows[:0], columns[:0]
    at, to = linear_sum_assignment(gains, maximize=True)
    real = gains[at, to] > 0
    return rows[at[real]], columns[to[real]]
