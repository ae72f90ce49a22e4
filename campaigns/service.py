"""What a trial's load is sent to: a service, wherever it runs, and the network before it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from .bench import Bench
from .design import PlannedTrial
from .endpoint import reach_endpoint
from .executor import RunningService, split_cores, start_service
from .kubernetes.executor import deploy
from .network.running import RunningLink, start_link
from .places import runs_here
from .schedule import stream
from .spec import CampaignSpec, ScenarioSpec

__all__ = ["network", "service_of"]


@contextlib.contextmanager
def network(
    planned: PlannedTrial, spec: CampaignSpec, service: RunningService, bench: Bench
) -> Iterator[RunningLink | None]:
    """Start the network between generator and service, on the generator's cores; or none.

    Raises:
        TrialError: When the emulator does not start, or the service cannot be reached; when the
            kernel refuses.
    """
    if planned.network is None:
        yield None
        return
    if planned.network.device is not None:
        with bench.machine.network.held(planned.network):
            yield None
        return
    cores = os.sched_getaffinity(bench.generator.pids[0])
    # As the load's, its randomness follows from the block and not from the configuration.
    seed = int(stream(spec.seed, "link", planned.network.name, planned.repeat).integers(2**31))
    with start_link(service.url, planned.network, seed=seed, cores=cores) as link:
        yield link


@contextlib.contextmanager
def service_of(
    planned: PlannedTrial, spec: CampaignSpec, part: ScenarioSpec, bench: Bench
) -> Iterator[RunningService]:
    """Start the service and keep the generator off its cores; or find the one that runs already.

    Raises:
        TrialError: When it does not become ready.
    """
    configuration, startup_max_s = planned.configuration, spec.trial.startup_max_s
    if not runs_here(part):
        for pid in bench.generator.pids:
            os.sched_setaffinity(pid, os.sched_getaffinity(0))
    if part.endpoint is not None:
        yield reach_endpoint(part.endpoint, configuration.model, startup_max_s=startup_max_s)
        return
    if part.kubernetes is not None:
        with deploy(
            planned,
            bench.stages[part.scenario],
            batch_wait_s=part.batch_wait_s,
            startup_max_s=startup_max_s,
        ) as service:
            yield service
        return
    cores = split_cores(configuration.threads, os.sched_getaffinity(0))
    for pid in bench.generator.pids:
        os.sched_setaffinity(pid, cores.others)
    workload = bench.workloads[configuration.scenario]
    with start_service(
        workload.model_path(configuration.model, configuration.precision),
        configuration,
        batch_wait_s=part.batch_wait_s,
        startup_max_s=startup_max_s,
        cores=cores,
        detector=workload.own_model(configuration.model),
    ) as service:
        yield service
