"""Make a trained network narrower: its layers, and what its exits read of them.

The narrower network needs some more training. Only training imports this: it needs the extra
`train`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..early_exit import ExitNetwork, Stage
from ..pruning import copy_channels, layers_of

__all__ = ["keep_important"]


def keep_important(wide: ExitNetwork, narrow: ExitNetwork) -> None:
    """Copy the most important channels of a network into a narrower one of the same kind.

    Args:
        wide: Trained.
        narrow: The same layers with fewer channels: each stage's body holds a module `view`, or
            none, and pairs of convolution and batch normalisation in order; the first pair may
            have a group for each sensor. Its head's weights are those of a 1 x 1 convolution on two
            numbers a channel.

    Raises:
        ValueError: When the layers are not the same.
    """
    layers = [[m for m in net.modules() if isinstance(m, nn.Conv1d)] for net in (wide, narrow)]
    for conv, less in zip(*layers, strict=True):
        if (conv.groups, conv.kernel_size) != (less.groups, less.kernel_size):
            raise ValueError(f"found {less}, expected a narrower {conv}")
    kept: Tensor | None = None
    for old, new in zip(wide.stages, narrow.stages, strict=True):
        assert isinstance(old, Stage)
        assert isinstance(new, Stage)
        for one, other in zip(layers_of(old.body), layers_of(new.body), strict=True):
            kept = copy_channels(one, other, kept)
        assert kept is not None
        numbers = (2 * kept[:, None] + torch.arange(2)).flatten()
        with torch.no_grad():
            for name, value in old.head.state_dict().items():
                told = value[:, numbers] if value.dim() > 1 else value
                new.head.state_dict()[name].copy_(told)
