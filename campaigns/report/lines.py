"""Figures of means by level, one line each: interactions, and what a condition changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ..cells import Goal
from ..intervals import Interval
from ..units import human, prefix_for
from .axes import error_bars, log_axis
from .margins import means_of
from .sensitivity import Change
from .study import GoalStudy
from .variance import Refusal, Term

__all__ = ["Line", "change_panel", "interaction_panel", "line_panel"]

_TITLES: Mapping[Goal, tuple[str, str]] = {
    "energy": ("Energy above idle per inference", "J"),
    "latency": ("Latency, 95th percentile", "s"),
    "quality": ("Quality", "1"),
}
_DASHES = ("solid", "dash", "dot", "dashdot")
_COLOURS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: its name, the number of its colour, and its value at each level."""

    name: str
    colour: int
    values: Sequence[Interval | None]


def line_panel(
    title: str, goal: Goal, levels: Sequence[str], lines: Sequence[Line]
) -> dict[str, Any]:
    """Return a figure of one goal over the levels of a factor, with `title` and `legend`.

    Args:
        title: Of the figure.
        goal: What is drawn.
        levels: Names of the levels.
        lines: The lines; a level that one of them lacks is left out of it.
    """
    known = [one for line in lines for one in line.values if one is not None]
    name, unit = _TITLES[goal]
    factor, shown = prefix_for(sorted(one.value for one in known)[len(known) // 2], unit)
    log = goal != "quality" and all(one.value > 0 for one in known)
    step = 0.12 / max(1, len(lines) - 1) if len(lines) <= _COLOURS else 0.0
    data = [
        _trace(line, factor, levels, shift=(place - (len(lines) - 1) / 2) * step)
        for place, line in enumerate(lines)
    ]
    return {
        "title": title,
        "legend": {line.name: line.colour for line in lines} if len(lines) <= _COLOURS else {},
        "data": data,
        "layout": {
            "xaxis": {
                "tickvals": list(range(len(levels))),
                "ticktext": list(levels),
                "range": [-0.4, len(levels) - 0.6],
                "automargin": True,
                "fixedrange": True,
                "zeroline": False,
            },
            "yaxis": _y_axis(f"{name}, {shown}" if shown else name, known, factor, log=log),
            "showlegend": False,
            "hovermode": "closest",
            "margin": {"l": 56, "r": 14, "t": 10, "b": 40},
            "annotations": [],
            "shapes": [],
        },
    }


def _y_axis(title: str, known: Sequence[Interval], factor: float, *, log: bool) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": title, "standoff": 8},
        "automargin": True,
        "fixedrange": True,
        "zeroline": False,
    }
    if log:
        values = [one.value for one in known]
        # A wide interval must not press all lines together.
        low = max(min(one.bounds[0] for one in known), min(values) / 4) / factor / 1.1
        high = min(max(one.bounds[1] for one in known), max(values) * 4) / factor * 1.1
        axis |= log_axis(low, high)
    return axis


def _trace(line: Line, factor: float, levels: Sequence[str], *, shift: float) -> dict[str, Any]:
    there = [(at, one) for at, one in enumerate(line.values) if one is not None]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [at + shift for at, _ in there],
        "y": [one.value / factor for _, one in there],
        "line": {"width": 1.6, "dash": _DASHES[line.colour // _COLOURS % len(_DASHES)]},
        "marker": {"size": 7, "line": {"width": 1}},
        "text": [f"<b>{line.name}</b><br>{levels[at]}" for at, _ in there],
        "hovertemplate": "%{text}<br>%{y:.3g}<extra></extra>",
        "error_y": error_bars([one for _, one in there], factor, width=3),
        "meta": {"colour": line.colour % _COLOURS, "front": False},
    }


def interaction_panel(study: GoalStudy, term: Term) -> dict[str, Any] | None:
    """Return the figure of an interaction; `None` where its combinations share no ground.

    The factor with more levels goes along the axis; a line is a level of the other.
    """
    if isinstance(study.variance, Refusal):
        return None
    model = study.variance.model
    first, second = sorted(
        term.factors,
        key=lambda name: (name not in study.factors.conditions, -len(study.factors.levels[name])),
    )
    along, across = study.factors.levels[first], study.factors.levels[second]
    there = set(zip(model.sample.levels[first], model.sample.levels[second], strict=True))
    wanted = [pair for pair in product(along, across) if pair in there]
    found = means_of(model, (first, second), wanted, robust=study.variance.robust)
    if found is None:
        return None
    by = {margin.levels: study.shown(margin.mean) for margin in found[0]}
    lines = [
        Line(name=level, colour=place, values=[by.get((one, level)) for one in along])
        for place, level in enumerate(across)
    ]
    title = f"{study.goal.capitalize()}: {term.name}"
    return line_panel(title, study.goal, along, lines) | {"share": human(term.share)}


def change_panel(
    study: GoalStudy, condition: str, changes: Sequence[Change], colours: Mapping[str, int]
) -> dict[str, Any] | None:
    """Return the figure of every configuration over the levels of a condition.

    Args:
        study: One goal.
        condition: Name of the factor along the axis.
        changes: What it does to each configuration.
        colours: Number of the colour of each model.
    """
    levels = study.factors.levels[condition]
    rows: dict[str, tuple[int, dict[str, float]]] = {}
    for change in changes:
        name = ", ".join(change.rest.values())
        colour = colours.get(change.rest.get("model", ""), 0)
        _, values = rows.setdefault(name, (colour, {levels[0]: change.means[0]}))
        values[change.level] = change.means[1]
    if not rows:
        return None
    lines = [
        Line(
            name=name,
            colour=colour,
            values=[Interval(value=values[one]) if one in values else None for one in levels],
        )
        for name, (colour, values) in rows.items()
    ]
    title = f"{study.goal.capitalize()} by {condition.replace('_', ' ')}"
    return line_panel(title, study.goal, levels, lines)
