"""One configuration under one load: what its valid trials say together, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from ..datasets.store import Dataset
from ..profiler.latency import quantile
from .configuration import FACTORS, KNOB_FACTORS, Configuration
from .intervals import Interval, average_precision, block_bootstrap, means_with_pooled_spread
from .queries import merged_queries

__all__ = [
    "ANSWER_FACTORS",
    "GOALS",
    "Cell",
    "Goal",
    "Objective",
    "around_of",
    "cells_of",
    "condition_names",
    "label_of",
    "quantile_interval",
]

Goal = Literal["energy", "latency", "quality"]
Objective = Literal["kept", "unclear", "missed"]
GOALS: Mapping[Goal, str] = {
    "energy": "Least energy",
    "latency": "Lowest latency",
    "quality": "Best answers",
}
ANSWER_FACTORS = ("model", "precision", "provider", *KNOB_FACTORS)
"""Factors that decide which answers are given; the others decide when."""

_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(Configuration):
    """One configuration of one scenario under one load: what its valid trials say together.

    Args:
        load: Name of the load and, where there were any, of the network and the environment.
        offered: Name of the load alone.
        network: Name of the network; `None`: none was emulated.
        environment: Name of the environment; `None`: the machine was left as it was found.
        rate_hz: Offered requests per second; answered ones where users wait for answers.
        label: The configuration for people: the levels that vary in the campaign.
        trials: Number of trials, invalid ones included.
        valid: Number of valid trials; everything below is `None` or empty without one.
        requests: Answered requests of the valid trials.
        latency: Quantiles of the pooled requests, seconds, by `p50`, `p95`, `p99`. A request
            without an answer is later than any with one: a quantile among those is left out.
        energy: Energy per inference, joules: mean over trials and its spread between trials.
        systematic: Mean ends of the trials' own intervals, joules: what the source may be wrong
            by, in the same direction for all configurations.
        provenance: The weakest provenance of its energies.
        quality: The headline figure, over the requests of all cells that answer alike: batch,
            threads and load decide when an answer is given, not which.
        figures: Mean over trials of every figure of the scenario.
        objective: Whether the share of requests within the objective's latency is as asked; the
            95 % interval of that share decides, and may leave it unclear.
        front: Whether no other cell of the same load is at least as good in all three goals.
    """

    load: str
    offered: str
    network: str | None = None
    environment: str | None = None
    rate_hz: float
    label: str
    trials: int
    valid: int
    requests: int = 0
    latency: Mapping[str, Interval]
    energy: Interval | None = None
    systematic: tuple[float, float] | None = None
    provenance: str | None = None
    quality: Interval | None = None
    figures: Mapping[str, float]
    objective: Objective | None = None
    front: bool = False

    @property
    def answering(self) -> tuple[object, ...]:
        """The levels that decide which answers are given."""
        return tuple(getattr(self, name) for name in ANSWER_FACTORS)

    def value(self, goal: Goal) -> Interval | None:
        """Return the figure that a goal is about, `None` where there is none."""
        if goal == "latency":
            return self.latency.get("p95")
        return self.energy if goal == "energy" else self.quality


def cells_of(dataset: Dataset) -> list[Cell]:
    """Return every configuration and load that has a trial; none is marked as on a front yet."""
    cells: list[Cell] = []
    for name, rows in dataset.trials.groupby("scenario", sort=False):
        scenario = str(name)
        requests = dataset.requests(scenario)
        figures = [f["name"] for f in dataset.about.figures if f["scenario"] == scenario]
        valid = rows[rows["verdict"] == "valid"]
        size = int(requests["sample"].max()) + 1 if len(requests) else 0
        quality = {
            answering: _quality(group, _answered(requests, group), figures[0], size)
            for answering, group in _answering_alike(valid)
            if figures
        }
        for _, group in rows.groupby(rows.apply(around_of, axis=1), sort=False):
            cells += [
                replace(cell, quality=quality.get(cell.answering)) if cell.valid else cell
                for cell in _cells(rows, group, figures, requests, dataset.about.spec.get("slo"))
            ]
    return cells


def condition_names(spec: Mapping[str, Any], condition: str) -> list[str]:
    """Return the names of a campaign's networks, or environments, in the order of asking."""
    return [
        str(one.get("name") or one.get("preset") or Path(str(one["trace"])).stem)
        for one in spec.get(f"{condition}s") or ()
    ]


