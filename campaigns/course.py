"""The course of a trial: a service starts, cools down, idles, warms up, is measured, idles, stops.

What was seen is handed over as it is; `trial` makes a row of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from ..profiler.meter import EnergyMeter, WindowResult
from ..profiler.work import ProcessGroup
from .bench import Bench
from .circumstances import between
from .design import PlannedTrial
from .executor import RunningService
from .generator import LoadPlan, Warmup
from .imposed.neighbour import Neighbour
from .imposed.running import impose
from .loads import OfflineLoad
from .network.running import RunningLink
from .rows import Observed
from .scenarios.base import Workload
from .schedule import AnySchedule, make_schedule, stream, warmup_load
from .service import network, service_of
from .spec import CampaignSpec, ScenarioSpec, TrialTimes
from .surroundings import Look, cpus_of

__all__ = ["observe"]


def observe(
    planned: PlannedTrial,
    spec: CampaignSpec,
    part: ScenarioSpec,
    bench: Bench,
    phase: Callable[[str], None],
) -> Observed:
    """Take a trial through its phases; see `trial.run_trial`.

    Raises:
        TrialError: When the service does not start, or the generator fails.
    """
    times, meter = spec.trial, bench.meter
    workload = bench.workloads[planned.configuration.scenario]
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    phase("start")
    with (
        impose(planned, bench.machine.frequencies) as imposed,
        service_of(planned, spec, part, bench) as service,
        network(planned, spec, service, bench) as link,
    ):
        service_cpus, generator_cpus = cpus_of(service.pid), cpus_of(bench.generator.pids[0])
        with meter.consumers(_consumers(service, link, imposed.neighbour, bench)):
            plan = _plan(planned, spec, workload, service, link)
            bench.generator.prepare(plan, workload)
            phase("cool down")
            cool_down_s = None if service.pid is None else _cool_down(planned, times, bench)
            phase("idle before")
            idle_before = _idle(meter, "idle_before", times.idle_s)
            with imposed.working():
                loaded = _under_load(planned, times, bench, plan, link, phase)
            phase("idle after")
            idle_after = _idle(meter, "idle_after", times.idle_s)
        pod = None if service.pod is None else service.pod.measured(loaded.window)
        carried = None if link is None else link.finish()
        phase("stop")
    answers = bench.generator.collect()
    return Observed(
        started_at=started_at,
        service=service,
        warmup=loaded.warm,
        schedule=answers.asked,
        answers=answers,
        windows={
            "idle_before": idle_before,
            "warmup": loaded.warmup,
            "window": loaded.window,
            "idle_after": idle_after,
        },
        circumstances=between(
            loaded.before,
            loaded.after,
            loaded.window,
            cool_down_s=cool_down_s,
            service_cpus=service_cpus,
            generator_cpus=generator_cpus,
        ),
        pod=pod,
        link=carried,
        limits=imposed.limits,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """What was seen of warm-up and window, and around the latter."""

    warm: Warmup
    warmup: WindowResult
    window: WindowResult
    before: Look
    after: Look


def _under_load(
    planned: PlannedTrial,
    times: TrialTimes,
    bench: Bench,
    plan: LoadPlan,
    link: RunningLink | None,
    phase: Callable[[str], None],
) -> _Loaded:
    """Warm the service up and measure it."""
    meter = bench.meter
    phase("warm-up")
    with meter.window("warmup") as warmup:
        warm = bench.generator.begin(plan)
    phase("window")
    if link is not None:
        link.begin()
    before = bench.surroundings.look()
    _sleep_until(warm.start_s)
    with meter.window("window") as window:
        bench.generator.finish()
        if not isinstance(planned.load, OfflineLoad):  # whose window is as long as it takes
            _sleep_until(warm.start_s + times.window_s)
    after = bench.surroundings.look()
    return _Loaded(
        warm=warm, warmup=warmup.result, window=window.result, before=before, after=after
    )


def _consumers(
    service: RunningService, link: RunningLink | None, neighbour: Neighbour | None, bench: Bench
) -> dict[str, Callable[[], float]]:
    """Return who has a part in the trial, and what CPU time each has used."""
    consumers = {"generator": bench.generator_work}
    if neighbour is not None:
        consumers["neighbour"] = neighbour.cpu_s
    for name, process in (("service", service), ("link", link)):
        if process is not None and process.pid is not None:
            consumers[name] = ProcessGroup(process.pid).cpu_s
    return consumers


def _plan(
    planned: PlannedTrial,
    spec: CampaignSpec,
    workload: Workload,
    service: RunningService,
    link: RunningLink | None,
) -> LoadPlan:
    warmup, window = _schedules(planned, spec, workload)
    return LoadPlan(
        url=service.url if link is None else link.url,
        workload=planned.configuration.scenario,
        binary=service.binary,
        warmup=warmup,
        window=window,
        warmup_max_s=spec.trial.warmup_max_s,
        steady_ratio=spec.limits.steady_ratio,
        timeout_s=spec.trial.timeout_s,
    )


def _idle(meter: EnergyMeter, name: str, seconds: float) -> WindowResult:
    """Send nothing for so long, and return what was measured meanwhile."""
    with meter.window(name) as window:
        time.sleep(seconds)
    return window.result


def _cool_down(planned: PlannedTrial, times: TrialTimes, bench: Bench) -> float | None:
    """Wait for this machine to come to rest; return the seconds, `None` where nothing tells."""
    gauges = bench.gauges(planned.configuration.provider, times.cool_down_c)
    return bench.cool_down.wait(gauges, max_s=times.cool_down_max_s)


def _schedules(
    planned: PlannedTrial, spec: CampaignSpec, workload: Workload
) -> tuple[tuple[AnySchedule, ...], AnySchedule]:
    """Return warm-up rounds and window; the configuration has no part in the randomness."""
    draw = partial(
        make_schedule,
        samples=workload.size,
        stride=(planned.configuration.stride or 1) if workload.is_sequence else None,
    )
    # A load draws the same wherever it stands in a file; the steps of a search are places.
    load = str(planned.load) if spec.search is None else planned.load_index
    names = (planned.configuration.scenario, load, planned.repeat)
    rng = stream(spec.seed, "warmup", *names)
    times = spec.trial
    rounds = tuple(
        draw(warmup_load(planned.offered), duration_s=times.warmup_round_s, rng=rng)
        for _ in range(max(2, int(times.warmup_max_s / times.warmup_round_s)))
    )
    window = draw(
        planned.offered, duration_s=times.window_s, rng=stream(spec.seed, "window", *names)
    )
    return rounds, window


def _sleep_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))
