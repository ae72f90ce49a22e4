"""How sure an exit is of its answer, in PyTorch: fitted after training, on data set apart for it.

A confidence is a probability, and says of what: `MaxProbability` that the class is right (Guo et
al. 2017, "On Calibration of Modern Neural Networks"), `Gate` that the answer is good in whatever
sense it was fitted to. `profiler.quality.calibration` says how far that is true.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

__all__ = ["Gate", "MaxProbability", "Unfitted"]


class Unfitted(nn.Module):
    """Stands where a confidence will be, while a network is trained."""

    def forward(self, answers: tuple[Tensor, ...], _features: Tensor) -> Tensor:
        """Return 0 for each row."""
        return torch.zeros_like(answers[0].flatten(1)[:, 0])


class MaxProbability(nn.Module):
    """The largest probability of a class, of logits divided by a temperature.

    Args:
        logits: Shape (rows, classes), of rows that were not trained on.
        labels: Shape (rows,): the right classes.
        answer: Which answer of the head holds logits.
    """

    def __init__(self, logits: Tensor, labels: Tensor, answer: int = 0) -> None:
        super().__init__()
        self.answer = answer
        self.scale: Tensor
        temperatures = torch.logspace(-1.0, 1.0, 81)
        losses = torch.stack(
            [nn.functional.cross_entropy(logits / one, labels) for one in temperatures]
        )
        self.register_buffer("scale", 1 / temperatures[losses.argmin()])

    def forward(self, answers: tuple[Tensor, ...], _features: Tensor) -> Tensor:
        """Return shape (N,)."""
        return torch.softmax(answers[self.answer] * self.scale, dim=1).amax(1)


class Gate(nn.Module):
    """A logistic regression on a few numbers that sum an answer up.

    Args:
        summary: From answers and features to numbers, shape (N, numbers).
        summaries: What it gives for rows that were not trained on, shape (rows, numbers).
        good: Shape (rows,): whether the exit's answer was good there.
    """

    def __init__(
        self, summary: nn.Module, summaries: NDArray[np.float32], good: Sequence[bool]
    ) -> None:
        super().__init__()
        self.summary = summary
        centre, width = summaries.mean(axis=0), summaries.std(axis=0)
        width = np.where(width > 0, width, 1.0)
        labels = np.asarray(good, dtype=np.int64)
        if labels.min() == labels.max():  # nothing to tell apart: the share that is good
            weights, bias = np.zeros(len(centre)), 4.0 * (2.0 * labels[0] - 1.0)
        else:
            fitted = LogisticRegression(max_iter=1000).fit((summaries - centre) / width, labels)
            weights, bias = fitted.coef_[0], float(fitted.intercept_[0])
        self.linear = nn.Linear(len(centre), 1)
        scaled = weights / width
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(scaled[None].astype(np.float32)))
            self.linear.bias.fill_(float(bias - (scaled * centre).sum()))

    def forward(self, answers: tuple[Tensor, ...], features: Tensor) -> Tensor:
        """Return shape (N,)."""
        # A convolution: a matrix product rounds in another way when there is one row.
        weight, sums = self.linear.weight[:, :, None], self.summary(answers, features)[:, :, None]
        found = nn.functional.conv1d(sums, weight, self.linear.bias)
        return torch.sigmoid(found).flatten()
