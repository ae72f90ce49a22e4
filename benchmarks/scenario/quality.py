"""What each model of a scenario answers: every figure, its confidence, and where rows leave.

All of one model is judged at once, so that precisions and exits can be compared sample by sample.
Nothing here is timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from joulery.campaigns.scenarios import scenario as scenario_named
from joulery.campaigns.scenarios.base import ModelFamily, Scenario, Tensors, Workload
from joulery.campaigns.scenarios.exits import CONFIDENCE
from joulery.campaigns.scenarios.judging import (
    Estimate,
    answers_of,
    estimates,
    inputs_of,
    some_of,
)
from joulery.campaigns.scenarios.knobs import RESOLUTION
from joulery.campaigns.scenarios.model import Model
from joulery.profiler.quality.calibration import brier_score, expected_calibration_error

from .promised import PROMISES

__all__ = ["COLUMNS", "THRESHOLDS", "quality_rows"]

COLUMNS = ("scenario", "model", "precision", "exit", "figure", "value", "low", "high")
THRESHOLDS = (0.6, 0.8, 0.9, 0.95)
_BINS = 10
_RESOLUTIONS = (0.75, 0.5)

Row = dict[str, str]


class _Rows:
    """Rows of one model, as they come."""

    def __init__(self, scenario: str, model: str) -> None:
        self.scenario, self._model = scenario, model
        self.rows: list[Row] = []

    def add(
        self, precision: str, place: str, found: Mapping[str, Estimate], model: str | None = None
    ) -> None:
        """Add figures, each with its interval."""
        for name, one in found.items():
            value, low, high = (f"{number:.5g}" for number in one.interval)
            self._add(precision, place, name, (value, low, high), model)

    def add_plain(self, precision: str, place: str, name: str, value: float) -> None:
        """Add what has no interval."""
        self._add(precision, place, name, (f"{value:.7g}", "", ""), None)

    def _add(
        self, precision: str, place: str, name: str, cells: Sequence[str], model: str | None
    ) -> None:
        key = (self.scenario, self._model if model is None else model, precision, place, name)
        self.rows.append(dict(zip(COLUMNS, (*key, *cells), strict=True)))


def quality_rows(scenario: str, family: str, with_references: bool) -> list[Row]:
    """Judge one model in every precision; return a row for each figure.

    Args:
        scenario: The name of the scenario.
        family: The name of the model.
        with_references: Whether figures of simple answers, which no model changes, are told too.
    """
    known = scenario_named(scenario)
    workload = known.prepare(None, Path())
    inputs = inputs_of(workload)
    [model] = [one for one in known.models if one.name == family]
    rows = _Rows(scenario, family)
    headline = known.figures[0].name
    floats: dict[str, dict[str, Estimate]] = {}
    for precision in model.precisions:
        path = workload.model_path(family, precision)
        rows.add_plain(precision, "", "bytes", path.stat().st_size)
        loaded = Model(path, 1)
        answers = {place: answers_of(loaded, inputs, knobs) for place, knobs in _exits(model)}
        figures = {place: _figures(workload, one) for place, one in answers.items()}
        if precision == "fp32":
            floats = figures
        for place, found in figures.items():
            rows.add(precision, place, _own(known, found))
            rows.add(precision, place, _less_reference(known, found))
            if precision != "fp32":
                rows.add(precision, place, _less(headline, found, floats[place], "fp32"))
        if with_references and precision == "fp32":
            rows.add("", "", _references(known, found), model="")
        if model.exits > 1:
            _exits_judged(workload, rows, precision, answers, figures, headline)
        if model.is_detector and precision == "fp32":
            _smaller(workload, rows, loaded, inputs, str(model.exits))
    return rows.rows


def _exits(model: ModelFamily) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Yield what each exit is called, and how it is asked for."""
    if model.exits == 1:
        yield "", {}
        return
    for number in range(1, model.exits + 1):
        yield str(number), {"max_exit": number}


def _figures(workload: Workload, answers: Tensors) -> dict[str, Estimate]:
    def of(chosen: NDArray[np.int64]) -> Mapping[str, float | None]:
        return workload.assess(chosen, some_of(answers, chosen)).figures

    return estimates(workload.size, of)


