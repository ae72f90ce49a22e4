"""From a validation's dataset to its page and its document; how they look stands in templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from ...datasets.metadata import LICENCE
from ...datasets.store import MANIFEST, update_manifest
from ...datasets.validation import NODES
from ..report.shell import put, shared_facts, templates
from .figures import COLOURS, SYMBOLS, panels
from .formulas import FORMULAS, Claim
from .prose import CHOSEN, FORMULAS_SAY, INTERVAL, LIMITS, SIMULATED, TRUTH
from .results import Found, method, read

__all__ = ["PAGE", "document", "percent", "write_page"]

PAGE = "energy-validation.html"

_CLAIMS = {
    Claim.ACTIVE: "What a consumer's work added (active energy)",
    Claim.WITH_IDLE: "The same and a share of the idle energy",
}
_SYMBOL_TEXT = {"circle": "●", "diamond": "◆", "square-open": "□"}


def write_page(folder: Path) -> Path:
    """Write the page of a validation into its folder; a manifest there gets its sum.

    Args:
        folder: The dataset.

    Returns:
        The path of the page.

    Raises:
        DatasetError: When the folder is not the dataset of a validation.
    """
    found = read(folder)
    figures = panels(found)
    pages = templates(__package__ or "")
    pages.filters |= {"percent": percent}
    pages.globals |= {"cell": _cell}
    facts = _facts(found) | shared_facts(list(figures.values()))
    facts |= {"titles": {name: panel["title"] for name, panel in figures.items()}}
    put(folder, PAGE, pages.get_template(f"{PAGE}.j2").render(facts))
    if (folder / MANIFEST).exists():
        update_manifest(folder, [PAGE])
    return folder / PAGE


def document(folder: Path) -> str:
    """Return what a validation found, in Markdown.

    Raises:
        DatasetError: When the folder is not the dataset of a validation.
    """
    pages = templates(__package__ or "")
    pages.filters |= {"percent": percent}
    pages.globals |= {"bracket": _bracket}
    return pages.get_template("energy.md.j2").render(_facts(read(folder)))


def _facts(found: Found) -> dict[str, Any]:
    """Return everything the templates name."""
    scores = found.scores
    return {
        "about": found.about,
        "licence": LICENCE,
        "full": found.full,
        "targets": found.targets,
        "reached": sum(target.reached for target in found.targets),
        "nodes": len(found.nodes),
        "judged": int((scores["formula"] == FORMULAS[0].name).sum()),
        "seeds": _seeds(found.about.spec["seeds"]),
        "scenarios": found.scenarios,
        "formulas": FORMULAS,
        "formulas_say": FORMULAS_SAY,
        "colours": COLOURS,
        "symbols": {name: _SYMBOL_TEXT[symbol] for name, symbol in SYMBOLS.items()},
        "claims": {claim: _claim(found, claim) for claim in Claim},
        "health": list(_health(found)),
        "machines": list(_machines(found.nodes)),
        "simulated": SIMULATED,
        "truth": TRUTH,
        "chosen": CHOSEN,
        "interval": INTERVAL,
        "limits": LIMITS,
        "method": method(found.about.spec["times"]),
    }


def _seeds(seeds: list[int]) -> str:
    return f"{min(seeds)} to {max(seeds)}"


def _claim(found: Found, claim: Claim) -> dict[str, Any]:
    """Return a claim's title, its formulas, and by scenario and formula its figures."""
    rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in found.scenarios}
    for row in found.summary[found.summary["claim"] == claim].to_dict("records"):
        known = {str(key): None if pd.isna(value) else value for key, value in row.items()}
        rows[row["scenario"]][row["formula"]] = known
    return {
        "title": _CLAIMS[claim],
        "formulas": [formula for formula in FORMULAS if formula.claim is claim],
        # A scenario of which nothing was judged has no figures.
        "rows": {scenario: figures for scenario, figures in rows.items() if figures},
    }


def _health(found: Found) -> Iterator[dict[str, Any]]:
    """Yield conservation, gaps, unknown time and idle power of each scenario."""
    watched_s = float(found.about.spec["times"]["duration_s"])
    for scenario, about in found.scenarios.items():
        nodes = found.nodes[found.nodes["scenario"] == scenario]
        off = nodes["idle_w"] / nodes["true_idle_w"] - 1
        yield {
            "scenario": scenario,
            "about": about,
            "residual": float(nodes["residual_ratio"].max()),
            "gaps_ratio": float(nodes["gaps"].sum() / nodes["samples"].sum()),
            "unknown_ratio": float(nodes["unknown_s"].mean() / watched_s),
            "idle_error": float(off.abs().mean()),
            "idle_bias": float(off.mean()),
        }


def _machines(nodes: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Yield what the machines of the grid have: meaning, least to most, unit."""
    for column in NODES.columns:
        if not column.name.startswith("machine_"):
            continue
        values = nodes[column.name]
        if column.name.startswith("machine_gpu"):
            values = values[values > 0]
            if values.empty:
                continue
        low, high = values.min(), values.max()
        text = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
        unit = "" if column.unit in (None, "1") else str(column.unit)
        yield column.description.partition("; 0:")[0], text, unit


def percent(value: float | None, digits: int = 1) -> str:
    """Return a ratio in percent, a missing one as a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _bracket(row: dict[str, Any], stem: str) -> str:
    """Return a figure with its interval in brackets."""
    value, low, high = (row[f"{stem}{end}_ratio"] for end in ("", "_low", "_high"))
    if value is None or low is None:
        return percent(value)
    return f"{percent(value)} ({100 * low:.1f} to {100 * high:.1f})"


def _cell(value: float | None, low: float | None = None, high: float | None = None) -> Markup:
    """Return a table's cell in percent: below it the interval, and the number to sort by."""
    if value is None:
        return Markup('<td class="number" data-sort="">–</td>')
    below = (
        Markup("<small>{:.1f} to {:.1f}</small>").format(100 * low, 100 * high)
        if low is not None and high is not None
        else ""
    )
    return Markup('<td class="number" data-sort="{!r}">{}{}</td>').format(
        float(value), percent(value), below
    )
