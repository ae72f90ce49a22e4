"""From a specification to an ordered list of trials: which cells, in which order, in which block.

Pure: the same specification gives the same plan. Nothing is measured here.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SpecError
from ..profiler.latency import requests_needed
from .scenarios.base import Scenario
from .spec import CampaignSpec, Load, ScenarioSpec

__all__ = ["Configuration", "Excluded", "Plan", "PlannedTrial", "plan_trials"]

_MOST_REQUESTS = 5_000_000
"""The generator holds every request of a stretch in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One way to configure one scenario's service."""

    scenario: str
    model: str
    precision: str
    batch: int
    threads: int

    def __str__(self) -> str:
        """Return the levels, for instance `model=mlp precision=int8 batch=8 threads=1`."""
        return (
            f"model={self.model} precision={self.precision} "
            f"batch={self.batch} threads={self.threads}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """One trial to run: a configuration under a load, in its place in the order."""

    number: int
    attempt: int
    block: int
    repeat: int
    configuration: Configuration
    load_index: int
    load: Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A combination of levels that cannot exist, and why."""

    scenario: str
    levels: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The trials in their order, and what was left out."""

    trials: tuple[PlannedTrial, ...]
    excluded: tuple[Excluded, ...]


def plan_trials(
    spec: CampaignSpec, scenarios: Mapping[str, Scenario], subject: str, *, cpus: int
) -> Plan:
    """Cross the factors, leave out what cannot exist, and randomise each block.

    Args:
        spec: The campaign.
        scenarios: Each scenario the specification names.
        subject: The specification's file, for messages.
        cpus: CPUs of the machine that services and load generator share.

    Raises:
        SpecError: When a level is not known to its scenario, stands twice, or asks for more
            requests than a trial can hold.
    """
    _check_loads(spec, subject)
    cells: list[tuple[Configuration, int]] = []
    excluded: list[Excluded] = []
    for index, part in enumerate(spec.scenarios):
        found, missing = _configurations(
            part, scenarios[part.scenario], subject, f"scenarios[{index}].factors", cpus
        )
        excluded += missing
        cells += itertools.product(found, range(len(spec.loads)))
    trials: list[PlannedTrial] = []
    for block in range(1, spec.repeats + 1):
        order = np.random.default_rng([spec.seed, block]).permutation(len(cells))
        trials += [
            PlannedTrial(
                number=len(trials) + place,
                attempt=1,
                block=block,
                repeat=block,
                configuration=cells[cell][0],
                load_index=cells[cell][1],
                load=spec.loads[cells[cell][1]],
            )
            for place, cell in enumerate(order, start=1)
        ]
    return Plan(trials=tuple(trials), excluded=tuple(excluded))


def _configurations(
    part: ScenarioSpec, scenario: Scenario, subject: str, place: str, cpus: int
) -> tuple[list[Configuration], list[Excluded]]:
    precisions = {family.name: family.precisions for family in scenario.models}
    _known(part.factors.model, list(precisions), subject, f"{place}.model")
    offered = sorted(set(itertools.chain.from_iterable(precisions.values())))
    _known(part.factors.precision, offered, subject, f"{place}.precision")
    for name in ("model", "precision", "batch", "threads"):
        _once(getattr(part.factors, name), subject, f"{place}.{name}")
    if part.endpoint is not None:
        _one_each(part, subject, place)
    found: list[Configuration] = []
    # The load generator keeps a CPU of its own, unless there is only one.
    most = max(1, cpus - 1) if part.endpoint is None else max(part.factors.threads)
    excluded = [
        Excluded(
            scenario=scenario.name,
            levels=f"threads={threads}",
            reason=f"{threads} threads and the load generator need {threads + 1} CPUs of {cpus}",
        )
        for threads in part.factors.threads
        if threads > most
    ]
    for model, precision in itertools.product(part.factors.model, part.factors.precision):
        if precision not in precisions[model]:
            excluded.append(
                Excluded(
                    scenario=scenario.name,
                    levels=f"model={model} precision={precision}",
                    reason=f"{model} exists in {', '.join(precisions[model])} only",
                )
            )
            continue
        found += [
            Configuration(
                scenario=scenario.name,
                model=model,
                precision=precision,
                batch=batch,
                threads=threads,
            )
            for batch, threads in itertools.product(part.factors.batch, part.factors.threads)
            if threads <= most
        ]
    if not found:
        raise SpecError(
            subject,
            place=place,
            found="no combination that can exist",
            expected="at least one",
            remedy="; ".join(entry.reason for entry in excluded),
        )
    return found, excluded


def _known(levels: Sequence[str], known: Sequence[str], subject: str, place: str) -> None:
    for level in levels:
        if level not in known:
            near = difflib.get_close_matches(level, known, n=1)
            raise SpecError(
                subject,
                place=place,
                found=f"'{level}'",
                expected=f"one of {', '.join(known)}",
                remedy=f"did you mean '{near[0]}'?" if near else None,
            )


def _once(levels: Sequence[object], subject: str, place: str) -> None:
    for level in levels:
        if levels.count(level) > 1:
            raise SpecError(
                subject,
                place=place,
                found=f"{level} twice",
                expected="each level once",
                remedy="`repeats` measures a level more often",
            )


def _one_each(part: ScenarioSpec, subject: str, place: str) -> None:
    """Refuse levels between which nobody could switch a server that runs already."""
    for name in ("precision", "batch", "threads"):
        levels = getattr(part.factors, name)
        if len(levels) > 1:
            raise SpecError(
                subject,
                place=f"{place}.{name}",
                found=f"{len(levels)} levels with an endpoint",
                expected="one, the server's own",
                remedy="measure each server in a campaign of its own, or leave the endpoint out",
            )


def _check_loads(spec: CampaignSpec, subject: str) -> None:
    _once([str(load) for load in spec.loads], subject, "loads")
    needed = requests_needed(spec.slo.percentile)
    longest_s = max(spec.trial.window_s, spec.trial.warmup_max_s)
    for index, load in enumerate(spec.loads):
        if load.rate_hz * spec.trial.window_s < needed:
            raise SpecError(
                subject,
                place=f"loads[{index}].rate_hz",
                found=f"{load.rate_hz * spec.trial.window_s:g} requests in a window",
                expected=f"at least {needed}, for an interval of the "
                f"{100 * spec.slo.percentile:g}th percentile",
                remedy=f"set trial.window_s to {1.3 * needed / load.rate_hz:.2g} or more, "
                "or lower slo.percentile",
            )
        if load.rate_hz * longest_s > _MOST_REQUESTS:
            raise SpecError(
                subject,
                place=f"loads[{index}].rate_hz",
                found=f"{load.rate_hz * longest_s:g} requests in {longest_s:g} s",
                expected=f"at most {_MOST_REQUESTS:,} in a window or warm-up",
                remedy="lower the rate, trial.window_s or trial.warmup_max_s",
            )
