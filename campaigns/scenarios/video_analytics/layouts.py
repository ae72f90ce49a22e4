"""How detectors lay out what they found: recognised by their outputs, decoded to boxes.

Boxes here are those of the detector's own picture, classes are its own numbers. Nothing here
runs a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["LAYOUTS", "Found", "Layout", "Match", "Shapes", "recognised"]

Arrays = Mapping[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each output for one picture, by name, in the model's order."""

_MOST_ENDED = 1000
"""More rows than any detector keeps after its own suppression: these are raw anchors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a detector says of one picture.

    Args:
        boxes: Shape (n, 4): x1, y1, x2, y2 in pixels, or in shares, of the picture.
        scores: Shape (n,): in [0, 1].
        classes: Shape (n,): the detector's own numbers.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A layout that fits some outputs.

    Args:
        roles: The name of the output that has each role of the layout.
        classes: How many classes the detector knows; `None`: its outputs do not tell.
    """

    roles: Mapping[str, str]
    classes: int | None


class Layout(ABC):
    """One way to lay out detections.

    Attributes:
        name: In specifications.
        signature: Its outputs, for people.
        doubles: Whether an object has several boxes, of which the surest has to be chosen.
        keeps_shape: Whether such detectors are trained on frames that keep their shape.
        in_shares: Whether boxes are in shares of the picture, not in its pixels.
        first_coco: The number of COCO's first class: 0 of 80 without gaps, 1 of 90 with gaps.
    """

    name: ClassVar[str]
    signature: ClassVar[str]
    doubles: ClassVar[bool] = False
    keeps_shape: ClassVar[bool] = True
    in_shares: ClassVar[bool] = False
    first_coco: ClassVar[int] = 0

    @abstractmethod
    def match(self, shapes: Shapes) -> Match | None:
        """Return which output is what, or `None` when these are not such outputs."""

    @abstractmethod
    def decode(self, outputs: Arrays, *, logits: bool) -> Found:
        """Return what was found in one picture.

        Args:
            outputs: By role, each with a leading axis of length 1.
            logits: Whether scores have yet to go through the logistic function.
        """


class _Yolov5(Layout):
    name = "yolov5"
    signature = "(N, anchors, 5 + classes): centre, size, whether an object, classes"
    doubles = True

    def match(self, shapes: Shapes) -> Match | None:
        found = [(name, s) for name, s in shapes.items() if len(s) == 3]
        if len(found) != 1 or not (found[0][1][1] > found[0][1][2] >= 6):
            return None
        name, shape = found[0]
        if shape[2] == 6 and shape[1] <= _MOST_ENDED:
            return None
        return Match(roles={"found": name}, classes=shape[2] - 5)

    def decode(self, outputs: Arrays, *, logits: bool) -> Found:
        rows = _floats(outputs["found"][0])
        classes = _scores(rows[:, 5:], logits) * _scores(rows[:, 4:5], logits)
        return _best(_corners(rows[:, :4]), classes)


class _Yolov8(Layout):
    name = "yolov8"
    signature = "(N, 4 + classes, anchors): centre, size, classes; YOLOv11 too"
    doubles = True

    def match(self, shapes: Shapes) -> Match | None:
        found = [(name, s) for name, s in shapes.items() if len(s) == 3]
        if len(shapes) != 1 or len(found) != 1 or not (found[0][1][2] > found[0][1][1] >= 5):
            return None
        name, shape = found[0]
        return Match(roles={"found": name}, classes=shape[1] - 4)

    def decode(self, outputs: Arrays, *, logits: bool) -> Found:
        rows = _floats(outputs["found"][0]).T
        return _best(_corners(rows[:, :4]), _scores(rows[:, 4:], logits))


class _EndToEnd(Layout):
    name = "end_to_end"
    signature = "(N, detections, 6): corners, score, class, doubles removed"

    def match(self, shapes: Shapes) -> Match | None:
        if len(shapes) != 1:
            return None
        [(name, shape)] = shapes.items()
        if len(shape) != 3 or shape[2] != 6 or shape[1] > _MOST_ENDED:
            return None
        return Match(roles={"found": name}, classes=None)

    def decode(self, outputs: Arrays, *, logits: bool) -> Found:
        rows = _floats(outputs["found"][0])
        return Found(
            boxes=rows[:, :4], scores=_scores(rows[:, 4], logits), classes=_whole(rows[:, 5])
        )


