"""From what was observed in a trial to the rows that record it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.schema import ENERGY
from ..profiler.attribution import attribute_window
from ..profiler.latency import quantile
from ..profiler.meter import WindowResult
from ..profiler.power_model import PowerModel
from ..profiler.quantities import Energy
from ..profiler.sources import Kind
from .design import PlannedTrial
from .executor import RunningService
from .generator import Answers, Warmup
from .results import rows_to_table, scenario_requests_table
from .scenarios.base import Assessment, Scenario
from .schedule import Schedule
from .verdict import Evidence

__all__ = [
    "Observed",
    "energy_facts",
    "energy_rows",
    "evidence",
    "identity",
    "latency_facts",
    "quality_facts",
    "request_rows",
]

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that was measured in a trial, before it is judged.

    Args:
        started_at: Wall time, ISO 8601.
        service: The service.
        warmup: What the warm-up saw; its start is time zero of the rows.
        schedule: The requests of the window.
        answers: What came back.
        windows: The meter's reading of each phase.
    """

    started_at: str
    service: RunningService
    warmup: Warmup
    schedule: Schedule
    answers: Answers
    windows: Mapping[str, WindowResult]


def identity(planned: PlannedTrial) -> dict[str, Any]:
    """Return the columns that say which trial it is."""
    configuration = planned.configuration
    return {
        "trial": planned.number,
        "attempt": planned.attempt,
        "block": planned.block,
        "repeat": planned.repeat,
        "scenario": configuration.scenario,
        "configuration": str(configuration),
        "model": configuration.model,
        "precision": configuration.precision,
        "batch": configuration.batch,
        "threads": configuration.threads,
        "load": str(planned.load),
        "arrival": planned.load.arrival,
        "rate_hz": planned.load.rate_hz,
    }


def latency_facts(
    observed: Observed, answered: NDArray[np.bool_], latency_s: NDArray[np.float64]
) -> dict[str, Any]:
    """Return the columns of requests and latency."""
    window = observed.windows["window"]
    count = int(answered.sum())
    lag_s = observed.answers.sent_s - observed.schedule.intended_s
    sent = lag_s[np.isfinite(lag_s)]
    facts: dict[str, Any] = {
        "started_at": observed.started_at,
        "startup_s": observed.service.startup_s,
        "warmup_s": observed.windows["warmup"].duration_s,
        "window_s": window.duration_s,
        "requests_sent": len(answered),
        "requests_answered": count,
        "requests_failed": len(answered) - count,
        "throughput_hz": count / window.duration_s,
        "send_lag_p99_s": float(np.quantile(sent, 0.99)) if len(sent) else None,
        "latency_mean_s": float(np.mean(latency_s[answered])) if count else None,
    }
    for name, percentile in _PERCENTILES.items():
        found = quantile(latency_s[answered], percentile)
        facts |= {
            f"latency_{name}_s": None if found is None else found.value_s,
            f"latency_{name}_low_s": None if found is None else found.low_s,
            f"latency_{name}_high_s": None if found is None else found.high_s,
        }
    return facts


def energy_facts(
    observed: Observed, models: Mapping[Kind, PowerModel], answered: int
) -> dict[str, Any]:
    """Return the columns of energy and of the work it was shared by.

    A service that is none of our processes may run anywhere: of its devices nothing is known.
    """
    window = observed.windows["window"]
    ours = observed.service.pid is not None
    shares = attribute_window(window, models, owner="service") if ours else None
    service = None if shares is None else shares.parts["service"]
    inference = None if service is None or not answered else service.scaled(1 / answered)
    return (
        _spread("service_energy", service)
        | _spread("inference_energy", inference)
        | _spread("device_energy", window.energy if ours else None)
        | {
            "idle_energy_j": None if shares is None else shares.idle.value_j,
            "idle_before_w": _power_w(observed.windows["idle_before"]) if ours else None,
            "idle_after_w": _power_w(observed.windows["idle_after"]) if ours else None,
            "energy_provenance": None if service is None else str(service.provenance),
            "service_cpu_s": window.work_s.get("service"),
            "generator_cpu_s": window.work_s["generator"],
            "utilisation_ratio": window.utilisation_ratio if ours else None,
        }
    )