def _own(scenario: Scenario, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return the figures of the model itself."""
    names = [figure.name for figure in scenario.figures if figure.reference_of is None]
    return {name: found[name] for name in names if name in found}


def _references(scenario: Scenario, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    names = [figure.name for figure in scenario.figures if figure.reference_of is not None]
    return {name: found[name] for name in names if name in found}


def _less_reference(scenario: Scenario, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return how far the model is from simple answers to the same requests."""
    pairs = [(one.reference_of, one.name) for one in scenario.figures if one.reference_of]
    return {
        f"{own}_less_{other}": found[own] - found[other]
        for own, other in pairs
        if own in found and other in found
    }


def _less(
    name: str, found: Mapping[str, Estimate], other: Mapping[str, Estimate], called: str
) -> dict[str, Estimate]:
    if name not in found or name not in other:
        return {}
    return {f"{name}_less_{called}": found[name] - other[name]}


def _exits_judged(
    workload: Workload,
    rows: _Rows,
    precision: str,
    answers: Mapping[str, Tensors],
    figures: Mapping[str, Mapping[str, Estimate]],
    headline: str,
) -> None:
    """Tell how exits compare with the last one, how far confidence is true, and where rows leave.

    Args:
        workload: The samples.
        rows: Where to tell it.
        precision: Of the model.
        answers: Of each exit alone, in order.
        figures: Of each exit alone.
        headline: The figure that exits are compared by.
    """
    *early, last = answers
    for place in early:
        less = _less(headline, figures[place], figures[last], "last_exit")
        rows.add(precision, place, less)
    kept = PROMISES[rows.scenario](workload, list(answers.values()))
    for (place, one), good in zip(answers.items(), kept, strict=True):
        # What compares with the last exit says nothing of that one.
        if place != last or not good.all():
            sure = np.asarray(one[CONFIDENCE], dtype=np.float64).reshape(-1)
            rows.add(precision, place, _confidence(sure, good))
    for threshold in THRESHOLDS:
        leaves = _leaves(list(answers.values()), threshold)
        for number, place in enumerate(answers):
            share = float((leaves == number).mean())
            rows.add_plain(precision, f">= {threshold:g}", f"leave_at_{place}", share)
        joined = _joined(list(answers.values()), leaves)

        def of(chosen: NDArray[np.int64], joined: Tensors = joined) -> dict[str, float | None]:
            return {headline: workload.figure(headline, chosen, some_of(joined, chosen))}

        rows.add(precision, f">= {threshold:g}", estimates(workload.size, of))


def _confidence(sure: NDArray[np.float64], good: NDArray[np.bool_]) -> dict[str, Estimate]:
    """Return how often an exit kept its promise, and how far its confidence says so."""

    def of(chosen: NDArray[np.int64]) -> dict[str, float | None]:
        some, came = sure[chosen], good[chosen]
        is_told_apart = came.any() and not came.all()
        return {
            "promise_kept": float(came.mean()),
            "confidence": float(some.mean()),
            "confidence_ece": expected_calibration_error(came, some, _BINS),
            "confidence_brier": brier_score(came, some),
            "confidence_auc": float(roc_auc_score(came, some)) if is_told_apart else None,
        }

    return estimates(len(sure), of)


def _leaves(answers: Sequence[Tensors], threshold: float) -> NDArray[np.int64]:
    """Return the exit by which each row leaves, counted from 0: the first that is as sure."""
    # As the graph compares them: in FP32.
    least = np.float32(threshold)
    sure = [np.asarray(one[CONFIDENCE], dtype=np.float32).reshape(-1) >= least for one in answers]
    sure[-1][:] = True
    leaves: NDArray[np.int64] = np.stack(sure).argmax(axis=0).astype(np.int64)
    return leaves


def _joined(
    answers: Sequence[Tensors], leaves: NDArray[np.int64]
) -> dict[str, NDArray[np.generic]]:
    """Return what rows are answered by the exits that they leave by: no run tells more."""
    rows = np.arange(len(leaves))
    return {name: np.stack([one[name] for one in answers])[leaves, rows] for name in answers[0]}


def _smaller(workload: Workload, rows: _Rows, model: Model, inputs: Tensors, place: str) -> None:
    """Tell what a detector finds in smaller frames."""
    for resolution in _RESOLUTIONS:
        found = _figures(workload, answers_of(model, inputs, {RESOLUTION: resolution}))
        rows.add("fp32", place, {f"{name}_at_{resolution:g}": one for name, one in found.items()})
