"""Multi-exit networks that fuse two sensors, in PyTorch.

In `fusion_*` each sensor has a branch in the first stage, and later stages work on what both found
(intermediate fusion); in `late_fusion_m` sensors stay apart to the end, and each exit averages the
class probabilities of the sensors that are there (late fusion). Windows with a sensor missing or
late are part of training, so that networks get worse little by little. Only training imports this:
it needs the extra `train`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..base import NETWORK_PRECISIONS, SMALLEST_PRECISIONS
from ..confidence import MaxProbability, Unfitted
from ..early_exit import ExitNetwork, Stage, precisions, seeded, train
from ..graphs import with_metadata
from ..packed import Packed, convolution
from ..slim import slimmed
from .prune import keep_important
from .windows import CONDITIONS, Cut, Windows, sensor_inputs

__all__ = ["NETWORKS", "Size", "build", "fit_networks"]

_SEED = 2012
_SEEN = 90_000
"""Windows that training looks at, each as often as it is; at least in `_FEWEST` rounds."""
_FEWEST = 3
_BATCH = 128
_TUNED_SHARE = 0.3
"""Of that, what a pruned network is trained on; at a lower learning rate."""
_RATE = 3e-3
_TUNED_RATE = 1e-3
_DECAY = 1e-2
_DROPOUT = 0.3
_LIMIT = 5.0
"""Inputs beyond this many standard deviations say no more than this."""
_POSITIONS = 32
"""The first stage strides over longer windows, down to about this many positions."""
_MISSING = 0.15
"""Share of the windows of a training step that lack the one sensor; as many lack the other."""
_LATE = 0.3
"""Share in which the gyroscope is late, by anything up to the lead."""
_LOUDER = 0.1
"""Standard deviation of the logarithm by which a sensor's values are made larger in training."""
_SENSORS = 2
_AXES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How wide a network is.

    Args:
        name: Of the model.
        channels: Of each stage; the first, and of late fusion all, are per sensor.
        late: Whether sensors stay apart.
        pruned_from: The larger network, earlier in the list, whose channels it keeps the most
            important of; it is then trained a little more.
        precisions: In which it is written.
    """

    name: str
    channels: tuple[int, int, int]
    late: bool = False
    pruned_from: str | None = None
    precisions: tuple[str, ...] = NETWORK_PRECISIONS


NETWORKS = (
    Size(name="fusion_s", channels=(8, 40, 64), precisions=SMALLEST_PRECISIONS),
    Size(name="fusion_m", channels=(8, 56, 96)),
    Size(name="fusion_l", channels=(12, 80, 128)),
    Size(name="late_fusion_m", channels=(8, 32, 48), late=True),
    Size(name="fusion_pruned", channels=(8, 56, 96), pruned_from="fusion_l"),
)


def fit_networks(
    fitted: Windows,
    held: Windows,
    classes: Sequence[str],
    cut: Cut,
    sha256: str,
    *,
    sizes: Sequence[Size] = NETWORKS,
    seen: int = _SEEN,
) -> dict[tuple[str, str], onnx.ModelProto]:
    """Fit every network in every precision.

    Args:
        fitted: Windows to fit weights to.
        held: Windows of other recordings, to fit confidence to.
        classes: Their names, in the order of the labels.
        cut: How windows were cut.
        sha256: SHA-256 of the data file, for the models' metadata.
        sizes: The networks.
        seen: How many windows training looks at, each as often as it is looked at; of at least
            a few rounds.

    Returns:
        ONNX models by (model, precision): `accelerometer` and `gyroscope` (N, steps, 3) and
        `present` (N, 2) to `probabilities` (N, classes) and `label` INT64 (N,); see `cascade` for
        exits.
    """
    models = {}
    trained: dict[str, ExitNetwork] = {}
    for size in sizes:
        with seeded(_SEED) as generator:
            network = build(size, fitted, len(classes), cut)
            if size.pruned_from is None:
                _train(network, fitted, cut, generator, seen)
                trained[size.name] = copy.deepcopy(network)
            else:
                keep_important(trained[size.pruned_from], network)
                share = round(_TUNED_SHARE * seen)
                _train(network, fitted, cut, generator, share, rate=_TUNED_RATE)
            _settle(network, held, cut)
            given = _mixed_conditions(fitted, cut)
            exported = precisions(
                *(network, given, ["probabilities", "label"]),
                name=size.name,
                wanted=size.precisions,
            )
        for precision, model in exported.items():
            about = {"model": size.name, "precision": precision, "scenario": "sensor_fusion"}
            about |= {"classes": ",".join(classes), "training_data_sha256": sha256}
            models[size.name, precision] = with_metadata(slimmed(model), about)
    return models


def _mixed_conditions(windows: Windows, cut: Cut) -> dict[str, NDArray[np.float32]]:
    """Return windows from everywhere in turn under each condition, to learn int8 ranges from."""
    order = np.random.default_rng(_SEED).permutation(len(windows.values))
    parts = [
        sensor_inputs(windows.values[order[place :: len(CONDITIONS)]], cut, condition)
        for place, condition in enumerate(CONDITIONS)
    ]
    mixed = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    shuffled = np.random.default_rng(_SEED).permutation(len(order))
    return {key: value[shuffled] for key, value in mixed.items()}


class _View(nn.Module):
    """Both sensors standardised: (N, 6, steps)."""

    centre: Tensor
    scale: Tensor

    def __init__(self, values: NDArray[np.float32]) -> None:
        super().__init__()
        width = values.std(axis=(0, 1), dtype=np.float64)
        centre = values.mean(axis=(0, 1), dtype=np.float64)
        self.register_buffer("centre", torch.from_numpy(centre).float())
        scale = torch.from_numpy(1 / np.where(width > 0, width, 1.0))
        self.register_buffer("scale", scale.float())

    def forward(self, accelerometer: Tensor, gyroscope: Tensor) -> Tensor:
        both = torch.cat([accelerometer, gyroscope], dim=2)
        return torch.clamp((both - self.centre) * self.scale, -_LIMIT, _LIMIT).transpose(1, 2)


def _masked(features: Tensor, present: Tensor) -> Tensor:
    """Return features, shape (N, channels, positions), with zeros where a sensor is missing."""
    channels, positions = features.shape[1], features.shape[2]
    apart = features.reshape(-1, _SENSORS, channels // _SENSORS * positions)
    return (apart * present.unsqueeze(2)).reshape(-1, channels, positions)


class _Branches(nn.Module):
    """The first stage's body: a branch for each sensor; zeros stand for one that is missing."""

    def __init__(self, view: _View, channels: int, steps: int) -> None:
        super().__init__()
        self.view = view
        stride = max(1, round(steps / _POSITIONS))
        self.branches = convolution(
            *(_SENSORS * _AXES, _SENSORS * channels, 5),
            stride=stride,
            padding=2,
            groups=_SENSORS,
        )
        positions = (steps - 1) // stride + 1
        self.packed = Packed(channels=_SENSORS * channels, positions=positions, passed=_SENSORS)

    def forward(self, accelerometer: Tensor, gyroscope: Tensor, present: Tensor) -> Tensor:
        found = self.branches(self.view(accelerometer, gyroscope))
        return torch.cat([_masked(found, present).flatten(1), present], dim=1)


