"""What the early-exit autoencoders are made of, in PyTorch; `network` fits them.

Each exit says what the last row should have been; the score is how far the row that came is from
it, over the alarm threshold of that exit, so that 1 is the threshold of all. The first stage
strides over the window and is cheap; later stages see it at full resolution. Only training imports
this: it needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..confidence import Unfitted
from ..early_exit import ExitNetwork, Stage
from ..packed import Packed, convolution
from .fit import START, Front
from .split import SLOTS, WINDOW

__all__ = ["LIMIT", "Margin", "network_of"]

LIMIT = 6.0
"""Inputs beyond this many usual spreads say no more than this; the row that is judged may."""
_COARSE = 6
"""Slots that share the usual window: it is an average over an hour anyway."""
_NARROW = 12
"""Numbers that an exit squeezes what it knows into before it decodes the last row."""
_KERNELS = ((5, 3), (3, 3, 3))
"""Of the convolutions of each later stage."""


class _View(nn.Module):
    """Windows as distances from what is usual, in usual spreads: (N, columns, WINDOW)."""

    trended: Tensor
    usual: Tensor
    scale: Tensor
    coarse: Tensor

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.mean = nn.AvgPool1d(START)
        self.register_buffer("trended", torch.from_numpy(front.trended).float()[:, None])
        usual = front.usual[_COARSE // 2 :: _COARSE].transpose(0, 2, 1)
        self.register_buffer("usual", torch.from_numpy(usual.copy()).float())
        self.register_buffer("scale", torch.from_numpy(1 / front.spread).float()[:, None])
        self.register_buffer("coarse", torch.arange(SLOTS) // _COARSE)

    def forward(self, window: Tensor, slot: Tensor) -> Tensor:
        rows = window.transpose(1, 2)
        level: Tensor = self.mean(rows[:, :, :START]) * self.trended
        usual = self.usual[self.coarse[slot[:, 0]]]
        return (rows - level - usual) * self.scale


class _Glance(nn.Module):
    """The first stage's body: strides over the window; hands it on as it is."""

    def __init__(self, front: Front, channels: int) -> None:
        super().__init__()
        columns = len(front.trended)
        self.view = _View(front)
        self.layers = convolution(columns, channels, 8, stride=4)
        positions = (WINDOW - 8) // 4 + 1
        self.layout = Packed(
            channels=columns, positions=WINDOW, told=channels * positions, passed=columns
        )

    def forward(self, window: Tensor, slot: Tensor) -> Tensor:
        view = self.view(window, slot)
        inside = torch.clamp(view, -LIMIT, LIMIT)
        told = self.layers(inside).flatten(1)
        return torch.cat([inside.flatten(1), told, view[:, :, WINDOW - 1]], dim=1)


class _Look(nn.Module):
    """A later stage's body: convolutions over what the one before it hands on."""

    def __init__(self, before: Packed, channels: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.before = before
        widths = [before.channels] + [channels] * len(kernels)
        self.layers = nn.Sequential(
            *(
                convolution(width, channels, kernel)
                for width, kernel in zip(widths, kernels, strict=False)
            )
        )
        positions = before.positions - sum(kernels) + len(kernels)
        self.mean = nn.AvgPool1d(positions)
        self.layout = Packed(
            channels=channels, positions=positions, told=before.told + 2 * channels,
            passed=before.passed,
        )  # fmt: skip

    def forward(self, packed: Tensor) -> Tensor:
        inside = self.layers(self.before.inside(packed))
        newest = inside[:, :, self.layout.positions - 1 :]
        told = torch.cat([newest, self.mean(inside)], dim=1).flatten(1)
        parts = (inside.flatten(1), self.before.sums(packed), told, self.before.last(packed))
        return torch.cat(parts, dim=1)


class _Head(nn.Module):
    """From packed features to the score and the alarm."""

    scale: Tensor

    def __init__(self, layout: Packed) -> None:
        super().__init__()
        self.layout = layout
        self.squeeze = nn.Conv1d(layout.told, _NARROW, 1)
        self.decode = nn.Conv1d(_NARROW, layout.passed, 1)
        self.register_buffer("scale", torch.ones(layout.passed))

    def expected(self, packed: Tensor) -> Tensor:
        """Return what the last row should have been, in usual spreads: (N, columns)."""
        told = self.layout.sums(packed).unsqueeze(2)
        decoded: Tensor = self.decode(torch.relu(self.squeeze(told)))
        return decoded.flatten(1)

    def distances(self, packed: Tensor) -> Tensor:
        """Return how far each column is from it, over the threshold: (N, columns)."""
        return torch.abs(self.layout.last(packed) - self.expected(packed)) * self.scale

    def forward(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, 1) each."""
        score = self.distances(packed).amax(1, keepdim=True)
        return score, score > 1.0


class Margin(nn.Module):
    """What sums an answer up: how far the score is from the threshold, and on which side.

    Not by a logarithm: ONNX Runtime rounds that in another way where a row stands elsewhere in its
    batch.
    """

    def forward(self, answers: tuple[Tensor, ...], _features: Tensor) -> Tensor:
        """Return shape (N, 3)."""
        far = (answers[0] - 1) / (answers[0] + 1)
        return torch.cat([far, torch.abs(far), far * far], dim=1)


def network_of(channels: tuple[int, int, int], front: Front) -> ExitNetwork:
    """Return an untrained network.

    Args:
        channels: Of the stages, the same within each.
        front: What is usual in the windows that it will be fitted to.
    """
    first, *later = channels
    bodies: list[_Glance | _Look] = [_Glance(front, first)]
    for width, kernels in zip(later, _KERNELS, strict=True):
        bodies.append(_Look(bodies[-1].layout, width, kernels))
    return ExitNetwork([Stage(body, _Head(body.layout), Unfitted()) for body in bodies])
