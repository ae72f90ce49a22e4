"""A user's detector in the place of a shipped one: frames in, boxes in pixels of the frame out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base import Tensors
from ..detections import BOXES, CLASSES, FRAME, SCORES
from ..knobs import SCORE_THRESHOLD
from ..model import Model, TensorSpec
from .detector_settings import settings_from
from .user_detector import UserDetector

__all__ = ["ServedDetector"]


class ServedDetector(Model):
    """A user's detector that takes and gives what shipped ones do.

    Fitting frames into its picture and reading its outputs are part of a run.

    Args:
        path: The ONNX file.
        said: What it does not tell, see `detector_settings`.
        threads: Threads of one model run.
        provider: What runs it, see `providers`.

    Raises:
        SpecError: See `UserDetector`.
    """

    def __init__(
        self, path: Path, said: Mapping[str, Any], *, threads: int = 1, provider: str = "cpu"
    ) -> None:
        settings = settings_from(said, f"model {path}")
        self._detector = UserDetector(path, settings, threads=threads, provider=provider)
        self._slots = settings.limit
        self._knobs = {}
        self._offer(
            inputs=(TensorSpec(name=FRAME, datatype="UINT8", shape=(-1, -1, -1, 3)),),
            outputs=(
                TensorSpec(name=BOXES, datatype="FP32", shape=(-1, self._slots, 4)),
                TensorSpec(name=SCORES, datatype="FP32", shape=(-1, self._slots)),
                TensorSpec(name=CLASSES, datatype="INT64", shape=(-1, self._slots)),
            ),
        )

    def constants(self, said: Mapping[str, float | None]) -> dict[str, NDArray[np.generic]]:
        usual = self._detector.settings.least_score
        value = said.get(SCORE_THRESHOLD)
        return super().constants({**said, SCORE_THRESHOLD: usual if value is None else value})

    def run(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        frames = inputs[FRAME].astype(np.uint8, copy=False)
        least = inputs.get(SCORE_THRESHOLD)
        found = self._detector.detect_all(
            list(frames), least_score=None if least is None else float(least.item())
        )
        boxes = np.zeros((len(frames), self._slots, 4), dtype=np.float32)
        scores = np.zeros((len(frames), self._slots), dtype=np.float32)
        classes = np.zeros((len(frames), self._slots), dtype=np.int64)
        for row, one in enumerate(found):
            count = len(one.scores)
            boxes[row, :count], scores[row, :count] = one.boxes, one.scores
            classes[row, :count] = one.classes
        return {BOXES: boxes, SCORES: scores, CLASSES: classes}
