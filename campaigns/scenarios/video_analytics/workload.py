"""The frames of some clips, in order, and how good what detectors say of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import SpecError, TrialError
from ....profiler.quality.detection import Detections, mean_average_precision
from ..base import Assessment, Figure, ModelFamily, OwnModel, RequestField, Tensors, Workload
from ..fitted import model_path
from .clips import Footage
from .matching import COUNTED_SCORE, OVERLAP, found_of

__all__ = ["FIGURES", "REQUEST_FIELDS", "SHIPPED_MODELS", "VideoWorkload", "detections_of"]

SHIPPED_MODELS = Path(__file__).parent / "models"

_COCO = "mean over classes of average precision as COCO defines it (Lin et al. 2014)"
_TRACKED = (
    "tracks are made of the answered frames, in order; between them, from the first to the last of "
    "a clip, tracks go on as they went"
)

FIGURES = (
    Figure(
        name="map_50",
        title="mAP at an overlap of 0.5",
        description=f"{_COCO}, boxes that share half of their union or more match",
        better="higher",
    ),
    Figure(
        name="map_50_95",
        title="mAP, mean of overlaps of 0.5 to 0.95",
        description=f"{_COCO}, mean over least overlaps of 0.50, 0.55, to 0.95",
        better="higher",
    ),
    Figure(
        name="mota",
        title="MOTA",
        description="1 less misses, false tracks and changes of identity over objects (Bernardin & "
        f"Stiefelhagen 2008); {_TRACKED}",
        better="higher",
    ),
    Figure(
        name="idf1",
        title="IDF1",
        description=f"F1 of identities (Ristani et al. 2016); {_TRACKED}",
        better="higher",
    ),
    *(
        Figure(
            name=f"agreement_{name}",
            title=f"Agreement, as {title}",
            description=f"{title} against the tracks of the most expensive configuration, for a "
            "video without ground truth: how far others agree with it, not how right they are",
            better="higher",
        )
        for name, title in (("map_50", "mAP at an overlap of 0.5"), ("idf1", "IDF1"))
    ),
)
REQUEST_FIELDS = (
    RequestField(
        name="detections", description=f"Detections of a score of {COUNTED_SCORE} or more"
    ),
    RequestField(
        name="found_ratio",
        description=f"Share of the frame's objects that they find, at an overlap of {OVERLAP}; "
        "null in a frame without any",
    ),
)


class VideoWorkload(Workload):
    """The frames of some clips; a sample is a frame, in order, clip after clip."""

    is_sequence = True

    def __init__(
        self,
        footage: Footage,
        models: Path,
        families: Sequence[ModelFamily],
        *,
        own: Mapping[str, OwnModel] | None = None,
        source: str,
        licence: str,
    ) -> None:
        self.source = source
        self.licence = licence
        self.sha256 = footage.sha256
        self.size = len(footage.frames)
        self._footage = footage
        self._models = models
        self._families = families
        self._own = dict(own or {})

    def model_path(self, model: str, precision: str) -> Path:
        own = self._own.get(model)
        if own is None:
            return model_path(self._models, self._families, model, precision)
        if precision not in own.files:
            expected = f"one of {', '.join(own.files)}"
            raise SpecError(f"precision of {model}", found=repr(precision), expected=expected)
        return own.files[precision]

    def own_model(self, model: str) -> Mapping[str, Any] | None:
        own = self._own.get(model)
        return None if own is None else own.said

    def inputs(self, sample: int) -> Tensors:
        return {"frame": self._footage.frames[sample][None]}

    def assess(self, samples: NDArray[np.int64], answers: Tensors) -> Assessment:
        found = detections_of(answers, len(samples))
        truths = [self._footage.truths[sample] for sample in samples.tolist()]
        counts = [
            found_of(truth, one.boxes, one.scores, one.classes)[0]
            for truth, one in zip(truths, found, strict=True)
        ]
        figures: dict[str, float | None] = {
            "map_50": mean_average_precision(truths, found, (0.5,)),
            "map_50_95": mean_average_precision(truths, found),
        }
        # Imported here: a service that describes its scenario needs no SciPy.
        from .following import followed

        first: dict[int, Detections] = {}
        for sample, one in zip(samples.tolist(), found, strict=True):
            first.setdefault(sample, one)  # one answer a frame: a track passes by once
        scores = followed(self._footage, first)
        figures |= {"mota": scores.mota, "idf1": scores.idf1}
        if self._footage.is_true:
            figures |= {"agreement_map_50": None, "agreement_idf1": None}
        else:
            agreement = {f"agreement_{name}": figures[name] for name in ("map_50", "idf1")}
            figures = dict.fromkeys(figures, None) | agreement
        return Assessment(
            figures=figures,
            per_request={
                "detections": np.array(
                    [(one.scores >= COUNTED_SCORE).sum() for one in found], dtype=np.float64
                ),
                "found_ratio": np.array(
                    [
                        count / len(truth.boxes) if len(truth.boxes) else np.nan
                        for count, truth in zip(counts, truths, strict=True)
                    ],
                    dtype=np.float64,
                ),
            },
        )

    def figure(self, name: str, samples: NDArray[np.int64], answers: Tensors) -> float | None:
        if name != "map_50" or not self._footage.is_true:
            return super().figure(name, samples, answers)
        truths = [self._footage.truths[sample] for sample in samples.tolist()]
        return mean_average_precision(truths, detections_of(answers, len(samples)), (0.5,))


def detections_of(answers: Tensors, frames: int) -> list[Detections]:
    """Return the answers of some frames, frame by frame.

    Args:
        answers: `boxes` (frames, slots, 4), `scores` and `classes` (frames, slots).
        frames: How many there are.

    Raises:
        TrialError: When a tensor is missing, of another shape, or not finite.
    """
    missing = [name for name in ("boxes", "scores", "classes") if name not in answers]
    if missing:
        raise TrialError(
            "detections", found=f"no {', '.join(missing)}", expected="boxes, scores and classes"
        )
    boxes = np.asarray(answers["boxes"])
    scores = np.asarray(answers["scores"])
    classes = np.asarray(answers["classes"])
    slots = scores.shape[1] if scores.ndim == 2 else -1
    is_whole = bool(np.isfinite(boxes).all() and np.isfinite(scores).all())
    wanted = ((frames, slots, 4), (frames, slots), (frames, slots))
    if (boxes.shape, scores.shape, classes.shape) != wanted or not is_whole:
        raise TrialError(
            "detections",
            found=f"boxes {boxes.shape}, scores {scores.shape}, classes {classes.shape}, "
            f"finite: {is_whole}",
            expected=f"({frames}, slots, 4), ({frames}, slots), ({frames}, slots), finite",
        )
    return [
        Detections(boxes=boxes[row], scores=scores[row], classes=classes[row].astype(np.int64))
        for row in range(frames)
    ]
