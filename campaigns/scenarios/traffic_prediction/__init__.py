"""Traffic prediction: from a day of a cluster's network level to the next step and hour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError, TrialError
from ....profiler.quality.forecasting import (
    drift,
    mae,
    mase,
    naive,
    naive_scale,
    seasonal_naive,
)
from ..base import Assessment, Figure, ModelFamily, RequestField, Scenario, Tensors, Workload
from ..fitted import fitted_folder, model_path
from ..series import Table, read_table, shipped_table
from .split import (
    CHANNELS,
    HISTORY,
    HORIZONS,
    MINIMUM_ROWS,
    SEASON,
    history_windows,
    targets,
    test_rows,
    training_part,
)

__all__ = ["TrafficPrediction", "TrafficWorkload"]

SHIPPED_MODELS = Path(__file__).parent / "models"

_AHEAD = {1: "one step (5 min)", 12: "twelve steps (1 h)"}
_SCALED = (
    "divided by the mean absolute one-step change of the training part (Hyndman & Koehler 2006), "
    "mean over net_in and net_out"
)


def _figures() -> tuple[Figure, ...]:
    own = [
        Figure(
            name=f"{kind}_h{step}",
            title=f"{kind.upper()}, {_AHEAD[step]} ahead",
            description="Mean absolute error of the forecast"
            + (f", {_SCALED}" if kind == "mase" else ", mean over net_in and net_out"),
            better="lower",
        )
        for kind in ("mase", "mae")
        for step in (12, 1)
    ]
    beside = [
        Figure(
            name=f"mase_{reference}_h{step}",
            title=f"MASE of the {reference.replace('_', '-')} forecast, {_AHEAD[step]} ahead",
            description=f"Mean absolute error of {rule} on the same requests, {_SCALED}",
            better="lower",
            reference_of=f"mase_h{step}",
        )
        for reference, rule in (
            ("naive", "repeating the last value"),
            ("drift", "adding the training part's mean change per step to the last value"),
            ("seasonal_naive", "repeating the change of the day before, y[t] + y[t+h-d] - y[t-d]"),
        )
        for step in (1, 12)
    ]
    return (*own, *beside)


class TrafficWorkload(Workload):
    """The test windows of one traffic series."""

    def __init__(self, table: Table, models: Path, *, source: str, licence: str) -> None:
        self.source = source
        self.licence = licence
        self.sha256 = table.sha256
        self._models = models
        self._series = table.values.astype(np.float32)
        rows = test_rows(table.values)
        self.size = len(rows)
        self._first = int(rows[0])
        self._scale = training_scale(table)
        self._truth = targets(table.values, rows)
        histories = history_windows(table.values, rows)
        self._references = {
            "naive": naive(histories, HORIZONS),
            "drift": drift(histories, HORIZONS, training_part(table.values)),
            "seasonal_naive": seasonal_naive(histories, HORIZONS, SEASON, keep_level=True),
        }

    def model_path(self, model: str, precision: str) -> Path:
        return model_path(self._models, TrafficPrediction.models, model, precision)

    def inputs(self, sample: int) -> Tensors:
        last = self._first + sample
        return {"history": self._series[None, last + 1 - HISTORY : last + 1]}

    def assess(self, samples: NDArray[np.int64], answers: Tensors) -> Assessment:
        forecast = np.asarray(answers["forecast"], dtype=np.float64)
        truth = self._truth[samples]
        if forecast.shape != truth.shape or not np.isfinite(forecast).all():
            raise TrialError(
                "forecast",
                found=f"shape {forecast.shape}, finite: {bool(np.isfinite(forecast).all())}",
                expected=f"shape {truth.shape}, finite",
            )
        figures: dict[str, float | None] = {}
        errors: dict[str, NDArray[np.float64]] = {}
        for index, step in enumerate(HORIZONS):
            right, said = truth[:, index], forecast[:, index]
            errors[f"abs_error_h{step}"] = np.abs(right - said).mean(axis=1)
            figures[f"mase_h{step}"] = mase(right, said, self._scale) if len(samples) else None
            figures[f"mae_h{step}"] = mae(right, said) if len(samples) else None
            for name, reference in self._references.items():
                other = reference[samples][:, index]
                value = mase(right, other, self._scale) if len(samples) else None
                figures[f"mase_{name}_h{step}"] = value
        return Assessment(figures=figures, per_request=errors)


def training_scale(table: Table) -> NDArray[np.float64]:
    """Return the scale of MASE, one per channel, in the unit of the series.

    Raises:
        DatasetError: When a channel never moves in the training part.
    """
    scale = naive_scale(training_part(table.values))
    for name, value in zip(table.columns, scale, strict=True):
        if not value > 0:
            raise DatasetError(
                str(table.path),
                place=f"column {name!r}",
                found="one constant value in the first 70 % of the rows",
                expected="a series that moves",
                remedy="use a recording with traffic",
            )
    return scale


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
    )
    figures: ClassVar[tuple[Figure, ...]] = _figures()
    request_fields: ClassVar[tuple[RequestField, ...]] = tuple(
        RequestField(
            name=f"abs_error_h{step}",
            description=f"Absolute error {_AHEAD[step]} ahead, mean over net_in and net_out",
        )
        for step in HORIZONS
    )

    def prepare(self, data: Path | None, work: Path) -> TrafficWorkload:
        if data is None:
            return TrafficWorkload(
                shipped_table(CHANNELS),
                SHIPPED_MODELS,
                source="Alibaba cluster trace 2018, machine usage, mean of all machines per 300 s",
                licence="MIT text as packaged, see campaigns/scenarios/data/README.md",
            )
        table = read_table(data, CHANNELS, minimum_rows=MINIMUM_ROWS)
        training_scale(table)

        def fit() -> Mapping[tuple[str, str], object]:
            # Imported here: only fitting needs scikit-learn and onnx.
            from .fit import fit_models

            return fit_models(training_part(table.values), table.sha256)

        folder = fitted_folder(work, self.name, table.sha256, fit)
        return TrafficWorkload(table, folder, source=data.name, licence="unknown")
