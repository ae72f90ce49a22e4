"""Quality of object tracks, frame after frame: MOTA, identity F1, switches, misses, false alarms.

What is judged comes from outside: trackers live elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from .detection import Boxes, FrameTruth, check_columns, inside_ratios, iou_matrix

__all__ = ["TrackingJudge", "TrackingScores", "Tracks"]

_IGNORED_RATIO = 0.5
"""A track's box of which so much lies in an ignored region is not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """The objects that a tracker says are in one frame.

    Args:
        boxes: Shape (n, 4): x1, y1, x2, y2 in pixels of the full frame.
        scores: Shape (n,): that of the detection, or of the last one where the box is predicted.
        classes: Shape (n,): class numbers.
        ids: Shape (n,): which object each is, each number once.

    Raises:
        ValueError: When the shapes do not belong together.
    """

    boxes: Boxes
    scores: NDArray[np.floating]
    classes: NDArray[np.int64]
    ids: NDArray[np.int64]

    def __post_init__(self) -> None:
        check_columns(self.boxes, self.scores, self.classes, self.ids)

    def as_truth(self) -> FrameTruth:
        """Return the tracks of a reference model as if they were the truth.

        Figures against it tell the agreement with that model, never the accuracy.
        """
        return FrameTruth(boxes=self.boxes, classes=self.classes, ids=self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingScores:
    """How good some tracks are; the counts are sums over frames.

    Args:
        objects: Boxes of the truth.
        tracked: Boxes of the tracks.
        misses: Boxes of the truth without a track.
        false_positives: Boxes of the tracks without a truth.
        switches: How often an object was matched by another track than the last time.
        identity_matches: Matches of the best assignment of each object to one track for good.
    """

    objects: int
    tracked: int
    misses: int
    false_positives: int
    switches: int
    identity_matches: int

    @property
    def mota(self) -> float | None:
        """Accuracy of CLEAR MOT: 1 at best, below 0 when errors outnumber objects.

        `None` without any object (Bernardin & Stiefelhagen 2008).
        """
        if self.objects == 0:
            return None
        return 1 - (self.misses + self.false_positives + self.switches) / self.objects

    @property
    def idf1(self) -> float | None:
        """F1 of the identities, in [0, 1]; `None` without any box (Ristani et al. 2016)."""
        boxes = self.objects + self.tracked
        return None if boxes == 0 else 2 * self.identity_matches / boxes


class TrackingJudge:
    """Judges tracks as they come: it keeps counts, never frames.

    A pair of boxes may match when it is of one class and overlaps enough. CLEAR MOT's matches:
    pairs of before stay while they may; the others are matched, as many as possible, with the
    largest sum of overlaps. The counts are those of `py-motmetrics`.

    Args:
        threshold: Least overlap (intersection over union) of a match, in (0, 1].

    Raises:
        ValueError: When the threshold is none.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"a threshold needs to be in (0, 1], found {threshold}")
        self._threshold = threshold
        self._objects = self._tracked = self._misses = self._wrong = self._switches = 0
        self._identity_matches = 0
        self._last: dict[int, int] = {}
        self._together: Counter[tuple[int, int]] = Counter()

    def update(self, truth: FrameTruth, tracks: Tracks) -> None:
        """Judge the next frame of a sequence.

        Tracks that match nothing and lie in an ignored region are not looked at.

        Raises:
            ValueError: When an id stands twice in the frame.
        """
        for name, ids in (("truth", truth.ids), ("tracks", tracks.ids)):
            if len(np.unique(ids)) < len(ids):
                raise ValueError(f"an id of the {name} stands twice in a frame: {ids.tolist()}")
        overlaps = iou_matrix(truth.boxes, tracks.boxes)
        overlaps[truth.classes[:, None] != tracks.classes[None, :]] = 0.0
        overlaps[overlaps < self._threshold] = 0.0
        ids = tracks.ids
        if len(truth.ignored) and len(ids):
            kept = self._judged(overlaps, truth, tracks)
            overlaps, ids = overlaps[:, kept], ids[kept]
        names = truth.ids.tolist(), ids.tolist()
        rows, columns = np.nonzero(overlaps)
        self._together.update(
            (names[0][row], names[1][column])
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        )
        matches = self._match(overlaps, *names)
        self._objects += len(names[0])
        self._tracked += len(names[1])
        self._misses += len(names[0]) - matches
        self._wrong += len(names[1]) - matches

    def next_sequence(self) -> None:
        """End a sequence: from here on, ids name other objects."""
        self._identity_matches += _best_identities(self._together)
        self._together.clear()
        self._last.clear()

    def scores(self) -> TrackingScores:
        """Return the scores of all frames so far, of every sequence."""
        return TrackingScores(
            objects=self._objects,
            tracked=self._tracked,
            misses=self._misses,
            false_positives=self._wrong,
            switches=self._switches,
            identity_matches=self._identity_matches + _best_identities(self._together),
        )

    def _judged(
        self, overlaps: NDArray[np.float64], truth: FrameTruth, tracks: Tracks
    ) -> NDArray[np.bool_]:
        """Return, per track: whether it matches something or lies in no ignored region."""
        kept = inside_ratios(tracks.boxes, truth.ignored) < _IGNORED_RATIO
        for _, column in _assigned(overlaps):
            kept[column] = True
        return kept

    def _match(self, overlaps: NDArray[np.float64], objects: list[int], tracks: list[int]) -> int:
        """Match one frame, remember who is whom, count switches; returns the matches."""
        places = {track: place for place, track in enumerate(tracks)}
        free = overlaps.copy()
        matches = 0
        for row, name in enumerate(objects):
            place = places.get(self._last[name]) if name in self._last else None
            if place is not None and free[row, place] > 0:
                free[row, :] = 0.0
                free[:, place] = 0.0
                matches += 1
        for row, column in _assigned(free):
            name, track = objects[row], tracks[column]
            self._switches += self._last.get(name, track) != track
            self._last[name] = track
            matches += 1
        return matches


def _assigned(overlaps: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return as many pairs of overlap above 0 as can be, of the largest sum among those."""
    if not overlaps.any():
        return []
    # One pair more weighs more than all overlaps together.
    gains = np.where(overlaps > 0, overlaps + min(overlaps.shape), 0.0)
    rows, columns = linear_sum_assignment(gains, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if overlaps[row, column] > 0]


def _best_identities(together: Mapping[tuple[int, int], int]) -> int:
    """Return how many matches remain when each object has one track for good, and the reverse."""
    if not together:
        return 0
    objects = _places(name for name, _ in together)
    tracks = _places(track for _, track in together)
    counts = np.zeros((len(objects), len(tracks)))
    for (name, track), count in together.items():
        counts[objects[name], tracks[track]] = count
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return int(counts[rows, columns].sum())


def _places(names: Iterable[int]) -> dict[int, int]:
    """Number different names in the order in which they come."""
    places: dict[int, int] = {}
    for name in names:
        places.setdefault(name, len(places))
    return places
