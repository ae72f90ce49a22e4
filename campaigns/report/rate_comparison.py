"""The highest rates that two campaigns found, side by side, with the energy there.

A block's rate is known to lie between the rate that was kept and the one that failed, and is
compared as such. What is known from one side only is not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...datasets.store import Dataset
from ...errors import DatasetError
from ..analysis import Analysis
from ..highest_rates import BlockRate, HighestRate, highest_rates, search_of
from .comparison import (
    MEASURES,
    Comparison,
    Measure,
    Pair,
    geometric_mean,
    measured,
    with_corrected,
)
from .contrasts import Contrast, compare, compare_brackets

__all__ = ["RATE", "RatePair", "both_searched", "compare_rates"]

RATE = Measure(name="rate", title="Highest rate", unit="Hz")
_ENERGIES = tuple(
    replace(measure, title=f"{measure.title}, at the highest rate")
    for measure in MEASURES
    if measure.unit == "J"
)
_Floats = NDArray[np.float64]
_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePair(Pair):
    """One configuration, under one network in one environment, that both campaigns searched.

    Args:
        rates: What each found.
        trials: Blocks that are compared of each.
    """

    rates: tuple[HighestRate, HighestRate]


def both_searched(one: Dataset, other: Dataset, name: str) -> bool:
    """Whether both campaigns searched; `False` when neither did.

    Args:
        one: The dataset that is looked at.
        other: What it is held against.
        name: The other's name.

    Raises:
        DatasetError: When only one did, or when they searched for different things.
    """
    asked, against = _asked(one), _asked(other)
    if asked == against:
        return asked is not None
    raise DatasetError(
        name,
        found=against or "loads that were given",
        expected=f"as in the other: {asked or 'loads that were given'}",
        remedy="each has a report of its own; compare campaigns that ask the same",
    )


def _asked(dataset: Dataset) -> str | None:
    """Return what a campaign searched, in words; neither range nor resolution makes it another."""
    search = search_of(dataset.about.spec)
    if search is None:
        return None
    objective = Analysis(dataset, ()).objective
    return f"a search for the highest {search.arrival} rate that keeps {objective}"


def compare_rates(one: Dataset, other: Dataset) -> Comparison:
    """Compare two campaigns that searched the same, the first over the second.

    P-values are corrected for each measure over all pairs (Holm). Pairs come by scenario, the
    highest ratio of rates first.
    """
    each = [_by_key(dataset) for dataset in (one, other)]
    trials = [measured(dataset) for dataset in (one, other)]
    pairs = [
        _pair(key, (mine, each[1][key]), trials) for key, mine in each[0].items() if key in each[1]
    ]
    measures = (RATE, *_ENERGIES)
    pairs = sorted(with_corrected(pairs, measures), key=_place)
    return Comparison(
        pairs=tuple(pairs),
        measures=measures,
        only=(
            tuple(key for key in each[0] if key not in each[1]),
            tuple(key for key in each[1] if key not in each[0]),
        ),
    )


def _by_key(dataset: Dataset) -> dict[_Key, HighestRate]:
    return {
        (one.scenario, one.configuration, _around(one)): one
        for one in highest_rates(dataset.trials, dataset.about.spec)
    }


def _around(one: HighestRate) -> str:
    """Return the network and the environment of a search for people."""
    return ", ".join(filter(None, (one.network, one.environment))) or "no network"


def _place(pair: RatePair) -> tuple[str, float, str]:
    rate = pair.found[RATE.name]
    return pair.scenario, math.inf if rate is None else -rate.ratio.value, pair.rates[0].name


def _pair(
    key: _Key, rates: tuple[HighestRate, HighestRate], trials: list[pd.DataFrame]
) -> RatePair:
    blocks = [_known(one) for one in rates]
    ends = [np.array([(b.kept_hz, b.failed_hz) for b in some]).reshape(-1, 2) for some in blocks]
    values: dict[str, tuple[_Floats, _Floats]] = {RATE.name: (ends[0][:, 0], ends[1][:, 0])}
    there = [_at_highest(*side) for side in zip(trials, rates, blocks, strict=True)]
    for measure in _ENERGIES:
        found = [side[measure.name].dropna().to_numpy(dtype=np.float64) for side in there]
        values[measure.name] = found[0], found[1]
    contrasts: Mapping[str, Contrast | None] = {
        RATE.name: compare_brackets(*ends),
        **{measure.name: compare(*values[measure.name]) for measure in _ENERGIES},
    }
    return RatePair(
        scenario=key[0],
        configuration=key[1],
        conditions=key[2:],
        trials=(len(blocks[0]), len(blocks[1])),
        found=contrasts,
        means={
            name: (geometric_mean(values[name][0]), geometric_mean(values[name][1]))
            for name, contrast in contrasts.items()
            if contrast is not None
        },
        rates=rates,
    )


def _known(one: HighestRate) -> list[BlockRate]:
    """Return the blocks to compare: none where any is known from one side only.

    To leave out just those would leave out the highest or the lowest. A block whose search told
    nothing at all is neither.
    """
    return one.told if all(block.narrow for block in one.told) else []


def _at_highest(trials: pd.DataFrame, one: HighestRate, blocks: list[BlockRate]) -> pd.DataFrame:
    """Return the valid trials at the highest rate kept in each block."""
    kept_hz = {block.block: block.kept_hz for block in blocks}
    mine = trials[
        (trials["scenario"] == one.scenario) & (trials["configuration"] == one.configuration)
    ]
    for column, name in (("network", one.network), ("environment", one.environment)):
        if column in mine:
            mine = mine[mine[column].isna() if name is None else mine[column] == name]
    return mine[mine["rate_hz"] == mine["block"].map(kept_hz)]
