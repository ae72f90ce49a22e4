"""Which configurations a scenario's factors make: every combination of levels that can exist."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SpecError
from .configuration import FACTORS, KNOB_FACTORS, Configuration
from .derived import Derived
from .places import check_place, runs_here
from .scenarios.base import ModelFamily, Scenario
from .scenarios.provider_names import PROVIDER_NAMES
from .spec import Factors, ScenarioSpec

__all__ = ["MOST_CELLS", "Excluded", "check_size", "configurations", "known_levels", "once"]

MOST_CELLS = 100_000
"""Combinations of a scenario's levels, loads, networks and environments: each is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A combination of levels that cannot exist, and why."""

    scenario: str
    levels: str
    reason: str


def configurations(
    part: ScenarioSpec, scenario: Scenario, subject: str, place: str, cpus: int
) -> tuple[list[Configuration], list[Excluded]]:
    """Cross a scenario's factors.

    Args:
        part: The scenario's entry.
        scenario: The scenario.
        subject: The specification's file, for messages.
        place: Where the factors stand in it.
        cpus: CPUs of the machine that services and load generator share.

    Returns:
        Combinations that exist, in the order of the levels; and what was left out.

    Raises:
        SpecError: When a level is not known to the scenario, stands twice or cannot be derived, or
            when no combination exists, or more than can be looked at.
    """
    families = {family.name: family for family in scenario.families}
    _check_levels(part, families, subject, place)
    derived = Derived(part, subject, place.removesuffix(".factors"))
    # The load generator keeps a CPU of its own, unless there is only one.
    most_threads = max(1, cpus - 1) if runs_here(part) else math.inf
    found: list[Configuration] = []
    excluded: dict[Excluded, None] = {}

    def leave_out(levels: str, reason: str) -> None:
        excluded[Excluded(scenario=scenario.name, levels=levels, reason=reason)] = None

    for model, precision in itertools.product(part.factors.model, part.factors.precision):
        family = families[model]
        if precision not in family.precisions:
            reason = f"{model} exists in {', '.join(family.precisions)} only"
            leave_out(f"model={model} precision={precision}", reason)
            continue
        knobs, beyond = _knobs(part.factors, family)
        for level in beyond:
            leave_out(f"model={model} max_exit={level}", f"{model} has {family.exits} exits")
        crossed = {
            "model": (model,),
            "precision": (precision,),
            "batch": part.factors.batch,
            "threads": part.factors.threads,
            "provider": part.factors.provider,
            "node": part.factors.node or (None,),
        } | knobs
        combinations = len(found) + math.prod(map(len, crossed.values()))
        check_size(combinations, MOST_CELLS, "combinations", subject, place)
        for levels in itertools.product(*crossed.values()):
            cell = derived.completed(dict(zip(crossed, levels, strict=True)), family)
            threads = cell["threads"]
            if threads <= most_threads:
                found.append(Configuration(scenario=scenario.name, **cell))
            else:
                needed = f"{threads} threads and the load generator need {threads + 1} CPUs"
                leave_out(f"threads={threads}", f"{needed} of {cpus}")
    if not found:
        raise SpecError(
            subject,
            place=place,
            found="no combination that can exist",
            expected="at least one",
            remedy="; ".join(entry.reason for entry in excluded),
        )
    return found, list(excluded)


def _check_levels(
    part: ScenarioSpec, families: Mapping[str, ModelFamily], subject: str, place: str
) -> None:
    """Refuse levels that are not known, stand twice, or that nothing has."""
    factors = part.factors
    known_levels(factors.model, list(families), subject, f"{place}.model")
    offered = {precision for family in families.values() for precision in family.precisions}
    known_levels(factors.precision, sorted(offered), subject, f"{place}.precision")
    known_levels(factors.provider, list(PROVIDER_NAMES), subject, f"{place}.provider")
    for name in FACTORS:
        once(getattr(factors, name), subject, f"{place}.{name}")
    check_place(part, subject, place.removesuffix(".factors"))
    _somebody_has([families[name] for name in factors.model], factors, subject, place)


def _somebody_has(
    families: Sequence[ModelFamily], factors: Factors, subject: str, place: str
) -> None:
    """Refuse levels of a factor that none of the models has: nothing would be measured of it."""
    for name in KNOB_FACTORS:
        if getattr(factors, name) and not any(name in family.knobs for family in families):
            raise SpecError(
                subject,
                place=f"{place}.{name}",
                found="levels, and no model that has it",
                expected="a model that has, or no levels",
                remedy="`joulery scenarios` lists what each model has",
            )


def _knobs(factors: Factors, family: ModelFamily) -> tuple[dict[str, list[Any]], list[int]]:
    """Return the levels of the factors that only some models have, and exits that it has not.

    A factor that the model has not is left unsaid, once; so is one without levels.
    """
    levels: dict[str, list[Any]] = {}
    for name in KNOB_FACTORS:
        asked = getattr(factors, name) if name in family.knobs else ()
        fits = [one for one in asked if name != "max_exit" or one <= family.exits]
        levels[name] = fits or ([] if asked else [None])
    asked = factors.max_exit if "max_exit" in family.knobs else ()
    return levels, [one for one in asked if one > family.exits]


def known_levels(levels: Sequence[str], known: Sequence[str], subject: str, place: str) -> None:
    """Refuse levels that are not known, with the nearest that is."""
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


def check_size(
    number: int, most: int, what: str, subject: str, place: str, remedy: str = "leave out levels"
) -> None:
    """Refuse more of something than can be held or would ever end."""
    if number > most:
        raise SpecError(
            subject,
            place=place,
            found=f"{number:,} {what}",
            expected=f"at most {most:,}",
            remedy=remedy,
        )


def once(levels: Sequence[Hashable], subject: str, place: str) -> None:
    """Refuse a level that stands twice."""
    before: set[Hashable] = set()
    for level in levels:
        if level in before:
            raise SpecError(
                subject,
                place=place,
                found=f"{level} twice",
                expected="each level once",
                remedy="`repeats` measures a level more often",
            )
        before.add(level)
