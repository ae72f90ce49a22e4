"""What several figures share: logarithmic axes, and bars over an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..intervals import Interval

__all__ = ["decade_ticks", "error_bars", "log_axis"]

_FEWEST_TICKS = 3


def decade_ticks(low: float, high: float) -> list[float]:
    """Return round numbers for a logarithmic axis: powers of ten, and finer ones where few fit."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for leads in (("1",), ("1", "2", "5"), ("1", "1.5", "2", "3", "4", "5", "6", "8")):
        if len(found) < _FEWEST_TICKS:
            ticks = [float(f"{lead}e{decade}") for decade in decades for lead in leads]
            found = [tick for tick in ticks if low <= tick <= high]
    if len(found) < _FEWEST_TICKS:
        # So short an axis is next to linear.
        size = math.floor(math.log10((high - low) / _FEWEST_TICKS))
        steps = [float(f"{k}e{power}") for power in (size - 1, size) for k in (1, 2, 5)]
        step = max(step for step in steps if step * _FEWEST_TICKS < high - low)
        first, last = math.ceil(low / step), math.floor(high / step)
        found = [float(f"{n * step:.12g}") for n in range(first, last + 1)]
    return found


def log_axis(low: float, high: float, ticks: Sequence[float] | None = None) -> dict[str, Any]:
    """Return what makes an axis of Plotly's logarithmic.

    Args:
        low: Its lower end.
        high: Its upper end.
        ticks: What stands at it; `None` takes round numbers.
    """
    ticks = decade_ticks(low, high) if ticks is None else ticks
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": list(ticks),
        "ticktext": [f"{tick:g}" for tick in ticks],
    }


def error_bars(
    values: Sequence[Interval | None], factor: float = 1.0, *, thickness: float = 1, width: int = 0
) -> dict[str, Any]:
    """Return Plotly's error bars of a trace; none where one of its values has no interval.

    Args:
        values: What the trace shows.
        factor: What values are divided by.
        thickness: Of a bar, pixels.
        width: Of its ends, pixels.
    """
    known = [one for one in values if one is not None and None not in (one.low, one.high)]
    if len(known) < len(values):
        return {"visible": False}
    return {
        "type": "data",
        "symmetric": False,
        "array": [(one.bounds[1] - one.value) / factor for one in known],
        "arrayminus": [(one.value - one.bounds[0]) / factor for one in known],
        "thickness": thickness,
        "width": width,
    }
