"""What each exit of an early-exit model takes: its share of requests, their latency, their energy.

Nobody measures the energy of one request. It is worked out from trials whose requests left by the
exits in different shares, where there are such trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from ..cells import quantile_interval
from ..intervals import Interval
from .factors import level_text

__all__ = ["ExitEnergy", "ExitUse", "exit_energies", "exit_uses"]

_CHOOSING = ("max_exit", "exit_threshold")
"""Factors that decide where requests leave, and nothing else."""
_MOST_ALIKE = 30.0
"""Condition number from which shares are too alike (Belsley, Kuh and Welsch 1980)."""
_LEAST_FREEDOM = 2

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitUse:
    """One exit of one configuration and load.

    Args:
        configuration: Its levels.
        load: Its load, and other conditions.
        exit: Number of the exit, from 1.
        requests: How many answers came by it.
        share: Of all answers; the interval (Wilson) takes requests as independent.
        latency: Quantiles of their latency, seconds, by `p50` and `p95`.
        confidence: Mean confidence at the exit; `None` where none was recorded.
    """

    configuration: str
    load: str
    exit: int
    requests: int
    share: Interval
    latency: Mapping[str, Interval]
    confidence: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitEnergy:
    """Energy above idle of a request by the exit it leaves by, for one model and load.

    Args:
        service: What is the same in its trials.
        trials: How many trials it rests on.
        energy: Joules a request by exit; empty when not known.
        unknown: Why not; `None` when known.
    """

    service: str
    trials: int
    energy: Mapping[int, Interval] = field(default_factory=dict)
    unknown: str | None = None


def exit_uses(
    trials: pd.DataFrame, requests: pd.DataFrame, conditions: Sequence[str]
) -> list[ExitUse]:
    """Return what each exit of each configuration did.

    Args:
        trials: Valid trials of one scenario.
        requests: Requests of that scenario.
        conditions: Columns that say under what it ran; trials that differ in them are kept apart.
    """
    known = _with_exit(requests)
    found: list[ExitUse] = []
    for levels, group in trials.groupby(["configuration", *conditions], sort=False, dropna=False):
        mine = known[known["trial"].isin(group["trial"])]
        found += _uses(str(levels[0]), ", ".join(_texts(levels[1:])), mine)
    return found


def _with_exit(requests: pd.DataFrame) -> pd.DataFrame:
    if "exit" not in requests:
        return requests.iloc[:0].assign(exit=[])
    return requests[(requests["status"] == "ok") & requests["exit"].notna()]


def _texts(levels: Sequence[object]) -> list[str]:
    return [text for level in levels if (text := level_text(level)) is not None]


def _uses(configuration: str, load: str, requests: pd.DataFrame) -> Iterator[ExitUse]:
    total = len(requests)
    for exit_, group in requests.groupby("exit"):
        part = binomtest(len(group), total).proportion_ci(0.95, method="wilson")
        latency_s = group["latency_s"].to_numpy(dtype=np.float64)
        confidence = group["confidence"].dropna() if "confidence" in group else pd.Series([])
        yield ExitUse(
            configuration=configuration,
            load=load,
            exit=int(str(exit_).partition(".")[0]),
            requests=len(group),
            share=Interval(value=len(group) / total, low=float(part.low), high=float(part.high)),
            latency={
                name: quantile_interval(latency_s, q) for name, q in (("p50", 0.5), ("p95", 0.95))
            },
            confidence=float(confidence.mean()) if len(confidence) else None,
        )


def exit_energies(
    trials: pd.DataFrame, requests: pd.DataFrame, conditions: Sequence[str]
) -> list[ExitEnergy]:
    """Return the energy of a request by exit, for trials that differ in where requests leave.

    Energy above idle per answered request is the mean of the exits' energies, weighed by their
    shares. With trials of different shares that is a regression without a constant.

    Args:
        trials: Valid trials of one scenario.
        requests: Requests of that scenario.
        conditions: Columns that say under what it ran; trials that differ in them are kept apart.
    """
    known = _with_exit(requests)
    counts = known.groupby(["trial", "exit"]).size().unstack(fill_value=0)
    staged = trials[trials["trial"].isin(counts.index)].copy()
    if not len(staged):
        return []
    staged["_same"] = [_same(text) for text in staged["configuration"]]
    found = []
    for levels, group in staged.groupby(["_same", *conditions], sort=False, dropna=False):
        service = ", ".join(_texts(levels))
        measured = group[group["service_energy_j"].notna()]
        shares = counts.loc[measured["trial"]]
        # Of a video, energy per inference is per frame, and only some frames are sent.
        energy_j = measured["service_energy_j"].to_numpy(dtype=np.float64) / shares.sum(axis=1)
        shares = shares.loc[:, shares.sum() > 0]
        found.append(
            _solved(
                service,
                [int(one) for one in shares.columns],
                shares.div(shares.sum(axis=1), axis=0).to_numpy(dtype=np.float64),
                energy_j.to_numpy(dtype=np.float64),
            )
        )
    return found


def _same(configuration: str) -> str:
    """Return a configuration without what decides where requests leave."""
    parts = [part for part in configuration.split() if part.partition("=")[0] not in _CHOOSING]
    return " ".join(parts)


def _solved(service: str, exits: Sequence[int], shares: _Floats, energy_j: _Floats) -> ExitEnergy:
    from statsmodels.regression.linear_model import OLS

    count = len(energy_j)
    if count < len(exits) + _LEAST_FREEDOM:
        reason = f"{count} trials with energy are too few for {len(exits)} exit"
        reason += "s" if len(exits) > 1 else ""
        return ExitEnergy(service=service, trials=count, unknown=reason)
    if np.linalg.cond(shares / np.linalg.norm(shares, axis=0)) > _MOST_ALIKE:
        reason = (
            "the shares of the exits are too alike in all trials; trials with other levels of "
            "exit_threshold or max_exit would tell them apart"
        )
        return ExitEnergy(service=service, trials=count, unknown=reason)
    fitted = OLS(energy_j, shares).fit()
    energy = {
        exit_: Interval(value=value, low=low, high=high)
        for exit_, value, (low, high) in zip(
            exits, fitted.params.tolist(), fitted.conf_int(0.05).tolist(), strict=True
        )
    }
    return ExitEnergy(service=service, trials=count, energy=energy)
