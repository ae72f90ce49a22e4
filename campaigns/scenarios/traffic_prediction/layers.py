"""The parts of a forecasting network, in PyTorch: a body and a head for each stage, and its doubt.

Only training imports this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..packed import Packed, convolution
from .split import HISTORY, HORIZONS, QUANTILES

__all__ = ["Day", "Doubt", "Head", "Recent", "View"]

_DROPOUT = 0.3
_LIMIT = 4.0
"""Inputs beyond this many robust standard deviations say no more than this."""
_RECENT = 96
"""Rows, the newest, that later stages see at full resolution."""


def _robust(values: NDArray[np.float32], axis: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return centre and robust standard deviation, as far as they are not zero."""
    low, centre, high = np.quantile(values.astype(np.float64), (0.25, 0.5, 0.75), axis=axis)
    width = (high - low) / 1.349  # of a normal distribution, this is the standard deviation
    width = np.where(width > 0, width, 1.0)
    return torch.from_numpy(centre).float(), torch.from_numpy(width).float()


class View(nn.Module):
    """A history as levels relative to the last one, and steps: (N, 2 x channels, HISTORY - 1)."""

    centre: Tensor
    scale: Tensor

    def __init__(self, histories: NDArray[np.float32]) -> None:
        super().__init__()
        both = np.concatenate(
            [histories[:, 1:] - histories[:, -1:], np.diff(histories, axis=1)], axis=2
        )
        centre, width = _robust(both, (0, 1))
        self.register_buffer("centre", centre)
        self.register_buffer("scale", 1 / width)

    def forward(self, history: Tensor) -> Tensor:
        later, last = history[:, 1:], history[:, HISTORY - 1 :]
        both = torch.cat([later - last, later - history[:, : HISTORY - 1]], dim=2)
        return torch.clamp((both - self.centre) * self.scale, -_LIMIT, _LIMIT).transpose(1, 2)


def _sums(inside: Tensor, mean: nn.Module, positions: int) -> Tensor:
    """Return the newest position and the mean over all: (N, 2 x channels)."""
    return torch.cat([inside[:, :, positions - 1 :], mean(inside)], dim=1).flatten(1)


class Day(nn.Module):
    """The first stage's body: strides over the whole day; hands on the newest rows as they are."""

    def __init__(self, view: nn.Module, channels: int, series: int) -> None:
        super().__init__()
        self.view = view
        self.layers = nn.Sequential(
            convolution(2 * series, channels, 8, stride=4),
            convolution(channels, channels, 4, stride=2),
        )
        self.positions = (HISTORY - 1) // 8 - 2
        self.mean = nn.AvgPool1d(self.positions)
        self.layout = Packed(
            channels=2 * series, positions=_RECENT, told=2 * channels, passed=series
        )

    def forward(self, history: Tensor) -> Tensor:
        view = self.view(history)
        told = _sums(self.layers(view), self.mean, self.positions)
        recent = view[:, :, HISTORY - 1 - _RECENT :].flatten(1)
        return torch.cat([recent, told, history[:, HISTORY - 1]], dim=1)


class Recent(nn.Module):
    """A later stage's body: dilated convolutions over what the one before it hands on."""

    def __init__(self, before: Packed, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.before = before
        widths = [before.channels] + [channels] * len(dilations)
        self.layers = nn.Sequential(
            *(
                convolution(width, channels, 3, dilation=dilation)
                for width, dilation in zip(widths, dilations, strict=False)
            )
        )
        positions = before.positions - 2 * sum(dilations)
        self.mean = nn.AvgPool1d(positions)
        self.layout = Packed(
            channels=channels, positions=positions, told=before.told + 2 * channels,
            passed=before.passed,
        )  # fmt: skip

    def forward(self, packed: Tensor) -> Tensor:
        inside = self.layers(self.before.inside(packed))
        told = _sums(inside, self.mean, self.layout.positions)
        parts = (inside.flatten(1), self.before.sums(packed), told, self.before.last(packed))
        return torch.cat(parts, dim=1)


class Head(nn.Module):
    """From packed features to the median and all quantiles, in the unit of the series."""

    centre: Tensor
    width: Tensor
    stretch: Tensor

    def __init__(self, layout: Packed, changes: NDArray[np.float32]) -> None:
        super().__init__()
        self.layout = layout
        self.outputs = (len(HORIZONS), layout.passed)
        self.dropout = nn.Dropout(_DROPOUT)
        self.readout = nn.Conv1d(layout.told, len(QUANTILES) * int(np.prod(self.outputs)), 1)
        nn.init.zeros_(self.readout.weight)
        centre, width = _robust(changes, (0,))
        self.register_buffer("centre", centre)
        self.register_buffer("width", width)
        self.register_buffer("stretch", torch.ones(self.outputs))

    def forward(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, horizons, series) and (N, quantiles, horizons, series)."""
        told = self.dropout(self.layout.sums(packed))
        found = self.readout(told.unsqueeze(2))
        found = found.reshape(-1, len(QUANTILES), *self.outputs)
        below, change, above = found[:, :1], found[:, 1:2], found[:, 2:]
        last = self.layout.last(packed).reshape(-1, 1, 1, self.layout.passed)
        median = (change * self.width + self.centre) + last
        wide = self.stretch * self.width
        low = median - nn.functional.softplus(below) * wide
        high = median + nn.functional.softplus(above) * wide
        return median.flatten(1, 2), torch.cat([low, median, high], dim=1)


class Doubt(nn.Module):
    """What sums an answer up: how wide its intervals are, and how far from the last value."""

    scale: Tensor

    def __init__(self, width: Tensor, series: int) -> None:
        super().__init__()
        self.series = series
        self.register_buffer("scale", 1 / width)

    def forward(self, answers: tuple[Tensor, ...], features: Tensor) -> Tensor:
        """Return shape (N, 2 x horizons x series)."""
        forecast, quantiles = answers
        last = features[:, features.shape[1] - self.series :].reshape(-1, 1, self.series)
        wide = torch.log((quantiles[:, -1] - quantiles[:, 0]) * self.scale + 1e-3)
        moved = torch.abs(forecast - last) * self.scale
        return torch.cat([wide, moved], dim=1).flatten(1)
