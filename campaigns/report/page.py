"""From a dataset to its two reports; what they say is worked out here, how it looks is not."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from ...datasets.metadata import LICENCE
from ...datasets.store import MANIFEST, load, update_manifest
from ..analysis import Analysis, analyse
from ..cells import GOALS, around_of
from ..highest_rates import rate_text
from ..intervals import Interval
from ..units import human, human_interval
from .answers import answer, best_rows
from .factors import valid_trials
from .figures import SYMBOLS, panels
from .searches import search_facts
from .sections import scenario_sections
from .shell import put, shared_facts, templates
from .space import space
from .variance import Term

__all__ = ["bracket", "p_text", "table_cell", "write"]

_COLOURS = 6
_SYMBOL_TEXT = {
    "circle": "●",
    "diamond": "◆",
    "square": "■",
    "triangle-up": "▲",
    "cross": "✚",
    "star": "★",
}


def write(folder: Path) -> Path:
    """Write `report.html` and `report.md` of a dataset into its folder.

    A manifest that is there already gets the two files' new sums.

    Args:
        folder: The dataset.

    Returns:
        The path of `report.html`.

    Raises:
        DatasetError: When the folder is not a dataset, or a table of it cannot be read.
    """
    analysis = analyse(load(folder))
    facts = _facts(analysis)
    pages = templates(__package__ or "")
    pages.filters |= {"human": human, "cell": table_cell, "p": p_text, "rate": rate_text}
    pages.globals |= {"span": _span, "bracket": bracket, "effect": _effect}
    for name in ("report.html", "report.md"):
        put(folder, name, pages.get_template(f"{name}.j2").render(facts))
    if (folder / MANIFEST).exists():
        update_manifest(folder, ["report.html", "report.md"])
    return folder / "report.html"


def _facts(analysis: Analysis) -> dict[str, Any]:
    """Return everything the templates name."""
    dataset = analysis.dataset
    trials = dataset.trials
    valid = trials["verdict"] == "valid"
    scenarios = [_scenario(analysis, name) for name in analysis.scenarios]
    return {
        "about": dataset.about,
        "licence": LICENCE,
        "goals": GOALS,
        "partial": analysis.partial,
        "objective": analysis.objective,
        "searched": any(scenario["search"] is not None for scenario in scenarios),
        "trials": len(trials),
        "valid": int(valid.sum()),
        "requests": int(trials.loc[valid, "requests_answered"].sum()),
        "provenances": sorted(trials["energy_provenance"].dropna().unique()),
        "sources": sorted(trials["energy_sources"].dropna().unique()),
        "scenarios": scenarios,
        "invalid": list(_trials(trials[~valid])),
        "all_trials": list(_trials(trials)),
        "environment": list(_environment(dataset.environment)),
        **shared_facts([panel for s in scenarios for panel in _drawn(s)]),
    }


def _scenario(analysis: Analysis, name: str) -> dict[str, Any]:
    """Return what the page says of a scenario: of its searches, or of its configurations."""
    ordered = dict.fromkeys(
        c.model for c in sorted(analysis.of(name), key=lambda c: (c.model, c.label))
    )
    colours = {model: number % _COLOURS for number, model in enumerate(ordered)}
    search = search_facts(analysis, name, colours)
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "headline": analysis.headline(name),
        "quality": analysis.quality_name(name),
        "references": list(_references(analysis, name)),
        "source": next(
            (s for s in analysis.dataset.about.data_sources if s["scenario"] == name), None
        ),
        "colours": colours,
        "search": search,
        **(_compared(analysis, name, colours) if search is None else {"answer": search["answer"]}),
    }


def _compared(analysis: Analysis, name: str, colours: Mapping[str, int]) -> dict[str, Any]:
    """Return what there is to say of configurations that ran under the same loads."""
    cells = analysis.of(name)
    loads = analysis.loads(name)
    return {
        "answer": answer(analysis, name),
        "best": best_rows(analysis, name),
        "scale": {
            "J": _middle([c.energy.value for c in cells if c.energy]),
            "s": _middle([c.latency["p95"].value for c in cells if "p95" in c.latency]),
            "1": None,
        },
        "figures": [f for f in analysis.dataset.about.figures if f["scenario"] == name],
        "symbols": {load: _SYMBOL_TEXT[SYMBOLS[n % len(SYMBOLS)]] for n, load in enumerate(loads)},
        "panels": panels(analysis, name, colours),
        "space": space(analysis, name, colours),
        "cells": cells,
        "missing": [c for c in analysis.cells if c.scenario == name and not c.valid],
        "effects": list(_effects(analysis, name)),
        **scenario_sections(analysis, name, colours),
    }


def _drawn(scenario: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the figures of a scenario in the order in which the page has room for them."""
    if scenario["search"] is not None:
        yield from filter(None, [scenario["search"]["panel"]])
        return
    yield from scenario["panels"]
    if scenario["space"] is not None:
        yield scenario["space"]
    yield from scenario["interactions"]
    for condition in scenario["conditions"]:
        yield from condition["panels"]


