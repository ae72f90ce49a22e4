"""How telemetry is cut: windows that end at a row, time-of-day slots, normal training windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MINIMUM_ROWS", "ROW_S", "SLOTS", "WINDOW", "TrainingWindows", "normal_windows",
    "training_size", "trended_columns",
]  # fmt: skip

WINDOW = 24
"""Rows a judgement sees: two hours at 300 s."""
SLOTS = 288
"""Slots of a day: one each 300 s."""
ROW_S = 300.0
"""Seconds from row to row of the telemetry that ships, and of a user's that says nothing else."""
MINIMUM_ROWS = 1000
"""Fewer rows leave too few windows to fit and too few faults to judge."""

_TRAINING_SHARE = 0.6
_TREND = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingWindows:
    """Normal windows to fit detectors to.

    Args:
        windows: Shape (windows, WINDOW, columns), float32.
        slots: Shape (windows,): time-of-day slot of each window's last row.
        trended: Shape (columns,): columns that are judged relative to their window.
    """

    windows: NDArray[np.float32]
    slots: NDArray[np.int64]
    trended: NDArray[np.bool_]


def training_size(rows: int) -> int:
    """Return how many of the first rows are the training part: 60 %."""
    return int(rows * _TRAINING_SHARE)


def trended_columns(training: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which columns move on from day to day by more than days differ, shape (columns,)."""
    if len(training) <= SLOTS + WINDOW:
        return np.zeros(training.shape[1], dtype=bool)
    change = training[SLOTS:] - training[:-SLOTS]
    trended: NDArray[np.bool_] = np.abs(change.mean(axis=0)) > _TREND * change.std(axis=0)
    return trended


def normal_windows(
    values: NDArray[np.float64], slots: NDArray[np.int64], labels: NDArray[np.bool_], stop: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the windows that end before `stop` and hold no labelled row, with their slots."""
    last = np.arange(WINDOW - 1, stop, dtype=np.int64)
    rows = last[:, None] + np.arange(1 - WINDOW, 1)
    normal = ~labels[rows].any(axis=1)
    return values[rows[normal]].astype(np.float32), slots[last[normal]]
