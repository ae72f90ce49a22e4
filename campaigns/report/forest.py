"""Figures of a comparison: a ratio and its interval for every cell; colours are put in later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .axes import error_bars, log_axis
from .contrasts import ALIKE, Contrast

__all__ = ["HEIGHT_PX", "forest"]

HEIGHT_PX = 34
"""Of one row: a label above its interval."""
_COLOURS = {"higher": 1, "lower": 2, "alike": 0, "else": 5}
_TICKS = (0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 2.0, 5.0, 10.0)
_FARTHEST = 3.0
"""Intervals are cut where they go so many times beyond the outermost ratio."""


def forest(title: str, rows: Sequence[tuple[str, Contrast]]) -> dict[str, Any]:
    """Return the figure of one measure: a row per cell, from top to bottom.

    Args:
        title: Of the figure.
        rows: Label and contrast of each.

    Returns:
        A Plotly specification with `title` and `height`, pixels.
    """
    low, high = _range([contrast for _, contrast in rows])
    ticks = _thinned([tick for tick in _TICKS if low <= tick <= high], low, high)
    return {
        "title": title,
        "height": HEIGHT_PX * len(rows) + 56,
        "data": [_row(-place, label, contrast) for place, (label, contrast) in enumerate(rows)],
        "layout": {
            "xaxis": {
                **log_axis(low, high, ticks),
                "fixedrange": True,
                "zeroline": False,
            },
            "yaxis": {"visible": False, "range": [0.5 - len(rows), 0.9], "fixedrange": True},
            "showlegend": False,
            "hovermode": "closest",
            "margin": {"l": 12, "r": 12, "t": 6, "b": 40},
            "annotations": [_label(-place, label) for place, (label, _) in enumerate(rows)],
            "shapes": [
                _shape("rect", 1 - ALIKE, 1 + ALIKE, width=0),
                _shape("line", 1.0, 1.0, width=1),
            ],
        },
    }


def _range(found: Sequence[Contrast]) -> tuple[float, float]:
    points = [contrast.ratio.value for contrast in found]
    ends = [end for contrast in found for end in contrast.ratio.bounds]
    low = max(min(ends), min(points) / _FARTHEST)
    high = min(max(ends), max(points) * _FARTHEST)
    return min(low / 1.05, 0.88), max(high * 1.05, 1.13)


def _thinned(ticks: Sequence[float], low: float, high: float) -> list[float]:
    """Return the ticks that a narrow figure has room for; 1 is always among them."""
    kept = [1.0]
    for tick in sorted(ticks, key=lambda tick: abs(math.log(tick))):
        gap = 0.13 * math.log(high / low)
        if all(abs(math.log(tick / other)) > gap for other in kept):
            kept.append(tick)
    return sorted(kept)


def _row(y: int, label: str, contrast: Contrast) -> dict[str, Any]:
    low, high = contrast.ratio.bounds
    value = contrast.ratio.value
    p = "" if contrast.p_holm is None else f"<br>p {contrast.p_holm:.3g} (Holm)"
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [value],
        "y": [y],
        "error_x": error_bars([contrast.ratio], thickness=1.5),
        "marker": {"size": 8, "line": {"width": 1}},
        "hovertemplate": f"<b>{label}</b><br>× {value:.3g} ({low:.3g} to {high:.3g})"
        f"<br>{contrast.verdict}{p}<extra></extra>",
        "meta": {"colour": _COLOURS[_kind(contrast)], "front": False},
    }


def _kind(contrast: Contrast) -> str:
    if contrast.differs:
        return "higher" if contrast.ratio.value > 1 else "lower"
    return "alike" if contrast.equivalent else "else"


def _label(y: int, label: str) -> dict[str, Any]:
    return {
        "xref": "paper",
        "x": 0,
        "y": y,
        "text": label,
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": 3,
        "font": {"size": 11},
    }


def _shape(kind: str, low: float, high: float, *, width: int) -> dict[str, Any]:
    return {
        "type": kind,
        "x0": low,
        "x1": high,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "line": {"width": width, "dash": "dot"},
    }
