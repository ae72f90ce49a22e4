"""One trial: a service starts, idles, warms up, is measured, idles and stops; one row joins it all.

Latency, energy and quality come from the same window and the same requests.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from ..datasets.schema import ENERGY, trials_table
from ..errors import TrialError
from ..profiler.attribution import observe_window
from ..profiler.meter import EnergyMeter, WindowResult
from ..profiler.power_model import PowerModel
from ..profiler.sources import Discovery, Kind
from ..profiler.work import ProcessGroup
from .design import PlannedTrial
from .endpoint import reach_endpoint
from .executor import RunningService, split_cores, start_service
from .generator import LoadGenerator, LoadPlan
from .results import scenario_requests_table
from .rows import (
    Observed,
    energy_facts,
    energy_rows,
    evidence,
    identity,
    latency_facts,
    quality_facts,
    request_rows,
)
from .scenarios.base import Scenario, Workload
from .schedule import Schedule, make_schedule, stream
from .spec import CampaignSpec, ScenarioSpec
from .verdict import judge

__all__ = [
    "Bench",
    "TrialResult",
    "failed_trial",
    "open_bench",
    "run_trial",
]

_METER_INTERVAL_S = 0.05


_LEARN_S = 1.0
"""Rest, and one busy core, are watched for so long before the first trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all trials of a campaign share.

    Args:
        meter: Reads every energy source; it runs.
        generator: Sends the load.
        generator_work: CPU time of the generator.
        models: What was learned so far of the devices' power, by kind.
        sources: What the energy sources are, for the rows.
        workloads: Data and models by scenario.
    """

    meter: EnergyMeter
    generator: LoadGenerator
    generator_work: ProcessGroup
    models: dict[Kind, PowerModel]
    sources: str
    workloads: Mapping[str, Workload]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What a trial leaves: its row, its requests, its energy samples."""

    row: dict[str, Any]
    requests: pa.Table
    energy: pa.Table


@contextlib.contextmanager
def open_bench(found: Discovery, workloads: Mapping[str, Workload]) -> Iterator[Bench]:
    """Start the meter and the generator, and stop them when the block ends.

    The machine at rest and with one busy core is learned first, so that the first trials' energies
    are shared by more than guesses.
    """
    meter = EnergyMeter(found.sources, clock=time.monotonic, interval_s=_METER_INTERVAL_S)
    with LoadGenerator() as generator, meter:
        models: dict[Kind, PowerModel] = {}
        for name, work in (("rest", time.sleep), ("busy", _spin)):
            with meter.window(name) as window:
                work(_LEARN_S)
            observe_window(models, window.result)
        yield Bench(
            meter=meter,
            generator=generator,
            generator_work=ProcessGroup(generator.pid),
            models=models,
            sources=found.summary,
            workloads=workloads,
        )


