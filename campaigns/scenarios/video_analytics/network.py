"""The multi-exit detector in PyTorch: a heat map of centres and a box at each, at every exit.

A detector of the kind of CenterNet (Zhou et al. 2019, "Objects as Points"). All convolutions work
on cells of 8 pixels; heads answer for the four cells of 4 pixels in each. Answers are in shares of
the frame: what they are around that, and how frames become images, is `framing`. Only training
imports this: it needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..base import NETWORK_PRECISIONS, SMALLEST_PRECISIONS
from ..confidence import Unfitted
from ..early_exit import ExitNetwork, Stage
from .matching import COUNTED_SCORE
from .scenes import CLASSES

__all__ = [
    "PRUNED", "PRUNED_FROM", "PRUNED_SIZE", "SIZES", "SLOTS", "Head", "Size",
    "Summary", "detector", "image_of", "loss",
]  # fmt: skip

SLOTS = 32
"""Detections of a frame."""

LEAST_SCORE = 0.05
"""What scores less leaves its slot empty."""

_LARGEST = 4.16
"""Logarithm of the largest side of a box, in cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a detector is.

    Args:
        stages: Per stage the channels of its convolutions; the first three of the first stage
            halve the image.
        hidden: Channels of a head.
        rounds: How often each training frame is seen.
        precisions: In which it is written.
    """

    stages: tuple[tuple[int, ...], ...]
    hidden: int
    rounds: int
    precisions: tuple[str, ...] = NETWORK_PRECISIONS


SIZES: Mapping[str, Size] = {
    "detector_s": Size(
        stages=((8, 12, 24, 24, 24), (32, 32), (40, 40, 40)),
        hidden=16,
        rounds=6,
        precisions=SMALLEST_PRECISIONS,
    ),
    "detector_m": Size(stages=((8, 14, 28, 28, 28), (36, 36), (40, 40)), hidden=24, rounds=6),
    "detector_l": Size(stages=((10, 20, 36, 36, 36), (44, 44, 44), (48, 48)), hidden=32, rounds=6),
}
"""Cheapest first."""
PRUNED = "detector_pruned"
PRUNED_FROM = "detector_l"
PRUNED_SIZE = Size(
    stages=((8, 14, 26, 26, 26), (32, 32, 32), (36, 36)),
    hidden=32,
    rounds=2,
    precisions=("fp32", "int8"),
)
"""What is left of it, and how often it sees each frame again."""


def image_of(frames: Tensor, size_px: tuple[int, int] | None = None) -> Tensor:
    """Return frames as a detector takes them: FP32, shape (N, 3, rows, columns).

    Args:
        frames: UINT8, shape (N, height, width, 3).
        size_px: Rows and columns; `None`: those of the frames.
    """
    images = frames.permute(0, 3, 1, 2).float()
    if size_px is not None and size_px != tuple(images.shape[2:]):
        images = nn.functional.interpolate(images, size_px, mode="bilinear", align_corners=False)
    return images / 128.0 - 1.0


def _layer(before: int, after: int, *, stride: int = 1, gap: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 3, stride, gap, dilation=gap, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


def _body(before: int, channels: Sequence[int], *, is_first: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for place, after in enumerate(channels):
        if is_first and place < 3:
            layers += _layer(before, after, stride=2)
        else:
            # Cells far apart first: a vehicle is wider than what one convolution sees.
            layers += _layer(before, after, gap=2 if place % 2 == (1 if is_first else 0) else 1)
        before = after
    return nn.Sequential(*layers)


class Head(nn.Module):
    """From features to maps while it is trained, to detections afterwards.

    Maps: two of centres (logits), the logarithms of width and height in cells, and where the
    centre of the box is from the middle of the cell, in cells.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(channels, hidden, 1)
        self.maps = nn.Conv2d(hidden, 4 * (len(CLASSES) + 4), 1)
        with torch.no_grad():
            bias = self.maps.bias
            assert bias is not None
            bias[: 4 * len(CLASSES)] = -4.0  # centres are rare
            bias[4 * len(CLASSES) : 4 * (len(CLASSES) + 2)] = 1.5

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Return maps, or boxes (N, SLOTS, 4), scores (N, SLOTS) and classes (N, SLOTS)."""
        maps = self.maps(torch.relu(self.hidden(features)))
        maps = nn.functional.pixel_shuffle(maps, 2)
        return (maps,) if self.training else _detections(maps)


def _detections(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the highest peaks of the maps, boxes in shares of the frame."""
    rows, columns = maps.shape[2], maps.shape[3]
    logits = maps[:, : len(CLASSES)]
    # No two people stand closer than this, and no two vehicles.
    persons = nn.functional.max_pool2d(logits[:, :1], (5, 3), 1, (2, 1))
    vehicles = nn.functional.max_pool2d(logits[:, 1:], (5, 7), 1, (2, 3))
    is_peak = logits >= torch.cat((persons, vehicles), dim=1)
    heat = torch.sigmoid(logits) * is_peak.float()
    scores, places = torch.topk(heat.flatten(1), SLOTS, dim=1)
    cells = rows * columns
    classes = torch.floor((places.float() + 0.5) / cells)
    cell = places.float() - classes * cells
    row = torch.floor((cell + 0.5) / columns)
    column = cell - row * columns
    at = cell.long()[:, None].expand(-1, 4, -1)
    found = torch.gather(maps[:, len(CLASSES) :].flatten(2), 2, at)
    width, height = (torch.exp(found[:, side].clamp(max=_LARGEST)) / 2 for side in (0, 1))
    across, down = column + 0.5 + found[:, 2], row + 0.5 + found[:, 3]
    boxes = torch.stack(
        (
            (across - width) / columns,
            (down - height) / rows,
            (across + width) / columns,
            (down + height) / rows,
        ),
        dim=2,
    )
    used = (scores >= LEAST_SCORE).float()
    return boxes.clamp(0.0, 1.0), scores * used, classes.long()


