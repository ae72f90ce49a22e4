"""Put rows with times on even steps; models count in rows, so a row has to be a step.

Times with an offset are compared as instants, so that a change of the clock is none. Times without
one are taken as they are: where a clock is put back they repeat. What is done about a row that is
missing, or not later than the one before, uses no later row, and is said in the workload's source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....errors import DatasetError
from ..series import MOST

__all__ = ["Steps", "even_steps", "instants_s"]

MOST_FILLED_RATIO = 0.1
"""More rows that are only the one before them would be a recording of nothing."""
MOST_DROPPED_RATIO = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Which row stands at each step.

    Args:
        rows: Shape (steps,): the row of the table, the newest that there is.
        step_s: From one to the next, in seconds: the median of the recording.
        filled: Steps without a row of their own.
        dropped: Rows not later than one before them, or of the same step as a later one.
    """

    rows: NDArray[np.int64]
    step_s: float
    filled: int
    dropped: int

    @property
    def remark(self) -> str:
        """What was done to the rows, for people; empty: nothing."""
        parts = []
        if self.filled:
            parts.append(f"{self.filled} missing steps repeat the row before them")
        if self.dropped:
            parts.append(f"{self.dropped} rows with repeated times are left out")
        return "; ".join(parts)


def instants_s(
    path: Path, column: str, texts: Sequence[str], first: int = 2
) -> NDArray[np.float64]:
    """Return times in seconds from some origin.

    Args:
        path: Of the file, for errors.
        column: Of the times, for errors.
        texts: Times in ISO 8601, all with an offset or all without, or numbers of seconds.
        first: Number of the first row in the file, for errors.

    Raises:
        DatasetError: When one is no time, or some have an offset and some have none.
    """
    try:
        numbers = np.array([float(text) for text in texts])
    except ValueError:
        return _dates_s(path, column, texts, first)
    wrong = np.flatnonzero(~(np.abs(numbers) <= MOST))
    if wrong.size:
        raise _no_time(path, column, first + int(wrong[0]), texts[wrong[0]])
    return numbers


def _dates_s(path: Path, column: str, texts: Sequence[str], first: int) -> NDArray[np.float64]:
    zoned: bool | None = None
    times = np.empty(len(texts))
    for index, text in enumerate(texts):
        try:
            time = pd.Timestamp(text)
            times[index] = time.timestamp()
        except ValueError as error:  # an empty text is a time that is none, and has no stamp
            raise _no_time(path, column, first + index, text) from error
        if zoned not in (None, time.tzinfo is not None):
            raise DatasetError(
                str(path),
                place=f"line {first + index}, column {column!r}",
                found=f"{text!r}, unlike the rows before it",
                expected="an offset from UTC in all times or in none",
                remedy="write all times in UTC",
            )
        zoned = time.tzinfo is not None
    return times


def _no_time(path: Path, column: str, line: int, text: str) -> DatasetError:
    return DatasetError(
        str(path),
        place=f"line {line}, column {column!r}",
        found=repr(text),
        expected="a time such as 2024-03-31T12:00:00+02:00, or a number of seconds",
        remedy="correct or remove the row",
    )


def even_steps(path: Path, times_s: NDArray[np.float64]) -> Steps:
    """Return which row stands at each step of a recording.

    Each row goes to the step nearest to its time. A row that is not later than all before it is
    left out, as a collector that cannot go back in time would; a step without a row repeats the
    newest one.

    Args:
        path: Of the file, for errors.
        times_s: Shape (rows,), in the order of the file.

    Raises:
        DatasetError: When more than one row in a hundred is not later than all before it, or more
            than a tenth of the steps have no row.
    """
    newest = np.maximum.accumulate(times_s)
    later = np.concatenate([[True], times_s[1:] > newest[:-1]])
    rows = np.flatnonzero(later)
    back = np.flatnonzero(~later)
    if len(back) > MOST_DROPPED_RATIO * len(times_s):
        raise DatasetError(
            str(path),
            place=f"row {back[0] + 1}",
            found=f"{len(back)} of {len(times_s)} times not later than those before them",
            expected="rows in the order of time, one for each",
            remedy="sort them, write times in UTC, and keep one series in a file",
        )
    step_s = float(np.median(np.diff(times_s[rows]))) if len(rows) > 1 else math.inf
    steps = np.rint((times_s[rows] - times_s[0]) / step_s)
    own = len(np.unique(steps))
    # Before they become integers, which one time far away would be too much for.
    if steps[-1] + 1 - own > MOST_FILLED_RATIO * (steps[-1] + 1):
        raise DatasetError(
            str(path),
            found=f"{steps[-1] + 1 - own:.0f} of {steps[-1] + 1:.0f} steps of {step_s:g} s "
            "without a row",
            expected=f"at most {MOST_FILLED_RATIO:.0%} of them",
            remedy="resample the recording to even steps, or use a part without gaps",
        )
    slots = steps.astype(np.int64)
    total = int(slots[-1]) + 1
    # Of several rows in one step the newest counts: the search finds the last that is not later.
    found = rows[np.searchsorted(slots, np.arange(total), side="right") - 1]
    return Steps(rows=found, step_s=step_s, filled=total - own, dropped=len(back) + len(rows) - own)
