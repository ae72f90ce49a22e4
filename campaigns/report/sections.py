"""The facts of the report's sections on factors, conditions, exits and knees."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from ...datasets.store import Dataset
from ..analysis import Analysis
from ..cells import Goal
from .exits import exit_energies, exit_uses
from .fronts import knees
from .lines import change_panel, interaction_panel
from .sensitivity import Change, rankings
from .study import GoalStudy, Study, study
from .variance import Refusal

__all__ = ["scenario_sections"]

_MOST_PANELS = 2
"""Interactions drawn for each goal: the strongest."""
_UNITS: Mapping[Goal, str] = {"energy": "J", "latency": "s", "quality": "1"}


def scenario_sections(
    analysis: Analysis, scenario: str, colours: Mapping[str, int]
) -> dict[str, Any]:
    """Return what the templates name of one scenario, but for its Pareto fronts.

    Args:
        analysis: The statistics.
        scenario: Its name.
        colours: Number of the colour of each model.
    """
    found = study(analysis.dataset, scenario)
    goals = found.goals
    return {
        "variances": [_variance(goal) for goal in goals],
        "interactions": list(_interactions(goals)),
        "margins": _margins(found),
        "conditions": [_condition(found, name, colours) for name in found.factors.conditions],
        "exits": _exits(analysis.dataset, found),
        "knees": list(knees(analysis, scenario)),
    }


def _variance(goal: GoalStudy) -> dict[str, Any]:
    variance = goal.variance
    facts: dict[str, Any] = {"goal": goal.goal, "log": goal.log, "trials": goal.trials}
    if isinstance(variance, Refusal):
        return facts | {"refusal": variance.reason}
    return facts | {
        "refusal": None,
        "terms": sorted(variance.terms, key=lambda term: (len(term.factors), -term.share)),
        "error": variance.error,
        "error_freedom": variance.error_freedom,
        "values": len(variance.model.sample.values),
        "robust": variance.robust,
        "remarks": variance.remarks,
    }


def _interactions(goals: Iterable[GoalStudy]) -> Iterable[dict[str, Any]]:
    for goal in goals:
        drawn = (interaction_panel(goal, term) for term in goal.interactions)
        yield from [panel for panel in drawn if panel is not None][:_MOST_PANELS]


def _margins(found: Study) -> dict[str, Any]:
    """Return a row per level, with its mean in each goal, and what cannot be told apart."""
    rows: dict[tuple[str, str], dict[Goal, Any]] = {}
    alike = []
    for goal in found.goals:
        for margins in goal.margins():
            for margin in margins.means:
                row = rows.setdefault((margins.factor, margin.levels[0]), {})
                row[goal.goal] = goal.shown(margin.mean)
            if margins.alike:
                pairs = ", ".join(f"{one} and {other}" for one, other in margins.alike)
                alike.append((goal.goal, margins.factor, pairs))
    order = [(name, level) for name in found.factors.all for level in found.factors.levels[name]]
    scale = {
        _UNITS[goal]: statistics.median(values) if values else None
        for goal in ("energy", "latency")
        for values in [[row[goal].value for row in rows.values() if goal in row]]
    }
    return {
        "rows": [(*key, rows[key]) for key in order if key in rows],
        "alike": alike,
        "scale": scale,
    }


def _condition(found: Study, name: str, colours: Mapping[str, int]) -> dict[str, Any]:
    """Return what a condition changes: figures, whether the order stays, and every ratio."""
    by = {goal.goal: goal.changes(name) for goal in found.goals}
    drawn = [change_panel(goal, name, by[goal.goal], colours) for goal in found.goals]
    rows: dict[tuple[str, str], dict[Goal, Change]] = {}
    for goal, changes in by.items():
        for change in changes:
            rows.setdefault((_words(change.rest), change.level), {})[goal] = change
    return {
        "name": name.replace("_", " "),
        "reference": found.factors.levels[name][0],
        "panels": [panel for panel in drawn if panel is not None],
        "rankings": [
            (goal, ranking, *map(_words, ranking.first))
            for goal, changes in by.items()
            for ranking in rankings(changes)
        ],
        "rows": [(*key, row) for key, row in rows.items()],
    }


def _words(levels: Mapping[str, str]) -> str:
    """Return levels for people: a name alone says which model or precision, a number does not."""
    return ", ".join(
        f"{name.replace('max_', '').replace('_', ' ')} {level}" if level[0].isdigit() else level
        for name, level in levels.items()
    )


def _exits(dataset: Dataset, found: Study) -> dict[str, Any] | None:
    """Return what each exit takes; `None` when no request has one."""
    if found.scenario not in dataset.scenarios or not len(found.trials):
        return None
    requests = dataset.requests(found.scenario)
    around = found.factors.conditions or ("load",)
    trials = found.trials.sort_values(["configuration", "rate_hz", *around], kind="stable")
    uses = exit_uses(trials, requests, around)
    if not uses:
        return None
    latencies = [use.latency["p95"].value for use in uses]
    energies = exit_energies(trials, requests, around)
    joules = [one.value for energy in energies for one in energy.energy.values() if one.value > 0]
    return {
        "uses": [(_short(use.configuration), use) for use in uses],
        "energies": [(_short(energy.service), energy) for energy in energies],
        "latency_scale": statistics.median(latencies),
        "energy_scale": statistics.median(joules) if joules else None,
    }


def _short(configuration: str) -> str:
    """Return a configuration without the names of what explains itself."""
    return configuration.replace("model=", "").replace("precision=", "").replace("=", " ")
