"""From what was observed in a trial to the rows that record it."""

from __future__ import annotations

import math
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
from .circumstances import Circumstances
from .configuration import FACTORS
from .design import PlannedTrial
from .executor import RunningService
from .generator import Answers, Warmup
from .imposed.frequency import FrequencyLimits
from .kubernetes.energy import PodEnergy
from .network.running import LinkReport
from .results import rows_to_table, scenario_requests_table
from .scenarios.base import Assessment, Scenario, Workload
from .scenarios.exits import CONFIDENCE, EXIT
from .scenarios.model_hash import model_sha256
from .schedule import Schedule
from .verdict import Evidence

__all__ = [
    "Observed",
    "energy_facts",
    "energy_rows",
    "environment_facts",
    "evidence",
    "identity",
    "latency_facts",
    "link_facts",
    "model_facts",
    "quality_facts",
    "request_rows",
    "within_ratio",
]

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that was measured in a trial, before it is judged.

    Args:
        started_at: Wall time, ISO 8601.
        service: The service.
        warmup: What the warm-up saw; its start is time zero of the rows.
        schedule: The requests of the window; in a closed loop, those that came about.
        answers: What came back.
        windows: The meter's reading of each phase, of this machine.
        circumstances: What changed around the trial.
        pod: What is known of the energy of a pod, where the service is one.
        link: What the emulated network did, where there is one.
        limits: What the kernel said of the CPUs' frequency, in an environment.
    """

    started_at: str
    service: RunningService
    warmup: Warmup
    schedule: Schedule
    answers: Answers
    windows: Mapping[str, WindowResult]
    circumstances: Circumstances
    pod: PodEnergy | None = None
    link: LinkReport | None = None
    limits: FrequencyLimits | None = None


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
        **{name: getattr(configuration, name) for name in FACTORS},
        "arrival": planned.load.arrival,
        "rate_hz": planned.load.rate_hz,
        **planned.under,
    }


def model_facts(planned: PlannedTrial, workload: Workload) -> dict[str, Any]:
    """Return the columns that say which file the model was."""
    path = workload.model_path(planned.configuration.model, planned.configuration.precision)
    return {"model_file": path.name, "model_sha256": model_sha256(path)}


def latency_facts(
    observed: Observed,
    answered: NDArray[np.bool_],
    latency_s: NDArray[np.float64],
    queries: int,
) -> dict[str, Any]:
    """Return the columns of requests and latency.

    A query without an answer is later than any with one: a percentile that falls among those is
    not known. The mean is of the others.

    Args:
        observed: What was measured.
        answered: Shape (requests,): which were answered.
        latency_s: Of each answered query, seconds.
        queries: How many there were, answered or not.
    """
    ranked_s = np.append(latency_s, np.full(queries - len(latency_s), np.inf))
    window = observed.windows["window"]
    count = int(answered.sum())
    lag_s = observed.answers.lag_s
    sent = lag_s[np.isfinite(lag_s)]
    # The meter may have opened its window a moment after the load began.
    answered_s = float(np.max(observed.answers.done_s[answered], initial=window.duration_s))
    facts: dict[str, Any] = {
        "started_at": observed.started_at,
        "startup_s": observed.service.startup_s,
        "warmup_s": observed.windows["warmup"].duration_s,
        "window_s": window.duration_s,
        "requests_sent": len(answered),
        "requests_answered": count,
        "requests_failed": len(answered) - count,
        "throughput_hz": count / answered_s,
        "send_lag_p99_s": float(np.quantile(sent, 0.99)) if len(sent) else None,
        "latency_mean_s": float(np.mean(latency_s)) if len(latency_s) else None,
    }
    for name, percentile in _PERCENTILES.items():
        found = quantile(ranked_s, percentile)
        facts |= {
            f"latency_{name}_s": None if found is None else _known(found.value_s),
            f"latency_{name}_low_s": None if found is None else _known(found.low_s),
            f"latency_{name}_high_s": None if found is None else _known(found.high_s),
        }
    return facts


def _known(latency_s: float) -> float | None:
    return latency_s if math.isfinite(latency_s) else None


def within_ratio(
    latency_s: NDArray[np.float64], answered: NDArray[np.bool_], objective_s: float
) -> float | None:
    """Return the share of requests that were answered in time; `None` without requests.

    Args:
        latency_s: Shape (requests,): seconds; of those that were not answered anything.
        answered: Shape (requests,): which were answered.
        objective_s: The latency to keep, seconds.
    """
    if not len(answered):
        return None
    return int((latency_s[answered] <= objective_s).sum()) / len(answered)


def link_facts(observed: Observed) -> dict[str, Any]:
    """Return the columns of the emulated network; null without one."""
    link = observed.link
    if link is None:
        return dict.fromkeys(("link_late_ratio", "link_lost_ratio", "link_cpu_s"))
    lost = link.segments_lost_up + link.segments_lost_down
    sent = link.segments_up + link.segments_down
    return {
        "link_late_ratio": link.late / link.deliveries if link.deliveries else None,
        "link_lost_ratio": lost / sent if sent else None,
        "link_cpu_s": link.cpu_s,
    }


def environment_facts(observed: Observed) -> dict[str, Any]:
    """Return the columns of the environment as it was; null without one."""
    limits = observed.limits
    return {
        "environment_cpu_s": observed.windows["window"].work_s.get("neighbour"),
        "cpu_governor": None if limits is None else limits.governor,
        "cpu_max_frequency_hz": None if limits is None else limits.highest_hz,
    }


def energy_facts(
    observed: Observed, models: Mapping[Kind, PowerModel], answered: int
) -> dict[str, Any]:
    """Return the columns of energy and of the work it was shared by.

    A service that is none of our processes may run anywhere: of its devices nothing is known.

    Args:
        observed: What was measured.
        models: Of power.
        answered: How many samples were answered for: frames between those that were sent included.
    """
    window, pod = observed.windows["window"], observed.pod
    if pod is not None:
        return _pod_facts(pod, answered, window.work_s["generator"])
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
            "idle_before_w": observed.windows["idle_before"].power_w if ours else None,
            "idle_after_w": observed.windows["idle_after"].power_w if ours else None,
            "energy_provenance": None if service is None else str(service.provenance),
            "service_cpu_s": window.work_s.get("service"),
            "generator_cpu_s": window.work_s["generator"],
            "utilisation_ratio": window.utilisation_ratio if ours else None,
        }
    )


def _pod_facts(pod: PodEnergy, answered: int, generator_cpu_s: float) -> dict[str, Any]:
    """Return the same columns of a pod; scrapes are too rare to tell the idle baselines."""
    inference = None if pod.service is None or not answered else pod.service.scaled(1 / answered)
    return (
        _spread("service_energy", pod.service)
        | _spread("inference_energy", inference)
        | _spread("device_energy", pod.device)
        | {
            "idle_energy_j": None if pod.idle is None else pod.idle.value_j,
            "idle_before_w": None,
            "idle_after_w": None,
            "energy_provenance": None if pod.service is None else str(pod.service.provenance),
            "service_cpu_s": pod.cpu_s,
            "generator_cpu_s": generator_cpu_s,
            "utilisation_ratio": None,
        }
    )


def _spread(stem: str, energy: Energy | None) -> dict[str, float | None]:
    return {
        f"{stem}_j": None if energy is None else energy.value_j,
        f"{stem}_low_j": None if energy is None else energy.low_j,
        f"{stem}_high_j": None if energy is None else energy.high_j,
    }


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
    due_s: NDArray[np.float64],
    latency_s: NDArray[np.float64],
    answered: NDArray[np.bool_],
) -> Evidence:
    """Return the figures that the verdict needs.

    Args:
        observed: What was measured.
        row: The trial's columns so far.
        due_s: Shape (queries,): when each answered query became due, seconds.
        latency_s: Shape (queries,): its latency, seconds.
        answered: Shape (requests,): which were answered.
    """
    window = observed.windows["window"]
    return Evidence(
        warmup_medians_s=observed.warmup.medians_s,
        steady=observed.warmup.steady,
        due_s=due_s,
        latency_s=latency_s,
        requests=len(answered),
        answered=int(answered.sum()),
        send_lag_p99_s=row["send_lag_p99_s"],
        idle_before_w=row["idle_before_w"],
        idle_after_w=row["idle_after_w"],
        gaps=_gaps(observed, window),
        generator_cpu_ratio=observed.answers.busiest_ratio(window.duration_s),
        link=observed.link,
        circumstances=observed.circumstances,
    )


def _gaps(observed: Observed, window: WindowResult) -> list[str]:
    """Return which energies are not known, and why, where any should be."""
    if observed.pod is not None:
        return list(observed.pod.gaps)
    return [
        f"{name}: {reason}"
        for name, domain in window.domains.items()
        for reason in domain.gaps
        if observed.service.pid is not None
    ]


def request_rows(
    planned: PlannedTrial,
    scenario: Scenario,
    observed: Observed,
    answered: NDArray[np.bool_],
    latency_s: NDArray[np.float64],
    assessment: Assessment | None,
) -> pa.Table:
    """Return the rows of the measured requests."""
    outputs = observed.answers.outputs
    own = {name: outputs[name].reshape(-1) for name in (EXIT, CONFIDENCE) if name in outputs}
    if assessment is not None:
        own |= {name: np.asarray(values) for name, values in assessment.per_request.items()}
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
            told = {name: values[place[index]].item() for name, values in own.items()}
            row |= {name: None if value != value else value for name, value in told.items()}
        rows.append(row)
    return rows_to_table(rows, scenario_requests_table(scenario))


def energy_rows(planned: PlannedTrial, observed: Observed) -> pa.Table:
    """Return the rows of the metering intervals; time zero is the start of the window."""
    if observed.pod is not None:
        told = {"window": observed.pod.intervals}
    elif observed.service.pid is not None:
        told = {phase: reading.intervals for phase, reading in observed.windows.items()}
    else:
        told = {}
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
        for phase, intervals in told.items()
        for interval in intervals
    ]
    return rows_to_table(rows, ENERGY)