def _references(analysis: Analysis, scenario: str) -> Iterator[tuple[str, float]]:
    """Yield what simple answers to the same requests score in the headline figure."""
    good = valid_trials(analysis.dataset.trials, scenario)
    headline = analysis.headline(scenario)["name"]
    for figure in analysis.dataset.about.figures:
        if figure["scenario"] == scenario and figure.get("reference_of") == headline:
            yield str(figure["title"]).partition(",")[0], float(good[figure["name"]].mean())


def _middle(values: list[float]) -> float | None:
    """Return the median of what there is: its prefix serves for a whole column."""
    return statistics.median(values) if values else None


def _effects(analysis: Analysis, scenario: str) -> Iterator[dict[str, Any]]:
    """Yield one row per level of a factor, with its ratio for each goal."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for effect in analysis.effects(scenario):
        row = rows.setdefault(
            (effect.factor, effect.level),
            {
                "factor": effect.factor,
                "level": effect.level,
                "reference": effect.reference,
                "ratios": {},
            },
        )
        row["ratios"][effect.goal] = effect
    yield from rows.values()


def _trials(trials: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the rows of trials with missing values as `None`, and what each was `under`."""
    for row in trials.sort_values("trial").to_dict("records"):
        yield {
            str(key): None if not isinstance(value, str) and pd.isna(value) else value
            for key, value in row.items()
        } | {"under": around_of({str(key): value for key, value in row.items()})}


def _environment(facts: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each part of the environment with its facts as label and text."""
    whole = {key: _by_name(value) for key, value in facts.items()}
    loose = {key: value for key, value in whole.items() if not isinstance(value, Mapping)}
    parts = {key: value for key, value in whole.items() if isinstance(value, Mapping)}
    for title, part in (({"general": loose} if loose else {}) | parts).items():
        yield title, list(_flat(part))


def _by_name(value: Any) -> Any:
    """Return a list of parts that have a name as a text for each name; anything else as it is.

    A remedy is for whoever runs a campaign, not for who reads of it.
    """
    named = isinstance(value, list) and bool(value)
    if not named or not all(isinstance(one, Mapping) and "name" in one for one in value):
        return value
    left_out = ("name", "remedy")
    return {
        str(one["name"]): "; ".join(
            text if isinstance(one.get(label), str) else f"{label}: {text}"
            for label, text in _flat(
                {key: told for key, told in one.items() if key not in left_out}
            )
            if text not in ("not known", "none")
        )
        for one in value
    }


def _flat(facts: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        label = f"{above}{key.removesuffix('_bytes')}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}: ")
        else:
            yield label, _environment_text(key, value)


def _environment_text(key: str, value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, int | float) and key.endswith("_bytes"):
        return f"{value / 2**30:.1f} GiB"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _span(bounds: tuple[float, float], unit: str, like: float, scale: float | None = None) -> str:
    return human_interval(*bounds, unit, like, scale)


def bracket(interval: Interval | None, unit: str, scale: float | None = None) -> str:
    """Return a value with its interval in brackets."""
    if interval is None:
        return "–"
    bounds = human_interval(interval.low, interval.high, unit, interval.value, scale)
    return human(interval.value, unit, scale) + (f" ({bounds})" if bounds != "–" else "")


def _effect(term: Term) -> str:
    """Return partial eta squared with its interval."""
    low, high = term.eta.low, term.eta.high
    text = f"{term.eta.value:.2f}"
    return text if low is None or high is None else f"{text} ({low:.2f} to {high:.2f})"


def p_text(value: float | None) -> str:
    """Return a p-value with three decimals; it is never 0."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def table_cell(interval: Interval | None, unit: str = "1", scale: float | None = None) -> Markup:
    """Return the cell of a table: a value, below it its interval, and the number to sort by."""
    if interval is None:
        return Markup('<td class="number" data-sort="">–</td>')
    bounds = human_interval(interval.low, interval.high, unit, interval.value, scale)
    below = Markup("<small>{}</small>").format(bounds) if bounds != "–" else ""
    return Markup('<td class="number" data-sort="{!r}">{}{}</td>').format(
        interval.value, human(interval.value, unit, scale), below
    )
