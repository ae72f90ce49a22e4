"""The figures of the report, as plain Plotly specifications; colours are put in by the page.

A trace names its colour by number (`meta.colour`), so that one page serves light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..analysis import Analysis
from ..cells import Cell, Goal
from ..units import human, prefix_for
from .axes import error_bars, log_axis
from .fronts import PAIRS, front_of, knee_of

__all__ = ["SYMBOLS", "Axis", "axis_of", "hover", "of", "panels"]

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
# What a label covers is worked out for a panel of this size, the smallest that is common.
_WIDTH_PX, _HEIGHT_PX, _LETTER_PX, _LINE_PX = 330.0, 270.0, 6.2, 14.0
_RING_PX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One goal as an axis: its title, the factor to its unit, and whether it is logarithmic."""

    goal: Goal
    title: str
    factor: float
    log: bool
    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return (value - low) / (high - low)

    def layout(self) -> dict[str, Any]:
        """Return the Plotly layout of the axis."""
        axis: dict[str, Any] = {
            "title": {"text": self.title, "standoff": 8},
            "automargin": True,
            "zeroline": False,
            "fixedrange": True,
        }
        return axis | (
            log_axis(self.low, self.high) if self.log else {"range": [self.low, self.high]}
        )


def panels(analysis: Analysis, scenario: str, colours: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the Pareto figures of a scenario: each pair of energy, latency and quality.

    Args:
        analysis: The statistics.
        scenario: Which scenario.
        colours: Number of the colour of each model.

    Returns:
        Plotly specifications with `title`, `data` and `layout`; one is left out when no cell has
        both of its figures.
    """
    found = []
    for x_goal, y_goal in PAIRS:
        cells = [c for c in analysis.of(scenario) if c.value(x_goal) and c.value(y_goal)]
        if not cells:
            continue
        x, y = (
            axis_of(analysis, cells, scenario, x_goal),
            axis_of(analysis, cells, scenario, y_goal),
        )
        fronts = {
            load: front_of(analysis, [c for c in cells if c.load == load], (x_goal, y_goal))
            for load in analysis.loads(scenario)
        }
        data = [_line(front, x, y, number) for number, front in enumerate(fronts.values()) if front]
        data += _points(analysis, cells, colours, x, y)
        knees = [
            knee
            for front in fronts.values()
            if (knee := knee_of(analysis, front, (x_goal, y_goal))) is not None
        ]
        data += [_ring(knee, x, y) for knee in knees]
        found.append(
            {
                "title": f"{x_goal.capitalize()} and {y_goal}",
                "data": data,
                "layout": {
                    "xaxis": x.layout(),
                    "yaxis": y.layout(),
                    "showlegend": False,
                    "hovermode": "closest",
                    "margin": {"l": 56, "r": 14, "t": 10, "b": 48},
                    "annotations": list(_labels(cells, fronts, knees, x, y)),
                    "shapes": _objective(analysis, x, y),
                },
            }
        )
    return found


def axis_of(analysis: Analysis, cells: Sequence[Cell], scenario: str, goal: Goal) -> Axis:
    """Return a goal as an axis that has room for the intervals of some cells."""
    intervals = [value for cell in cells if (value := cell.value(goal))]
    values = sorted(value.value for value in intervals)
    ends = [end for value in intervals for end in value.bounds]
    log = goal != "quality" and values[0] > 0
    if log:
        # An interval that reaches down to 0 would stretch a logarithmic axis without end.
        low, high = max(min(ends), values[0] / 3) / 1.25, max(ends) * 1.25
    else:
        pad = 0.08 * (max(ends) - min(ends)) or 0.1 * abs(values[0]) or 1.0
        low, high = min(ends) - pad, max(ends) + pad
    if goal == "quality":
        figure = analysis.headline(scenario)
        title = f"{analysis.quality_name(scenario)} ({figure['better']} is better)"
        return Axis(goal=goal, title=title, factor=1.0, log=False, low=low, high=high)
    factor, unit = prefix_for(values[len(values) // 2], "J" if goal == "energy" else "s")
    name = "Energy above idle per inference" if goal == "energy" else "Latency, 95th percentile"
    return Axis(
        goal=goal,
        title=f"{name}, {unit}",
        factor=factor,
        log=log,
        low=low / factor,
        high=high / factor,
    )


def of(cell: Cell, axis: Axis) -> float:
    """Return where a cell lies, in the unit of an axis."""
    value = cell.value(axis.goal)
    if value is None:
        raise ValueError(f"{cell.label} has no {axis.goal}")
    return value.value / axis.factor


def _line(front: Sequence[Cell], x: Axis, y: Axis, number: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [of(cell, x) for cell in front],
        "y": [of(cell, y) for cell in front],
        # What lies between two members can be had from the cheaper one: steps, not slopes.
        "line": {"shape": "hv", "width": 1.5, "dash": ("solid", "dash", "dot")[number % 3]},
        "hoverinfo": "skip",
        "meta": {"colour": "line"},
    }


def _points(
    analysis: Analysis, cells: Sequence[Cell], colours: Mapping[str, int], x: Axis, y: Axis
) -> Iterator[dict[str, Any]]:
    loads = analysis.loads(cells[0].scenario)
    for cell in cells:
        symbol = SYMBOLS[loads.index(cell.load) % len(SYMBOLS)]
        yield {
            "type": "scatter",
            "mode": "markers",
            "x": [of(cell, x)],
            "y": [of(cell, y)],
            "error_x": error_bars([cell.value(x.goal)], x.factor),
            "error_y": error_bars([cell.value(y.goal)], y.factor),
            "marker": {
                "symbol": symbol if cell.front else f"{symbol}-open",
                "size": 11 if cell.front else 9,
                "line": {"width": 1.6},
            },
            "hovertemplate": hover(cell) + "<extra></extra>",
            "meta": {"colour": colours[cell.model], "front": cell.front},
        }


def _ring(cell: Cell, x: Axis, y: Axis) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [of(cell, x)],
        "y": [of(cell, y)],
        "marker": {"symbol": "circle-open", "size": _RING_PX, "line": {"width": 2}},
        "hoverinfo": "skip",
        "meta": {"colour": "ink"},
    }


def hover(cell: Cell) -> str:
    """Return what a mark tells of its cell."""
    p95 = cell.latency.get("p95")
    lines = [
        f"<b>{cell.label}</b>",
        cell.load,
        f"{human(cell.energy.value if cell.energy else None, 'J')} above idle per inference"
        f" ({cell.provenance or 'unknown'})",
        f"p95 {human(p95.value if p95 else None, 's')}",
        f"quality {human(cell.quality.value if cell.quality else None)}",
        f"{cell.valid} valid trials, {cell.requests} requests",
    ]
    return "<br>".join(lines)


def _objective(analysis: Analysis, x: Axis, y: Axis) -> list[dict[str, Any]]:
    """Return the line of the latency objective, where it is about the percentile shown."""
    slo = analysis.dataset.about.spec.get("slo") or {}
    if slo.get("percentile") != 0.95:
        return []
    shapes = []
    for axis, name, other in ((x, "x", "y"), (y, "y", "x")):
        at = slo["latency_s"] / axis.factor
        if axis.goal != "latency" or not axis.low < at < axis.high:
            continue
        side = "right" if name == "y" or axis.place(at) > 0.7 else "left"
        shapes.append(
            {
                "type": "line",
                f"{name}0": at,
                f"{name}1": at,
                f"{other}ref": "paper",
                f"{other}0": 0,
                f"{other}1": 1,
                "line": {"width": 1, "dash": "dot"},
                "label": {
                    "text": f"objective {slo['latency_s'] / axis.factor:g}",
                    "textposition": "end",
                    "textangle": 0,
                    "xanchor": side,
                    "yanchor": "bottom" if name == "y" and axis.place(at) < 0.9 else "top",
                    "font": {"size": 10},
                },
            }
        )
    return shapes


def _labels(
    cells: Sequence[Cell],
    fronts: Mapping[str, Sequence[Cell]],
    knees: Sequence[Cell],
    x: Axis,
    y: Axis,
) -> Iterator[dict[str, Any]]:
    """Yield a label for each member of a front, where there is room for it."""
    taken = [_box(_pixel(cell, x, y), 10.0, 10.0) for cell in cells]
    taken += [_box(_pixel(cell, x, y), _RING_PX, _RING_PX) for cell in knees]
    for cell in (cell for front in reversed([*fronts.values()]) for cell in front):
        text = cell.label.replace(", batch ", " b").replace(", threads ", " t")
        width = _LETTER_PX * len(text)
        px, py = _pixel(cell, x, y)
        for dx, dy in ((0, -14), (0, 14), (1, 0), (-1, 0), (1, -14), (-1, -14), (1, 14), (-1, 14)):
            middle = (px + dx * (width / 2 + 9), py + dy)
            box = _box(middle, width, _LINE_PX)
            inside = box[0] > 0 and box[1] < _WIDTH_PX and box[2] > 0 and box[3] < _HEIGHT_PX
            if inside and not any(_cross(box, other) for other in taken):
                taken.append(box)
                yield {
                    "x": math.log10(of(cell, x)) if x.log else of(cell, x),
                    "y": math.log10(of(cell, y)) if y.log else of(cell, y),
                    "text": text,
                    "showarrow": False,
                    "xanchor": {0: "center", 1: "left", -1: "right"}[dx],
                    "xshift": 9 * dx,
                    "yshift": -dy,
                    "font": {"size": 11},
                }
                break


def _pixel(cell: Cell, x: Axis, y: Axis) -> tuple[float, float]:
    return x.place(of(cell, x)) * _WIDTH_PX, (1 - y.place(of(cell, y))) * _HEIGHT_PX


_Box = tuple[float, float, float, float]


def _box(middle: tuple[float, float], width: float, height: float) -> _Box:
    x, y = middle
    return x - width / 2, x + width / 2, y - height / 2, y + height / 2


def _cross(one: _Box, other: _Box) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
