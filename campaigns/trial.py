"""One trial: what its course gave is attributed, assessed and judged; one row joins it all.

Latency, energy and quality come from the same window and the same requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..datasets.schema import ENERGY, trials_table
from ..errors import TrialError
from ..profiler.attribution import observe_window
from .bench import Bench
from .course import observe
from .design import PlannedTrial
from .places import runs_here
from .queries import query_count, query_latencies
from .results import scenario_requests_table
from .rows import (
    Observed,
    energy_facts,
    energy_rows,
    environment_facts,
    evidence,
    identity,
    latency_facts,
    link_facts,
    model_facts,
    quality_facts,
    request_rows,
    within_ratio,
)
from .scenarios.base import Assessment, Scenario
from .spec import CampaignSpec, ScenarioSpec
from .verdict import judge

__all__ = [
    "TrialResult",
    "failed_trial",
    "run_trial",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What a trial leaves: its row, its requests, its energy samples."""

    row: dict[str, Any]
    requests: pa.Table
    energy: pa.Table


def run_trial(
    planned: PlannedTrial,
    spec: CampaignSpec,
    part: ScenarioSpec,
    scenario: Scenario,
    bench: Bench,
    phase: Callable[[str], None],
) -> TrialResult:
    """Run one trial.

    Args:
        planned: Which configuration, under which load.
        spec: The campaign.
        part: The campaign's entry for this scenario.
        scenario: The scenario.
        bench: What all trials share.
        phase: Told the name of each phase.

    Raises:
        TrialError: When the service does not start, or the generator fails.
    """
    observed = observe(planned, spec, part, bench, phase)
    answered = np.array([status == "ok" for status in observed.answers.status], dtype=bool)
    latency_s = observed.answers.done_s - observed.schedule.intended_s
    due_s, query_s = query_latencies(
        planned.offered, observed.schedule.intended_s, latency_s, answered
    )
    assessment = _assessed(observed, answered, planned, bench)
    models = bench.models_in(planned.environment)
    for model in models.values():
        model.forget("service")  # the last trial's was another one, or worked otherwise
    for name, reading in observed.windows.items():
        observe_window(models, reading, loaded=name in ("warmup", "window"))
    row = (
        identity(planned)
        | (model_facts(planned, bench.workloads[scenario.name]) if runs_here(part) else {})
        | latency_facts(
            observed, answered, query_s, query_count(planned.offered, observed.schedule.intended_s)
        )
        | energy_facts(observed, models, int(answered.sum()) * (planned.configuration.stride or 1))
        | _provenance(observed, bench)
        | quality_facts(scenario, assessment)
        | link_facts(observed)
        | environment_facts(observed)
        | observed.circumstances.facts()
        | {"within_slo_ratio": within_ratio(latency_s, answered, spec.slo.latency_s)}
    )
    verdict = judge(
        evidence(observed, row, due_s, query_s, answered),
        load=planned.offered,
        limits=spec.limits,
        slo=spec.slo,
        times=spec.trial,
    )
    row |= {
        "verdict": "valid" if verdict.valid else "invalid",
        "reasons": "; ".join(verdict.reasons) or None,
    }
    return TrialResult(
        row=row,
        requests=request_rows(planned, scenario, observed, answered, latency_s, assessment),
        energy=energy_rows(planned, observed),
    )


def _assessed(
    observed: Observed, answered: NDArray[np.bool_], planned: PlannedTrial, bench: Bench
) -> Assessment | None:
    """Return how good the answers are; `None` without any."""
    if not answered.any():
        return None
    name = planned.configuration.scenario
    samples, outputs = observed.schedule.samples[answered], observed.answers.outputs
    try:
        return bench.workloads[name].assess(samples, outputs)
    except (KeyError, ValueError) as error:
        shapes = ", ".join(f"{name} {list(one.shape)}" for name, one in outputs.items())
        raise TrialError(
            f"answers of {planned.configuration}",
            found=f"outputs {shapes} ({type(error).__name__}: {error})",
            expected=f"what models of {name} answer",
        ) from error


def _provenance(observed: Observed, bench: Bench) -> dict[str, Any]:
    """Return the columns that say by what the energy was read, and of which pod."""
    service = observed.service
    if observed.pod is not None and service.pod is not None:
        return {"energy_sources": observed.pod.sources} | service.pod.facts()
    return {"energy_sources": None if service.pid is None else bench.sources}


def failed_trial(planned: PlannedTrial, scenario: Scenario, error: TrialError) -> TrialResult:
    """Return the record of a trial that could not be carried out."""
    known: dict[str, Any] = dict.fromkeys(column.name for column in trials_table(()).columns)
    own = identity(planned) | {"verdict": "invalid", "reasons": f"failed ({error})"}
    return TrialResult(
        row=known | quality_facts(scenario, None) | own,
        requests=scenario_requests_table(scenario).arrow_schema().empty_table(),
        energy=ENERGY.arrow_schema().empty_table(),
    )
