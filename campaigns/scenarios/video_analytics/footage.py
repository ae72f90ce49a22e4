"""A user's own video as a clip to judge on, with its truth or that of a reference model.

Without ground truth the tracks of the most expensive configuration stand in for it: figures then
say how far others agree with it, never how right they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....profiler.quality.detection import FrameTruth
from ..model import Model
from .clips import Footage
from .following import our_tracker
from .recorded import recorded
from .workload import detections_of

__all__ = ["LONGEST_SIDE_PX", "MOST_FRAMES", "footage_of"]

LONGEST_SIDE_PX = 320
"""Larger frames are shrunk to it: people are then about as large as those that detectors know."""
MOST_FRAMES = 1000
"""Longer videos are judged by their beginning, and say so: all frames are held in memory."""


def footage_of(data: Path, reference: Path) -> tuple[Footage, str]:
    """Return a video's frames and truth, and what it is, for people.

    Args:
        data: What `recorded` takes.
        reference: The ONNX file of the detector that says the truth where there is none.

    Raises:
        SpecError: OpenCV is not installed.
        DatasetError: Video or ground truth is missing, empty or broken, or they do not belong
            together.
    """
    found = recorded(data, max_side=LONGEST_SIDE_PX, limit=MOST_FRAMES)
    count = f"the first {len(found.frames)}" if found.is_cut else str(len(found.frames))
    source = f"{data.name}, {count} frames"
    truths = found.truths
    is_true = truths is not None
    if truths is None:
        truths = _said_by(reference, found.frames)
        source += f"; no ground truth: figures say the agreement with {reference.stem}"
    footage = Footage(
        frames=found.frames, truths=truths, starts=(0,), sha256=found.sha256, is_true=is_true
    )
    return footage, source


def _said_by(reference: Path, frames: Sequence[NDArray[np.uint8]]) -> list[FrameTruth]:
    """Return the tracks of a detector, all of it and at full resolution, as if they were true."""
    model = Model(reference, 1)
    knobs = model.constants({})
    tracker = our_tracker()
    found = []
    for frame in frames:
        answers = model.run({"frame": frame[None], **knobs})
        found.append(tracker.update(detections_of(answers, 1)[0]).as_truth())
    return found
