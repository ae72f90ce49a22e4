"""The section and the figure of a campaign that searched the highest rates; colours come later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..analysis import Analysis
from ..highest_rates import HighestRate, highest_rates, rate_text, search_of
from ..search import RateSearch
from .axes import error_bars, log_axis

__all__ = ["rates_panel", "search_answer", "search_facts"]

_LABEL_PX, _BLOCK_PX, _GAP_PX = 20, 13, 12
_FRAME_PX = 56
"""Above and below the rows: the axis and its title."""


def search_facts(
    analysis: Analysis, scenario: str, colours: Mapping[str, int]
) -> dict[str, Any] | None:
    """Return what the templates name of a scenario's searches; `None` where there were none.

    Args:
        analysis: The statistics.
        scenario: Its name.
        colours: Number of the colour of each model.
    """
    dataset = analysis.dataset
    search = search_of(dataset.about.spec)
    if search is None:
        return None
    mine = dataset.trials[dataset.trials["scenario"] == scenario]
    found = highest_rates(mine, dataset.about.spec)
    quality = {cell.label: cell.quality for cell in analysis.of(scenario)}
    energies = sorted(one.energy.value for one in found if one.energy)
    return {
        "range": str(search),
        "resolution": f"{100 * search.resolution_ratio:g} %",
        "blocks": max((len(one.blocks) for one in found), default=0),
        "answer": search_answer(found, str(analysis.objective), analysis.partial),
        "rows": [(one, quality.get(one.label)) for one in found],
        "energy_scale": energies[len(energies) // 2] if energies else None,
        "panel": rates_panel(found, search, str(analysis.objective), colours),
    }


def search_answer(found: Sequence[HighestRate], objective: str, partial: str | None) -> str:
    """Return in a sentence or two which configuration keeps the objective at the highest rate."""
    if partial:
        return f"Not answered yet: {partial}."
    known = [(mean.value, one) for one in found if (mean := one.mean) and one.open != "below"]
    if not known:
        return f"Not answered: no search found a rate that keeps {objective}."
    best = max(known, key=lambda pair: pair[0])[1]
    text = f"{best.name} keeps {objective} up to {best.mean_text}"
    if len(found) == 1:
        return f"{text}."
    rivals = sum(one is not best and _may_equal(one, best) for one in found)
    told = f"; {rivals} other{'s' if rivals > 1 else ''} cannot be told apart from it"
    return f"{text}, the highest of {len(found)}{told if rivals else ''}."


def _may_equal(one: HighestRate, best: HighestRate) -> bool:
    """Whether a rate cannot be told to be lower than the highest."""
    return one.bounds[1] >= best.bounds[0]


def rates_panel(
    found: Sequence[HighestRate],
    search: RateSearch,
    objective: str,
    colours: Mapping[str, int],
) -> dict[str, Any] | None:
    """Return the figure: for each block a line from the rate that was kept to the one that failed.

    Args:
        found: What is drawn, from top to bottom.
        search: The range.
        objective: The objective in words.
        colours: Number of the colour of each model.

    Returns:
        A Plotly specification with `title` and `height`, pixels; `None` where nothing was found.
    """
    found = [one for one in found if one.told]
    if not found:
        return None
    data: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    at = 0.0
    for one in found:
        labels.append(_label(at, one.name))
        data += _row(one, search, at + _LABEL_PX, colours.get(one.model, 0))
        at += _LABEL_PX + _BLOCK_PX * (len(one.told) + 1) + _GAP_PX
    low, high = search.lowest_hz / 1.06, search.highest_hz * 1.06
    return {
        "title": f"Highest rate that keeps {objective}",
        "height": round(at) + _FRAME_PX,
        "data": data,
        "layout": {
            "xaxis": {
                **log_axis(low, high),
                "title": {"text": "Offered rate, Hz", "standoff": 8},
                "fixedrange": True,
                "zeroline": False,
            },
            # One unit is one pixel, from the top.
            "yaxis": {"visible": False, "range": [at, 0], "fixedrange": True},
            "showlegend": False,
            "hovermode": "closest",
            "margin": {"l": 14, "r": 14, "t": 6, "b": _FRAME_PX - 6},
            "annotations": labels,
            "shapes": [],
        },
    }


def _row(one: HighestRate, search: RateSearch, top: float, colour: int) -> Iterator[dict[str, Any]]:
    """Yield the traces of a configuration: brackets, what was kept, what failed, and the mean."""
    places = [(top + _BLOCK_PX * (at + 0.5), block) for at, block in enumerate(one.told)]
    meta = {"colour": colour, "front": False}
    line_x: list[float | None] = []
    line_y: list[float | None] = []
    for y, block in places:
        line_x += [block.kept_hz or search.lowest_hz, block.failed_hz or search.highest_hz, None]
        line_y += [y, y, None]
    yield {
        "type": "scatter",
        "mode": "lines",
        "x": line_x,
        "y": line_y,
        "line": {"width": 2},
        "hoverinfo": "skip",
        "meta": meta,
    }
    for symbol, word, ends in (
        ("circle", "kept", [(y, b, b.kept_hz) for y, b in places]),
        ("circle-open", "failed", [(y, b, b.failed_hz) for y, b in places]),
    ):
        there = [(y, block, rate_hz) for y, block, rate_hz in ends if rate_hz is not None]
        if there:
            yield {
                "type": "scatter",
                "mode": "markers",
                "x": [rate_hz for _, _, rate_hz in there],
                "y": [y for y, _, _ in there],
                "text": [
                    f"<b>{one.name}</b><br>block {block.block}: {word} at {rate_text(rate_hz)} Hz"
                    for _, block, rate_hz in there
                ],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"symbol": symbol, "size": 8, "line": {"width": 1.6}},
                "meta": meta,
            }
    mean = one.mean
    if mean is not None and one.open is None and len(one.told) > 1:
        yield {
            "type": "scatter",
            "mode": "markers",
            "x": [mean.value],
            "y": [top + _BLOCK_PX * (len(places) + 0.5)],
            "error_x": error_bars([mean], thickness=1.5, width=4),
            "hovertemplate": f"<b>{one.name}</b><br>{one.mean_text}<extra></extra>",
            "marker": {"symbol": "diamond", "size": 10, "line": {"width": 1}},
            "meta": meta,
        }


def _label(y: float, text: str) -> dict[str, Any]:
    return {
        "xref": "paper",
        "x": 0,
        "y": y,
        "text": text,
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "top",
        "font": {"size": 12},
    }
