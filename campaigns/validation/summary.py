"""What the scores say: error, bias, coverage, width, each with its own uncertainty.

Errors of one node hang together, so that uncertainty comes from drawing nodes again (a bootstrap
over seeds), not scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .formulas import FORMULAS, Claim

__all__ = ["COVERAGE", "TARGETS", "Target", "check", "coverage", "summarise"]

_DRAWS = 2000
_REFERENCES = {formula.claim: formula.name for formula in FORMULAS if not formula.ours}


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row per scenario and formula, in the order of the scores.

    Columns: `scenario`, `formula`, `claim`, `scores`, `nodes`, `mape_ratio` with `_low`/`_high`
    (95 %), `bias_ratio`, `coverage_ratio` with `_low`/`_high` and `half_width_ratio` (median, over
    the value); the last two are missing for formulas that state no interval.
    """
    rows: list[dict[str, object]] = []
    for (scenario, formula), group in scores.groupby(["scenario", "formula"], sort=False):
        row: dict[str, object] = {"scenario": scenario, "formula": formula}
        rows.append(row | _figures(group))
    return pd.DataFrame(rows)


def _figures(group: pd.DataFrame) -> dict[str, object]:
    error = group["value_j"] / group["truth_j"] - 1
    mape_low, mape_high = _bootstrap(error.abs(), group["seed"])
    figures: dict[str, object] = {
        "claim": group["claim"].iloc[0],
        "scores": len(group),
        "nodes": group["seed"].nunique(),
        "mape_ratio": error.abs().mean(),
        "mape_low_ratio": mape_low,
        "mape_high_ratio": mape_high,
        "bias_ratio": error.mean(),
    }
    stated = group["low_j"].notna()
    if not stated.any():
        return figures | dict.fromkeys(
            ("coverage_ratio", "coverage_low_ratio", "coverage_high_ratio", "half_width_ratio")
        )
    covered = _covered(group)
    low, high = _bootstrap(covered, group["seed"])
    half = (group["high_j"] - group["low_j"]) / 2 / group["value_j"].where(group["value_j"] > 0)
    return figures | {
        "coverage_ratio": covered.mean(),
        "coverage_low_ratio": low,
        "coverage_high_ratio": high,
        "half_width_ratio": half.median(),
    }


def _covered(group: pd.DataFrame) -> pd.Series[float]:
    inside = (group["low_j"] <= group["truth_j"]) & (group["truth_j"] <= group["high_j"])
    return inside.astype(float)


def coverage(scores: pd.DataFrame, formula: str) -> tuple[float, float, float]:
    """Return how often a formula's interval holds the truth over the whole grid, with its own.

    Every scenario counts alike, however many consumers it has.
    """
    ours = scores[scores["formula"] == formula]
    covered = _covered(ours)
    per_node = covered.groupby([ours["scenario"], ours["seed"]]).mean().unstack("scenario")
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(per_node), size=(_DRAWS, len(per_node)))
    means = np.nanmean(np.nanmean(per_node.to_numpy()[drawn], axis=1), axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    by_scenario = covered.groupby(ours["scenario"]).mean()
    return float(by_scenario.mean()), float(low), float(high)


def _bootstrap(values: pd.Series[float], seed: pd.Series[int]) -> tuple[float, float]:
    """Return the 95 % interval of a mean whose values hang together by seed."""
    sums, counts = values.groupby(seed).sum().to_numpy(), values.groupby(seed).size().to_numpy()
    if len(sums) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(len(sums), size=(_DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure to reach, and what was reached.

    Args:
        what: For people.
        wanted: For people: the bound.
        found: For people: the figure.
        reached: Whether it is.
    """

    what: str
    wanted: str
    found: str
    reached: bool


TARGETS = {"steady": 0.05, "bursty": 0.05, "co-located": 0.15}
"""Highest mean error per consumer, CPU time alone, by scenario."""

_RESIDUAL = 1e-3
COVERAGE = (0.93, 0.97)
"""How often, over the whole grid, 95 % intervals may hold the truth."""

_HALF_WIDTH = 0.08


def check(scores: pd.DataFrame, nodes: pd.DataFrame) -> list[Target]:
    """Compare what came out with what is asked of it."""
    table = summarise(scores).set_index(["scenario", "formula"])
    present = [name for name in TARGETS if (name, "joulery") in table.index]
    residual = float(nodes["residual_ratio"].max())
    targets = [
        Target(
            what="parts sum to the device's energy, worst node",
            wanted=f"≤ {_RESIDUAL:.1%}",
            found=f"{residual:.1e}",
            reached=residual <= _RESIDUAL,
        )
    ]
    for name in present:
        found = _at(table, name, "joulery", "mape_ratio")
        targets.append(
            Target(
                what=f"mean error per consumer, {name}",
                wanted=f"≤ {TARGETS[name]:.0%}",
                found=f"{found:.1%}",
                reached=found <= TARGETS[name],
            )
        )
    if "co-located" in present:
        plain = _at(table, "co-located", "joulery", "mape_ratio")
        counted = _at(table, "co-located", "joulery_counters", "mape_ratio")
        targets.append(
            Target(
                what="counters make co-located consumers better known",
                wanted=f"< {plain:.1%}",
                found=f"{counted:.1%}",
                reached=counted < plain,
            )
        )
    for formula in FORMULAS:
        if formula.ours:
            value, low, high = coverage(scores, formula.name)
            targets.append(
                Target(
                    what=f"the 95 % interval holds the truth, over the grid: {formula.title}",
                    wanted=f"{COVERAGE[0]:.0%} to {COVERAGE[1]:.0%}",
                    found=f"{value:.1%} ({low:.1%} to {high:.1%})",
                    reached=COVERAGE[0] <= value <= COVERAGE[1],
                )
            )
    for name in ("steady", "bursty"):
        if name in present:
            width = _at(table, name, "joulery", "half_width_ratio")
            targets.append(
                Target(
                    what=f"median half-width of the interval, {name}",
                    wanted=f"≤ {_HALF_WIDTH:.0%}",
                    found=f"{width:.1%}",
                    reached=width <= _HALF_WIDTH,
                )
            )
    return [*targets, *_references(table)]


def _at(table: pd.DataFrame, scenario: str, formula: str, column: str) -> float:
    return float(table[column].to_dict()[scenario, formula])


def _references(table: pd.DataFrame) -> list[Target]:
    """Compare with the reference of the same claim, in every scenario."""
    targets = []
    ours_of = {Claim.ACTIVE: "joulery", Claim.WITH_IDLE: "joulery_time_share"}
    for claim, ours in ours_of.items():
        reference = _REFERENCES[claim]
        pairs = {
            scenario: (
                _at(table, scenario, ours, "mape_ratio"),
                _at(table, scenario, reference, "mape_ratio"),
            )
            for scenario, formula in table.index
            if formula == ours
        }
        worse = [scenario for scenario, (mine, theirs) in pairs.items() if mine >= theirs]
        title = next(one.title for one in FORMULAS if one.name == reference)
        targets.append(
            Target(
                what=f"better than {title}",
                wanted="in every scenario",
                found="in every scenario" if not worse else f"not in {', '.join(worse)}",
                reached=not worse,
            )
        )
    return targets
