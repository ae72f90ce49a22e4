"""What the searches of a campaign found: the highest rate that keeps the objective, with intervals.

What a probe tells and how a search goes on is decided in `search`; here blocks are put together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy import stats

from ..datasets.store import Dataset
from .cells import label_of
from .intervals import Interval, means_with_pooled_spread
from .search import Probe, RateSearch, bracket, next_rate_hz, probe_of, silent_reasons
from .units import human, human_interval

__all__ = ["BlockRate", "HighestRate", "highest_rates", "rate_text", "rates_table", "search_of"]

_LEVEL = 0.95
_FACTS = ("trial", "rate_hz", "within_slo_ratio", "reasons", "inference_energy_j")
_Open = Literal["at least", "below"]
_ROUNDING = 1.002
"""Rates are rounded to four digits."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRate:
    """What the search of one block found.

    Args:
        block: Its number.
        kept_hz: The highest rate that was kept; `None`: none was.
        failed_hz: The lowest rate that was not kept; `None`: none failed.
        narrow: Whether the two are as close as was asked.
        energy_j: Energy above idle per inference at the highest rate that was kept.
        remark: Why the rate is not known, or known from one side only; `None` where it is known.
    """

    block: int
    kept_hz: float | None
    failed_hz: float | None
    narrow: bool
    energy_j: float | None = None
    remark: str | None = None

    @property
    def open(self) -> _Open | None:
        """On which side the rate is not bounded by what was probed."""
        if self.narrow or (self.kept_hz is None and self.failed_hz is None):
            return None
        return "below" if self.kept_hz is None else "at least"

    @property
    def text(self) -> str:
        """The rate for people, without its unit."""
        if self.kept_hz is None:
            if self.failed_hz is None:
                return "not known"
            return f"below {rate_text(self.failed_hz)}"
        if self.narrow:
            return rate_text(self.kept_hz)
        beyond = "" if self.failed_hz is None else f", below {rate_text(self.failed_hz)}"
        return f"at least {rate_text(self.kept_hz)}{beyond}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HighestRate:
    """What the searches of one configuration found, under one network in one environment.

    Args:
        scenario: Name of the scenario.
        configuration: The configuration as the trials have it.
        label: The configuration for people.
        model: Its model.
        network: The emulated network; `None`: there is none.
        environment: What the machine was made to be; `None`: it was left as it was found.
        blocks: What each block found.
        energy: Energy above idle per inference at the highest rates that were kept, joules: mean
            over blocks, and its scatter between them.
    """

    scenario: str
    configuration: str
    label: str
    model: str
    network: str | None
    environment: str | None
    blocks: tuple[BlockRate, ...]
    energy: Interval | None = None

    @property
    def name(self) -> str:
        """Configuration, network and environment for people."""
        return ", ".join(filter(None, (self.label, self.network, self.environment)))

    @property
    def told(self) -> list[BlockRate]:
        """The blocks whose search told something."""
        return [one for one in self.blocks if one.kept_hz or one.failed_hz]

    @property
    def open(self) -> _Open | None:
        """On which side the mean is not bounded."""
        sides = {one.open for one in self.told} - {None}
        return sides.pop() if len(sides) == 1 else None

    @property
    def mean(self) -> Interval | None:
        """The geometric mean of the rates kept in the blocks that tell something, hertz.

        With a 95 % interval from two blocks on where none is open. A block's rate may be anything
        from what it kept to what it failed at: the interval is from Student's lower end for the
        former to his upper end for the latter, on logarithms (Horowitz and Manski 2000, JASA 95).
        `None` where no block tells anything, or blocks are open on either side.
        """
        told = self.told
        if not told or len({one.open for one in told} - {None}) > 1:
            return None
        # In the mean of blocks some of which are only known to be below a rate, that rate stands.
        logs = np.log([one.kept_hz or one.failed_hz or math.nan for one in told])
        value = math.exp(float(logs.mean()))
        if self.open or len(logs) < 2:
            return Interval(value=value)
        low_hz, high_hz = self.bounds
        return Interval(value=value, low=low_hz, high=high_hz)

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which rates the highest lies: of one block, its bracket, of several, as `mean`.

        On an open side there is no end: 0 or infinity; on both where nothing is known.
        """
        told = self.told
        kept = [one.kept_hz for one in told if one.kept_hz]
        failed = [one.failed_hz for one in told if one.failed_hz]
        return (
            _student(kept)[0] if len(kept) == len(told) > 0 else 0.0,
            _student(failed)[1] if len(failed) == len(told) > 0 else math.inf,
        )

    @property
    def mean_text(self) -> str:
        """The mean for people, with its interval."""
        mean = self.mean
        if mean is None:
            return "not known"
        if self.open is not None:
            return f"{self.open} {human(mean.value, 'Hz', 1.0)}"
        bounds = human_interval(mean.low, mean.high, "Hz", mean.value, 1.0)
        return human(mean.value, "Hz", 1.0) + ("" if mean.low is None else f" ({bounds})")

    @property
    def failed_hz(self) -> float | None:
        """The lowest rate that failed in any block."""
        return min((one.failed_hz for one in self.blocks if one.failed_hz), default=None)

    @property
    def remarks(self) -> list[str]:
        """What is to be said of single blocks, once for those that have it in common."""
        by: dict[str, list[str]] = {}
        for one in self.blocks:
            if one.remark is not None:
                by.setdefault(one.remark, []).append(str(one.block))
        return [
            f"block{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}: {remark}"
            for remark, numbers in by.items()
        ]


def _student(rates_hz: Sequence[float]) -> tuple[float, float]:
    """Return the interval of a geometric mean; the mean itself where there is no scatter."""
    logs = np.log(rates_hz)
    if len(logs) < 2 or np.ptp(logs) == 0:
        mean = math.exp(float(logs.mean()))
        return mean, mean
    low, high = stats.t.interval(
        _LEVEL, len(logs) - 1, loc=logs.mean(), scale=float(stats.sem(logs))
    )
    return math.exp(low), math.exp(high)


def search_of(spec: Mapping[str, Any]) -> RateSearch | None:
    """Return the search of a dataset's campaign; `None` where it has loads."""
    search = spec.get("search")
    return None if search is None else RateSearch.model_validate(search)


