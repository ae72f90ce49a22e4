"""Which generated clips there are: to train on, to settle confidences on, and to judge on.

Their seeds never meet, so that no model has seen a street that it is judged on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from ....profiler.quality.detection import FrameTruth
from .scenes import DIFFICULTIES, Street

__all__ = [
    "Footage", "drawn", "judged_footage", "judged_streets", "settling_streets", "training_streets",
]  # fmt: skip

_TEST, _SETTLING, _TRAINING = 1_000, 2_000, 10_000
"""First seeds."""
_TEST_CLIPS, _SETTLING_CLIPS, _TRAINING_CLIPS = 2, 50, 200
"""Clips of each difficulty."""


def _streets(first: int, clips: int) -> list[Street]:
    return [Street(first + clip, level) for clip in range(clips) for level in DIFFICULTIES]


def training_streets(clips: int | None = None) -> list[Street]:
    """Return what detectors are trained on; `clips` of each difficulty."""
    return _streets(_TRAINING, clips or _TRAINING_CLIPS)


def settling_streets(clips: int | None = None) -> list[Street]:
    """Return what confidences are fitted to."""
    return _streets(_SETTLING, clips or _SETTLING_CLIPS)


def judged_streets(clips: int = _TEST_CLIPS) -> list[Street]:
    """Return what detectors are judged on: the easy clip, the normal and the hard one, again."""
    return _streets(_TEST, clips)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """Clips one after another, with what there is to see in them.

    Args:
        frames: Of each sample, UINT8, shape (height, width, 3); those of a clip are of one size.
        truths: Of each sample.
        starts: The first sample of each clip.
        sha256: Of frames and truth, or of the files that they come from; hexadecimal.
        is_true: Whether the truth is one; else a reference model said it, and what is judged by it
            is agreement.
    """

    frames: Sequence[NDArray[np.uint8]]
    truths: Sequence[FrameTruth]
    starts: tuple[int, ...]
    sha256: str
    is_true: bool = True


def _hashed(frames: Sequence[NDArray[np.uint8]], truths: Sequence[FrameTruth]) -> str:
    """Return the SHA-256 of frames and what there is in them, hexadecimal."""
    digest = hashlib.sha256()
    for frame, truth in zip(frames, truths, strict=True):
        for part in (frame, truth.boxes, truth.classes, truth.ids, truth.ignored):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def drawn(streets: Sequence[Street]) -> Footage:
    """Draw all frames of some clips."""
    scenes = [street.frame(index) for street in streets for index in range(street.frames)]
    frames = [scene.pixels for scene in scenes]
    truths = [scene.truth for scene in scenes]
    ends = list(accumulate(street.frames for street in streets))
    return Footage(
        frames=frames, truths=truths, starts=(0, *ends[:-1]), sha256=_hashed(frames, truths)
    )


@lru_cache(maxsize=1)
def judged_footage() -> Footage:
    """Return what detectors are judged on when a user gives nothing; drawn once."""
    return drawn(judged_streets())