def _spin(seconds: float) -> None:
    """Keep one core busy."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        pass


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
    observed = _observe(planned, spec, part, bench, phase)
    answered = np.array([status == "ok" for status in observed.answers.status], dtype=bool)
    latency_s = observed.answers.done_s - observed.schedule.intended_s
    assessment = None
    if answered.any():
        samples, outputs = observed.schedule.samples[answered], observed.answers.outputs
        try:
            assessment = bench.workloads[scenario.name].assess(samples, outputs)
        except (KeyError, ValueError) as error:
            shapes = ", ".join(f"{name} {list(one.shape)}" for name, one in outputs.items())
            raise TrialError(
                f"answers of {planned.configuration}",
                found=f"outputs {shapes} ({type(error).__name__}: {error})",
                expected=f"what models of {scenario.name} answer",
            ) from error
    for model in bench.models.values():
        model.forget("service")  # the last trial's was another one, or worked otherwise
    for name, reading in observed.windows.items():
        observe_window(bench.models, reading, loaded=name in ("warmup", "window"))
    row = (
        identity(planned)
        | latency_facts(observed, answered, latency_s)
        | energy_facts(observed, bench.models, int(answered.sum()))
        | {"energy_sources": None if observed.service.pid is None else bench.sources}
        | quality_facts(scenario, assessment)
    )
    verdict = judge(
        evidence(observed, row, latency_s[answered], answered),
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


def failed_trial(planned: PlannedTrial, scenario: Scenario, error: TrialError) -> TrialResult:
    """Return the record of a trial that could not be carried out."""
    known: dict[str, Any] = dict.fromkeys(column.name for column in trials_table(()).columns)
    own = identity(planned) | {"verdict": "invalid", "reasons": f"failed ({error})"}
    return TrialResult(
        row=known | quality_facts(scenario, None) | own,
        requests=scenario_requests_table(scenario).arrow_schema().empty_table(),
        energy=ENERGY.arrow_schema().empty_table(),
    )


def _observe(
    planned: PlannedTrial,
    spec: CampaignSpec,
    part: ScenarioSpec,
    bench: Bench,
    phase: Callable[[str], None],
) -> Observed:
    configuration, times, meter = planned.configuration, spec.trial, bench.meter
    workload = bench.workloads[configuration.scenario]
    warmup, schedule = _schedules(planned, spec, workload.size)
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    windows: dict[str, WindowResult] = {}
    phase("start")
    with _service(planned, spec, part, bench) as service:
        consumers = {"generator": bench.generator_work.cpu_s}
        if service.pid is not None:
            consumers["service"] = ProcessGroup(service.pid).cpu_s
        with meter.consumers(consumers):
            plan = LoadPlan(
                url=service.url,
                workload=configuration.scenario,
                binary=service.binary,
                warmup=warmup,
                window=schedule,
                warmup_max_s=times.warmup_max_s,
                steady_ratio=spec.limits.steady_ratio,
                timeout_s=times.timeout_s,
            )
            bench.generator.prepare(plan, workload)
            phase("idle before")
            with meter.window("idle_before") as window:
                time.sleep(times.idle_s)
            windows["idle_before"] = window.result
            phase("warm-up")
            with meter.window("warmup") as window:
                warm = bench.generator.begin(plan)
            windows["warmup"] = window.result
            phase("window")
            _sleep_until(warm.start_s)
            with meter.window("window") as window:
                bench.generator.finish()
                _sleep_until(warm.start_s + times.window_s)
            windows["window"] = window.result
            phase("idle after")
            with meter.window("idle_after") as window:
                time.sleep(times.idle_s)
            windows["idle_after"] = window.result
        phase("stop")
    return Observed(
        started_at=started_at,
        service=service,
        warmup=warm,
        schedule=schedule,
        answers=bench.generator.collect(),
        windows=windows,
    )


@contextlib.contextmanager
def _service(
    planned: PlannedTrial, spec: CampaignSpec, part: ScenarioSpec, bench: Bench
) -> Iterator[RunningService]:
    """Start the service and keep the generator off its cores; or find the one that runs already."""
    configuration, startup_max_s = planned.configuration, spec.trial.startup_max_s
    if part.endpoint is not None:
        os.sched_setaffinity(bench.generator.pid, os.sched_getaffinity(0))
        yield reach_endpoint(part.endpoint, configuration.model, startup_max_s=startup_max_s)
        return
    cores = split_cores(configuration.threads, os.sched_getaffinity(0))
    os.sched_setaffinity(bench.generator.pid, cores.others)
    with start_service(
        bench.workloads[configuration.scenario].model_path(
            configuration.model, configuration.precision
        ),
        configuration,
        batch_wait_s=part.batch_wait_s,
        startup_max_s=startup_max_s,
        cores=cores,
    ) as service:
        yield service


def _schedules(
    planned: PlannedTrial, spec: CampaignSpec, samples: int
) -> tuple[tuple[Schedule, ...], Schedule]:
    """Return warm-up rounds and window; the configuration has no part in the randomness."""
    names = (planned.configuration.scenario, planned.load_index, planned.repeat)
    rng = stream(spec.seed, "warmup", *names)
    times = spec.trial
    rounds = tuple(
        make_schedule(planned.load, duration_s=times.warmup_round_s, samples=samples, rng=rng)
        for _ in range(max(2, int(times.warmup_max_s / times.warmup_round_s)))
    )
    window = make_schedule(
        planned.load,
        duration_s=times.window_s,
        samples=samples,
        rng=stream(spec.seed, "window", *names),
    )
    return rounds, window


def _sleep_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))