def rate_text(rate_hz: float) -> str:
    """Return a rate as it was offered, without its unit."""
    return f"{rate_hz:,.4g}" if rate_hz < 1e4 else f"{rate_hz:,.0f}"


def highest_rates(trials: pd.DataFrame, spec: Mapping[str, Any]) -> list[HighestRate]:
    """Return what searches found, by scenario, the highest rate first.

    Args:
        trials: Every trial of a campaign, invalid ones included.
        spec: What was asked for; without a search nothing is found.
    """
    search = search_of(spec)
    if search is None:
        return []
    found: list[HighestRate] = []
    for scenario, rows in trials.groupby("scenario", sort=False):
        blocks = sorted(int(block) for block in rows["block"].unique())
        keys = [rows["configuration"], *(_names(rows, one) for one in ("network", "environment"))]
        each = []
        for (configuration, network, environment), group in rows.groupby(keys, sort=False):
            first = group.iloc[0]
            each.append(
                HighestRate(
                    scenario=str(scenario),
                    configuration=str(configuration),
                    label=label_of(first, rows),
                    model=str(first["model"]),
                    network=str(network) or None,
                    environment=str(environment) or None,
                    blocks=tuple(
                        _block_rate(block, _rows(group, block), search, spec["slo"]["percentile"])
                        for block in blocks
                    ),
                )
            )
        found += sorted(_with_energies(each), key=_place)
    return found


