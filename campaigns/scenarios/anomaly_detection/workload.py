"""The test rows of labelled telemetry: shipped, a user's own, or the Numenta benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError, TrialError
from ....profiler.quality.anomaly import event_scores, pr_auc
from ..base import Assessment, ModelFamily, Tensors, Workload
from ..fitted import fitted_folder, model_path
from ..series import Table, read_table, shipped_table
from .inject import inject_faults
from .nab import is_nab, nab_series
from .split import (
    MINIMUM_ROWS,
    SLOTS,
    WINDOW,
    TrainingWindows,
    normal_windows,
    training_size,
    trended_columns,
)

__all__ = ["AnomalyWorkload", "Telemetry", "injected_telemetry", "prepare_workload"]

SHIPPED_MODELS = Path(__file__).parent / "models"
INJECTION_SEED = 2018
LABEL = "label"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Labelled rows, of one series or of several one after another.

    Args:
        values: Shape (rows, columns).
        slots: Shape (rows,): time-of-day slot.
        events: Row ranges [start, stop) of labelled events.
        starts: First row of each series.
        tested: Rows to judge; each has a whole window before it in its own series.
        training: Normal windows from before the tested rows.
    """

    values: NDArray[np.float64]
    slots: NDArray[np.int64]
    events: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    tested: NDArray[np.int64]
    training: TrainingWindows


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
    ) -> None:
        self.source = source
        self.licence = licence
        self.sha256 = sha256
        self.size = len(telemetry.tested)
        self._models = models
        self._families = families
        self._values = telemetry.values.astype(np.float32)
        self._slots = telemetry.slots
        self._rows = telemetry.tested
        self._starts = telemetry.starts
        self._events = telemetry.events
        self._labels = _labels(len(telemetry.values), telemetry.events)

    def model_path(self, model: str, precision: str) -> Path:
        return model_path(self._models, self._families, model, precision)

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
        return Assessment(
            figures={
                "pr_auc": pr_auc(label, score),
                "event_f1": events.f1,
                "event_precision": events.precision,
                "event_recall": events.recall,
                "alarm_rate": float(alarm.mean()) if len(samples) else None,
            },
            per_request={
                "score": score,
                "label": label.astype(np.float64),
                "alarm": alarm.astype(np.float64),
            },
        )


def _labels(rows: int, events: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    labels = np.zeros(rows, dtype=bool)
    for start, stop in events:
        labels[start:stop] = True
    return labels


def _single(
    values: NDArray[np.float64], events: tuple[tuple[int, int], ...], first: int
) -> Telemetry:
    """Return one series, fitted to what is normal before `first` and tested from there on."""
    slots = np.arange(len(values), dtype=np.int64) % SLOTS
    labels = _labels(len(values), events)
    windows, ends = normal_windows(values, slots, labels, first)
    trended = trended_columns(values[:first])
    return Telemetry(
        values=values,
        slots=slots,
        events=events,
        starts=(0,),
        tested=np.arange(first, len(values), dtype=np.int64),
        training=TrainingWindows(windows=windows, slots=ends, trended=trended),
    )


def injected_telemetry(table: Table) -> Telemetry:
    """Return telemetry whose test part, the last 40 %, has injected faults."""
    first = training_size(len(table.values))
    injection = inject_faults(table.values, table.columns, first, INJECTION_SEED)
    events = tuple((fault.start, fault.stop) for fault in injection.faults)
    return _single(injection.values, events, first)


def _labelled_telemetry(table: Table) -> Telemetry:
    """Return telemetry labelled by its own column `label`.

    Raises:
        DatasetError: When a label is not 0 or 1, or too little of the training part is normal.
    """
    place = table.columns.index(LABEL)
    flags = table.values[:, place]
    wrong = np.flatnonzero((flags != 0) & (flags != 1))
    if wrong.size:
        raise DatasetError(
            str(table.path),
            place=f"row {wrong[0] + 1}, column {LABEL!r}",
            found=repr(float(flags[wrong[0]])),
            expected="0 or 1",
        )
    edges = np.flatnonzero(np.diff(np.concatenate(([0.0], flags, [0.0]))))
    events = tuple((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))
    values = np.delete(table.values, place, axis=1)
    if not values.shape[1]:
        raise DatasetError(str(table.path), found="only labels", expected="a column of numbers")
    telemetry = _single(values, events, training_size(len(values)))
    if len(telemetry.training.windows) < SLOTS:
        raise DatasetError(
            str(table.path),
            found=f"{len(telemetry.training.windows)} windows of {WINDOW} normal rows",
            expected=f"at least {SLOTS} in the first 60 % of the rows",
            remedy="record a day without anomalies first",
        )
    return telemetry


def _nab_telemetry(data: Path) -> tuple[Telemetry, str, str]:
    """Return the benchmark's series one after another, their SHA-256 and their description."""
    series, sha256 = nab_series(data)
    starts = np.cumsum([0, *(len(one.values) for one in series)])[:-1].tolist()
    parts = []
    for one in series:
        labels = _labels(len(one.values), one.events)
        parts.append(normal_windows(one.values, one.slots, labels, one.probation))
    events = tuple(
        (start + max(first, one.probation), start + stop)
        for start, one in zip(starts, series, strict=True)
        for first, stop in one.events
        if stop > one.probation
    )
    tested = [
        np.arange(start + one.probation, start + len(one.values), dtype=np.int64)
        for start, one in zip(starts, series, strict=True)
    ]
    telemetry = Telemetry(
        values=np.concatenate([one.values for one in series]),
        slots=np.concatenate([one.slots for one in series]),
        events=events,
        starts=tuple(starts),
        tested=np.concatenate(tested),
        training=TrainingWindows(
            windows=np.concatenate([windows for windows, _ in parts]),
            slots=np.concatenate([slots for _, slots in parts]),
            # A probationary part is too short to tell a trend from a change of level.
            trended=np.zeros(1, dtype=bool),
        ),
    )
    what = series[0].name if len(series) == 1 else f"{len(series)} series"
    return telemetry, sha256, f"Numenta Anomaly Benchmark, {what}"


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
    licence = "unknown"
    if is_nab(data):
        telemetry, sha256, source = _nab_telemetry(data)
        licence = "MIT (Numenta/NAB)"
    else:
        table = read_table(data, minimum_rows=MINIMUM_ROWS)
        sha256 = table.sha256
        labelled = LABEL in table.columns
        telemetry = _labelled_telemetry(table) if labelled else injected_telemetry(table)
        seed = f", with injected faults (seed {INJECTION_SEED})"
        source = data.name if labelled else f"{data.name}{seed}"

    def fit() -> Mapping[tuple[str, str], object]:
        # Imported here: only fitting needs scikit-learn and onnx.
        from .fit import fit_models

        return fit_models(telemetry.training, sha256)

    folder = fitted_folder(work, scenario, sha256, fit)
    return AnomalyWorkload(
        telemetry, folder, families, source=source, licence=licence, sha256=sha256
    )
