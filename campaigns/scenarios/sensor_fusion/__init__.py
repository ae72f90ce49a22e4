"""Sensor fusion: from a moment of two motion sensors, what somebody is doing."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ..base import (
    NETWORK_PRECISIONS,
    SMALLEST_PRECISIONS,
    Figure,
    ModelFamily,
    RequestField,
    Scenario,
)
from .workload import CLASSICAL, FusionWorkload, prepare_workload

__all__ = ["SensorFusion"]

_EXITS = 3
_UNDER = {
    "complete": "both sensors",
    "no_accelerometer": "the accelerometer missing",
    "no_gyroscope": "the gyroscope missing",
    "late": "the gyroscope a second late",
}


def _network(
    name: str, title: str, precisions: tuple[str, ...] = NETWORK_PRECISIONS
) -> ModelFamily:
    return ModelFamily(name=name, title=title, precisions=precisions, exits=_EXITS)


class SensorFusion(Scenario):
    """Tell activities apart by accelerometer and gyroscope, of which one may be missing or late."""

    name: ClassVar[str] = "sensor_fusion"
    title: ClassVar[str] = "Sensor fusion"
    summary: ClassVar[str] = (
        "From a short window of accelerometer and gyroscope, tell what somebody is doing; "
        "a sensor may be missing or late."
    )
    models: ClassVar[tuple[ModelFamily, ...]] = (
        *CLASSICAL,
        _network("fusion_s", "Intermediate fusion, small", SMALLEST_PRECISIONS),
        _network("fusion_pruned", "Intermediate fusion, large, pruned"),
        _network("fusion_m", "Intermediate fusion, medium"),
        _network("late_fusion_m", "Late fusion, medium"),
        _network("fusion_l", "Intermediate fusion, large"),
    )
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure(
            name="macro_f1",
            title="Macro-F1",
            description="Mean over classes of the harmonic mean of precision and recall",
            better="higher",
        ),
        Figure(
            name="accuracy",
            title="Accuracy",
            description="Share of the windows whose class was answered",
            better="higher",
        ),
        Figure(
            name="ece",
            title="Expected calibration error",
            description="Mean gap between the probability of the answered class and how often it "
            "is right, in 15 bins of as many windows each",
            better="lower",
        ),
        Figure(
            name="brier",
            title="Brier score",
            description="Squared differences of class probabilities and truth, summed over "
            "classes, mean over windows; 0 to 2",
            better="lower",
        ),
        *(
            Figure(
                name=f"macro_f1_{condition}",
                title=f"Macro-F1, {what}",
                description=f"Macro-F1 of the windows with {what}",
                better="higher",
            )
            for condition, what in _UNDER.items()
        ),
    )
    request_fields: ClassVar[tuple[RequestField, ...]] = (
        RequestField(
            name="condition",
            description="0: both sensors, 1: accelerometer missing, 2: gyroscope missing, "
            "3: gyroscope a second late",
        ),
        RequestField(name="activity", description="Number of the true class"),
        RequestField(name="correct", description="1 when it was answered, else 0"),
    )

    def prepare(self, data: Path | None, work: Path) -> FusionWorkload:
        return prepare_workload(data, work, self.name, self.models)
