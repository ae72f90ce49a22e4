"""The scenarios that can be measured, in one explicit list.

Light on purpose: an inference server imports this package, and needs no training library.
"""

from __future__ import annotations

import difflib

from ...errors import SpecError
from .anomaly_detection import AnomalyDetection
from .base import Scenario
from .sensor_fusion import SensorFusion
from .traffic_prediction import TrafficPrediction
from .video_analytics import VideoAnalytics

__all__ = ["scenario", "scenarios"]


def scenarios() -> tuple[Scenario, ...]:
    """Return every scenario, in the order in which they are shown."""
    return (TrafficPrediction(), AnomalyDetection(), SensorFusion(), VideoAnalytics())


def scenario(name: str) -> Scenario:
    """Return one scenario by its name.

    Raises:
        SpecError: When there is none of that name; the remedy is the nearest name.
    """
    known = {one.name: one for one in scenarios()}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise SpecError(
            "scenario",
            found=repr(name),
            expected=f"one of {', '.join(known)}",
            remedy=f"did you mean {near[0]!r}?",
        )
    return known[name]
