"""Anomaly detection: from two hours of telemetry, how unusual its last row is."""

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
from .workload import AnomalyWorkload, prepare_workload

__all__ = ["AnomalyDetection"]


class AnomalyDetection(Scenario):
    """Tell faults from normal telemetry."""

    name: ClassVar[str] = "anomaly_detection"
    title: ClassVar[str] = "Anomaly detection"
    summary: ClassVar[str] = (
        "From two hours of telemetry, score how unusual its last row is, and raise an alarm; "
        "on the data that ships, faults are injected."
    )
    models: ClassVar[tuple[ModelFamily, ...]] = (
        ModelFamily(name="seasonal_zscore", title="Seasonal z-score", precisions=("fp32",)),
        ModelFamily(name="autoencoder", title="Autoencoder", precisions=("fp32", "int8")),
        ModelFamily(name="isolation_forest", title="Isolation forest", precisions=("fp32",)),
        *(
            ModelFamily(
                name=f"exit_autoencoder_{size}",
                title=f"Early-exit autoencoder, {title}",
                precisions=SMALLEST_PRECISIONS if size == "s" else NETWORK_PRECISIONS,
                exits=3,
            )
            for size, title in (
                ("s", "small"),
                ("m", "medium"),
                ("pruned", "large, pruned to medium"),
                ("l", "large"),
            )
        ),
    )
    figures: ClassVar[tuple[Figure, ...]] = (
        Figure(
            name="pr_auc",
            title="PR-AUC",
            description="Average precision of the scores over the asked rows",
            better="higher",
        ),
        Figure(
            name="event_f1",
            title="Event F1",
            description="Harmonic mean of event precision and event recall; never point-adjusted",
            better="higher",
        ),
        Figure(
            name="event_precision",
            title="Event precision",
            description="Found events over found events and runs of false alarms",
            better="higher",
        ),
        Figure(
            name="event_recall",
            title="Event recall",
            description="Found events over events of which a row was asked",
            better="higher",
        ),
        Figure(
            name="alarm_rate",
            title="Alarm rate",
            description="Share of the asked rows that raised an alarm",
            better="lower",
        ),
        Figure(
            name="detection_delay_rows",
            title="Detection delay",
            description="Rows from the start of an event to its first alarm, mean over the found; "
            "a row is 300 s where the data say nothing else",
            better="lower",
        ),
        Figure(
            name="false_alarms_per_day",
            title="False alarms a day",
            description="Runs of alarms outside every event, over the time of the asked rows",
            better="lower",
            unit="1/d",
        ),
        Figure(
            name="nab_score",
            title="NAB score",
            description="Score of the alarms as the Numenta benchmark has it, standard profile; "
            "0: no alarm at all, 100: one at the start of each event and no other",
            better="higher",
        ),
    )
    request_fields: ClassVar[tuple[RequestField, ...]] = (
        RequestField(name="score", description="Anomaly score of the row; higher is stranger"),
        RequestField(name="label", description="1 for a row of a labelled event, else 0"),
        RequestField(name="alarm", description="1 when the service raised an alarm, else 0"),
    )

    def prepare(self, data: Path | None, work: Path) -> AnomalyWorkload:
        return prepare_workload(data, work, self.name, self.models)
