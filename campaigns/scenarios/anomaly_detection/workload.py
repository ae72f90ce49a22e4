"""The test rows of labelled telemetry: shipped, a user's own, or of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError, TrialError
from ....profiler.quality.anomaly import detection_delay, event_scores, pr_auc
from ....profiler.quality.nab import PROFILES, normalised, raw_score, row_scores
from ..base import Assessment, ModelFamily, Tensors, Workload
from ..fitted import check_torch, fitted_folder, model_path
from ..series import Table, read_table, shipped_table
from .inject import inject_faults
from .labelled import Telemetry, as_events, as_flags, joined, single
from .nab import is_nab, nab_series
from .skab import is_skab, skab_series
from .smd import is_smd, smd_series
from .split import MINIMUM_ROWS, SLOTS, WINDOW, training_size

__all__ = ["AnomalyWorkload", "Telemetry", "injected_telemetry", "prepare_workload"]

SHIPPED_MODELS = Path(__file__).parent / "models"
INJECTION_SEED = 2018
LABEL = "label"
_PROFILE = PROFILES["standard"]


class AnomalyWorkload(Workload):
    """The test rows of labelled telemetry."""

    def __init__(
        self,
        telemetry: Telemetry,
        models: Path,
        families: Sequence[ModelFamily],
        *,
        source: str,
        licence: str,
        sha256: str,
        networks: Callable[[], Path] | None = None,
    ) -> None:
        self.source = source
        self.licence = licence
        self.sha256 = sha256
        self.size = len(telemetry.tested)
        self._models = models
        self._networks = networks
        self._families = families
        self._values = telemetry.values.astype(np.float32)
        self._slots = telemetry.slots
        self._rows = telemetry.tested
        self._starts = telemetry.starts
        self._events = telemetry.events
        self._labels = as_flags(len(telemetry.values), telemetry.events)
        self._worth, self._window = _worth(telemetry)
        self._days = _days(telemetry)

    def model_path(self, model: str, precision: str) -> Path:
        folder = self._models
        fits = self._networks is not None and any(
            family.name == model and precision in family.precisions and family.exits > 1
            for family in self._families
        )
        if fits and self._networks is not None:
            folder = self._networks()
        return model_path(folder, self._families, model, precision)

    def inputs(self, sample: int) -> Tensors:
        row = int(self._rows[sample])
        return {
            "window": self._values[None, row + 1 - WINDOW : row + 1],
            "slot": self._slots[None, row : row + 1],
        }

    def assess(self, samples: NDArray[np.int64], answers: Tensors) -> Assessment:
        score = np.asarray(answers["score"], dtype=np.float64).reshape(-1)
        alarm = np.asarray(answers["alarm"], dtype=bool).reshape(-1)
        if not len(score) == len(alarm) == len(samples) or not np.isfinite(score).all():
            raise TrialError(
                "score and alarm",
                found=f"{len(score)} scores, {len(alarm)} alarms, or a score that is not finite",
                expected=f"{len(samples)} of each, finite",
            )
        rows = self._rows[samples]
        label = self._labels[rows]
        events = event_scores(rows, alarm, self._events, starts=self._starts)
        days = float(self._days[np.unique(rows)].sum())
        return Assessment(
            figures={
                "pr_auc": pr_auc(label, score),
                "event_f1": events.f1,
                "event_precision": events.precision,
                "event_recall": events.recall,
                "alarm_rate": float(alarm.mean()) if len(samples) else None,
                "detection_delay_rows": detection_delay(rows, alarm, self._events),
                "false_alarms_per_day": events.false_alarms / days if days else None,
                "nab_score": self._nab_score(rows, alarm),
            },
            per_request={
                "score": score,
                "label": label.astype(np.float64),
                "alarm": alarm.astype(np.float64),
            },
        )

    def _nab_score(self, rows: NDArray[np.int64], alarm: NDArray[np.bool_]) -> float | None:
        """Return the benchmark's score of the alarms among the asked rows."""
        judged, flagged = np.zeros((2, len(self._worth)), dtype=bool)
        judged[rows] = True
        flagged[rows[alarm]] = True
        raw, windows = raw_score(self._worth, self._window, judged, flagged, _PROFILE)
        return normalised(raw, windows, _PROFILE)


