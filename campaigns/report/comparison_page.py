"""From two datasets to the page and the summary of their comparison."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...datasets.store import MANIFEST, Dataset, update_manifest
from ..analysis import Analysis
from ..highest_rates import search_of
from ..units import human
from .comparison import Comparison, Measure, Pair, compare_datasets
from .contrasts import Contrast
from .differences import Difference, differences, spec_hash
from .forest import forest
from .page import bracket, p_text, table_cell
from .rate_comparison import both_searched, compare_rates
from .shell import put, shared_facts, templates

__all__ = ["write_comparison"]


def write_comparison(one: Dataset, other: Dataset, name: str) -> Path:
    """Write `against-NAME.html` and `against-NAME.md` into the first dataset's folder.

    A manifest that is there already gets the two files' sums.

    Args:
        one: The dataset that is looked at.
        other: What it is held against.
        name: The other's name.

    Returns:
        The path of the page.

    Raises:
        DatasetError: When a table cannot be read, or the two searched for different things.
    """
    stem = "against-" + re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    pages = templates(__package__ or "")
    pages.filters |= {"human": human, "cell": table_cell, "p": p_text, "effect": _effect}
    pages.globals |= {"bracket": bracket}
    facts = _facts(one, other, name)
    for suffix in ("html", "md"):
        text = pages.get_template(f"against.{suffix}.j2").render(facts)
        put(one.folder, f"{stem}.{suffix}", text)
    if (one.folder / MANIFEST).exists():
        update_manifest(one.folder, [f"{stem}.html", f"{stem}.md"])
    return one.folder / f"{stem}.html"


def _facts(one: Dataset, other: Dataset, name: str) -> dict[str, Any]:
    """Return everything the templates name."""
    searched = both_searched(one, other, name)
    found = compare_rates(one, other) if searched else compare_datasets(one, other)
    unlike = differences(one, other)
    scenarios = [
        _scenario(found, scenario)
        for scenario in dict.fromkeys(pair.scenario for pair in found.pairs)
    ]
    sides = [_side(one, one.folder.resolve().name), _side(other, name)]
    return {
        "about": {
            "title": f"{one.about.title or one.about.name} against {name}",
            "version": one.about.version,
        },
        "sides": sides,
        "searched": _searches(one, other) if searched else None,
        "scenarios": scenarios,
        "pairs": len(found.pairs),
        "only": [[_cell_words(key) for key in keys] for keys in found.only],
        "ignored": found.ignored,
        "matched": sorted(found.matched),
        "unlike": unlike,
        "loud": {about: _of(unlike, about) for about in ("machine", "energy", "data")},
        "same_spec": sides[0]["spec"] == sides[1]["spec"],
        "spec_differs": _of(unlike, "specification"),
        "estimated": "estimated" in "".join(side["provenances"] for side in sides),
        **shared_facts([panel for s in scenarios for panel in s["panels"]]),
    }


def _searches(one: Dataset, other: Dataset) -> dict[str, Any]:
    """Return what the page says of two searches for the same."""
    each = [search for d in (one, other) if (search := search_of(d.about.spec)) is not None]
    texts = [f"{search}, to within {100 * search.resolution_ratio:g} %" for search in each]
    return {
        "objective": Analysis(one, ()).objective,
        "ranges": texts,
        "unlike": texts[0] != texts[1],
    }


def _of(unlike: Sequence[Difference], about: str) -> list[Difference]:
    return [one for one in unlike if one.about == about]


def _side(dataset: Dataset, name: str) -> dict[str, Any]:
    """Return what the head of the page says of one dataset."""
    about, trials = dataset.about, dataset.trials
    valid = trials[trials["verdict"] == "valid"]
    provenances = sorted(valid["energy_provenance"].dropna().unique())
    return {
        "name": name,
        "title": about.title or about.name,
        "created": about.created[:16].replace("T", " "),
        "version": about.version,
        "trials": len(trials),
        "valid": len(valid),
        "partial": about.partial,
        "spec": spec_hash(about.spec),
        "provenances": ", ".join(provenances) or "unknown",
    }


def _scenario(found: Comparison, scenario: str) -> dict[str, Any]:
    pairs = [pair for pair in found.pairs if pair.scenario == scenario]
    named = list(zip(_labels(pairs), pairs, strict=True))
    panels = []
    for measure in found.measures:
        rows = [
            (label, contrast)
            for label, pair in named
            if (contrast := pair.found[measure.name]) is not None
        ]
        if rows:
            panels.append(forest(measure.title, rows))
    return {
        "name": scenario,
        "title": scenario.replace("_", " ").capitalize(),
        "overall": [(m, found.overall.get((scenario, m.name))) for m in found.measures],
        "panels": panels,
        "pairs": named,
        "tables": [(m, list(_rows(named, m))) for m in found.measures],
        "counts": [(m, _counts([pair.found[m.name] for pair in pairs])) for m in found.measures],
    }


def _rows(named: Sequence[tuple[str, Pair]], measure: Measure) -> Iterator[Any]:
    for label, pair in named:
        contrast = pair.found[measure.name]
        if contrast is not None:
            yield label, pair.means[measure.name], contrast


def _effect(contrast: Contrast) -> str:
    return "–" if contrast.effect is None else f"{contrast.effect:.2f}"


def _counts(found: Sequence[Contrast | None]) -> dict[str, int]:
    """Return how many cells have which verdict, the most frequent first."""
    verdicts = ["not known" if one is None else one.verdict for one in found]
    return dict(Counter(verdicts).most_common())


def _labels(pairs: Sequence[Pair]) -> list[str]:
    """Return a name for each pair: its model, and what varies between them."""
    levels = [dict(p.partition("=")[::2] for p in pair.configuration.split()) for pair in pairs]
    names = dict.fromkeys(name for each in levels for name in each)
    varying = [n for n in names if n == "model" or len({e[n] for e in levels if n in e}) > 1]
    places = [
        at
        for at in range(len(pairs[0].conditions) if pairs else 0)
        if len({pair.conditions[at] for pair in pairs}) > 1
    ]
    return [
        ", ".join(
            [_level(n, each[n]) for n in varying if n in each]
            + [pair.conditions[at] for at in places]
        )
        for each, pair in zip(levels, pairs, strict=True)
    ]


def _level(name: str, level: str) -> str:
    if name in ("model", "precision", "provider"):
        return level
    return f"{name.replace('max_', '').replace('_', ' ')} {level}"


def _cell_words(key: Sequence[str]) -> str:
    scenario, configuration, *conditions = key
    return f"{scenario}: {', '.join([configuration, *conditions])}"
