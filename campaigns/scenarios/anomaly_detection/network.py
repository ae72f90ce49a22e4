"""Fit the early-exit autoencoders to normal windows (PyTorch): train, settle, write as ONNX graphs.

They are denoising autoencoders (Vincent et al. 2008): training windows are made wrong at random,
and the network has to give back what was there, so that a fault that is in the window already does
not become the expectation. Only training imports this: it needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..base import NETWORK_PRECISIONS, SMALLEST_PRECISIONS
from ..confidence import Gate
from ..early_exit import ExitNetwork, precisions, seeded, train
from ..graphs import with_metadata
from ..slim import slimmed
from .autoencoder import LIMIT, Margin, network_of
from .fit import Front
from .inject import faulty_windows
from .pruning import prune_into
from .split import WINDOW, TrainingWindows

__all__ = ["NETWORKS", "Size", "fit_networks", "held_back"]

_SEED = 2018
_EPOCHS = 30
_RATE = 3e-3
_DECAY = 1e-2
_WRONG_SHARE = 0.4
"""How often each column of a training window is made wrong."""
_WRONG_SPREADS = 4.0
_HELD_SHARE = 0.2
"""Of the training windows, the latest; thresholds and confidence are fitted to them."""
_ALARM_QUANTILE = 0.995
_MOST_WINDOWS = 3000
"""Of the training windows; the shipped data have fewer."""
_FAULT_SEEDS = (1, 2, 3)
"""Of the faults that confidence is fitted with; none of them is that of the test part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A network.

    Args:
        name: Of the model.
        channels: Of the stages, the same within each.
        pruned_from: The network, before it in the list, that it is cut out of; `None`: of none.
        precisions: In which it is written.
    """

    name: str
    channels: tuple[int, int, int]
    pruned_from: str | None = None
    precisions: tuple[str, ...] = NETWORK_PRECISIONS


NETWORKS = (
    Size(name="exit_autoencoder_s", channels=(8, 24, 48), precisions=SMALLEST_PRECISIONS),
    Size(name="exit_autoencoder_m", channels=(12, 32, 72)),
    Size(name="exit_autoencoder_l", channels=(16, 48, 96)),
    Size(name="exit_autoencoder_pruned", channels=(12, 32, 72), pruned_from="exit_autoencoder_l"),
)


def held_back(training: TrainingWindows) -> tuple[TrainingWindows, TrainingWindows]:
    """Return the windows to fit networks to, and the later ones, which share no row with them."""
    first = int(len(training.windows) * (1 - _HELD_SHARE))
    parts = []
    for rows in (slice(0, max(first - WINDOW + 1, 1)), slice(first, None)):
        parts.append(
            TrainingWindows(
                windows=training.windows[rows],
                slots=training.slots[rows],
                trended=training.trended,
            )
        )
    return parts[0], parts[1]


def _thinned(training: TrainingWindows) -> TrainingWindows:
    """Return at most `_MOST_WINDOWS` windows, evenly chosen: a long recording repeats itself."""
    step = -(-len(training.windows) // _MOST_WINDOWS)
    return TrainingWindows(
        windows=training.windows[::step], slots=training.slots[::step], trended=training.trended
    )


def fit_networks(
    training: TrainingWindows,
    sha256: str,
    *,
    sizes: Sequence[Size] = NETWORKS,
    epochs: int = _EPOCHS,
) -> dict[tuple[str, str], onnx.ModelProto]:
    """Fit every network in every precision.

    Args:
        training: Normal windows: all the data any network sees.
        sha256: SHA-256 of the data, for the models' metadata.
        sizes: The networks.
        epochs: How often each window is seen.

    Returns:
        ONNX models by (model, precision): `window` (N, 24, columns) and `slot` (N, 1) to `score`
        (N, 1), higher is more anomalous, and `alarm` (N, 1); see `cascade` for exits.
    """
    training = _thinned(training)
    fitted, held = held_back(training)
    front = Front.of(fitted)
    models = {}
    trained: dict[str, ExitNetwork] = {}
    for size in sizes:
        with seeded(_SEED) as generator:
            network = network_of(size.channels, front)
            if size.pruned_from is None:
                _train(network, front, fitted, generator, epochs)
            else:
                prune_into(network, trained[size.pruned_from])
                _train(network, front, fitted, generator, -(-epochs // 3), _RATE / 3)
            trained[size.name] = network
            _settle(network, training, held)
            given: dict[str, NDArray[Any]] = {
                "window": fitted.windows,
                "slot": fitted.slots[:, None],
            }
            some = {name: array[:: max(1, len(array) // 256)] for name, array in given.items()}
            exported = precisions(
                *(network, some, ["score", "alarm"]), name=size.name, wanted=size.precisions
            )
        for precision, model in exported.items():
            about = {
                "model": size.name,
                "precision": precision,
                "scenario": "anomaly_detection",
                "threshold": "1.0",
                "training_data_sha256": sha256,
            }
            models[size.name, precision] = with_metadata(slimmed(model), about)
    return models


def _stages(network: ExitNetwork) -> list[Any]:
    """Return the stages; PyTorch's type of a list of modules says less than we know."""
    return list(network.stages)