def around_of(row: Mapping[str, Any] | pd.Series[Any]) -> str:
    """Return what a trial's service was under: load, network and environment, where there are."""
    return ", ".join(
        name
        for name in (str(row["load"]), row.get("network"), row.get("environment"))
        if isinstance(name, str)
    )


def _cells(
    all_rows: pd.DataFrame,
    rows: pd.DataFrame,
    figures: Sequence[str],
    requests: pd.DataFrame,
    slo: Mapping[str, float] | None,
) -> Iterator[Cell]:
    """Yield the cells of one scenario and load; the spread between trials is pooled over them."""
    groups = [group for _, group in rows.groupby("configuration", sort=False)]
    valid = [group[group["verdict"] == "valid"] for group in groups]
    energies = [_known(group["inference_energy_j"]) for group in valid]
    means = iter(means_with_pooled_spread([values for values in energies if len(values)]))
    for group, good, energy in zip(groups, valid, energies, strict=True):
        first = group.iloc[0]
        cell = Cell(
            scenario=str(first["scenario"]),
            load=around_of(first),
            offered=str(first["load"]),
            network=_said(first, "network"),
            environment=_said(first, "environment"),
            rate_hz=_rate_hz(group),
            label=label_of(first, all_rows),
            model=str(first["model"]),
            precision=str(first["precision"]),
            batch=int(first["batch"]),
            threads=int(first["threads"]),
            provider=_said(first, "provider"),
            node=_said(first, "node"),
            **{name: _said(first, name) for name in KNOB_FACTORS},
            trials=len(group),
            valid=len(good),
            latency={},
            figures={
                name: float(good[name].mean())
                for name in figures
                if name in good and good[name].notna().any()
            },
            energy=next(means) if len(energy) else None,
        )
        if not len(good):
            yield cell
            continue
        asked = requests[requests["trial"].isin(good["trial"])]
        asked = merged_queries(asked, str(first["arrival"]))
        latency_s = asked["latency_s"].fillna(np.inf).to_numpy(dtype=np.float64)
        cell = _judged(cell, good, _answered(requests, good), latency_s)
        yield cell if slo is None else replace(cell, objective=_objective(asked, slo))


def _said(row: pd.Series[Any], name: str) -> Any:
    """Return a level; `None` where nothing was said, as in datasets older than the factor."""
    value = row.get(name)
    if value is None or pd.isna(value):
        return "cpu" if name == "provider" else None
    return int(value) if name in ("max_exit", "stride") else value


def _answering_alike(rows: pd.DataFrame) -> Iterator[tuple[tuple[object, ...], pd.DataFrame]]:
    """Yield the trials whose services give the same answers to the same requests."""
    keys = [tuple(_said(row, name) for name in ANSWER_FACTORS) for _, row in rows.iterrows()]
    for key in dict.fromkeys(keys):
        yield key, rows[[one == key for one in keys]]


