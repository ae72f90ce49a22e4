"""Traffic prediction: from a day of a cluster's network level to the next step and hour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ..base import Figure, ModelFamily, RequestField, Scenario
from ..fitted import fitted_folder
from ..series import shipped_table
from .figures import AHEAD, figures
from .networks import NETWORKS, OwnNetworks
from .split import CHANNELS, HORIZONS, training_part
from .workload import SHIPPED_MODELS, TrafficWorkload, training_scale

__all__ = ["SHIPPED_MODELS", "TrafficPrediction", "TrafficWorkload"]


class TrafficPrediction(Scenario):
    """Forecast the network level of a cluster."""

    name: ClassVar[str] = "traffic_prediction"
    title: ClassVar[str] = "Traffic prediction"
    summary: ClassVar[str] = (
        "From 24 h of incoming and outgoing network level, in steps of 300 s, "
        "forecast the next step and the step an hour ahead."
    )
    models: ClassVar[tuple[ModelFamily, ...]] = (
        ModelFamily(name="seasonal_naive", title="Seasonal naive on changes", precisions=("fp32",)),
        ModelFamily(name="ridge", title="Ridge regression on lags", precisions=("fp32",)),
        ModelFamily(name="mlp", title="Multilayer perceptron", precisions=("fp32", "int8")),
        ModelFamily(name="gradient_boosting", title="Gradient boosted trees", precisions=("fp32",)),
        ModelFamily(name="rocket", title="Random convolution kernels", precisions=("fp32", "int8")),
        *NETWORKS,
    )
    figures: ClassVar[tuple[Figure, ...]] = figures()
    request_fields: ClassVar[tuple[RequestField, ...]] = tuple(
        RequestField(
            name=f"abs_error_h{step}",
            description=f"Absolute error {AHEAD[step]} ahead, mean over the series",
        )
        for step in HORIZONS
    )

    def prepare(self, data: Path | None, work: Path) -> TrafficWorkload:
        if data is None:
            return TrafficWorkload(
                shipped_table(CHANNELS),
                SHIPPED_MODELS,
                self.models,
                source="Alibaba cluster trace 2018, machine usage, mean of all machines per 300 s",
                licence="MIT text as packaged, see campaigns/scenarios/data/README.md",
            )
        # Imported here: the shipped series needs no loaders.
        from .loaders import load

        traffic = load(data)
        table = traffic.table
        training_scale(table)

        def fit() -> Mapping[tuple[str, str], object]:
            # Imported here: only fitting needs scikit-learn and onnx.
            from .fit import fit_models

            return fit_models(training_part(table.values), table.sha256)

        folder = fitted_folder(work, self.name, traffic.key, fit)
        own = OwnNetworks(work, traffic.key, table)
        return TrafficWorkload(
            table, folder, self.models, source=traffic.source, licence="unknown", own=own
        )