class _Later(nn.Module):
    """A later stage's body: two convolutions, over all sensors or over each alone."""

    def __init__(self, before: Packed, channels: int, groups: int) -> None:
        super().__init__()
        self.before = before
        self.layers = nn.Sequential(
            convolution(before.channels, channels, 3, padding=1, groups=groups),
            convolution(channels, channels, 3, padding=1, groups=groups),
        )
        self.packed = Packed(channels=channels, positions=before.positions, passed=before.passed)

    def forward(self, packed: Tensor) -> Tensor:
        found = self.layers(self.before.inside(packed))
        return torch.cat([found.flatten(1), self.before.last(packed)], dim=1)


class _Head(nn.Module):
    """From packed features to logits: of all sensors, or averaged over the sensors present."""

    def __init__(self, packed: Packed, classes: int, *, late: bool) -> None:
        super().__init__()
        self.packed, self.classes, self.late = packed, classes, late
        self.mean = nn.AvgPool1d(packed.positions)
        self.highest = nn.MaxPool1d(packed.positions)
        self.dropout = nn.Dropout(_DROPOUT)
        sensors = _SENSORS if late else 1
        told, outputs = 2 * packed.channels, classes * sensors
        self.readout = nn.Conv1d(told, outputs, 1, groups=sensors)

    def forward(self, packed: Tensor) -> tuple[Tensor]:
        """Return logits, shape (N, classes)."""
        features = self.packed.inside(packed)
        told = torch.cat([self.mean(features), self.highest(features)], dim=2)
        # Channel by channel, so that a sensor's numbers stand together.
        told = self.dropout(told.reshape(-1, 2 * self.packed.channels, 1))
        logits = self.readout(told)
        if not self.late:
            return (logits.flatten(1),)
        each = torch.softmax(logits.reshape(-1, _SENSORS, self.classes), dim=2)
        # With no sensor at all, all count the same.
        weight = (self.packed.last(packed) + 1e-6).unsqueeze(2)
        return (torch.log((each * weight).sum(1) / weight.sum(1) + 1e-9),)