def _spread(stem: str, energy: Energy | None) -> dict[str, float | None]:
    return {
        f"{stem}_j": None if energy is None else energy.value_j,
        f"{stem}_low_j": None if energy is None else energy.low_j,
        f"{stem}_high_j": None if energy is None else energy.high_j,
    }


def _power_w(reading: WindowResult) -> float | None:
    return None if reading.energy is None else reading.energy.value_j / reading.duration_s


def quality_facts(scenario: Scenario, assessment: Assessment | None) -> dict[str, Any]:
    """Return the columns of answer quality, `None` where there were no answers."""
    headline = scenario.figures[0].name
    figures = {} if assessment is None else dict(assessment.figures)
    return {
        "quality_figure": headline,
        "quality_value": figures.get(headline),
        **{figure.name: figures.get(figure.name) for figure in scenario.figures},
    }


def evidence(
    observed: Observed,
    row: Mapping[str, Any],
    latency_s: NDArray[np.float64],
    answered: NDArray[np.bool_],
) -> Evidence:
    """Return the figures that the verdict needs."""
    window = observed.windows["window"]
    return Evidence(
        warmup_medians_s=observed.warmup.medians_s,
        steady=observed.warmup.steady,
        intended_s=observed.schedule.intended_s[answered],
        latency_s=latency_s,
        requests=len(answered),
        send_lag_p99_s=row["send_lag_p99_s"],
        idle_before_w=row["idle_before_w"],
        idle_after_w=row["idle_after_w"],
        gaps=[
            f"{name}: {reason}"
            for name, domain in window.domains.items()
            for reason in domain.gaps
            if observed.service.pid is not None
        ],
        generator_cpu_ratio=row["generator_cpu_s"] / window.duration_s,
    )


def request_rows(
    planned: PlannedTrial,
    scenario: Scenario,
    observed: Observed,
    answered: NDArray[np.bool_],
    latency_s: NDArray[np.float64],
    assessment: Assessment | None,
) -> pa.Table:
    """Return the rows of the measured requests."""
    own = {} if assessment is None else assessment.per_request
    place = np.cumsum(answered) - 1
    rows = []
    for index, good in enumerate(map(bool, answered)):
        served = int(observed.answers.batch_served[index])
        sent_s = float(observed.answers.sent_s[index])
        row: dict[str, Any] = {
            "trial": planned.number,
            "request": index,
            "sample": int(observed.schedule.samples[index]),
            "intended_s": float(observed.schedule.intended_s[index]),
            "sent_s": sent_s if np.isfinite(sent_s) else None,
            "latency_s": float(latency_s[index]) if good else None,
            "status": observed.answers.status[index],
            "batch_served": served if served else None,
        }
        if good:
            row |= {name: float(values[place[index]]) for name, values in own.items()}
        rows.append(row)
    return rows_to_table(rows, scenario_requests_table(scenario))


def energy_rows(planned: PlannedTrial, observed: Observed) -> pa.Table:
    """Return the rows of the metering intervals; time zero is the start of the window."""
    if observed.service.pid is None:
        return rows_to_table([], ENERGY)
    start_s = observed.warmup.start_s
    rows = [
        {
            "trial": planned.number,
            "phase": phase,
            "source": interval.source,
            "domain": interval.domain,
            "start_s": interval.start_s - start_s,
            "end_s": interval.end_s - start_s,
            **_spread("energy", interval.energy),
            "provenance": None if interval.energy is None else str(interval.energy.provenance),
            "gap": None if interval.gap is None else str(interval.gap),
        }
        for phase, reading in observed.windows.items()
        for interval in reading.intervals
    ]
    return rows_to_table(rows, ENERGY)
