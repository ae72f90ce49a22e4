"""Numbers as people read them: a fitting prefix, few digits, intervals in one unit."""

from __future__ import annotations

import math

__all__ = ["human", "human_interval", "prefix_for"]

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_SCALED = {"J", "s", "W", "Hz"}
_NO_BREAK = "\N{NO-BREAK SPACE}"


def prefix_for(value: float, unit: str) -> tuple[float, str]:
    """Return the factor and the unit in which a value has one to three digits before the point."""
    if unit not in _SCALED or value == 0 or not math.isfinite(value):
        return 1.0, "" if unit == "1" else unit
    for factor, prefix in _PREFIXES:
        # 999.6 m would be rounded to 1000 m.
        if abs(value) >= 0.9995 * factor:
            return factor, prefix + unit
    return _PREFIXES[-1][0], _PREFIXES[-1][1] + unit


def _digits(value: float, step: float) -> str:
    """Return a number with the decimals that three significant digits of `step` need."""
    # The exponent after rounding: 0.9996 is printed as 1.00, not as 1.000.
    decimals = 0 if step == 0 else max(0, 2 - int(f"{step:.2e}".partition("e")[2]))
    return f"{value:.{min(decimals, 6)}f}"


def human(value: float | None, unit: str = "1", scale: float | None = None) -> str:
    """Return a value with three significant digits and a prefix, for instance `1.23 mJ`.

    Args:
        value: In the unit; a missing one is a dash.
        unit: SI unit, "1" for none.
        scale: Take the prefix that fits this value, so that a column has one prefix throughout.
    """
    if value is None or not math.isfinite(value):
        return "–"
    factor, name = prefix_for(scale or value, unit)
    scaled = value / factor
    return _digits(scaled, scaled) + (f"{_NO_BREAK}{name}" if name else "")


def human_interval(
    low: float | None, high: float | None, unit: str, like: float, scale: float | None = None
) -> str:
    """Return an interval without its unit, rounded as `human(like, unit, scale)` is."""
    if low is None or high is None:
        return "–"
    factor, _ = prefix_for(scale or like, unit)
    step = like / factor
    return f"{_digits(low / factor, step)} to {_digits(high / factor, step)}"
