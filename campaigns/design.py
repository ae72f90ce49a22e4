"""From a specification to an ordered list of trials: which cells, in which order, in which block.

Pure: the same specification gives the same plan. Nothing is measured here.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SpecError
from .configuration import FACTORS, Configuration
from .crossing import MOST_CELLS, Excluded, check_size, configurations, once
from .expressions import Expression
from .imposed.spec import EnvironmentSpec
from .load_checks import check_generator, check_loads
from .network.conditions import Conditions
from .places import check_environments, check_kernel_networks, check_networks
from .scenarios.base import Scenario
from .search import RateSearch, steps
from .spec import CampaignSpec, Load, Subset
from .subsets import fraction, hypercube

__all__ = [
    "Plan",
    "PlannedTrial",
    "plan_trials",
]

_SURROUNDINGS = ("scenario", "load", "arrival", "rate_hz", "network", "environment")
"""What constraints may name beside factors."""
_MOST_TRIALS = 1_000_000
"""A plan is held in memory; at a second each they would take days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """One trial to run: a configuration under a load, in its place in the order.

    Args:
        number: From 1, in the order of the plan.
        attempt: From 1.
        block: From 1.
        repeat: Of its cell, from 1.
        configuration: How the service is configured.
        load_index: Which load it is; in a search, the step.
        load: In a search, the search: what the steps before it found decides on the rate.
        network: Between load generator and service; `None`: nothing is emulated.
        environment: What the machine is made to be; `None`: it stays as it is.
    """

    number: int
    attempt: int
    block: int
    repeat: int
    configuration: Configuration
    load_index: int
    load: Load | RateSearch
    network: Conditions | None = None
    environment: EnvironmentSpec | None = None

    @property
    def offered(self) -> Load:
        """The load, where it is known: always, once the trial is to run."""
        assert not isinstance(self.load, RateSearch)
        return self.load

    @property
    def under(self) -> dict[str, str | None]:
        """What the service is under, by name of the dataset's column."""
        return _under(self)

    @property
    def cell(self) -> tuple[Configuration, str | None, str | None, str | None]:
        """What its repeats have in common: configuration, load, network and environment."""
        load, network, environment = self.under.values()
        return self.configuration, load, network, environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The trials in their order, and what was left out."""

    trials: tuple[PlannedTrial, ...]
    excluded: tuple[Excluded, ...]


@dataclass(frozen=True, slots=True)
class _Cell:
    """A combination that every block measures once; in a search, once a step."""

    configuration: Configuration
    load_index: int
    load: Load | RateSearch
    network: Conditions | None
    environment: EnvironmentSpec | None

    def coordinates(self) -> tuple[Hashable, ...]:
        """Return its level of each factor, surroundings included, once each."""
        own = (getattr(self.configuration, name) for name in FACTORS)
        return (*own, self.load_index, _name(self.network), _name(self.environment))

    def levels(self) -> dict[str, object]:
        """Return what constraints may name."""
        return {name: getattr(self.configuration, name) for name in FACTORS} | {
            "scenario": self.configuration.scenario,
            "arrival": self.load.arrival,
            "rate_hz": self.load.rate_hz,
            **_under(self),
        }


def _under(one: PlannedTrial | _Cell) -> dict[str, str | None]:
    return {
        "load": str(one.load),
        "network": _name(one.network),
        "environment": _name(one.environment),
    }


def _name(one: Conditions | EnvironmentSpec | None) -> str | None:
    return None if one is None else one.name


def plan_trials(
    spec: CampaignSpec,
    scenarios: Mapping[str, Scenario],
    subject: str,
    *,
    cpus: int,
    networks: Sequence[Conditions] = (),
) -> Plan:
    """Cross the factors, leave out what cannot or shall not be, and randomise each block.

    Args:
        spec: The campaign.
        scenarios: Each scenario the specification names.
        subject: The specification's file, for messages.
        cpus: CPUs of the machine that services and load generator share.
        networks: What the specification's networks are.

    Raises:
        SpecError: When a level is not known to its scenario, stands twice, or asks for more
            requests than a trial can hold; when a constraint is none, or leaves nothing; when
            there are more cells or trials than a plan can hold.
    """
    check_loads(spec, subject)
    check_generator(spec, subject, cpus)
    check_networks(spec, subject)
    check_kernel_networks(spec, subject)
    check_environments(spec, subject)
    once([one.name for one in networks], subject, "networks")
    once([one.name for one in spec.environments], subject, "environments")
    loads = spec.loads if spec.search is None else (spec.search,)
    cells: list[_Cell] = []
    excluded: list[Excluded] = []
    roomy: set[EnvironmentSpec | None] = set()
    for index, part in enumerate(spec.scenarios):
        found, missing = configurations(
            part, scenarios[part.scenario], subject, f"scenarios[{index}].factors", cpus
        )
        around = len(loads) * max(1, len(networks)) * max(1, len(spec.environments))
        number = len(found) * around
        check_size(number, MOST_CELLS, "cells", subject, f"scenarios[{index}]")
        own = [
            _Cell(configuration, number, load, network, environment)
            for configuration, (number, load), network, environment in itertools.product(
                found, enumerate(loads), networks or (None,), spec.environments or (None,)
            )
        ]
        own, crowded = _with_room(own, part.scenario)
        roomy |= {cell.environment for cell in own}
        own, unwanted = _kept(own, spec, subject, part.scenario)
        excluded += missing + crowded + unwanted
        if own and spec.subset is not None:
            own = _some(own, spec.subset, spec.seed, subject, part.scenario)
        cells += own
    _check_room(spec, roomy, subject)
    if not cells:
        reasons = "; ".join(entry.reason for entry in excluded)
        raise SpecError(
            subject, place="constraints", found="no cell left", expected="one", remedy=reasons
        )
    rounds = 1 if spec.search is None else steps(spec.search)
    trials = len(cells) * spec.repeats * rounds
    check_size(trials, _MOST_TRIALS, "trials", subject, "repeats", "lower it, or leave out levels")
    return Plan(trials=tuple(_ordered(cells, spec)), excluded=tuple(excluded))


def _with_room(cells: Sequence[_Cell], scenario: str) -> tuple[list[_Cell], list[Excluded]]:
    """Return the cells whose service has as many CPUs as their neighbour asks for, and others."""
    kept: list[_Cell] = []
    crowded: dict[Excluded, None] = {}
    for cell in cells:
        threads, wanted = cell.configuration.threads, cell.environment
        if wanted is None or (wanted.neighbour_cpus or 0) <= threads:
            kept.append(cell)
            continue
        levels = f"threads={threads} environment={wanted.name}"
        reason = f"a neighbour of {wanted.neighbour_cpus:g} CPUs, and a service of {threads}"
        crowded[Excluded(scenario=scenario, levels=levels, reason=reason)] = None
    return kept, list(crowded)


def _check_room(
    spec: CampaignSpec, roomy: Collection[EnvironmentSpec | None], subject: str
) -> None:
    """Refuse an environment whose neighbour asks for more CPUs than any service has."""
    for index, wanted in enumerate(spec.environments):
        if wanted not in roomy:
            raise SpecError(
                subject,
                place=f"environments[{index}].neighbour_cpus",
                found=f"{wanted.neighbour_cpus:g}",
                expected="at most as many CPUs as a service has: its `threads`",
                remedy="lower it, or add levels of `threads`",
            )


def _kept(
    cells: Sequence[_Cell], spec: CampaignSpec, subject: str, scenario: str
) -> tuple[list[_Cell], list[Excluded]]:
    """Return the cells that keep every constraint, and how many others there are."""
    kept, excluded = list(cells), []
    for index, text in enumerate(spec.constraints):
        place = f"constraints[{index}]"
        condition = Expression(text, (*FACTORS, *_SURROUNDINGS), subject=subject, place=place)
        before = len(kept)
        kept = [cell for cell in kept if condition.holds(cell.levels())]
        if len(kept) < before:
            number = before - len(kept)
            levels = f"{number} {'cells' if number > 1 else 'cell'}"
            reason = f"constraint {text}"
            excluded.append(Excluded(scenario=scenario, levels=levels, reason=reason))
    return kept, excluded


def _some(
    cells: Sequence[_Cell], subset: Subset, seed: int, subject: str, scenario: str
) -> list[_Cell]:
    """Return the cells of a fraction or a hypercube."""
    coded = [one.coordinates() for one in cells]
    if subset.hypercube is not None:
        return [cells[place] for place in hypercube(coded, subset.hypercube, seed)]
    assert subset.fraction is not None
    try:
        chosen = [cells[place] for place in fraction(coded, subset.fraction)]
    except ValueError as error:
        raise SpecError(
            subject,
            place="subset.fraction",
            found=f"{subset.fraction} for factors of {scenario} with {error}",
            expected="two factors with several levels, one of them with so many",
            remedy="lower it, or measure all cells",
        ) from None
    if lost := _lost(cells, chosen):
        smaller = (
            f"set it to {number}"
            for number in range(subset.fraction - 1, 1, -1)
            if not _lost(cells, [cells[place] for place in fraction(coded, number)])
        )
        raise SpecError(
            subject,
            place="subset.fraction",
            found=f"{subset.fraction}, and no trial of {scenario} with {' or '.join(lost)}",
            expected="a fraction that has every level of every factor",
            remedy=next(smaller, "none has, so measure all cells"),
        )
    return chosen


def _lost(cells: Sequence[_Cell], chosen: Sequence[_Cell]) -> list[str]:
    """Return the levels that only cells which were not chosen have, as `factor=level`."""
    every, found = ([one.levels() for one in some] for some in (cells, chosen))
    return [
        f"{name}={level}"
        for name in (*FACTORS, "load", "network", "environment")
        for level in dict.fromkeys(one[name] for one in every)
        # Models that have not a factor say nothing of it, and are levels themselves.
        if level is not None and level not in {one[name] for one in found}
    ]


def _ordered(cells: Sequence[_Cell], spec: CampaignSpec) -> list[PlannedTrial]:
    """Return each block's cells in a random order of its own; a search makes one step of all."""
    trials: list[PlannedTrial] = []
    rounds = range(1 if spec.search is None else steps(spec.search))
    for block, step in itertools.product(range(1, spec.repeats + 1), rounds):
        seed = [spec.seed, block] if spec.search is None else [spec.seed, block, step]
        order = np.random.default_rng(seed).permutation(len(cells))
        trials += [
            PlannedTrial(
                number=len(trials) + place,
                attempt=1,
                block=block,
                repeat=block,
                configuration=cell.configuration,
                load_index=cell.load_index if spec.search is None else step,
                load=cell.load,
                network=cell.network,
                environment=cell.environment,
            )
            for place, cell in enumerate((cells[at] for at in order), start=1)
        ]
    return trials
