"""An environment for a trial: set before its service starts, put back when it has ended.

A frequency holds for the whole trial, idle baselines included: it is a state of the machine. A
neighbour rests in the baselines: energy above idle is what comes on top of a machine at rest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..campaign import Campaign
from ..design import PlannedTrial
from ..executor import split_cores
from .frequency import Frequencies, FrequencyLimits
from .machine import Machine
from .neighbour import Neighbour, start_neighbour

__all__ = ["Imposed", "check_machine", "impose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imposed:
    """What the machine is made to be.

    Args:
        neighbour: Who shares the service's CPUs, if anybody.
        limits: What the kernel says of the frequency of these; `None`: nothing, or nobody asked.
    """

    neighbour: Neighbour | None = None
    limits: FrequencyLimits | None = None

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Let the neighbour work for as long as the block lasts.

        Raises:
            TrialError: When it ended before.
        """
        if self.neighbour is None:
            yield
            return
        self.neighbour.begin()
        yield
        self.neighbour.rest()


@contextlib.contextmanager
def impose(planned: PlannedTrial, frequencies: Frequencies) -> Iterator[Imposed]:
    """Make the machine what a trial's environment asks for, until the block ends.

    Raises:
        TrialError: When the kernel refuses a frequency, or the neighbour does not start.
    """
    wanted = planned.environment
    if wanted is None:
        yield Imposed()
        return
    cpus = split_cores(planned.configuration.threads, os.sched_getaffinity(0)).service
    with contextlib.ExitStack() as stack:
        if wanted.sets_frequency:
            stack.enter_context(frequencies.held(wanted, cpus))
        neighbour = None
        if wanted.neighbour_cpus is not None:
            neighbour = stack.enter_context(start_neighbour(wanted.neighbour_cpus, cpus))
        yield Imposed(neighbour=neighbour, limits=frequencies.limits(cpus))


def check_machine(campaign: Campaign, machine: Machine) -> None:
    """See that this machine can be what is asked of it, before anything is measured.

    Raises:
        SpecError: When it has no such governor, frequency or network device.
        TrialError: When it has no cpufreq or netem, or they may not be used.
    """
    for index, network in enumerate(campaign.networks):
        if network.device is not None:
            machine.network.check(network, campaign.subject, f"networks[{index}]")
    trials = campaign.plan.trials
    for index, wanted in enumerate(campaign.spec.environments):
        threads = [one.configuration.threads for one in trials if one.environment == wanted]
        if wanted.sets_frequency and threads:
            cpus = split_cores(max(threads), os.sched_getaffinity(0)).service
            machine.frequencies.check(wanted, cpus, campaign.subject, f"environments[{index}]")
