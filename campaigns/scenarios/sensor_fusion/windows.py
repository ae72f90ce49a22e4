"""Windows of recordings, and the conditions under which a service sees them.

A window is cut with a lead: what was measured just before it, which is what a late sensor shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .recordings import Recording

__all__ = ["CONDITIONS", "LATE_S", "Condition", "Cut", "Windows", "cut_for", "sensor_inputs",
           "windows_of"]  # fmt: skip

Condition = Literal["complete", "no_accelerometer", "no_gyroscope", "late"]
CONDITIONS: tuple[Condition, ...] = ("complete", "no_accelerometer", "no_gyroscope", "late")
"""In the order of the samples: sample s is window s // 4 under condition s % 4."""

LATE_S = 1.0
"""How far the gyroscope lags behind the accelerometer under condition `late`."""

_WINDOW_S = {10: 1.0, 50: 2.56}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How recordings are cut.

    Args:
        steps: Rows of a window.
        lead: Rows before it that a late sensor may show.
        step: Rows from one window to the next that models are fitted to; windows to judge models
            by do not overlap.
    """

    steps: int
    lead: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows with what was measured just before them.

    Args:
        values: Shape (windows, lead + steps, 6), FP32.
        labels: Shape (windows,): class of every row of the window; the lead may be anything.
        owners: Whose recording each is of.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    owners: tuple[str, ...]


def cut_for(rate_hz: int) -> Cut:
    """Return how recordings of a rate are cut: 10 rows at 10 Hz, 128 at 50 Hz."""
    steps = round(_WINDOW_S[rate_hz] * rate_hz)
    return Cut(steps=steps, lead=round(LATE_S * rate_hz), step=max(1, steps // 10))


def windows_of(recordings: Sequence[Recording], cut: Cut, step: int) -> Windows:
    """Return the windows of some recordings; none leaves its recording or holds two labels.

    Args:
        recordings: Any number.
        cut: Lengths.
        step: Rows from one window of an activity to the next.
    """
    values, labels, owners = [], [], []
    for one in recordings:
        edges = np.flatnonzero(np.diff(one.labels)) + 1
        bounds = [0, *edges.tolist(), len(one.labels)]
        for first, stop in pairwise(bounds):
            if one.labels[first] < 0:
                continue
            for start in range(max(first, cut.lead), stop - cut.steps + 1, step):
                values.append(one.values[start - cut.lead : start + cut.steps])
                labels.append(int(one.labels[first]))
                owners.append(one.owner)
    shape = (0, cut.lead + cut.steps, 6)
    return Windows(
        values=np.stack(values) if values else np.zeros(shape, dtype=np.float32),
        labels=np.array(labels, dtype=np.int64),
        owners=tuple(owners),
    )


def sensor_inputs(
    values: NDArray[np.float32], cut: Cut, condition: Condition
) -> dict[str, NDArray[np.float32]]:
    """Return what a service is sent of windows under a condition.

    A missing sensor is zeros, and `present` says so. A late one is not known to be late: it shows
    the window that ended `lead` rows earlier.

    Args:
        values: Shape (windows, lead + steps, 6).
        cut: Lengths.
        condition: Which.

    Returns:
        `accelerometer` and `gyroscope`, shape (windows, steps, 3), and `present`, shape
        (windows, 2), 1 where the sensor's data are there, else 0.
    """
    accelerometer = values[:, cut.lead :, :3]
    lag = cut.lead if condition == "late" else 0
    gyroscope = values[:, cut.lead - lag : cut.lead - lag + cut.steps, 3:]
    there = (condition != "no_accelerometer", condition != "no_gyroscope")
    present = np.tile(np.array(there, dtype=np.float32), (len(values), 1))
    return {
        "accelerometer": accelerometer * present[:, 0, None, None],
        "gyroscope": gyroscope * present[:, 1, None, None],
        "present": present,
    }
