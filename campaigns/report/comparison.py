"""Two campaigns side by side: which cells they share, and by what ratio these differ.

A cell is a scenario, a configuration of its service, and the conditions it ran under. The unit is
a valid trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...datasets.store import Dataset
from .contrasts import Contrast, compare, compare_matched, corrected
from .factors import conditions_of, level_text

__all__ = [
    "MEASURES",
    "Comparison",
    "Measure",
    "Pair",
    "compare_datasets",
    "geometric_mean",
    "measured",
    "with_corrected",
]

_Floats = NDArray[np.float64]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A figure of a trial that is compared."""

    name: str
    title: str
    unit: str


MEASURES = (
    Measure(name="energy", title="Energy above idle, per inference", unit="J"),
    Measure(name="total", title="Energy of all devices, idle included, per request", unit="J"),
    Measure(name="p50", title="Latency, median", unit="s"),
    Measure(name="p95", title="Latency, 95th percentile", unit="s"),
    Measure(name="quality", title="Answer quality", unit="1"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One cell that stands in both campaigns.

    Args:
        scenario: Its scenario.
        configuration: Levels of the service, `name=level`.
        conditions: Levels of what surrounds it.
        trials: Valid trials in each.
        found: What each measure says, by its name.
        means: Geometric means in each, by measure.
    """

    scenario: str
    configuration: str
    conditions: tuple[str, ...]
    trials: tuple[int, int]
    found: Mapping[str, Contrast | None]
    means: Mapping[str, tuple[float, float]]


P = TypeVar("P", bound=Pair)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two campaigns have in common, and what not.

    Args:
        pairs: Cells with a valid trial in both.
        measures: What is compared.
        overall: By scenario and measure, over all its pairs: from means of blocks, since trials of
            a block share what the machine did meanwhile.
        only: Cells that have a valid trial in one alone, for each.
        matched: Scenarios whose blocks ask the same questions in both: qualities are compared block
            by block.
        ignored: Conditions that only one dataset records, and that do not vary there.
    """

    pairs: tuple[Pair, ...]
    measures: tuple[Measure, ...] = MEASURES
    overall: Mapping[tuple[str, str], Contrast | None] = field(default_factory=dict)
    only: tuple[tuple[Key, ...], tuple[Key, ...]]
    matched: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()


def compare_datasets(one: Dataset, other: Dataset) -> Comparison:
    """Compare two campaigns, the first over the second.

    P-values of the pairs are corrected for each measure over all pairs, those over all pairs
    together over scenarios and measures (Holm).
    """
    trials = measured(one), measured(other)
    conditions, ignored = _conditions(trials)
    cells = tuple(_cells(frame, conditions) for frame in trials)
    shared = [key for key in cells[0] if key in cells[1]]
    matched = {key[0] for key in shared if _same_questions(one, other, key[0])}
    pairs = [_pair(key, cells[0][key], cells[1][key], matched=key[0] in matched) for key in shared]
    return Comparison(
        pairs=tuple(with_corrected(pairs, MEASURES)),
        overall=_overall(shared, cells, matched),
        only=(
            tuple(key for key in cells[0] if key not in cells[1]),
            tuple(key for key in cells[1] if key not in cells[0]),
        ),
        matched=frozenset(matched),
        ignored=tuple(ignored),
    )


def with_corrected(pairs: Sequence[P], measures: Iterable[Measure]) -> list[P]:
    """Return pairs with p-values corrected for each measure over all of them (Holm)."""
    for measure in measures:
        column = corrected([pair.found[measure.name] for pair in pairs])
        pairs = [
            replace(pair, found={**pair.found, measure.name: found})
            for pair, found in zip(pairs, column, strict=True)
        ]
    return list(pairs)


def _same_questions(one: Dataset, other: Dataset, scenario: str) -> bool:
    """Whether a block's requests are the same in both: data, seed and window decide them."""
    asked = [
        (
            [d["sha256"] for d in dataset.about.data_sources if d["scenario"] == scenario],
            dataset.about.spec.get("seed"),
            (dataset.about.spec.get("trial") or {}).get("window_s"),
        )
        for dataset in (one, other)
    ]
    return asked[0] == asked[1] and asked[0][1] is not None


def measured(dataset: Dataset) -> pd.DataFrame:
    """Return the valid trials with a column for each measure."""
    trials = dataset.trials
    valid = trials[trials["verdict"] == "valid"]
    answered = valid["requests_answered"].where(valid["requests_answered"] > 0)
    return valid.assign(
        energy=valid["inference_energy_j"],
        total=valid["device_energy_j"] / answered,
        p50=valid["latency_p50_s"],
        p95=valid["latency_p95_s"],
        quality=valid["quality_value"],
    )


def _conditions(trials: Sequence[pd.DataFrame]) -> tuple[list[str], list[str]]:
    """Return the conditions that tell cells apart, and those that only one dataset has.

    One that only one of them records tells cells apart when it varies there: under which of its
    levels the other ran is not known.
    """
    each = [conditions_of(frame) for frame in trials]
    known, ignored = [], []
    for name in dict.fromkeys([*each[0], *each[1]]):
        varies = any(name in frame and frame[name].nunique(dropna=False) > 1 for frame in trials)
        if all(name in frame for frame in trials) or varies:
            known.append(name)
        else:
            ignored.append(name)
    return known, ignored


def _cells(trials: pd.DataFrame, conditions: Sequence[str]) -> dict[Key, pd.DataFrame]:
    """Return the trials of each cell: scenario, configuration, then each condition."""
    if not len(trials):
        return {}
    names = ["scenario", "configuration", *conditions]
    key = pd.Series(
        [
            tuple(level_text(row.get(name)) or "not said" for name in names)
            for row in trials.to_dict("records")
        ],
        index=trials.index,
    )
    found = {one: trials[[other == one for other in key]] for one in dict.fromkeys(key)}
    return dict(sorted(found.items(), key=lambda item: (item[0][0], item[0][1], _rate(item[1]))))


def _rate(trials: pd.DataFrame) -> float:
    """Return the offered rate, to sort by; one that answers decide on comes last."""
    rate_hz = trials["rate_hz"].iloc[0]
    return math.inf if pd.isna(rate_hz) else float(rate_hz)


def _values(trials: pd.DataFrame, measure: Measure) -> _Floats:
    return np.asarray(trials[measure.name].dropna(), dtype=np.float64)


def geometric_mean(values: _Floats) -> float:
    """Return the geometric mean of values that are not negative; 0 where one is."""
    return float(np.exp(np.log(values).mean())) if values.min() > 0 else 0.0


def _pair(key: Key, one: pd.DataFrame, other: pd.DataFrame, *, matched: bool) -> Pair:
    found = {m.name: compare(_values(one, m), _values(other, m)) for m in MEASURES}
    if matched:
        found["quality"] = compare_matched(*_by_block(one, other))
    if _unlike_figures(one, other):
        found["quality"] = None
    means = {
        m.name: (geometric_mean(_values(one, m)), geometric_mean(_values(other, m)))
        for m in MEASURES
        if found[m.name] is not None
    }
    return Pair(
        scenario=key[0],
        configuration=key[1],
        conditions=key[2:],
        trials=(len(one), len(other)),
        found=found,
        means=means,
    )


def _by_block(one: pd.DataFrame, other: pd.DataFrame) -> tuple[_Floats, _Floats]:
    """Return the qualities of those blocks that both have."""
    each = [frame.groupby("block")["quality"].mean().dropna() for frame in (one, other)]
    shared = each[0].index.intersection(each[1].index)
    return each[0].loc[shared].to_numpy(), each[1].loc[shared].to_numpy()


def _overall(
    shared: Sequence[Key], cells: Sequence[Mapping[Key, pd.DataFrame]], matched: set[str]
) -> dict[tuple[str, str], Contrast | None]:
    """Compare the means of blocks, over all cells that both have, for each scenario."""
    where, found = [], []
    for scenario in dict.fromkeys(key[0] for key in shared):
        mine = [key for key in shared if key[0] == scenario]
        for measure in MEASURES:
            where.append((scenario, measure.name))
            if measure.name == "quality" and scenario in matched:
                found.append(_over_matched(mine, cells))
            else:
                found.append(_over_cells(mine, cells, measure))
    return dict(zip(where, corrected(found), strict=True))


def _over_cells(
    keys: Sequence[Key], cells: Sequence[Mapping[Key, pd.DataFrame]], measure: Measure
) -> Contrast | None:
    """Compare the blocks of two campaigns, each cell about its own middle.

    So a block that lacks a cell is not thought low or high for that.
    """
    blocks: tuple[dict[object, list[float]], dict[object, list[float]]] = ({}, {})
    for key in keys:
        both = [cells[side][key].dropna(subset=[measure.name]) for side in (0, 1)]
        if any(not len(part) or (part[measure.name] <= 0).any() for part in both):
            continue
        if measure.name == "quality" and _unlike_figures(*both):
            continue
        logs = [np.log(part[measure.name].to_numpy(dtype=np.float64)) for part in both]
        middle = float(np.mean([part.mean() for part in logs]))
        for of, part, values in zip(blocks, both, logs, strict=True):
            for block, value in zip(part["block"], values, strict=True):
                of.setdefault(block, []).append(float(value) - middle)
    means = [np.exp([np.mean(values) for values in of.values()]) for of in blocks]
    return compare(np.asarray(means[0]), np.asarray(means[1]))


def _over_matched(
    keys: Sequence[Key], cells: Sequence[Mapping[Key, pd.DataFrame]]
) -> Contrast | None:
    """Compare qualities block by block, in the mean of the cells that a block has in both."""
    steps: dict[object, list[float]] = {}
    for key in keys:
        both = [cells[side][key] for side in (0, 1)]
        each = [part.groupby("block")["quality"].mean().dropna() for part in both]
        if _unlike_figures(*both) or any((part <= 0).any() for part in each):
            continue
        for block in each[0].index.intersection(each[1].index):
            steps.setdefault(block, []).append(float(np.log(each[0][block] / each[1][block])))
    means = np.exp([np.mean(values) for values in steps.values()])
    return compare_matched(np.asarray(means), np.ones(len(means)))


def _unlike_figures(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether another figure is the headline: that is another thing."""
    return len(set(one["quality_figure"]) | set(other["quality_figure"])) > 1
