"""How a traffic series is cut: training first, test after it, windows that never look ahead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CHANNELS", "HISTORY", "HORIZONS", "MINIMUM_ROWS", "QUANTILES", "SEASON", "history_windows",
    "targets", "test_rows", "training_part", "training_rows",
]  # fmt: skip

CHANNELS = ("net_in", "net_out")
SEASON = 288
"""Rows of a day at 300 s."""
HISTORY = SEASON + 1
"""Rows a forecast may see: 24 h from the first to the last of them."""
HORIZONS = (1, 12)
"""Steps ahead: 5 minutes and an hour at 300 s."""
QUANTILES = (0.1, 0.5, 0.9)
"""What probabilistic models forecast: the median, and an interval that holds four of five."""
MINIMUM_ROWS = 1000
"""Fewer rows leave too few windows to fit and to judge."""

_TRAINING_SHARE = 0.7
_MOST_WINDOWS = 4000


def training_part(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first 70 % of the rows, all that any model is fitted to."""
    return values[: int(len(values) * _TRAINING_SHARE)]


def training_rows(training: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the last row of each training history; its targets lie in the training part too.

    Of a long series every second, third, ... row is taken: fits grow faster than their windows.
    """
    last = len(training) - max(HORIZONS)
    return np.arange(HISTORY - 1, last, 1 + (last - HISTORY) // _MOST_WINDOWS, dtype=np.int64)


def test_rows(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the last row of each test history; its targets all lie after the training part."""
    first = len(training_part(values)) - 1
    return np.arange(first, len(values) - max(HORIZONS), dtype=np.int64)


def history_windows(values: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the histories that end at some rows, shape (rows, HISTORY, channels)."""
    windows: NDArray[np.float32] = values.astype(np.float32)[
        rows[:, None] + np.arange(1 - HISTORY, 1)
    ]
    return windows


def targets(values: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what follows each row, shape (rows, horizons, channels)."""
    later: NDArray[np.float64] = values[rows[:, None] + np.array(HORIZONS)]
    return later
