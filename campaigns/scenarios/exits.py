"""Early-exit models: how a graph is told when to stop, and how it tells where it did.

By convention its inputs `exit_threshold` (FP32) and `max_exit` (INT64) are `knobs`; its output
`exit` (INT64, one per row) is the exit that each row's answer came by, and `confidence` (FP32, one
per row) how sure that exit was.
"""

from __future__ import annotations

import numpy as np

from ...profiler.oip import Tensors

__all__ = ["CONFIDENCE", "EXIT", "MAX_EXIT", "MIXED", "THRESHOLD", "exit_of"]

THRESHOLD = "exit_threshold"
"""The input of a graph that no client gives."""

MAX_EXIT = "max_exit"
"""Another: the last exit that a row may reach, counted from 1."""

CONFIDENCE = "confidence"
"""The output that decides where a row leaves."""

EXIT = "exit"
"""The output of a graph that says by which exit each row came."""

MIXED = "mixed"
"""What is said of rows that came by different exits."""


def exit_of(outputs: Tensors) -> str | None:
    """Return by which exit the rows of an answer came: a number, or `MIXED`; `None`: no exits."""
    exits = outputs.get(EXIT)
    if exits is None or exits.dtype != np.int64 or not exits.size:
        return None
    first = exits.flat[0]
    return str(first) if exits.size == 1 or bool((exits == first).all()) else MIXED
