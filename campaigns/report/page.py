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
from ..cells import GOALS
from ..intervals import Interval
from ..units import human, human_interval
from .answers import answer, best_rows
from .figures import SYMBOLS, panels
from .shell import put, shared_facts, templates

__all__ = ["write"]

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
    pages.filters |= {"human": human, "cell": _table_cell}
    pages.globals |= {"span": _span, "bracket": _bracket}
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
        "trials": len(trials),
        "valid": int(valid.sum()),
        "requests": int(trials.loc[valid, "requests_answered"].sum()),
        "provenances": sorted(trials["energy_provenance"].dropna().unique()),
        "sources": sorted(trials["energy_sources"].dropna().unique()),
        "scenarios": scenarios,
        "invalid": list(_trials(trials[~valid])),
        "all_trials": list(_trials(trials)),
        "environment": list(_environment(dataset.environment)),
        **shared_facts([panel for s in scenarios for panel in s["panels"]]),
    }


def _scenario(analysis: Analysis, name: str) -> dict[str, Any]:
    cells = analysis.of(name)
    ordered = dict.fromkeys(c.model for c in sorted(cells, key=lambda c: (c.model, c.label)))
    colours = {model: number % _COLOURS for number, model in enumerate(ordered)}
    loads = analysis.loads(name)
    missing = [c for c in analysis.cells if c.scenario == name and not c.valid]
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "answer": answer(analysis, name),
        "best": best_rows(analysis, name),
        "headline": analysis.headline(name),
        "quality": analysis.quality_name(name),
        "references": list(_references(analysis, name)),
        "scale": {
            "J": _middle([c.energy.value for c in cells if c.energy]),
            "s": _middle([c.latency["p95"].value for c in cells if c.latency]),
            "1": None,
        },
        "figures": [f for f in analysis.dataset.about.figures if f["scenario"] == name],
        "source": next(
            (s for s in analysis.dataset.about.data_sources if s["scenario"] == name), None
        ),
        "colours": colours,
        "symbols": {load: _SYMBOL_TEXT[SYMBOLS[n % len(SYMBOLS)]] for n, load in enumerate(loads)},
        "panels": panels(analysis, name, colours),
        "cells": cells,
        "missing": missing,
        "effects": list(_effects(analysis, name)),
    }


def _references(analysis: Analysis, scenario: str) -> Iterator[tuple[str, float]]:
    """Yield what simple answers to the same requests score in the headline figure."""
    trials = analysis.dataset.trials
    good = trials[(trials["scenario"] == scenario) & (trials["verdict"] == "valid")]
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
    """Yield the rows of trials with missing values as `None`."""
    for row in trials.sort_values("trial").to_dict("records"):
        yield {
            str(key): None if not isinstance(value, str) and pd.isna(value) else value
            for key, value in row.items()
        }


def _environment(facts: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each part of the environment with its facts as label and text."""
    loose = {key: value for key, value in facts.items() if not isinstance(value, Mapping)}
    parts = {key: value for key, value in facts.items() if isinstance(value, Mapping)}
    for title, part in (({"general": loose} if loose else {}) | parts).items():
        yield title, list(_flat(part))


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
        return ", ".join(map(str, value))
    if isinstance(value, int | float) and key.endswith("_bytes"):
        return f"{value / 2**30:.1f} GiB"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _span(bounds: tuple[float, float], unit: str, like: float, scale: float | None = None) -> str:
    return human_interval(*bounds, unit, like, scale)


def _bracket(interval: Interval | None, unit: str, scale: float | None = None) -> str:
    """Return a value with its interval in brackets."""
    if interval is None:
        return "–"
    bounds = human_interval(interval.low, interval.high, unit, interval.value, scale)
    return human(interval.value, unit, scale) + (f" ({bounds})" if bounds != "–" else "")


def _table_cell(interval: Interval | None, unit: str = "1", scale: float | None = None) -> Markup:
    """Return the cell of a table: a value, below it its interval, and the number to sort by."""
    if interval is None:
        return Markup('<td class="number" data-sort="">–</td>')
    bounds = human_interval(interval.low, interval.high, unit, interval.value, scale)
    below = Markup("<small>{}</small>").format(bounds) if bounds != "–" else ""
    return Markup('<td class="number" data-sort="{!r}">{}{}</td>').format(
        interval.value, human(interval.value, unit, scale), below
    )