class _Answer(nn.Module):
    """A trained head and a temperature: class probabilities, and the likeliest class."""

    scale: Tensor

    def __init__(self, head: nn.Module, scale: Tensor) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("scale", scale)

    def forward(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Return shapes (N, classes) and (N,), INT64."""
        probabilities = torch.softmax(self.head(packed)[0] * self.scale, dim=1)
        return probabilities, probabilities.argmax(1)


class _Likeliest(nn.Module):
    """The probability of the likeliest class: what `MaxProbability` gives for the same logits."""

    def forward(self, answers: tuple[Tensor, ...], _features: Tensor) -> Tensor:
        """Return shape (N,)."""
        return answers[0].amax(1)


def build(size: Size, fitted: Windows, classes: int, cut: Cut) -> ExitNetwork:
    """Return an untrained network; its constants are from the windows it will be fitted to."""
    first, *later = size.channels
    view = _View(fitted.values[:, cut.lead :])
    bodies: list[_Branches | _Later] = [_Branches(view, first, cut.steps)]
    groups = _SENSORS if size.late else 1
    for channels in later:
        bodies.append(_Later(bodies[-1].packed, channels * groups, groups))
    return ExitNetwork(
        [Stage(body, _Head(body.packed, classes, late=size.late), Unfitted()) for body in bodies]
    )


def _train(
    network: ExitNetwork,
    fitted: Windows,
    cut: Cut,
    generator: torch.Generator,
    seen: int,
    *,
    rate: float = _RATE,
) -> None:
    counts = np.bincount(fitted.labels)
    weights = torch.from_numpy(np.sqrt(counts.mean() / np.maximum(counts, 1))).float()

    def loss(answers: list[tuple[Tensor, ...]], labels: tuple[Tensor, ...]) -> Tensor:
        losses = [nn.functional.cross_entropy(one, labels[0], weights) for (one,) in answers]
        return torch.stack(losses).sum()

    def augment(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return _under_conditions(inputs[0], cut)

    train(
        network,
        [torch.from_numpy(fitted.values)],
        [torch.from_numpy(fitted.labels)],
        loss,
        generator=generator,
        epochs=max(_FEWEST, round(seen / len(fitted.labels))),
        batch=_BATCH,
        learning_rate=rate,
        weight_decay=_DECAY,
        augment=augment,
    )


def _under_conditions(values: Tensor, cut: Cut) -> tuple[Tensor, Tensor, Tensor]:
    """Return windows, shape (N, lead + steps, 6), as inputs: each under a condition by chance."""
    rows = len(values)
    louder = torch.exp(_LOUDER * torch.randn(rows, 1, _SENSORS)).repeat_interleave(_AXES, dim=2)
    values = values * louder
    drawn = torch.rand(rows)
    present = torch.stack([drawn >= _MISSING, (drawn < _MISSING) | (drawn >= 2 * _MISSING)], dim=1)
    late = drawn >= 1 - _LATE
    lag = torch.where(
        late, torch.randint(1, cut.lead + 1, (rows,)), torch.zeros((), dtype=torch.int64)
    )
    places = (cut.lead - lag)[:, None] + torch.arange(cut.steps)
    there = present.float()
    accelerometer = values[:, cut.lead :, :_AXES] * there[:, :1, None]
    gyroscope = values[torch.arange(rows)[:, None], places, _AXES:] * there[:, 1:, None]
    return accelerometer, gyroscope, there


def _settle(network: ExitNetwork, held: Windows, cut: Cut) -> None:
    """Fit each exit's temperature to the windows held back, under every condition as often."""
    parts = [sensor_inputs(held.values, cut, condition) for condition in CONDITIONS]
    inputs = [torch.from_numpy(np.concatenate([part[key] for part in parts])) for key in parts[0]]
    labels = torch.from_numpy(np.tile(held.labels, len(CONDITIONS)))
    with torch.no_grad():
        answers = network(*inputs)
    for stage, (logits,) in zip(network.stages, answers, strict=True):
        assert isinstance(stage, Stage)
        stage.head = _Answer(stage.head, MaxProbability(logits, labels).scale)
        stage.confidence = _Likeliest()
