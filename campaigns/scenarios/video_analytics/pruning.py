"""Make a fitted detector thinner: its layers, and what its exits read of them. Needs PyTorch."""

from __future__ import annotations

import torch

from ..early_exit import ExitNetwork, Stage
from ..pruning import copy_channels, layers_of
from .network import Head, Size, detector

__all__ = ["pruned"]


def pruned(network: ExitNetwork, size: Size) -> ExitNetwork:
    """Return a detector of fewer channels, to be trained a little more.

    Args:
        network: A fitted detector; it stays as it is.
        size: As many layers as the network has, each no wider; heads as wide as its own.

    Raises:
        ValueError: When a layer would be wider than it was.
    """
    thin = detector(size)
    kept = torch.arange(3)
    with torch.no_grad():
        for before, after in zip(network.stages, thin.stages, strict=True):
            assert isinstance(before, Stage)
            assert isinstance(after, Stage)
            for wide, narrow in zip(layers_of(before.body), layers_of(after.body), strict=True):
                kept = copy_channels(wide, narrow, kept)
            heads = before.head, after.head
            assert isinstance(heads[0], Head)
            assert isinstance(heads[1], Head)
            state = heads[0].state_dict()
            state["hidden.weight"] = state["hidden.weight"][:, kept]
            heads[1].load_state_dict(state)
    return thin
