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
from .scenarios.base import Scenario
from .spec import CampaignSpec, Load, ScenarioSpec

__all__ = ["Configuration", "Excluded", "Plan", "PlannedTrial", "plan_trials"]


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


def plan_trials(spec: CampaignSpec, scenarios: Mapping[str, Scenario], subject: str) -> Plan:
    """Cross the factors, leave out what cannot exist, and randomise each block.

    Args:
        spec: The campaign.
        scenarios: Each scenario the specification names.
        subject: The specification's file, for messages.

    Raises:
        SpecError: When a model or a precision is not known to its scenario.
    """
    cells: list[tuple[Configuration, int]] = []
    excluded: list[Excluded] = []
    for index, part in enumerate(spec.scenarios):
        found, missing = _configurations(
            part, scenarios[part.scenario], subject, f"scenarios[{index}].factors"
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
    part: ScenarioSpec, scenario: Scenario, subject: str, place: str
) -> tuple[list[Configuration], list[Excluded]]:
    precisions = {family.name: family.precisions for family in scenario.models}
    _known(part.factors.model, list(precisions), subject, f"{place}.model")
    offered = sorted(set(itertools.chain.from_iterable(precisions.values())))
    _known(part.factors.precision, offered, subject, f"{place}.precision")
    found: list[Configuration] = []
    excluded: list[Excluded] = []
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
        ]
    if not found:
        raise SpecError(
            subject,
            place=place,
            found="no model that exists in one of the precisions",
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
    if len(set(levels)) < len(levels):
        raise SpecError(
            subject, place=place, found="a level that stands twice", expected="each level once"
        )
