"""Recordings of made-up people, small and easy to tell apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["motion_frame"]


def motion_frame(users: int, experiments: int = 1, rows: int = 400) -> pd.DataFrame:
    """Return recordings at 50 Hz: unlabelled, lying, a transition of 100 rows, walking.

    Args:
        users: How many, numbered from 1.
        experiments: Recordings of each.
        rows: Of each activity.
    """
    rng = np.random.default_rng(8)
    frames = []
    for user in range(1, users + 1):
        for experiment in range(1, experiments + 1):
            activity = [None] * 60 + ["LAYING"] * rows + ["LIE_TO_STAND"] * 100 + ["WALKING"] * rows
            moving = np.array([name == "WALKING" for name in activity])
            t = np.arange(len(activity))
            values = rng.normal(0.0, 0.1, (len(t), 6))
            values[:, 0] += moving * np.sin(t / 4) + (~moving)
            values[:, 4] += moving * np.cos(t / 4)
            frame = pd.DataFrame(
                values, columns=["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]
            )
            frame.insert(0, "activity", pd.Series(activity, dtype="object"))
            frame.insert(0, "t", t)
            frame.insert(0, "experiment", experiment)
            frame.insert(0, "user", user)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)