def _answered(requests: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    return requests[requests["trial"].isin(trials["trial"]) & (requests["status"] == "ok")]


def _rate_hz(trials: pd.DataFrame) -> float:
    """Return the rate that was offered; where answers decide on it, that of the answers."""
    offered = _known(trials["rate_hz"])
    return float(offered[0]) if len(offered) else float(trials["throughput_hz"].mean())


def _judged(
    cell: Cell, good: pd.DataFrame, requests: pd.DataFrame, latency_s: NDArray[np.float64]
) -> Cell:
    """Return a cell with what its valid trials and their requests say."""
    low, high = _known(good["inference_energy_low_j"]), _known(good["inference_energy_high_j"])
    return replace(
        cell,
        requests=len(requests),
        latency=_percentiles(latency_s),
        systematic=(float(low.mean()), float(high.mean())) if len(low) and len(high) else None,
        provenance=", ".join(sorted(good["energy_provenance"].dropna().unique())) or None,
    )


def _percentiles(latency_s: NDArray[np.float64]) -> dict[str, Interval]:
    """Return the percentiles that are known: those below which every request was answered."""
    if not len(latency_s):
        return {}
    found = {name: quantile_interval(latency_s, q) for name, q in _PERCENTILES.items()}
    return {name: one for name, one in found.items() if math.isfinite(one.value)}


def _objective(requests: pd.DataFrame, slo: Mapping[str, float]) -> Objective:
    """Judge all requests that were sent; one without an answer is not within any latency."""
    within = int((requests["latency_s"] <= slo["latency_s"]).sum())
    share = binomtest(within, len(requests)).proportion_ci(0.95)
    if share.low >= slo["percentile"]:
        return "kept"
    return "missed" if share.high < slo["percentile"] else "unclear"


def _known(column: pd.Series[float]) -> NDArray[np.float64]:
    return np.asarray(column.dropna(), dtype=np.float64)


def label_of(row: pd.Series[Any], rows: pd.DataFrame) -> str:
    """Name a configuration by its model and those other levels that vary in its scenario."""
    parts = [str(row["model"])]
    if rows.loc[rows["model"] == row["model"], "precision"].nunique() > 1:
        parts.append(str(row["precision"]))
    for factor in rows.columns.intersection(list(FACTORS[2:]), sort=False):
        level = _said(row, factor)
        if level is not None and rows[factor].nunique(dropna=False) > 1:
            name = factor.replace("max_", "").replace("_", " ")
            parts.append(f"{name} {level:g}" if isinstance(level, float) else f"{name} {level}")
    return ", ".join(parts)


def quantile_interval(latency_s: NDArray[np.float64], probability: float) -> Interval:
    """Return a quantile of one latency or more; from too few it has no bounds.

    Latencies are infinite where no answer came; a bound that falls among these is not known.
    """
    found = quantile(latency_s, probability)
    if found is None:
        return Interval(value=float(np.quantile(latency_s, probability, method="inverted_cdf")))
    high_s = found.high_s if math.isfinite(found.high_s) else None
    return Interval(value=found.value_s, low=found.low_s, high=high_s)


def _quality(
    good: pd.DataFrame, requests: pd.DataFrame, headline: str, size: int
) -> Interval | None:
    """Return the headline figure, recomputed from the requests where that can be done exactly."""
    values = _known(good[headline]) if headline in good else np.empty(0)
    if not len(values):
        return None
    statistic = _statistic(good, requests, headline)
    if statistic is None:
        return means_with_pooled_spread([values])[0]
    return block_bootstrap(statistic, requests["sample"].to_numpy(dtype=np.int64), size=size)


def _statistic(
    good: pd.DataFrame, requests: pd.DataFrame, headline: str
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]] | None:
    """Return the headline as a function of the requests' weights; `None` when it is not one."""
    if headline == "pr_auc" and {"score", "label"} <= set(requests):
        label = requests["label"].to_numpy(dtype=np.float64)
        if not label.any():
            return None
        return average_precision(requests["score"].to_numpy(dtype=np.float64), label)
    measure, _, horizon = headline.partition("_")
    column = f"abs_error_{horizon}"
    if measure not in ("mae", "mase") or column not in requests:
        return None
    error = requests[column].to_numpy(dtype=np.float64)
    means = requests.groupby("trial")[column].mean()
    scales = (good.set_index("trial")[headline] / means).to_numpy(dtype=np.float64)
    # A MASE is a MAE over a constant; when the constant differs between trials it is not.
    if not np.allclose(scales, scales[0], rtol=1e-6):
        return None
    scale = float(scales[0])
    return lambda weights: np.asarray(scale * (weights @ error) / weights.sum(axis=1))
