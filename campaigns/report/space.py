"""The figure of all three goals at once; colours are put in by the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..analysis import Analysis
from ..cells import GOALS, Cell
from .figures import Axis, axis_of, hover, of
from .fronts import front_of, knee_of

__all__ = ["space"]

_SYMBOLS = ("circle", "diamond", "square", "cross", "x")
"""Fewer than in the plane: there are no more of them in space."""


def space(analysis: Analysis, scenario: str, colours: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the figure of energy, latency and quality of every cell that has all three.

    Args:
        analysis: The statistics.
        scenario: Which scenario.
        colours: Number of the colour of each model.

    Returns:
        A Plotly specification; `None` when no cell has all three.
    """
    cells = [c for c in analysis.of(scenario) if all(c.value(goal) for goal in GOALS)]
    if not cells:
        return None
    axes = [axis_of(analysis, cells, scenario, goal) for goal in GOALS]
    loads = analysis.loads(scenario)
    data = [
        _point(cell, axes, _SYMBOLS[loads.index(cell.load) % len(_SYMBOLS)], colours[cell.model])
        for cell in cells
    ]
    for load in loads:
        front = front_of(analysis, [c for c in cells if c.load == load], tuple(GOALS))
        data += _stems(front, axes, higher=analysis.sign(scenario, "quality") < 0)
        best = knee_of(analysis, front, tuple(GOALS))
        if best is not None:
            data.append(_ring(best, axes))
    data += _objective(analysis, axes)
    return {
        "title": "Energy, latency and quality",
        "data": data,
        "layout": {
            "scene": {
                **{f"{name}axis": _axis(axis) for name, axis in zip("xyz", axes, strict=True)},
                "camera": {
                    "eye": {"x": 1.5, "y": -1.5, "z": 0.8},
                    "center": {"x": 0.0, "y": 0.0, "z": -0.12},
                },
                "aspectmode": "cube",
            },
            "showlegend": False,
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
            "annotations": [],
            "shapes": [],
        },
    }


def _axis(axis: Axis) -> dict[str, Any]:
    found = axis.layout()
    kept = ("range", "type", "tickvals", "ticktext")
    title = axis.title.replace(", 95th percentile", " p95").replace(" per inference", "")
    return {"title": {"text": title}, **{key: found[key] for key in kept if key in found}}


def _point(cell: Cell, axes: Sequence[Axis], symbol: str, colour: int) -> dict[str, Any]:
    return {
        "type": "scatter3d",
        "mode": "markers",
        **_place(cell, axes),
        "marker": {
            "symbol": symbol if cell.front else f"{symbol}{'' if symbol == 'x' else '-open'}",
            "size": 6 if cell.front else 4,
            "line": {"width": 1},
        },
        "hovertemplate": hover(cell) + "<extra></extra>",
        "meta": {"colour": colour, "front": cell.front},
    }


def _place(cell: Cell, axes: Sequence[Axis]) -> dict[str, list[float]]:
    return {name: [of(cell, axis)] for name, axis in zip("xyz", axes, strict=True)}


def _stems(
    front: Sequence[Cell], axes: Sequence[Axis], *, higher: bool
) -> Iterator[dict[str, Any]]:
    """Yield lines from the front's members to the side of the worse quality: they give depth."""
    floor = axes[2].low if higher else axes[2].high
    for cell in front:
        x, y, z = (of(cell, axis) for axis in axes)
        yield {
            "type": "scatter3d",
            "mode": "lines",
            "x": [x, x],
            "y": [y, y],
            "z": [floor, z],
            "line": {"width": 2},
            "hoverinfo": "skip",
            "meta": {"colour": "line"},
        }


def _ring(cell: Cell, axes: Sequence[Axis]) -> dict[str, Any]:
    return {
        "type": "scatter3d",
        "mode": "markers",
        **_place(cell, axes),
        "marker": {"symbol": "circle-open", "size": 13, "line": {"width": 2}},
        "hoverinfo": "skip",
        "meta": {"colour": "ink"},
    }


def _objective(analysis: Analysis, axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Yield the plane of the latency objective, where it is about the percentile shown."""
    slo = analysis.dataset.about.spec.get("slo") or {}
    x, y, z = axes
    at = slo.get("latency_s", math.inf) / y.factor
    if slo.get("percentile") == 0.95 and y.low < at < y.high:
        yield {
            "type": "surface",
            "x": [x.low, x.high],
            "y": [at, at],
            "z": [[z.low, z.low], [z.high, z.high]],
            "opacity": 0.25,
            "showscale": False,
            "hoverinfo": "skip",
            "meta": {"colour": "line"},
        }
