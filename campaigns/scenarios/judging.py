"""How good a model is on its scenario's own data, offline: all samples, and an interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from .base import Tensors, Workload
from .model import Model

__all__ = ["Estimate", "answers_of", "estimates", "inputs_of", "judged", "some_of"]

_BLOCKS = 12
_CHUNK = 16


def inputs_of(workload: Workload) -> Tensors:
    """Return the inputs of all samples, joined on axis 0."""
    given = [workload.inputs(sample) for sample in range(workload.size)]
    return {name: np.concatenate([one[name] for one in given]) for name in given[0]}


def answers_of(model: Model, inputs: Tensors, knobs: Mapping[str, float | None]) -> Tensors:
    """Return a model's answers to some inputs.

    Args:
        model: The model.
        inputs: Joined on axis 0.
        knobs: What it is told.
    """
    constants = model.constants(knobs)
    rows = len(next(iter(inputs.values())))
    parts = [
        model.run({name: one[at : at + _CHUNK] for name, one in inputs.items()} | constants)
        for at in range(0, rows, _CHUNK)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure over all samples, and what it is without each of twelve blocks of them.

    The interval is that of a jackknife over blocks of neighbouring samples: neighbours are alike
    (Künsch 1989, "The Jackknife and the Bootstrap for General Stationary Observations").

    Args:
        value: Over all samples.
        without: Shape (blocks,).
    """

    value: float
    without: NDArray[np.float64]

    def __sub__(self, other: Estimate) -> Estimate:
        """Return the difference of two figures of the same samples: what they share cancels."""
        return Estimate(value=self.value - other.value, without=self.without - other.without)

    @property
    def interval(self) -> tuple[float, float, float]:
        """The value, and the ends of its 95 % interval."""
        error = np.sqrt((_BLOCKS - 1) / _BLOCKS * ((self.without - self.without.mean()) ** 2).sum())
        width = float(student.ppf(0.975, _BLOCKS - 1) * error)
        return self.value, self.value - width, self.value + width


def estimates(
    samples: int, figures_of: Callable[[NDArray[np.int64]], Mapping[str, float | None]]
) -> dict[str, Estimate]:
    """Return figures over all samples; without those that all, or all but a block, do not allow.

    Args:
        samples: How many there are, in their order.
        figures_of: Returns the figures of some samples.
    """
    everything = np.arange(samples, dtype=np.int64)
    whole = figures_of(everything)
    parts = [
        figures_of(np.delete(everything, block)) for block in np.array_split(everything, _BLOCKS)
    ]
    found = {}
    for name, value in whole.items():
        without = [one for part in parts if (one := part[name]) is not None]
        if value is not None and len(without) == _BLOCKS:
            found[name] = Estimate(value=value, without=np.array(without))
    return found


def some_of(answers: Tensors, chosen: NDArray[np.int64]) -> Tensors:
    """Return the answers to some samples."""
    return {name: tensor[chosen] for name, tensor in answers.items()}


def judged(workload: Workload, answers: Tensors, figure: str) -> tuple[float, float, float] | None:
    """Return a figure over all samples, and the ends of its 95 % interval, see `Estimate`.

    Args:
        workload: Whose samples they are.
        answers: To all samples, in their order.
        figure: Its name.

    Returns:
        Value, low and high; `None` when the answers, or those without a block, do not allow it.
    """

    def of(chosen: NDArray[np.int64]) -> dict[str, float | None]:
        return {figure: workload.figure(figure, chosen, some_of(answers, chosen))}

    found = estimates(workload.size, of).get(figure)
    return None if found is None else found.interval
