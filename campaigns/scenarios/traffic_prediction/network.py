"""Multi-exit temporal convolution networks (Bai et al. 2018) that forecast quantiles, in PyTorch.

A first stage strides over the day, and is cheap; later stages dilate over its newest hours at full
resolution. No layer pads: each value that a kernel sees was measured, and the last position ends
with the last row. Each exit reads what sums up its stage and those before it.
Every exit forecasts the change from the last value, as the classical models of `fit` do, as a
median and its distances to the other quantiles, so that quantiles cannot cross. Only training
imports this: it needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..base import NETWORK_PRECISIONS, SMALLEST_PRECISIONS
from ..confidence import Gate, Unfitted
from ..early_exit import ExitNetwork, Stage, precisions, seeded, train
from ..graphs import with_metadata
from ..slim import slimmed
from .layers import Day, Doubt, Head, Recent, View
from .pruning import prune_into
from .split import HORIZONS, QUANTILES, history_windows, targets, training_rows

__all__ = ["SIZES", "TOLERANCE", "Size", "Windows", "fit_networks", "prepared"]

Floats = NDArray[np.float64]

_SEED = 2018
_EPOCHS = 6
_RATE = 2e-3
_NOISE = 1.5
"""Noise on the rows of each step, over the median absolute step of their window."""
_FITTED_SHARE = 0.8
"""Of the training windows; confidence and width of intervals are fitted to the later ones."""
TOLERANCE = 0.1
"""An exit is good enough where its error is no larger than the last exit's by more than this, in
robust standard deviations of the change that is forecast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A network.

    Args:
        name: In specifications.
        channels: Of the layers of each stage.
        pruned_from: The wider network, listed before it, whose most important channels it takes.
        precisions: In which it is written.
    """

    name: str
    channels: tuple[int, int, int]
    pruned_from: str | None = None
    precisions: tuple[str, ...] = NETWORK_PRECISIONS


SIZES = (
    Size(name="tcn_s", channels=(8, 24, 32), precisions=SMALLEST_PRECISIONS),
    Size(name="tcn_m", channels=(12, 40, 64)),
    Size(name="tcn_l", channels=(16, 64, 96)),
    Size(name="tcn_pruned", channels=(12, 40, 64), pruned_from="tcn_l"),
)
_DILATIONS = ((1, 2, 4), (8, 16))
"""Of the convolutions of each later stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows of a training part, and what follows them.

    Args:
        histories: Shape (rows, HISTORY, channels).
        truth: Shape (rows, horizons, channels).
        fitted: How many of them, the earliest, networks are fitted to.
        held: The first of those that confidences are fitted to.
    """

    histories: NDArray[np.float32]
    truth: NDArray[np.float32]
    fitted: int
    held: int


def prepared(training: Floats) -> Windows:
    """Return all that networks are fitted to; no target of a fitted window lies after `held`.

    Args:
        training: Shape (rows, channels), in time order.
    """
    rows = training_rows(training)
    held = int(len(rows) * _FITTED_SHARE)
    return Windows(
        histories=history_windows(training, rows),
        truth=targets(training, rows).astype(np.float32),
        fitted=held - max(HORIZONS),
        held=held,
    )


def fit_networks(
    training: Floats, sha256: str, *, sizes: Sequence[Size] = SIZES, epochs: int = _EPOCHS
) -> dict[tuple[str, str], onnx.ModelProto]:
    """Fit every network in every precision.

    Args:
        training: Shape (rows, channels), in time order: all the data any network sees.
        sha256: SHA-256 of the data file, for the models' metadata.
        sizes: The networks.
        epochs: How often each window is seen.

    Returns:
        ONNX models by (model, precision): `history` (N, 289, channels) to `forecast` (N, horizons,
        channels) and `quantiles` (N, quantiles, horizons, channels); see `cascade` for exits.
    """
    windows = prepared(training)
    networks: dict[str, ExitNetwork] = {}
    models = {}
    for size in sizes:
        with seeded(_SEED) as generator:
            network = networks[size.name] = _network(size, windows)
            if size.pruned_from is not None:
                prune_into(network, networks[size.pruned_from])
            _train(network, windows, generator, epochs)
            _settle(network, windows)
            given = {"history": windows.histories[: windows.fitted : 4]}
            exported = precisions(
                *(network, given, ["forecast", "quantiles"]), name=size.name, wanted=size.precisions
            )
        for precision, model in exported.items():
            about = {"model": size.name, "precision": precision, "scenario": "traffic_prediction"}
            models[size.name, precision] = with_metadata(
                slimmed(model), about | {"training_data_sha256": sha256}
            )
    return models


def _network(size: Size, windows: Windows) -> ExitNetwork:
    """Return an untrained network; its constants are from the windows it will be fitted to."""
    histories = windows.histories[: windows.fitted]
    changes = windows.truth[: windows.fitted] - histories[:, -1:]
    first, *later = size.channels
    bodies: list[Day | Recent] = [Day(View(histories), first, histories.shape[2])]
    for channels, dilations in zip(later, _DILATIONS, strict=True):
        bodies.append(Recent(bodies[-1].layout, channels, dilations))
    return ExitNetwork([Stage(body, Head(body.layout, changes), Unfitted()) for body in bodies])


def _train(network: ExitNetwork, windows: Windows, generator: torch.Generator, epochs: int) -> None:
    levels = torch.tensor(QUANTILES).reshape(-1, 1, 1)
    stages: list[Any] = list(network.stages)
    width = stages[-1].head.width

    def loss(answers: list[tuple[Tensor, ...]], truth: tuple[Tensor, ...]) -> Tensor:
        total = torch.zeros(())
        for _, quantiles in answers:
            over = (truth[0][:, None] - quantiles) / width
            total = total + torch.maximum(levels * over, (levels - 1) * over).mean()
        return total

    train(
        network,
        [torch.from_numpy(windows.histories[: windows.fitted])],
        [torch.from_numpy(windows.truth[: windows.fitted])],
        loss,
        generator=generator,
        epochs=epochs,
        learning_rate=_RATE,
        weight_decay=1e-2,
        augment=_noisy,
    )


def _noisy(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    history = inputs[0]
    spread = (history[:, 1:] - history[:, :-1]).abs().median(dim=1, keepdim=True).values
    return (history + _NOISE * spread * torch.randn_like(history),)


def _settle(network: ExitNetwork, windows: Windows) -> None:
    """Fit width of intervals and confidence to the windows that are held back.

    Intervals are stretched until they hold what they claim there, as in conformalised quantile
    regression (Romano et al. 2019), by a factor for each horizon and series.
    """
    stages: list[Any] = list(network.stages)
    truth = torch.from_numpy(windows.truth[windows.held :])
    histories = torch.from_numpy(windows.histories[windows.held :])
    claimed = QUANTILES[-1] - QUANTILES[0]
    with torch.no_grad():
        for stage, (median, quantiles) in zip(stages, network(histories), strict=True):
            side = torch.where(truth > median, quantiles[:, -1] - median, median - quantiles[:, 0])
            needed = (truth - median).abs() / side.clamp_min(1e-12)
            stage.head.stretch.copy_(torch.quantile(needed, claimed, dim=0))
        answers = network(histories)
        width = stages[-1].head.width
        errors = [((truth - median) / width).abs().mean(dim=(1, 2)) for median, _ in answers]
        inputs = (histories,)
        for stage, answer, error in zip(stages, answers, errors, strict=True):
            inputs = (stage.body(*inputs),)
            doubt = Doubt(width, truth.shape[2])
            good = (error <= errors[-1] + TOLERANCE).tolist()
            stage.confidence = Gate(doubt, doubt(answer, *inputs).numpy(), good)
