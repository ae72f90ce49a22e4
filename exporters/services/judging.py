"""When an answer is right: the rules by which outputs are compared with labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["RULES", "Judge", "Labels", "Rule"]

Labels = NDArray[Any]
"""What would have been right; of one answer, or with a leading axis for the samples."""

Rule = Literal["argmax", "equal", "threshold", "within"]
"""argmax: where the largest value on the last axis stands; equal: all values; threshold: which
values are above it; within: all values, up to a tolerance."""

RULES: tuple[Rule, ...] = ("argmax", "equal", "threshold", "within")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Which output is looked at, and when it is right.

    Args:
        output: Its name.
        rule: How it is compared with a label.
        threshold: For that rule: above it the label must be 1 or true, else 0 or false.
        tolerance: For `within`: how far a value may be from its label.
        tolerance_ratio: Likewise, as a share of the label.

    Raises:
        ValueError: The rule needs another number, or takes none; the text says which.
    """

    output: str
    rule: Rule
    threshold: float | None = None
    tolerance: float | None = None
    tolerance_ratio: float | None = None

    def __post_init__(self) -> None:
        limits = [one for one in (self.tolerance, self.tolerance_ratio) if one is not None]
        if (self.rule == "threshold") != (self.threshold is not None):
            raise ValueError("a threshold with rule threshold, and with no other")
        if len(limits) != (self.rule == "within") or not all(0 <= one < math.inf for one in limits):
            raise ValueError("tolerance or tolerance_ratio, 0 or more, with rule within alone")

    @property
    def metric(self) -> str:
        """What the share of right answers is called: a forecast within bounds is no class."""
        return "within_tolerance" if self.rule == "within" else "accuracy"

    def as_json(self) -> dict[str, str | float]:
        """Return it as it stands in the file of a golden set."""
        given = {"output": self.output, "rule": self.rule, "threshold": self.threshold}
        given |= {"tolerance": self.tolerance, "tolerance_ratio": self.tolerance_ratio}
        return {key: value for key, value in given.items() if value is not None}

    def refused(self, labels: Labels) -> str:
        """Return why these labels cannot be compared by this rule; empty: they can."""
        if self.rule == "argmax" and (labels.dtype.kind not in "iu" or labels.min(initial=0) < 0):
            return f"values of {labels.dtype}, or below 0; argmax needs positions"
        if self.rule == "threshold" and not np.isin(labels, (0, 1)).all():
            return "values other than 0 and 1, false and true"
        return ""

    def label_of(self, output: NDArray[np.generic]) -> Labels:
        """Return the label that would make this output right: for a reference's answer.

        Raises:
            ValueError: The output has no label: NaN, or no values.
        """
        values = self._compared(output)
        if not np.isfinite(output).all():
            raise ValueError(f"output {self.output!r} is not finite")
        return np.asarray(values > self.threshold) if self.rule == "threshold" else values

    def is_right(self, output: NDArray[np.generic], label: Labels) -> bool:
        """Return whether an output, of one sample, is what the label says.

        NaN and infinity are never right: compared with a threshold, NaN would pass for a no.

        Raises:
            ValueError: The two cannot be compared: the output has not one value per value of the
                label. That is no wrong answer, but an answer to another question.
        """
        found, wanted = np.ravel(self._compared(output)), np.ravel(label)
        if found.size != wanted.size:
            raise ValueError(
                f"output {self.output!r} has shape {list(output.shape)}, which rule {self.rule} "
                f"cannot compare with a label of shape {list(np.shape(label))}"
            )
        if not np.isfinite(output).all():
            return False
        if self.rule == "threshold":
            return bool(np.array_equal(found > self.threshold, wanted.astype(bool)))
        if self.rule == "within":
            far = np.abs(found.astype(np.float64) - wanted)
            if self.tolerance is not None:
                return bool((far <= self.tolerance).all())
            return bool((far <= self.tolerance_ratio * np.abs(wanted.astype(np.float64))).all())
        return bool(np.array_equal(found, wanted))

    def _compared(self, output: NDArray[np.generic]) -> Labels:
        """Return what of an output is compared: its values, or the positions of the largest."""
        if output.size == 0 or (output.ndim > 1 and output.shape[0] != 1):
            raise ValueError(f"output {self.output!r} has shape {list(output.shape)}, not 1 sample")
        # Some servers leave the leading axis out.
        values = output[0] if output.ndim > 1 or output.shape == (1,) else output
        if self.rule != "argmax":
            return np.asarray(values)
        if not values.ndim or values.shape[-1] == 1:
            raise ValueError(f"output {self.output!r} has one value, which argmax cannot choose")
        return np.asarray(np.argmax(values, axis=-1))