class _Ssd(Layout):
    name = "ssd"
    signature = (
        "boxes (N, detections, 4) as y1, x1, y2, x2 in shares of the picture, classes and scores "
        "(N, detections), number (N,)"
    )
    keeps_shape = False
    in_shares = True
    first_coco = 1

    def match(self, shapes: Shapes) -> Match | None:
        boxes = [name for name, s in shapes.items() if len(s) == 3 and s[2] == 4]
        if len(boxes) != 1:
            return None
        count = shapes[boxes[0]][1]
        columns = [name for name, s in shapes.items() if len(s) == 2 and s[1] == count]
        numbers = [n for n, s in shapes.items() if int(np.prod(s)) == 1 and n not in columns]
        named = _by_words(columns, {"classes": ("class", "label"), "scores": ("score", "conf")})
        if named is None and len(columns) == 2:
            # TensorFlow's own order.
            named = dict(zip(("classes", "scores"), columns, strict=True))
        if named is None or len(numbers) > 1:
            return None
        roles = {"boxes": boxes[0], **named} | ({"number": numbers[0]} if numbers else {})
        return Match(roles=roles, classes=None)

    def decode(self, outputs: Arrays, *, logits: bool) -> Found:
        scores = _scores(_floats(outputs["scores"][0]), logits)
        count = len(scores)
        if "number" in outputs:
            count = min(count, int(np.ravel(outputs["number"])[0]))
        boxes = _floats(outputs["boxes"][0])[:, [1, 0, 3, 2]]
        return Found(
            boxes=boxes[:count],
            scores=scores[:count],
            classes=_whole(_floats(outputs["classes"][0]))[:count],
        )


class _CenterNet(Layout):
    name = "centernet"
    signature = "heat map (N, classes, h, w), size and offset (N, 2, h, w) in cells"
    in_shares = True

    def match(self, shapes: Shapes) -> Match | None:
        if len(shapes) != 3 or any(len(s) != 4 for s in shapes.values()):
            return None
        if len({s[2:] for s in shapes.values()}) != 1:
            return None
        words = {"heat": ("hm", "heat"), "size": ("wh", "size"), "offset": ("reg", "off")}
        roles = _by_words(list(shapes), words) or dict(zip(words, shapes, strict=True))
        if shapes[roles["size"]][1] != 2 or shapes[roles["offset"]][1] != 2:
            return None
        return Match(roles=roles, classes=shapes[roles["heat"]][1])

    def decode(self, outputs: Arrays, *, logits: bool) -> Found:
        heat = _scores(_floats(outputs["heat"][0]), logits)
        _, height, width = heat.shape
        around = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3), axis=(1, 2))
        classes, y, x = np.nonzero((heat == windows.max(axis=(3, 4))) & (heat > 0))
        cells = np.array([width, height])
        corner = np.column_stack([x, y]) + _floats(outputs["offset"][0])[:, y, x].T
        extent = _floats(outputs["size"][0])[:, y, x].T
        boxes = _corners(np.hstack([corner / cells, extent / cells]))
        return Found(boxes=boxes, scores=heat[classes, y, x], classes=classes)


LAYOUTS: tuple[Layout, ...] = (_Yolov5(), _Yolov8(), _EndToEnd(), _Ssd(), _CenterNet())
"""Every layout; at most one fits some outputs."""


def recognised(shapes: Shapes) -> tuple[Layout, Match] | None:
    """Return the layout that fits the outputs of a detector, or `None`."""
    for layout in LAYOUTS:
        match = layout.match(shapes)
        if match is not None:
            return layout, match
    return None


def _by_words(names: Sequence[str], words: Mapping[str, tuple[str, ...]]) -> dict[str, str] | None:
    """Return the one name for each role that has one of its words; `None`: they do not tell."""
    roles: dict[str, str] = {}
    for role, marks in words.items():
        marked = [name for name in names if any(mark in name.lower() for mark in marks)]
        if len(marked) != 1:
            return None
        roles[role] = marked[0]
    return roles if len(set(roles.values())) == len(roles) else None


def _floats(values: NDArray[Any]) -> NDArray[np.float64]:
    return values.astype(np.float64)


def _whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(values).astype(np.int64)


def _scores(values: NDArray[np.float64], logits: bool) -> NDArray[np.float64]:
    if not logits:
        return values
    result: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -50, 50)))
    return result


def _corners(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x1, y1, x2, y2 of centre x, centre y, width, height."""
    half = rows[:, 2:] / 2
    return np.hstack([rows[:, :2] - half, rows[:, :2] + half])


def _best(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> Found:
    """Return each box with the class of the highest score, shape (boxes, classes)."""
    classes = scores.argmax(axis=1)
    return Found(
        boxes=boxes, scores=scores[np.arange(len(boxes)), classes], classes=classes.astype(np.int64)
    )
