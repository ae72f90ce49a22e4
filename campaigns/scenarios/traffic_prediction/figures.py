"""Which figures say how good traffic forecasts are."""

from __future__ import annotations

from ..base import Figure
from .split import HORIZONS, QUANTILES

__all__ = ["AHEAD", "CLAIMED", "REFERENCES", "figures"]

AHEAD = {1: "one step (5 min)", 12: "twelve steps (1 h)"}
"""What horizons are called; the times are those of the data that ship."""

CLAIMED = QUANTILES[-1] - QUANTILES[0]
"""The share of truths that the interval between the outer quantiles claims to hold."""

REFERENCES = {
    "naive": "repeating the last value",
    "drift": "adding the training part's mean change per step to the last value",
    "seasonal_naive": "repeating the change of the day before, y[t] + y[t+h-d] - y[t-d]",
}

_MEAN = "mean over the series (net_in and net_out in the data that ship)"
_SCALED = (
    "divided by the mean absolute one-step change of the training part (Hyndman & Koehler 2006), "
    f"{_MEAN}"
)
_KINDS = {
    "mase": ("MASE", f"Mean absolute error of the forecast, {_SCALED}"),
    "mae": ("MAE", f"Mean absolute error of the forecast, {_MEAN}"),
    "smape": (
        "sMAPE",
        "Symmetric mean absolute percentage error as a ratio in [0, 2], 2 |y - f| / (|y| + |f|) "
        f"(Makridakis et al. 2020), {_MEAN}",
    ),
    "pinball": (
        "Pinball loss",
        f"Mean pinball loss (Koenker & Bassett 1978) over the quantiles "
        f"{', '.join(f'{level:g}' for level in QUANTILES)}, {_MEAN}; for models that give them",
    ),
    "coverage_gap": (
        "Coverage gap",
        f"How far the share of truths between the outer quantiles is from the {CLAIMED:g} that "
        f"they claim, {_MEAN}; for models that give them",
    ),
}


def figures() -> tuple[Figure, ...]:
    """Return the figures of forecasts, then those of simple answers to the same requests."""
    own = [
        Figure(
            name=f"{kind}_h{step}",
            title=f"{title}, {AHEAD[step]} ahead",
            description=description,
            better="lower",
        )
        for kind, (title, description) in _KINDS.items()
        for step in reversed(HORIZONS)
    ]
    beside = [
        Figure(
            name=f"mase_{reference}_h{step}",
            title=f"MASE of the {reference.replace('_', '-')} forecast, {AHEAD[step]} ahead",
            description=f"Mean absolute error of {rule} on the same requests, {_SCALED}",
            better="lower",
            reference_of=f"mase_h{step}",
        )
        for reference, rule in REFERENCES.items()
        for step in HORIZONS
    ]
    return (*own, *beside)