class _Expectations(ExitNetwork):
    """The same network while it is trained: each exit answers with the row it expects."""

    def forward(self, *inputs: Tensor) -> list[tuple[Tensor, ...]]:
        """Return (N, columns) of each exit."""
        found: list[tuple[Tensor, ...]] = []
        for stage in _stages(self):
            inputs = (stage.body(*inputs),)
            found.append((stage.head.expected(*inputs),))
        return found


def _train(
    network: ExitNetwork,
    front: Front,
    fitted: TrainingWindows,
    generator: torch.Generator,
    epochs: int,
    rate: float = _RATE,
) -> None:
    windows, slots = torch.from_numpy(fitted.windows), torch.from_numpy(fitted.slots[:, None])
    with torch.no_grad():
        truth = _stages(network)[0].body.view(windows, slots)[:, :, WINDOW - 1]
    spread = torch.from_numpy(front.spread).float()

    def loss(answers: list[tuple[Tensor, ...]], targets: tuple[Tensor, ...]) -> Tensor:
        total = torch.zeros(())
        for (expected,) in answers:
            total = total + nn.functional.smooth_l1_loss(expected, targets[0])
        return total

    def wrong(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        window, slot = inputs
        shape = (len(window), 1, window.shape[2])
        length = torch.randint(1, WINDOW + 1, shape)
        recent = torch.arange(WINDOW)[None, :, None] >= WINDOW - length
        chosen = torch.rand(shape) < _WRONG_SHARE
        size = torch.randn(shape) * _WRONG_SPREADS * spread
        return window + size * (recent & chosen), slot

    train(
        _Expectations(_stages(network)),
        [windows, slots],
        [torch.clamp(truth, -LIMIT, LIMIT)],
        loss,
        generator=generator,
        epochs=epochs,
        learning_rate=rate,
        weight_decay=_DECAY,
        augment=wrong,
    )
    network.eval()


def _tensors(windows: NDArray[np.float32], slots: NDArray[np.int64]) -> tuple[Tensor, ...]:
    return torch.from_numpy(windows), torch.from_numpy(slots[:, None])


def _settle(network: ExitNetwork, training: TrainingWindows, held: TrainingWindows) -> None:
    """Fit thresholds to normal windows, and confidence to held-back ones with and without faults.

    An exit may be believed where it raises the alarm exactly if the last exit does.
    """
    normal = _tensors(training.windows, training.slots)
    slots = np.concatenate([held.slots] * (1 + len(_FAULT_SEEDS)))
    windows = [held.windows]
    windows += [faulty_windows(held.windows, training.windows, seed) for seed in _FAULT_SEEDS]
    mixed = _tensors(np.concatenate(windows), slots)
    with torch.no_grad():
        answers = []
        for stage in _stages(network):
            normal, mixed = (stage.body(*normal),), (stage.body(*mixed),)
            stage.head.scale.copy_(1 / stage.head.distances(*normal).square().mean(0).sqrt())
            score = stage.head(*normal)[0]
            stage.head.scale.div_(torch.quantile(score, _ALARM_QUANTILE))
            answers.append((stage.head(*mixed), mixed[0]))
        final = answers[-1][0][1].flatten()
        for stage, (answer, packed) in zip(_stages(network), answers, strict=True):
            agrees = (answer[1].flatten() == final).tolist()
            margin = Margin()
            stage.confidence = Gate(margin, margin(answer, packed).numpy(), agrees)
