"""The figures of a validation, as plain Plotly specifications; the page puts the colours in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .formulas import FORMULAS, Claim
from .results import Found
from .summary import COVERAGE, TARGETS

__all__ = ["COLOURS", "SYMBOLS", "panels"]

COLOURS = {
    "joulery": 0,
    "joulery_counters": 2,
    "ratio_through_origin": 1,
    "joulery_time_share": 0,
    "share_of_total": 1,
}
"""Ours are blue and green, references orange; a claim is a panel of its own."""

SYMBOLS = {
    "joulery": "circle",
    "joulery_counters": "diamond",
    "ratio_through_origin": "square-open",
    "joulery_time_share": "circle",
    "share_of_total": "square-open",
}

_TITLES = {Claim.ACTIVE: "active energy", Claim.WITH_IDLE: "active energy and a share of idle"}
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
_SPREAD = 0.22
"""Formulas of one scenario stand so far apart, in rows."""

Panel = dict[str, Any]


def panels(found: Found) -> dict[str, Panel]:
    """Return each figure by its name, with `title`, `data` and `layout`."""
    made: dict[str, Panel] = {}
    for claim in Claim:
        made[f"error {claim}"] = _errors(found, claim)
    for claim in Claim:
        made[f"spread {claim}"] = _spread(found, claim)
    made["coverage"] = _coverage(found)
    made["example"] = _example(found)
    made["idle"] = _idle(found)
    return made


def _of(claim: Claim) -> list[str]:
    return [formula.name for formula in FORMULAS if formula.claim is claim]


def _offset(number: int, count: int) -> float:
    return _SPREAD * (number - (count - 1) / 2)


def _dots(
    rows: pd.DataFrame, places: Mapping[str, float], stem: str, formula: str
) -> dict[str, Any]:
    """Return a dot per scenario with the interval of its figure, in percent."""
    value, low, high = (100 * rows[f"{stem}{end}_ratio"] for end in ("", "_low", "_high"))
    texts = [f"{v:.2f} % ({a:.2f} to {b:.2f})" for v, a, b in zip(value, low, high, strict=True)]
    title = next(one.title for one in FORMULAS if one.name == formula)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": value.tolist(),
        "y": [places[name] for name in rows["scenario"]],
        "error_x": {
            "type": "data",
            "symmetric": False,
            # Of a single node there is no interval.
            "array": (high - value).fillna(0.0).tolist(),
            "arrayminus": (value - low).fillna(0.0).tolist(),
            "thickness": 1.5,
            "width": 0,
        },
        "marker": {"symbol": SYMBOLS[formula], "size": 9, "line": {"width": 1.6}},
        "text": [
            f"<b>{name}</b><br>{title}<br>{text}"
            for name, text in zip(rows["scenario"], texts, strict=True)
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "meta": {"colour": COLOURS[formula], "front": False},
    }


def _rows_layout(scenarios: Sequence[str], xaxis: dict[str, Any]) -> dict[str, Any]:
    """Return the layout of a figure with a row for each scenario, the first on top."""
    return {
        "xaxis": {"automargin": True, "zeroline": False, "fixedrange": True} | xaxis,
        "yaxis": {
            "tickvals": list(range(len(scenarios))),
            "ticktext": list(scenarios),
            "range": [len(scenarios) - 0.5, -0.5],
            "automargin": True,
            "zeroline": False,
            "fixedrange": True,
        },
        "showlegend": False,
        "hovermode": "closest",
        "margin": {"l": 84, "r": 18, "t": 10, "b": 48},
        "annotations": [],
        "shapes": [],
    }


def _errors(found: Found, claim: Claim) -> Panel:
    scenarios, formulas = list(found.scenarios), _of(claim)
    summary = found.summary
    data = []
    for number, formula in enumerate(formulas):
        rows = summary[summary["formula"] == formula]
        places = {name: n + _offset(number, len(formulas)) for n, name in enumerate(scenarios)}
        data.append(_dots(rows, places, "mape", formula))
    shown = summary[summary["formula"].isin(formulas)]
    least = 100 * float(shown["mape_low_ratio"].fillna(shown["mape_ratio"]).min())
    most = 100 * float(shown["mape_high_ratio"].fillna(shown["mape_ratio"]).max())
    ends = [math.log10(max(least, 0.01) / 1.3), math.log10(max(most, 0.02) * 1.3)]
    ticks = [tick for tick in _TICKS if ends[0] <= math.log10(tick) <= ends[1]]
    layout = _rows_layout(
        scenarios,
        {
            "title": {"text": "mean absolute error per consumer, %", "standoff": 8},
            "type": "log",
            "range": ends,
            "tickvals": ticks,
            "ticktext": [f"{tick:g}" for tick in ticks],
        },
    )
    if claim is Claim.ACTIVE:
        layout["shapes"] = [
            {
                "type": "line",
                "x0": 100 * TARGETS[name],
                "x1": 100 * TARGETS[name],
                "y0": n - 0.4,
                "y1": n + 0.4,
                "line": {"width": 2, "dash": "dot"},
            }
            for n, name in enumerate(scenarios)
            if name in TARGETS
        ]
    return {"title": f"Mean error of {_TITLES[claim]}", "data": data, "layout": layout}


def _spread(found: Found, claim: Claim) -> Panel:
    """Return boxes: half of all errors lie in the box, 95 % between the whiskers."""
    scenarios, formulas = list(found.scenarios), _of(claim)
    scores = found.scores[found.scores["claim"] == claim]
    error = 100 * (scores["value_j"] / scores["truth_j"] - 1)
    wanted = [0.025, 0.25, 0.5, 0.75, 0.975]
    grouped = error.groupby([scores["formula"], scores["scenario"]])
    quantiles = grouped.quantile(np.array(wanted)).unstack()
    data = []
    for number, formula in enumerate(formulas):
        rows = quantiles.loc[formula].reindex(
            [s for s in scenarios if (formula, s) in quantiles.index]
        )
        data.append(
            {
                "type": "box",
                "orientation": "h",
                "y": [
                    scenarios.index(name) + _offset(number, len(formulas)) for name in rows.index
                ],
                **{
                    key: rows[at].tolist()
                    for key, at in zip(
                        ("lowerfence", "q1", "median", "q3", "upperfence"), wanted, strict=True
                    )
                },
                "width": 0.8 * _SPREAD,
                "line": {"width": 1.4},
                "hoverinfo": "x",
                "meta": {"colour": COLOURS[formula]},
            }
        )
    layout = _rows_layout(
        scenarios, {"title": {"text": "error, % of the truth", "standoff": 8}, "zeroline": True}
    )
    return {"title": f"Distribution of errors of {_TITLES[claim]}", "data": data, "layout": layout}


def _coverage(found: Found) -> Panel:
    scenarios = list(found.scenarios)
    stated = found.summary.dropna(subset="coverage_ratio")
    formulas = [
        formula.name for formula in FORMULAS if formula.ours and formula.claim is Claim.ACTIVE
    ]
    data = []
    for number, formula in enumerate(formulas):
        rows = stated[stated["formula"] == formula]
        places = {name: n + _offset(number, len(formulas)) for n, name in enumerate(scenarios)}
        data.append(_dots(rows, places, "coverage", formula))
    shown = stated[stated["formula"].isin(formulas)]
    low = float(shown["coverage_low_ratio"].fillna(shown["coverage_ratio"]).min())
    layout = _rows_layout(
        scenarios,
        {
            "title": {"text": "intervals that hold the truth, %", "standoff": 8},
            "range": [min(90.0, 100 * low - 1), 101.2],
        },
    )
    band = {"type": "rect", "layer": "below", "line": {"width": 0}, "yref": "paper"}
    layout["shapes"] = [
        band | {"x0": 100 * COVERAGE[0], "x1": 100 * COVERAGE[1], "y0": 0, "y1": 1},
        {
            "type": "line",
            "x0": 95,
            "x1": 95,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"width": 1, "dash": "dot"},
        },
    ]
    return {"title": "Coverage of the 95 % intervals", "data": data, "layout": layout}


def _example(found: Found) -> Panel:
    """Return three consumers of one node over time: the truth, ours with intervals, a reference."""
    names = list(found.scenarios)
    scenario = "bursty" if "bursty" in names else names[0]
    node = found.scores[
        (found.scores["scenario"] == scenario) & (found.scores["claim"] == Claim.ACTIVE)
    ]
    node = node[node["seed"] == node["seed"].min()]
    data: list[dict[str, Any]] = []
    for colour, name in zip((0, 2, 3), _three(node), strict=False):
        data += _over_time(node[node["consumer"] == name].sort_values("start_s"), name, colour)
    title = f"One node over time: {scenario}, seed {node['seed'].min()}"
    return {
        "title": title,
        "data": data,
        "layout": {
            "xaxis": {
                "title": {"text": "start of the window, s", "standoff": 8},
                "automargin": True,
                "zeroline": False,
                "fixedrange": True,
            },
            "yaxis": {
                "title": {"text": "active energy of a consumer, J", "standoff": 8},
                "rangemode": "tozero",
                "automargin": True,
                "zeroline": False,
                "fixedrange": True,
            },
            "showlegend": False,
            "hovermode": "closest",
            "margin": {"l": 56, "r": 14, "t": 10, "b": 48},
            "annotations": [],
            "shapes": [],
        },
    }


def _three(node: pd.DataFrame) -> list[str]:
    """Return the consumer that drew most, the middle one and the least, of those in all windows."""
    truth = node[node["formula"] == "joulery"].groupby("consumer")["truth_j"]
    lasting = truth.size() == truth.size().max()
    ordered = truth.sum()[lasting].sort_values(ascending=False).index
    middle = len(ordered) // 2
    return list(dict.fromkeys([ordered[0], ordered[middle], ordered[-1]]))


def _over_time(rows: pd.DataFrame, name: str, colour: int) -> Iterator[dict[str, Any]]:
    ours = rows[rows["formula"] == "joulery"]
    theirs = rows[rows["formula"] == "ratio_through_origin"]
    yield {
        "type": "scatter",
        "mode": "lines",
        "x": ours["start_s"].tolist(),
        "y": ours["truth_j"].tolist(),
        "line": {"width": 1.5},
        "hovertemplate": f"<b>{name}</b><br>truth %{{y:.1f}} J<extra></extra>",
        "meta": {"colour": colour},
    }
    marker = {"size": 8, "line": {"width": 1.6}}
    yield {
        "type": "scatter",
        "mode": "markers",
        "x": ours["start_s"].tolist(),
        "y": ours["value_j"].tolist(),
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": (ours["high_j"] - ours["value_j"]).tolist(),
            "arrayminus": (ours["value_j"] - ours["low_j"]).tolist(),
            "thickness": 1.5,
            "width": 3,
        },
        "marker": marker | {"symbol": "circle"},
        "hovertemplate": f"<b>{name}</b><br>joulery %{{y:.1f}} J<extra></extra>",
        "meta": {"colour": colour, "front": False},
    }
    yield {
        "type": "scatter",
        "mode": "markers",
        "x": theirs["start_s"].tolist(),
        "y": theirs["value_j"].tolist(),
        "marker": marker | {"symbol": "square-open"},
        "hovertemplate": f"<b>{name}</b><br>reference %{{y:.1f}} J<extra></extra>",
        "meta": {"colour": colour, "front": False},
    }


def _idle(found: Found) -> Panel:
    """Return the learned idle power of every node over the true one."""
    nodes = found.nodes
    off = 100 * (nodes["idle_w"] / nodes["true_idle_w"] - 1)
    places = {name: float(n) for n, name in enumerate(found.scenarios)}
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": off.tolist(),
            "y": [places[name] for name in nodes["scenario"]],
            "marker": {"symbol": "circle-open", "size": 7, "line": {"width": 1.4}},
            "text": [
                f"<b>{node}</b><br>learned {learned:.1f} W, true {true:.1f} W"
                for node, learned, true in zip(
                    nodes["node"], nodes["idle_w"], nodes["true_idle_w"], strict=True
                )
            ],
            "hovertemplate": "%{text}<extra></extra>",
            "meta": {"colour": 0, "front": False},
        }
    ]
    layout = _rows_layout(
        list(found.scenarios),
        {
            "title": {"text": "idle power as learned, % off the truth", "standoff": 8},
            "zeroline": True,
        },
    )
    return {"title": "Idle power, a dot per node", "data": data, "layout": layout}
