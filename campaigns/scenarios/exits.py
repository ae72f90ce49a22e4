"""Early-exit models: how a graph is told when to stop, and how it tells where it did.

By convention its input `exit_threshold` (FP32, a scalar or of shape [1]) is fed by the server, and
its output `exit` (INT64, one per row) is the exit that each row's answer came by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...profiler.oip import Tensors

__all__ = ["EXIT", "MIXED", "THRESHOLD", "exit_of", "fits_threshold", "threshold_tensor"]

THRESHOLD = "exit_threshold"
"""The input of a graph that no client gives."""

EXIT = "exit"
"""The output of a graph that says by which exit each row came."""

MIXED = "mixed"
"""What is said of rows that came by different exits."""


def fits_threshold(datatype: str, shape: list[Any]) -> bool:
    """Return whether an input of this type and shape can be fed with a threshold."""
    return datatype == "tensor(float)" and list(shape) in ([], [1])


def threshold_tensor(value: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a threshold as the graph takes it: shape () or (1,)."""
    return np.full(shape, value, dtype=np.float32)


def exit_of(outputs: Tensors) -> str | None:
    """Return by which exit the rows of an answer came: a number, or `MIXED`; `None`: no exits."""
    exits = outputs.get(EXIT)
    if exits is None or exits.dtype != np.int64 or not exits.size:
        return None
    first = exits.flat[0]
    return str(first) if exits.size == 1 or bool((exits == first).all()) else MIXED
