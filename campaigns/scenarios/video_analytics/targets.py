"""What a detector is trained to say about a frame, as maps: where centres are, and boxes around.

Centres are Gaussian hills as wide as their object, and the cells on a hill all learn its box
(Zhou et al. 2019, "Objects as Points"; Liu et al. 2020, "Training-Time-Friendly Network for
Real-Time Object Detection").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....profiler.quality.detection import FrameTruth
from .scenes import CLASSES, SHAPE, Street

__all__ = ["CELL_PX", "SIZES_PX", "Maps", "Samples", "maps_of", "samples"]

CELL_PX = 4
"""Side of a cell of the maps, in pixels of the frame."""

SIZES_PX = (SHAPE, (80, 128), (48, 80))
"""Height and width of images of a full frame at resolutions of 1, 0.75 and 0.5."""

_HILL = 0.54 / 6
"""Standard deviation of a hill, over the side of its box."""
_LEAST_HILL = 0.35
_ON_HILL = 0.4
"""Cells as high as this learn the box."""


Maps = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Hills (classes, rows, columns): 1 at centres. Boxes (4, rows, columns): x1, y1, x2, y2 in cells.
Weights (rows, columns): how much the box of a cell counts. Judged (1, rows, columns): 0 where
nothing is judged, else 1. All FP32; those of several frames are stacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Frames with what is asked for in them.

    Args:
        frames: Shape (frames, height, width, 3), UINT8.
        truths: Of each frame.
        maps: For each of `SIZES_PX`: the maps of all frames at that size.
    """

    frames: NDArray[np.uint8]
    truths: tuple[FrameTruth, ...]
    maps: tuple[Maps, ...]


def maps_of(truth: FrameTruth, size_px: tuple[int, int]) -> Maps:
    """Return the maps of one frame seen at a size.

    Args:
        truth: In pixels of the full frame.
        size_px: Height and width of the image.
    """
    rows, columns = size_px[0] // CELL_PX, size_px[1] // CELL_PX
    ratio = np.array([columns / SHAPE[1], rows / SHAPE[0]] * 2)
    hills = np.zeros((len(CLASSES), rows, columns), dtype=np.float32)
    boxes = np.zeros((4, rows, columns), dtype=np.float32)
    weights = np.zeros((rows, columns), dtype=np.float32)
    judged = np.ones((1, rows, columns), dtype=np.float32)
    for left, top, right, bottom in np.rint(truth.ignored * ratio).astype(int):
        judged[0, top:bottom, left:right] = 0
    cells = np.asarray(truth.boxes, dtype=np.float64) * ratio
    sides = cells[:, 2:] - cells[:, :2]
    # The largest first: where hills meet, cells learn the smaller box, which has fewer of them.
    for place in np.argsort(-sides[:, 0] * sides[:, 1], kind="stable"):
        box, cls = cells[place], int(truth.classes[place])
        centre = (box[:2] + box[2:]) / 2
        width, height = np.maximum(sides[place] * _HILL, _LEAST_HILL)
        across = np.arange(columns) - min(int(centre[0]), columns - 1)
        down = np.arange(rows) - min(int(centre[1]), rows - 1)
        hill = np.outer(
            np.exp(-(down**2) / (2 * height**2)), np.exp(-(across**2) / (2 * width**2))
        ).astype(np.float32)
        np.maximum(hills[cls], hill, out=hills[cls])
        learns = hill >= _ON_HILL
        boxes[:, learns] = box[:, None]
        weights[learns] = hill[learns] / hill[learns].sum()
    return hills, boxes, weights, judged


def samples(streets: Sequence[Street], every: int) -> Samples:
    """Draw every so-many-th frame of some clips, with its maps."""
    drawn = [street.frame(index) for street in streets for index in range(0, street.frames, every)]
    truths = tuple(one.truth for one in drawn)
    return Samples(
        frames=np.stack([one.pixels for one in drawn]),
        truths=truths,
        maps=tuple(_stacked([maps_of(truth, size) for truth in truths]) for size in SIZES_PX),
    )


def _stacked(maps: Sequence[Maps]) -> Maps:
    hills, boxes, weights, judged = zip(*maps, strict=True)
    return np.stack(hills), np.stack(boxes), np.stack(weights), np.stack(judged)
