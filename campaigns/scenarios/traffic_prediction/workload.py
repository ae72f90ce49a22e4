"""The test windows of a traffic series, and how good answers to them are."""

from __future__ import annotations

from pathlib import Path

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
    smape,
)
from ....profiler.quality.probabilistic import coverage, pinball
from ..base import Assessment, ModelFamily, Tensors, Workload
from ..fitted import SHIPPED, model_path
from ..series import Table
from .figures import CLAIMED
from .networks import NETWORKS, OwnNetworks
from .split import (
    HISTORY,
    HORIZONS,
    QUANTILES,
    SEASON,
    history_windows,
    targets,
    test_rows,
    training_part,
)

__all__ = ["SHIPPED_MODELS", "TrafficWorkload", "training_scale"]

SHIPPED_MODELS = SHIPPED / "traffic_prediction" / "models"

Floats = NDArray[np.float64]


class TrafficWorkload(Workload):
    """The test windows of one or more traffic series.

    Args:
        table: The series.
        models: Folder of the models; of all but the networks where `own` is given.
        families: What may be asked for.
        source: Where the series came from, for people.
        licence: Of the series.
        own: Networks for a user's series.
    """

    def __init__(
        self,
        table: Table,
        models: Path,
        families: tuple[ModelFamily, ...],
        *,
        source: str,
        licence: str,
        own: OwnNetworks | None = None,
    ) -> None:
        self.source = source
        self.licence = licence
        self.sha256 = table.sha256
        self._models, self._families, self._own = models, families, own
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
        folder = self._models
        network = next((one for one in NETWORKS if one.name == model), None)
        if self._own is not None and network is not None and precision in network.precisions:
            folder = self._own.folder(model)
        return model_path(folder, self._families, model, precision)

    def inputs(self, sample: int) -> Tensors:
        last = self._first + sample
        return {"history": self._series[None, last + 1 - HISTORY : last + 1]}

    def assess(self, samples: NDArray[np.int64], answers: Tensors) -> Assessment:
        truth = self._truth[samples]
        forecast = _finite("forecast", answers["forecast"], truth.shape)
        quantiles = None
        if "quantiles" in answers:
            shape = (len(truth), len(QUANTILES), *truth.shape[1:])
            quantiles = _finite("quantiles", answers["quantiles"], shape)
        figures: dict[str, float | None] = {}
        errors: dict[str, Floats] = {}
        for index, step in enumerate(HORIZONS):
            right, said = truth[:, index], forecast[:, index]
            errors[f"abs_error_h{step}"] = np.abs(right - said).mean(axis=1)
            figures |= self._points(step, right, said)
            figures |= _spread(step, right, None if quantiles is None else quantiles[:, :, index])
            for name, reference in self._references.items():
                other = reference[samples][:, index]
                value = mase(right, other, self._scale) if len(samples) else None
                figures[f"mase_{name}_h{step}"] = value
        return Assessment(figures=figures, per_request=errors)

    def _points(self, step: int, right: Floats, said: Floats) -> dict[str, float | None]:
        """Return the figures of one value for each truth."""
        asked = len(right) > 0
        return {
            f"mase_h{step}": mase(right, said, self._scale) if asked else None,
            f"mae_h{step}": mae(right, said) if asked else None,
            f"smape_h{step}": smape(right, said) if asked else None,
        }


def _spread(step: int, right: Floats, said: Floats | None) -> dict[str, float | None]:
    """Return the figures of quantiles, unknown where there are none."""
    if said is None or not len(right):
        return {f"pinball_h{step}": None, f"coverage_gap_h{step}": None}
    held = coverage(right, said[:, 0], said[:, -1])
    return {
        f"pinball_h{step}": pinball(right, said, QUANTILES),
        f"coverage_gap_h{step}": abs(held - CLAIMED),
    }


def _finite(name: str, answer: NDArray[np.generic], shape: tuple[int, ...]) -> Floats:
    found = np.asarray(answer, dtype=np.float64)
    if found.shape != shape or not np.isfinite(found).all():
        raise TrialError(
            name,
            found=f"shape {found.shape}, finite: {bool(np.isfinite(found).all())}",
            expected=f"shape {shape}, finite",
        )
    return found


def training_scale(table: Table) -> Floats:
    """Return the scale of MASE, one per series, in the unit of the series.

    Raises:
        DatasetError: When a series never moves in the training part.
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
