"""Inject labelled faults into real telemetry: what the labels of this scenario mean.

The telemetry is real, the faults are not; whatever they touch is called "injected".

| kind        | rows  | what happens to the column                                          |
|-------------|-------|---------------------------------------------------------------------|
| spike       | 1-3   | jumps by 3 to 6 spreads, up or down                                 |
| level_shift | 8-14  | stays 2 to 4 spreads higher or lower                                |
| drift       | 12-18 | leaves along a straight line, 3 to 5 spreads at its end             |
| dropout     | 4-8   | reads zero: the collector answered nothing                          |

A spread is the robust standard deviation of the column's change over two hours (24 rows) in the
training part. Columns that are never negative in training are not made negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["InjectedFault", "Injection", "faulty_windows", "inject_faults"]

_ROWS = {"spike": (1, 3), "level_shift": (8, 14), "drift": (12, 18), "dropout": (4, 8)}
_SPREADS = {"spike": (3.0, 6.0), "level_shift": (2.0, 4.0), "drift": (3.0, 5.0)}
_SHARE = 0.11
_GAP = 12
"""Normal rows between two faults, so that each is an event of its own."""
_SPREAD_ROWS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFault:
    """One fault: its kind, the columns it touches, and its rows [start, stop)."""

    kind: str
    columns: tuple[str, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """A series with injected faults.

    Args:
        values: Shape (rows, columns), a copy.
        labels: Shape (rows,): true for a row of a fault.
        faults: The faults, in time order.
    """

    values: NDArray[np.float64]
    labels: NDArray[np.bool_]
    faults: tuple[InjectedFault, ...]


def inject_faults(
    values: NDArray[np.float64], columns: Sequence[str], first: int, seed: int
) -> Injection:
    """Inject faults into the rows from `first` on, about 11 % of them.

    Args:
        values: Shape (rows, columns), in time order; rows before `first` are the training part.
        columns: Names of the columns.
        first: First row that may be touched.
        seed: The same seed and data give the same faults.
    """
    rng = np.random.default_rng(seed)
    plan = _plan(rng, len(values) - first)
    training = values[:first]
    spread = _spread(training)
    changed = values.copy()
    labels = np.zeros(len(values), dtype=bool)
    faults = []
    for kind, start, stop in plan:
        rows = slice(first + start, first + stop)
        count = int(rng.integers(1, min(2, len(columns)) + 1))
        touched = np.sort(rng.choice(len(columns), count, replace=False))
        for column in touched:
            changed[rows, column] = _faulty(rng, kind, changed[rows, column], spread[column])
            if training[:, column].min() >= 0:
                changed[rows, column] = np.maximum(changed[rows, column], 0.0)
        labels[rows] = True
        faults.append(
            InjectedFault(
                kind=kind,
                columns=tuple(columns[column] for column in touched),
                start=rows.start,
                stop=rows.stop,
            )
        )
    return Injection(values=changed, labels=labels, faults=tuple(faults))


def faulty_windows(
    windows: NDArray[np.float32], normal: NDArray[np.float32], seed: int
) -> NDArray[np.float32]:
    """Return windows each of which ends inside a fault of one or two columns.

    Args:
        windows: Shape (windows, rows, columns); not changed.
        normal: Shape (any, rows, columns): what spreads are measured in.
        seed: The same seed and windows give the same faults.
    """
    rng = np.random.default_rng(seed)
    rows, columns = windows.shape[1:]
    spread = _robust_spread((normal[:, -1] - normal[:, 0]).astype(np.float64))
    positive = normal.min(axis=(0, 1)) >= 0
    changed = windows.copy()
    for window in changed:
        kind = str(rng.choice(list(_ROWS)))
        length = int(rng.integers(_ROWS[kind][0], _ROWS[kind][1] + 1))
        seen = min(int(rng.integers(1, length + 1)), rows)
        count = int(rng.integers(1, min(2, columns) + 1))
        for column in rng.choice(columns, count, replace=False):
            # The whole fault, of which the window sees the beginning.
            tail = np.resize(window[rows - seen :, column].astype(np.float64), length)
            found = _faulty(rng, kind, tail, spread[column])[:seen]
            window[rows - seen :, column] = np.maximum(found, 0) if positive[column] else found
    return changed


def _plan(rng: np.random.Generator, rows: int) -> list[tuple[str, int, int]]:
    """Return kind, start and stop of each fault: the kinds in turn, shuffled, gaps at random."""
    kinds: list[tuple[str, int]] = []
    budget = round(rows * _SHARE)
    while True:
        kind = tuple(_ROWS)[len(kinds) % len(_ROWS)]
        low, high = _ROWS[kind]
        length = int(rng.integers(low, high + 1))
        if sum(known for _, known in kinds) + length > budget and kinds:
            break
        kinds.append((kind, length))
    order = rng.permutation(len(kinds))
    spare = rows - sum(length for _, length in kinds) - _GAP * (len(kinds) + 1)
    cuts = np.sort(rng.integers(0, max(spare, 0) + 1, size=len(kinds)))
    plan = []
    used = 0
    for place, (index, cut) in enumerate(zip(order, cuts, strict=True)):
        kind, length = kinds[index]
        start = int(cut) + used + _GAP * (place + 1)
        plan.append((kind, start, start + length))
        used += length
    return plan


def _spread(training: NDArray[np.float64]) -> NDArray[np.float64]:
    return _robust_spread(training[_SPREAD_ROWS:] - training[:-_SPREAD_ROWS])


def _robust_spread(change: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.quantile(change, (0.25, 0.75), axis=0)
    robust = (high - low) / 1.349
    return np.where(robust > 0, robust, np.where(change.std(axis=0) > 0, change.std(axis=0), 1.0))


def _faulty(
    rng: np.random.Generator, kind: str, values: NDArray[np.float64], spread: float
) -> NDArray[np.float64]:
    if kind == "dropout":
        return np.zeros_like(values)
    size = rng.uniform(*_SPREADS[kind]) * spread * rng.choice((-1.0, 1.0))
    ramp = np.arange(1, len(values) + 1) / len(values) if kind == "drift" else np.ones(len(values))
    faulty: NDArray[np.float64] = values + size * ramp
    return faulty
