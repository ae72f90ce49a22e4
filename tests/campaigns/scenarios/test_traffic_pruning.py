"""Pruning a forecasting network: what stays is what mattered, and it still works together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from joulery.campaigns.scenarios.early_exit import ExitNetwork
from joulery.campaigns.scenarios.traffic_prediction import network
from joulery.campaigns.scenarios.traffic_prediction.pruning import prune_into

WINDOWS = network.prepared(np.random.default_rng(7).normal(size=(500, 2)).cumsum(axis=0))
HISTORIES = torch.from_numpy(WINDOWS.histories[:8])


def _network(*channels: int) -> ExitNetwork:
    """Return a network in which every weight and scale is something else than zero or one."""
    first, second, third = channels
    made = network._network(network.Size(name="x", channels=(first, second, third)), WINDOWS)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return made.eval()


def _answers(made: ExitNetwork) -> list[Any]:
    with torch.no_grad():
        return [quantiles for _, quantiles in made(HISTORIES)]


def test_a_network_that_loses_nothing_answers_the_same() -> None:
    """With as many channels as before every exit gives the same answers."""
    torch.manual_seed(1)
    large, small = _network(4, 6, 8), _network(4, 6, 8)
    prune_into(small, large)
    for one, other in zip(_answers(small), _answers(large), strict=True):
        assert torch.equal(one, other)


def test_channels_that_do_nothing_are_those_that_go() -> None:
    """Channels that are always zero change no answer when they go; their number fits exactly."""
    torch.manual_seed(2)
    large, small = _network(5, 7, 9), _network(3, 4, 6)
    stages: list[Any] = list(large.stages)
    for stage, kept in zip(stages, (3, 4, 6), strict=True):
        for block in stage.body.layers:
            silent = torch.randperm(block[0].out_channels)[kept:]
            with torch.no_grad():
                block[1].weight[silent] = 0
                block[1].bias[silent] = 0
    prune_into(small, large)
    for one, other in zip(_answers(small), _answers(large), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
