"""Networks that may stop early, in PyTorch: how they are trained and how they become ONNX models.

A network is a list of stages; each computes features for the next, and an answer of its own. They
are trained together, then written stage by stage (`cascade` joins them) in each precision. Only
training imports this: it needs the extra `train`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .base import NETWORK_PRECISIONS
from .cascade import FEATURES, cascade
from .exits import CONFIDENCE
from .graphs import run
from .quantise import quantise
from .quantise_dynamic import quantise_dynamically

__all__ = ["ExitNetwork", "Stage", "precisions", "seeded", "train"]

_OPSET = 18
_CALIBRATION_ROWS = 256

Loss = Callable[[list[tuple[Tensor, ...]], tuple[Tensor, ...]], Tensor]
"""What is made small: of the answers of each exit, and of the targets, all for one batch."""


class Stage(nn.Module):
    """A stage: features for the next one, an answer, and how sure it is of it.

    Args:
        body: From the inputs to features.
        head: From features to answers, a tuple of tensors.
        confidence: From answers and features to a number in [0, 1] a row, shape (N,). It may be
            set after training.
    """

    def __init__(self, body: nn.Module, head: nn.Module, confidence: nn.Module) -> None:
        super().__init__()
        self.body, self.head, self.confidence = body, head, confidence

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return answers, confidence and features."""
        features = self.body(*inputs)
        answers = self.head(features)
        return (*answers, self.confidence(answers, features), features)


class ExitNetwork(nn.Module):
    """A network with an exit after each of its stages."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, *inputs: Tensor) -> list[tuple[Tensor, ...]]:
        """Return the answers of each exit; confidences have no part in training."""
        found = []
        for stage in self.stages:
            assert isinstance(stage, Stage)
            features = stage.body(*inputs)
            found.append(tuple(stage.head(features)))
            inputs = (features,)
        return found


@contextmanager
def seeded(seed: int, threads: int = 1) -> Iterator[torch.Generator]:
    """Make what happens inside the same each time; gives a generator to draw from."""
    before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(before)


def train(
    network: ExitNetwork,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    loss: Loss,
    *,
    generator: torch.Generator,
    epochs: int,
    batch: int = 64,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-4,
    augment: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]] | None = None,
) -> None:
    """Train all stages together (AdamW, one cycle of the learning rate), and leave it in eval mode.

    Args:
        network: The network.
        inputs: Each of shape (rows, ...).
        targets: Each of shape (rows, ...).
        loss: See `Loss`.
        generator: Draws the order of the rows.
        epochs: How often each row is seen.
        batch: Rows of a step.
        learning_rate: The highest.
        weight_decay: Of AdamW.
        augment: Changes the inputs of each step.
    """
    rows = len(inputs[0])
    steps = epochs * (rows // batch or 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=learning_rate, total_steps=steps
    )
    network.train()
    for _ in range(epochs):
        order = torch.randperm(rows, generator=generator)
        for start in range(0, max(rows - batch, 0) + 1, batch):
            chosen = order[start : start + batch]
            given = tuple(tensor[chosen] for tensor in inputs)
            if augment is not None:
                given = augment(given)
            optimiser.zero_grad()
            found = loss(network(*given), tuple(tensor[chosen] for tensor in targets))
            found.backward()  # type: ignore[no-untyped-call]  # PyTorch's own
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
    network.eval()


def precisions(
    network: ExitNetwork,
    inputs: Mapping[str, NDArray[Any]],
    answers: Sequence[str],
    *,
    name: str,
    wanted: Sequence[str] = NETWORK_PRECISIONS,
    free_axes: Sequence[int] = (),
) -> dict[str, onnx.ModelProto]:
    """Return a trained network as ONNX models by precision.

    In `int8` all convolutions of the stages' bodies are quantised but the first: it sees the few
    channels of the raw inputs, and integers take longer for it. In `mixed` the first two stay
    float, whichever stage they are in. `int8_dynamic` has the layers of `int8`, and scales them
    while it runs.

    Args:
        network: Trained.
        inputs: Training samples by the names of the inputs, each of shape (samples, ...), in the
            order in which the first stage takes them; int8 ranges are learned from them.
        answers: Names of the answers, in the order in which heads give them.
        name: Of the model.
        wanted: The precisions.
        free_axes: Axes of the inputs that may have any length, beside axis 0.
    """
    given = {key: value[:_CALIBRATION_ROWS] for key, value in inputs.items()}
    stages: dict[str, list[onnx.ModelProto]] = {precision: [] for precision in wanted}
    before = 0
    for number, stage in enumerate(network.stages, start=1):
        assert isinstance(stage, Stage)
        is_last = number == len(network.stages)
        model = _exported(stage, given, answers, is_last=is_last, free_axes=free_axes)
        for precision, found in stages.items():
            leave = max(_LEFT.get(precision, 0) - before, 0)
            if precision == "fp32":
                found.append(model)
            elif precision == "int8_dynamic":
                found.append(quantise_dynamically(model, _BODY, leave=leave))
            else:
                found.append(quantise(model, given, _BODY, leave=leave))
        before += sum(isinstance(one, nn.Conv1d | nn.Conv2d) for one in stage.body.modules())
        if not is_last:
            given = {"before": run(model, given)[FEATURES]}
    return {precision: cascade(found, name=name) for precision, found in stages.items()}


_LEFT = {"int8": 1, "mixed": 2, "int8_dynamic": 1}
"""How many of a network's convolutions stay float, from the first on."""

_BODY = "/body/"
"""How the names of the nodes of a stage's body begin."""


def _exported(
    stage: Stage,
    inputs: Mapping[str, NDArray[Any]],
    answers: Sequence[str],
    *,
    is_last: bool,
    free_axes: Sequence[int],
) -> onnx.ModelProto:
    """Return a stage as a graph of its own."""
    outputs = [*answers, CONFIDENCE, *([] if is_last else [FEATURES])]
    example = tuple(torch.from_numpy(value[:2]) for value in inputs.values())
    module = _WithoutFeatures(stage).eval() if is_last else stage
    axes: dict[str, dict[int, str]] = {output: {0: "N"} for output in outputs}
    free = {0: "N"} | {axis: f"axis_{axis}" for axis in free_axes}
    axes |= dict.fromkeys(inputs, free)
    content = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter needs two more packages, and names nodes by number.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            content,  # type: ignore[arg-type]  # it takes any file
            dynamo=False,
            opset_version=_OPSET,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=axes,
        )
    return onnx.load_from_string(content.getvalue())


class _WithoutFeatures(nn.Module):
    """The last stage: nothing comes after it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.body, self.head, self.confidence = stage.body, stage.head, stage.confidence

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return answers and confidence."""
        features = self.body(*inputs)
        answers = self.head(features)
        return (*answers, self.confidence(answers, features))