def _worth(telemetry: Telemetry) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what an alarm at each row is worth, and the number of the event it lies in."""
    edges = [*telemetry.starts, len(telemetry.values)]
    worth, window = np.empty(edges[-1]), np.empty(edges[-1], dtype=np.int64)
    before = 0
    for start, stop in pairwise(edges):
        inside = [(a - start, b - start) for a, b in telemetry.events if start <= a < stop]
        value, number = row_scores(stop - start, inside, _PROFILE)
        worth[start:stop] = value
        window[start:stop] = np.where(number < 0, -1, number + before)
        before += len(inside)
    return worth, window


def _days(telemetry: Telemetry) -> NDArray[np.float64]:
    """Return how much of a day each row stands for, shape (rows,)."""
    lengths = np.diff([*telemetry.starts, len(telemetry.values)])
    return np.repeat(np.array(telemetry.rows_s) / 86_400, lengths)


def injected_telemetry(table: Table) -> Telemetry:
    """Return telemetry whose test part, the last 40 %, has injected faults."""
    first = training_size(len(table.values))
    injection = inject_faults(table.values, table.columns, first, INJECTION_SEED)
    events = tuple((fault.start, fault.stop) for fault in injection.faults)
    return single(injection.values, events, table.path)


def _labelled_telemetry(table: Table) -> Telemetry:
    """Return telemetry labelled by its own column `label`.

    Raises:
        DatasetError: When a label is not 0 or 1, or too little of the training part is normal.
    """
    place = table.columns.index(LABEL)
    events = as_events(table.path, table.values[:, place], LABEL, "row 1")
    values = np.delete(table.values, place, axis=1)
    if not values.shape[1]:
        raise DatasetError(str(table.path), found="only labels", expected="a column of numbers")
    telemetry = single(values, events, table.path)
    if len(telemetry.training.windows) < SLOTS:
        raise DatasetError(
            str(table.path),
            found=f"{len(telemetry.training.windows)} windows of {WINDOW} normal rows",
            expected=f"at least {SLOTS} in the first 60 % of the rows",
            remedy="record a day without anomalies first",
        )
    return telemetry


def _users(data: Path) -> tuple[Telemetry, str, str, str]:
    """Return a user's telemetry, its SHA-256, what it is, and its licence."""
    for belongs, read, what, licence in (
        (is_nab, nab_series, "Numenta Anomaly Benchmark", "MIT (Numenta/NAB)"),
        (is_smd, smd_series, "SMD format", "unknown"),
        (is_skab, skab_series, "SKAB format", "unknown"),
    ):
        if belongs(data):
            series, sha256 = read(data)
            which = series[-1].name if len(series) < 3 else f"{len(series)} series"
            return joined(series, data), sha256, f"{what}, {which}", licence
    table = read_table(data, minimum_rows=MINIMUM_ROWS)
    if LABEL in table.columns:
        return _labelled_telemetry(table), table.sha256, data.name, "unknown"
    source = f"{data.name}, with injected faults (seed {INJECTION_SEED})"
    return injected_telemetry(table), table.sha256, source, "unknown"


def prepare_workload(
    data: Path | None, work: Path, scenario: str, families: Sequence[ModelFamily]
) -> AnomalyWorkload:
    """Load telemetry and see that its models exist; see `Scenario.prepare`."""
    if data is None:
        table = shipped_table()
        return AnomalyWorkload(
            injected_telemetry(table),
            SHIPPED_MODELS,
            families,
            source="Alibaba cluster trace 2018, machine usage, mean of all machines per 300 s, "
            f"with injected faults (seed {INJECTION_SEED})",
            licence="MIT text as packaged, see campaigns/scenarios/data/README.md",
            sha256=table.sha256,
        )
    telemetry, sha256, source, licence = _users(data)

    def fit() -> Mapping[tuple[str, str], object]:
        # Imported here: only fitting needs scikit-learn and onnx.
        from .fit import fit_models

        return fit_models(telemetry.training, sha256)

    def networks() -> Path:
        return fitted_folder(work, f"{scenario}-networks", sha256, fit_networks)

    def fit_networks() -> Mapping[tuple[str, str], object]:
        check_torch("networks for your own data")
        from .network import fit_networks as fit_all

        return fit_all(telemetry.training, sha256)

    return AnomalyWorkload(
        telemetry,
        fitted_folder(work, scenario, sha256, fit),
        families,
        source=source,
        licence=licence,
        sha256=sha256,
        networks=networks,
    )
