"""Pieces of networks over time, in PyTorch: a layer, and how a stage hands on more than one tensor.

The next stage takes one tensor (`cascade`), so that what it works on, what exits read and what is
only passed through are packed into one row of numbers. Only training imports this.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["Packed", "convolution"]


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Return a convolution over time, normalised over the batch, and then what is above 0."""
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What a stage hands on, packed into one row of numbers: (N, inside + told + passed).

    Args:
        channels: Of what later stages work on.
        positions: Its length in time.
        passed: Numbers that are only passed through.
        told: Numbers that sum up this stage and all before it: what an exit reads.
    """

    channels: int
    positions: int
    passed: int
    told: int = 0

    def inside(self, packed: Tensor) -> Tensor:
        """Return shape (N, channels, positions)."""
        size = self.channels * self.positions
        return packed[:, :size].reshape(-1, self.channels, self.positions)

    def sums(self, packed: Tensor) -> Tensor:
        """Return shape (N, told)."""
        size = self.channels * self.positions
        return packed[:, size : size + self.told]

    def last(self, packed: Tensor) -> Tensor:
        """Return shape (N, passed)."""
        return packed[:, self.channels * self.positions + self.told :]
