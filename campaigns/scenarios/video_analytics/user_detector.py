"""A detector that a user brings as an ONNX file: from a frame to its input, and back to boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import SpecError, TrialError
from ....profiler.quality.detection import Detections, iou_matrix
from ..model import one_line, open_session
from .class_names import class_table
from .detector_settings import DetectorSettings
from .layouts import LAYOUTS, Layout, Match, recognised
from .letterbox import Fit, fitted
from .told import names_in, size_in

__all__ = ["UserDetector", "suppressed"]

_THROUGH = {
    "Identity",
    "Clip",
    "Cast",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Max",
    "Min",
}
"""What may stand between a logistic function and an output."""
_USUAL = DetectorSettings()
_USUAL_SIZE = (640, 640)
_INPUTS: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(uint8)": np.dtype(np.uint8),
}


class UserDetector:
    """A user's detector, loaded and understood.

    It is run on grey first, since only what comes out tells the shapes of outputs for sure.

    Args:
        path: The ONNX file.
        settings: What it does not tell.
        threads: Threads of a run.
        provider: What runs it, see `providers`.

    Attributes:
        settings: What its file does not tell.
        layout: How it lays out what it found.
        stacks: Whether it looks at several pictures in one run.

    Raises:
        SpecError: When there is no such model, it does not run, it takes something else than one
            picture, its outputs have no known layout, or its classes no known meaning.
    """

    layout: Layout

    def __init__(
        self,
        path: Path,
        settings: DetectorSettings | None = None,
        *,
        threads: int = 1,
        provider: str = "cpu",
    ) -> None:
        self._path = path
        self.settings = settings or _USUAL
        self._session = open_session(path, threads, provider, expected="a detector in ONNX")
        self._metadata = self._session.get_modelmeta().custom_metadata_map
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._input = self._session.get_inputs()[0].name
        self._channels_last, self._size, self._dtype = self._picture()
        grey = np.full((*self._size[::-1], 3), 127, dtype=np.uint8)
        inputs, _ = self.prepare(grey, keep_shape=False)
        try:
            answers = self._run(inputs[self._input])
        except TrialError as error:
            raise SpecError(
                f"model {path}",
                found=f"it does not run: {error.found}",
                expected="a model of pictures",
            ) from error
        self.layout, match = self._recognise(answers)
        self._roles = match.roles
        self._classes = class_table(
            self.settings.classes,
            names_in(self._metadata),
            self.layout,
            match.classes,
            f"model {path}",
        )
        said = self.settings.logits
        self._logits = self._has_logits() if said is None else said
        self.stacks = self._stacks(inputs[self._input])

    def prepare(
        self, frame: NDArray[np.uint8], *, keep_shape: bool | None = None
    ) -> tuple[dict[str, NDArray[Any]], Fit]:
        """Return the model's input for a frame, and where the frame lies in its picture.

        Args:
            frame: Shape (height, width, 3), red, green, blue.
            keep_shape: A letterbox, or stretched; `None`: as detectors of this layout have it.
        """
        keep = self.layout.keeps_shape if keep_shape is None else keep_shape
        picture, fit = fitted(frame, self._size, keep_shape=keep)
        values: NDArray[Any] = picture[None]
        if not self._channels_last:
            # While it is small: bytes move faster than the floats that they become.
            values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        if self._dtype != np.uint8:
            values = self._scaled(values).astype(self._dtype, copy=False)
        return {self._input: values}, fit

    def _scaled(self, picture: NDArray[Any]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = np.divide(picture, np.float32(255), dtype=np.float32)
        shape = (3,) if self._channels_last else (3, 1, 1)
        if self.settings.mean != _USUAL.mean:
            values -= np.asarray(self.settings.mean, dtype=np.float32).reshape(shape)
        if self.settings.std != _USUAL.std:
            values /= np.asarray(self.settings.std, dtype=np.float32).reshape(shape)
        return values

    def decode(
        self, answers: Mapping[str, NDArray[Any]], fit: Fit, *, least_score: float | None = None
    ) -> Detections:
        """Return what the model's outputs for one frame say, in pixels of the frame.

        Args:
            answers: By name, each with a leading axis of length 1.
            fit: Where the frame lies in the picture.
            least_score: Less sure detections are left out; `None`: as its settings have it.

        Raises:
            TrialError: When an output is missing.
        """
        missing = [name for name in self._roles.values() if name not in answers]
        if missing:
            raise TrialError(
                f"model {self._path}",
                found=f"no output {', '.join(missing)}",
                expected="all outputs",
            )
        outputs = {role: answers[name] for role, name in self._roles.items()}
        found = self.layout.decode(outputs, logits=self._logits)
        least = self.settings.least_score if least_score is None else least_score
        good = (found.scores >= least) & (found.scores > 0) & np.isfinite(found.scores)
        good &= np.isfinite(found.boxes).all(axis=1) & np.isin(found.classes, [*self._classes])
        boxes, scores = found.boxes[good], found.scores[good]
        ours = np.array([self._classes[cls] for cls in found.classes[good].tolist()], dtype=int)
        if self.layout.in_shares:
            boxes = boxes * np.array(self._size * 2, dtype=np.float64)
        boxes = fit.back(boxes).astype(np.float64)
        order = np.argsort(-scores, kind="stable")
        limit = self.settings.limit
        if self.layout.doubles:
            alone = suppressed(boxes[order], ours[order], self.settings.most_iou, limit=limit)
            order = order[alone]
        order = order[:limit]
        return Detections(
            boxes=boxes[order].astype(np.float32),
            scores=scores[order].astype(np.float32),
            classes=ours[order].astype(np.int64),
        )

    def detect(self, frame: NDArray[np.uint8]) -> Detections:
        """Return what is found in a frame, in its pixels."""
        return self.detect_all([frame])[0]

    def detect_all(
        self, frames: Sequence[NDArray[np.uint8]], *, least_score: float | None = None
    ) -> list[Detections]:
        """Return what is found in some frames, each in its own pixels.

        Args:
            frames: They are looked at in one run if the detector `stacks`, else one by one.
            least_score: See `decode`.

        Raises:
            TrialError: When the runtime fails.
        """
        prepared = [self.prepare(frame) for frame in frames]
        pictures = [inputs[self._input] for inputs, _ in prepared]
        if self.stacks and len(pictures) > 1:
            together = self._run(np.concatenate(pictures))
            answers = [
                {name: together[name][row : row + 1] for name in self._roles.values()}
                for row in range(len(pictures))
            ]
        else:
            answers = [self._run(picture) for picture in pictures]
        return [
            self.decode(answer, fit, least_score=least_score)
            for answer, (_, fit) in zip(answers, prepared, strict=True)
        ]

    def _run(self, pictures: NDArray[Any]) -> dict[str, NDArray[Any]]:
        try:
            answers = self._session.run(self._outputs, {self._input: pictures})
        except Exception as error:  # the runtime's errors share no other base
            raise TrialError("model run", found=one_line(error)) from error
        return dict(zip(self._outputs, answers, strict=True))

    def _stacks(self, picture: NDArray[Any]) -> bool:
        """Return whether two pictures give two answers: an open axis alone does not promise it."""
        if isinstance(self._session.get_inputs()[0].shape[0], int):
            return False
        try:
            answers = self._run(np.concatenate([picture, picture]))
        except TrialError:
            return False
        return all(answers[name].shape[:1] == (2,) for name in self._roles.values())

    def _picture(self) -> tuple[bool, tuple[int, int], np.dtype[Any]]:
        """Return whether channels are last, width and height, and the type of the input."""
        nodes = self._session.get_inputs()
        node = nodes[0]
        shape = node.shape
        channels_last = len(shape) == 4 and shape[3] == 3
        is_picture = channels_last or (len(shape) == 4 and shape[1] == 3)
        batched = len(shape) == 4 and (not isinstance(shape[0], int) or shape[0] == 1)
        if len(nodes) != 1 or not (is_picture and batched) or node.type not in _INPUTS:
            raise SpecError(
                f"model {self._path}",
                place="inputs",
                found=", ".join(f"{one.name} {one.type} {one.shape}" for one in nodes),
                expected="one picture: FP32, FP16 or UINT8, (1, 3, height, width) or "
                "(1, height, width, 3)",
                remedy="export it with pictures one by one and the channels fixed",
            )
        height, width = shape[1:3] if channels_last else shape[2:4]
        wide, high = self.settings.size or size_in(self._metadata) or _USUAL_SIZE
        size = (
            width if isinstance(width, int) else wide,
            height if isinstance(height, int) else high,
        )
        return channels_last, size, _INPUTS[node.type]

    def _recognise(self, answers: Mapping[str, NDArray[Any]]) -> tuple[Layout, Match]:
        shapes = {name: array.shape for name, array in answers.items()}
        wanted = self.settings.layout
        known = {layout.name: layout for layout in LAYOUTS}
        if wanted is None:
            found = recognised(shapes)
        elif wanted in known:
            match = known[wanted].match(shapes)
            found = None if match is None else (known[wanted], match)
        else:
            raise SpecError(
                f"model {self._path}", place="layout", found=wanted, expected=", ".join(known)
            )
        if found is None:
            candidates = LAYOUTS if wanted is None else (known[wanted],)
            raise SpecError(
                f"model {self._path}",
                place="outputs",
                found=", ".join(f"{name} {shape}" for name, shape in shapes.items()),
                expected="; or ".join(f"{one.name}: {one.signature}" for one in candidates),
                remedy="export the detector with one of these layouts",
            )
        return found

    def _has_logits(self) -> bool:
        """Return whether no logistic function makes the heat map; other layouts end with one."""
        if "heat" not in self._roles:
            return False
        import onnx  # most layouts do without

        graph = onnx.load(str(self._path), load_external_data=False).graph
        makers = {name: node for node in graph.node for name in node.output}
        node = makers.get(self._roles["heat"])
        while node is not None and node.op_type in _THROUGH:
            node = makers.get(node.input[0])
        return node is None or node.op_type not in ("Sigmoid", "HardSigmoid")


def suppressed(
    boxes: NDArray[np.float64],
    classes: NDArray[np.int64],
    most_iou: float,
    *,
    limit: int | None = None,
) -> NDArray[np.int64]:
    """Return the rows that stay when of boxes upon each other the first stays, class by class.

    Args:
        boxes: Shape (n, 4), surest first.
        classes: Shape (n,).
        most_iou: Boxes of one class that overlap more are one object.
        limit: How many stay at most; `None`: all.
    """
    open_rows = np.arange(len(boxes))
    kept: list[int] = []
    while len(open_rows) and (limit is None or len(kept) < limit):
        first, rest = open_rows[0], open_rows[1:]
        kept.append(int(first))
        overlaps = iou_matrix(boxes[first], boxes[rest])[0]
        open_rows = rest[(overlaps <= most_iou) | (classes[rest] != classes[first])]
    return np.array(kept, dtype=np.int64)