def detector(size: Size) -> ExitNetwork:
    """Return an untrained detector; what its confidence is is fitted later."""
    stages, before = [], 3
    for number, channels in enumerate(size.stages):
        body = _body(before, channels, is_first=number == 0)
        stages.append(Stage(body, Head(channels[-1], size.hidden), Unfitted()))
        before = channels[-1]
    return ExitNetwork(stages)


def loss(answers: list[tuple[Tensor, ...]], targets: tuple[Tensor, ...]) -> Tensor:
    """Return what is made small: for centres the focal loss, for boxes 1 - GIoU, of all exits.

    Args:
        answers: The maps of each exit.
        targets: Those of `targets.Maps`, for each size that images may have.
    """
    rows = answers[0][0].shape[2]
    [place] = [at for at in range(0, len(targets), 4) if targets[at].shape[2] == rows]
    hills, boxes, weights, judged = targets[place : place + 4]
    total = torch.zeros(())
    objects = weights.sum().clamp(min=1.0)
    for (maps,) in answers:
        total = total + _focal(maps[:, : len(CLASSES)], hills, judged) / objects
        total = total + 2.0 * (_away(_box_maps(maps), boxes) * weights).sum() / objects
    return total


def _focal(logits: Tensor, hills: Tensor, judged: Tensor) -> Tensor:
    """Return the sum of CenterNet's focal loss (exponents 2 and 4)."""
    heat = torch.sigmoid(logits)
    is_centre = (hills > 0.999).float()
    found = nn.functional.logsigmoid(logits) * (1 - heat) ** 2 * is_centre
    false = nn.functional.logsigmoid(-logits) * heat**2 * (1 - hills) ** 4 * judged
    return -(found + false * (1 - is_centre)).sum()


def _box_maps(maps: Tensor) -> Tensor:
    """Return the box of each cell, in cells: shape (N, 4, rows, columns)."""
    rows, columns = maps.shape[2:]
    first = len(CLASSES)
    half = torch.exp(maps[:, first : first + 2].clamp(max=_LARGEST)) / 2
    down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centre = torch.stack((across, down)) + 0.5 + maps[:, first + 2 :]
    return torch.cat((centre - half, centre + half), dim=1)


def _away(one: Tensor, other: Tensor) -> Tensor:
    """Return 1 - GIoU of boxes (Rezatofighi et al. 2019), without the axis of corners."""
    shared = (
        torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])
    ).clamp(min=0)
    around = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    areas = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1)
    both = shared.prod(1)
    union = areas - both
    return 1 - both / union.clamp(min=1e-6) + 1 - union / around.prod(1).clamp(min=1e-6)


class Summary(nn.Module):
    """What the confidence of an exit is fitted to: a few numbers that sum its detections up.

    Sums are convolutions: those of ONNX Runtime do not depend on how many rows there are.
    """

    def forward(self, answers: tuple[Tensor, ...], _features: Tensor) -> Tensor:
        """Return shape (N, 7)."""
        boxes, scores, classes = answers
        sides = boxes[:, :, 2:] - boxes[:, :, :2]
        is_vehicle = classes.float()
        columns = (
            scores,
            scores * (1 - scores),
            torch.sigmoid((scores - COUNTED_SCORE) * 40),
            torch.exp(-(((scores - COUNTED_SCORE) * 8) ** 2)),
            scores * sides[:, :, 0] * is_vehicle,
            scores * (1 - sides[:, :, 1]) * (1 - is_vehicle),
            scores * is_vehicle,
        )
        stacked = torch.stack(columns, dim=1)
        ones = torch.ones(len(columns), 1, SLOTS)
        return nn.functional.conv1d(stacked, ones, groups=len(columns)).flatten(1)
