"""Where an exit kept what its confidence promises; each scenario promises something else.

It is what confidence was fitted to, asked of the data that models are judged by. What only fitting
knows is imported where it is needed: that takes PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from joulery.campaigns.scenarios.base import Tensors, Workload

__all__ = ["PROMISES", "Kept"]

Kept = Callable[[Workload, Sequence[Tensors]], list[NDArray[np.bool_]]]
"""From the answers of each exit to all samples to whether each is as promised."""


def _same_alarm(_workload: Workload, answers: Sequence[Tensors]) -> list[NDArray[np.bool_]]:
    """It raises the alarm exactly if the last exit does."""
    alarms = [np.asarray(one["alarm"], dtype=bool).reshape(-1) for one in answers]
    return [alarm == alarms[-1] for alarm in alarms]


def _right_class(workload: Workload, answers: Sequence[Tensors]) -> list[NDArray[np.bool_]]:
    """Its likeliest class is the right one."""
    samples = np.arange(workload.size, dtype=np.int64)
    return [workload.assess(samples, one).per_request["correct"] == 1 for one in answers]


def _near_forecast(_workload: Workload, answers: Sequence[Tensors]) -> list[NDArray[np.bool_]]:
    """Its error is hardly larger than the last exit's."""
    from joulery.campaigns.scenarios.series import shipped_table
    from joulery.campaigns.scenarios.traffic_prediction.network import TOLERANCE, prepared
    from joulery.campaigns.scenarios.traffic_prediction.split import (
        CHANNELS,
        targets,
        test_rows,
        training_part,
    )

    values = shipped_table(CHANNELS).values
    windows = prepared(training_part(values))
    changes = windows.truth[: windows.fitted] - windows.histories[: windows.fitted, -1:]
    low, high = np.quantile(changes, (0.25, 0.75), axis=0)
    width = (high - low) / 1.349  # of a normal distribution, this is the standard deviation
    truth = targets(values, test_rows(values))
    said = [np.asarray(one["forecast"], dtype=np.float64) for one in answers]
    errors = [(np.abs(truth - forecast) / width).mean(axis=(1, 2)) for forecast in said]
    return [error <= errors[-1] + TOLERANCE for error in errors]


def _near_detections(_workload: Workload, answers: Sequence[Tensors]) -> list[NDArray[np.bool_]]:
    """F1 of the frame's detections is hardly lower than the last exit's."""
    from joulery.campaigns.scenarios.video_analytics.clips import judged_footage
    from joulery.campaigns.scenarios.video_analytics.fit import TOLERANCE
    from joulery.campaigns.scenarios.video_analytics.matching import frame_f1

    truths = judged_footage().truths
    scores = [
        np.array(
            [
                frame_f1(truth, one["boxes"][row], one["scores"][row], one["classes"][row])
                for row, truth in enumerate(truths)
            ]
        )
        for one in answers
    ]
    return [score >= scores[-1] - TOLERANCE for score in scores]


PROMISES: Mapping[str, Kept] = {
    "anomaly_detection": _same_alarm,
    "sensor_fusion": _right_class,
    "traffic_prediction": _near_forecast,
    "video_analytics": _near_detections,
}
"""By the name of the scenario."""
