"""Prune a forecasting network: its layers, and what its exits read of them. Needs PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..early_exit import ExitNetwork
from ..pruning import copy_channels, layers_of

__all__ = ["prune_into"]


def prune_into(small: ExitNetwork, large: ExitNetwork) -> None:
    """Give a narrower network the weights of the channels of a wider one that matter most.

    Args:
        small: A network of the same kind with fewer channels; changed in place.
        large: A trained network.
    """
    told: list[Tensor] = []
    offset = 0
    kept: Tensor | None = None
    pairs: list[tuple[Any, Any]] = list(zip(small.stages, large.stages, strict=True))
    for to, of in pairs:
        layers = list(zip(layers_of(of.body.layers), layers_of(to.body.layers), strict=True))
        for wide, narrow in layers:
            kept = copy_channels(wide, narrow, kept)
        assert kept is not None
        width = layers[-1][0][0].out_channels
        told += [offset + kept, offset + width + kept]
        offset += 2 * width
        # The second stage works on the rows themselves, not on channels of the first.
        if of is large.stages[0]:
            kept = None
        columns = torch.cat(told)
        with torch.no_grad():
            to.head.readout.weight.copy_(of.head.readout.weight[:, columns])
            to.head.readout.bias.copy_(of.head.readout.bias)
