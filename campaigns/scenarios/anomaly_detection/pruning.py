"""Prune an early-exit autoencoder: its layers, and what its exits read of them. Needs PyTorch."""

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
    for number, (to, of) in enumerate(pairs):
        # The first two stages work on the columns of the telemetry, not on channels.
        kept = kept if number > 1 else None
        layers = list(zip(layers_of(of.body.layers), layers_of(to.body.layers), strict=True))
        for wide, narrow in layers:
            kept = copy_channels(wide, narrow, kept)
        width = layers[-1][0][0].out_channels
        assert kept is not None
        # Where each channel stands among what exits read: a row of places, or places of channels.
        places = (of.head.squeeze.in_channels - offset) // width
        grid = torch.arange(width * places)
        grid = grid.reshape(width, places).T if number == 0 else grid.reshape(places, width)
        chosen = grid[:, kept]
        told.append(offset + (chosen.T if number == 0 else chosen).flatten())
        offset += width * places
        columns = torch.cat(told)
        with torch.no_grad():
            to.head.squeeze.weight.copy_(of.head.squeeze.weight[:, columns])
            to.head.squeeze.bias.copy_(of.head.squeeze.bias)
            to.head.decode.load_state_dict(of.head.decode.state_dict())
