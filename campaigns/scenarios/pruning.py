"""Prune networks, in PyTorch: the channels that matter least go, so that all they compute shrinks.

A channel matters as much as its batch normalisation scales it (Liu et al. 2017, "Learning Efficient
Convolutional Networks through Network Slimming"). Whole channels, not single weights: runtimes
gain nothing from zeros. What heads read of them, each scenario knows. Only training imports this.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Layer", "copy_channels", "layers_of"]

Layer = tuple[nn.Conv1d | nn.Conv2d, nn.BatchNorm1d | nn.BatchNorm2d]
"""A convolution over one or two axes, and what normalises it."""


def layers_of(body: nn.Module) -> list[Layer]:
    """Return convolutions with what normalises each, in order."""
    modules = list(body.modules())
    convolutions = [one for one in modules if isinstance(one, nn.Conv1d | nn.Conv2d)]
    norms = [one for one in modules if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    return list(zip(convolutions, norms, strict=True))


def copy_channels(wide: Layer, narrow: Layer, before: Tensor | None) -> Tensor:
    """Copy the channels of a layer that matter most into a narrower one.

    Args:
        wide: A trained layer.
        narrow: With fewer channels, in as many groups; changed in place.
        before: Channels that were kept of the layer before; `None`: of the inputs, all.

    Returns:
        The channels that were kept, as many of each group, ascending.

    Raises:
        ValueError: The narrow layer has more channels than the wide one.
    """
    (conv, norm), (less, less_norm) = wide, narrow
    if less.out_channels > conv.out_channels:
        raise ValueError(f"found {conv.out_channels} channels, expected {less.out_channels}")
    scale = norm.weight.detach().abs().reshape(conv.groups, -1)
    each = less.out_channels // conv.groups
    best = scale.argsort(dim=1, descending=True, stable=True)[:, :each].sort(dim=1).values
    kept = (best + torch.arange(conv.groups)[:, None] * scale.shape[1]).flatten()
    weight = conv.weight[kept]
    with torch.no_grad():
        less.weight.copy_(weight if before is None else weight[:, before])
        for name, value in norm.state_dict().items():
            less_norm.state_dict()[name].copy_(value[kept] if value.ndim else value)
    return kept