def _names(rows: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return what trials were under; empty for what was not asked for, or is not told."""
    if column not in rows:
        return pd.Series("", index=rows.index)
    return rows[column].astype(object).where(rows[column].notna(), "")


def _place(one: HighestRate) -> tuple[float, str]:
    """Return what sorts the highest rate first; what is not known comes last."""
    mean = one.mean
    return (math.inf if mean is None else -mean.value), one.name


def _rows(trials: pd.DataFrame, block: int) -> list[Row]:
    """Return the probes of a block in order, with what is missing as `None`."""
    mine = trials[trials["block"] == block].sort_values("trial")
    return [
        {name: None if pd.isna(row.get(name)) else row[name] for name in _FACTS}
        for row in mine.to_dict("records")
    ]


def _block_rate(
    block: int, rows: Sequence[Row], search: RateSearch, percentile: float
) -> BlockRate:
    probes = [probe_of(row, percentile) for row in rows]
    kept_hz, failed_hz = bracket(probes)
    narrow = _close(search, kept_hz, failed_hz)
    at_kept = [
        row["inference_energy_j"]
        for row, probe in zip(rows, probes, strict=True)
        if probe.kept and probe.rate_hz == kept_hz
    ]
    return BlockRate(
        block=block,
        kept_hz=kept_hz,
        failed_hz=failed_hz,
        narrow=narrow,
        energy_j=at_kept[0] if at_kept else None,
        remark=None if narrow else _remark(search, rows, probes),
    )


def _close(search: RateSearch, low_hz: float | None, high_hz: float | None) -> bool:
    """Whether two rates that are known are as close as was asked."""
    if low_hz is None or high_hz is None:
        return False
    return high_hz / low_hz <= (1 + search.resolution_ratio) * _ROUNDING


def _remark(search: RateSearch, rows: Sequence[Row], probes: Sequence[Probe]) -> str:
    """Return why a search did not narrow the rate down from both sides."""
    if not probes:
        return "not probed yet"
    kept_hz, failed_hz = bracket(probes)
    if failed_hz is None and _close(search, kept_hz, search.highest_hz):
        return f"kept up to the end of the range, {rate_text(search.highest_hz)} Hz"
    if kept_hz is None and _close(search, search.lowest_hz, failed_hz):
        return f"failed down to the end of the range, {rate_text(search.lowest_hz)} Hz"
    reasons = Counter(
        next(iter(silent_reasons(row)), row["reasons"] or "the share in time is not known")
        for row, probe in zip(rows, probes, strict=True)
        if probe.kept is None
    )
    if next_rate_hz(search, probes) is not None:
        return "the search has not ended"
    if not reasons:
        return "the search ended before the rate was narrowed down"
    commonest, _ = reasons.most_common(1)[0]
    return f"{reasons.total()} of {len(probes)} probes tell nothing: {commonest}"


def _with_energies(found: Sequence[HighestRate]) -> Iterator[HighestRate]:
    """Yield what was found with the mean energy of each; the scatter is pooled over all."""
    known = [[b.energy_j for b in one.blocks if b.energy_j is not None] for one in found]
    means = iter(means_with_pooled_spread([np.array(values) for values in known if values]))
    for one, values in zip(found, known, strict=True):
        yield replace(one, energy=next(means) if values else None)


def rates_table(dataset: Dataset, objective: str | None, partial: str | None) -> Table:
    """Return what the searches of a dataset found, for a terminal.

    Args:
        dataset: Of a campaign that searches.
        objective: The objective in words.
        partial: How much is missing, in words; `None` when the campaign is complete.
    """
    found = highest_rates(dataset.trials, dataset.about.spec)
    table = Table(
        title=f"Highest rate that keeps {objective}" + (f"; PARTIAL: {partial}" if partial else ""),
        title_justify="left",
        caption="\n".join(
            [
                "Geometric mean over blocks (95 % interval); energy above idle per inference at "
                "the highest rate kept.",
                *(f"{one.name}: {'; '.join(one.remarks)}." for one in found if one.remarks),
            ]
        ),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("configuration")
    table.add_column("highest rate", justify="right", no_wrap=True)
    table.add_column("by block, Hz", min_width=16)
    table.add_column("fails at", justify="right", no_wrap=True)
    table.add_column("energy", justify="right", no_wrap=True)
    for scenario in dict.fromkeys(one.scenario for one in found):
        table.add_row(f"[bold]{scenario}[/bold]", style="cyan")
        for one in (each for each in found if each.scenario == scenario):
            table.add_row(
                one.name,
                one.mean_text,
                "; ".join(block.text for block in one.blocks),
                "–" if one.failed_hz is None else f"{rate_text(one.failed_hz)} Hz",
                human(one.energy.value if one.energy else None, "J"),
            )
        table.add_section()
    return table
