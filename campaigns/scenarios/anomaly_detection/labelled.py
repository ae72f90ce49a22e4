"""Labelled series, of any origin, and how they become rows to fit to and rows to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError
from .split import (
    ROW_S,
    SLOTS,
    WINDOW,
    TrainingWindows,
    normal_windows,
    training_size,
    trended_columns,
)

__all__ = [
    "LabelledSeries", "Telemetry", "as_events", "as_flags", "joined", "moment", "single",
    "slots_of", "stamps_of", "standardised", "usual_step_s",
]  # fmt: skip

_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSeries:
    """One series of a benchmark.

    Args:
        name: For people.
        values: Shape (rows, columns).
        slots: Shape (rows,): time-of-day slot of each row.
        events: Labelled row ranges [start, stop).
        probation: How many of the first rows are for fitting; the others are judged.
        row_s: Seconds from row to row.
        sha256: SHA-256 of its files.
    """

    name: str
    values: NDArray[np.float64]
    slots: NDArray[np.int64]
    events: tuple[tuple[int, int], ...]
    probation: int
    row_s: float
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Labelled rows, of one series or of several one after another.

    Args:
        values: Shape (rows, columns).
        slots: Shape (rows,): time-of-day slot.
        events: Row ranges [start, stop) of labelled events.
        starts: First row of each series.
        rows_s: Seconds from row to row, of each series.
        tested: Rows to judge; each has a whole window before it in its own series.
        training: Normal windows from before the tested rows.
    """

    values: NDArray[np.float64]
    slots: NDArray[np.int64]
    events: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    rows_s: tuple[float, ...]
    tested: NDArray[np.int64]
    training: TrainingWindows


def as_flags(rows: int, events: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return which rows lie in an event, shape (rows,)."""
    flags = np.zeros(rows, dtype=bool)
    for start, stop in events:
        flags[start:stop] = True
    return flags


def as_events(
    path: Path, flags: NDArray[np.float64], column: str, first: str = "line 2"
) -> tuple[tuple[int, int], ...]:
    """Return the runs of rows that are labelled 1 as row ranges [start, stop).

    Args:
        path: The file, for errors.
        flags: Shape (rows,).
        column: What the labels are called.
        first: What the place of the first label is called.

    Raises:
        DatasetError: When a label is neither 0 nor 1.
    """
    wrong = np.flatnonzero((flags != 0) & (flags != 1))
    if wrong.size:
        word, number = first.split()
        raise DatasetError(
            str(path),
            place=f"{word} {int(number) + wrong[0]}, column {column!r}",
            found=repr(float(flags[wrong[0]])),
            expected="0 or 1",
            remedy="see that this column holds the labels",
        )
    edges = np.flatnonzero(np.diff(np.concatenate(([0.0], flags, [0.0]))))
    return tuple((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))


def moment(path: Path, place: str, text: object) -> datetime:
    """Read a time.

    Raises:
        DatasetError: When it is none.
    """
    try:
        time = datetime.fromisoformat(str(text))
        if time.tzinfo is not None:
            time.astimezone(UTC)  # a zone can bring the first and last of years out of range
        return time
    except (ValueError, OverflowError) as error:
        raise DatasetError(
            str(path), place=place, found=repr(text), expected="a time such as 2014-02-14 14:30:00"
        ) from error


def slots_of(times: Sequence[datetime]) -> NDArray[np.int64]:
    """Return the time-of-day slots of some times; a time zone's wall clock is taken as it is."""
    seconds = np.array([t.hour * 3600 + t.minute * 60 + t.second for t in times], dtype=np.int64)
    return seconds * SLOTS // _DAY_S


def stamps_of(times: Sequence[datetime]) -> NDArray[np.datetime64]:
    """Return some times as moments that can be compared: in UTC where they name a time zone."""
    plain = [t if t.tzinfo is None else t.astimezone(UTC).replace(tzinfo=None) for t in times]
    return np.array(plain, dtype="datetime64[us]")


def usual_step_s(stamps: NDArray[np.datetime64]) -> float:
    """Return the median of the steps forward in time, in seconds; `ROW_S` where there is none."""
    steps = np.diff(stamps).astype("timedelta64[us]").astype(np.int64)
    forward = steps[steps > 0]
    return float(np.median(forward)) / 1e6 if forward.size else ROW_S


def standardised(values: NDArray[np.float64], probation: int) -> NDArray[np.float64]:
    """Return columns less the median of their first rows, over the standard deviation of those."""
    early = values[:probation]
    centre = np.median(early, axis=0)
    # Not a robust spread: all series share one threshold, so bursts must weigh alike in each.
    spread = early.std(axis=0)
    # A series that never moved while it was watched is judged by its own size instead.
    size = np.maximum(np.abs(centre), 1.0)
    return (values - centre) / np.where(spread > 0, spread, size)


def single(
    values: NDArray[np.float64], events: tuple[tuple[int, int], ...], path: Path
) -> Telemetry:
    """Return one series, fitted to what is normal in its first 60 % and tested from there on.

    Raises:
        DatasetError: When no column moves in the first part.
    """
    first = training_size(len(values))
    if not np.ptp(values[:first], axis=0).any():
        raise DatasetError(
            str(path),
            found="constant columns only in the first 60 % of the rows",
            expected="a series that moves",
            remedy="use a recording of something that was in use",
        )
    slots = np.arange(len(values), dtype=np.int64) % SLOTS
    windows, ends = normal_windows(values, slots, as_flags(len(values), events), first)
    return Telemetry(
        values=values,
        slots=slots,
        events=events,
        starts=(0,),
        rows_s=(ROW_S,),
        tested=np.arange(first, len(values), dtype=np.int64),
        training=TrainingWindows(
            windows=windows, slots=ends, trended=trended_columns(values[:first])
        ),
    )


def joined(series: Sequence[LabelledSeries], data: Path) -> Telemetry:
    """Return several series one after another; no window crosses from one into the next.

    Raises:
        DatasetError: When series differ in columns, or nothing normal or nothing judged is left.
    """
    widths = {one.values.shape[1] for one in series}
    if len(widths) > 1:
        raise DatasetError(
            str(data), found=f"series of {sorted(widths)} columns", expected="the same in each"
        )
    starts = np.cumsum([0, *(len(one.values) for one in series)])[:-1].tolist()
    parts = [
        normal_windows(one.values, one.slots, as_flags(len(one.values), one.events), one.probation)
        for one in series
    ]
    windows = np.concatenate([windows for windows, _ in parts])
    tested = np.concatenate(
        [
            np.arange(start + max(one.probation, WINDOW - 1), start + len(one.values))
            for start, one in zip(starts, series, strict=True)
        ]
    )
    if len(windows) < WINDOW or not tested.size:
        raise DatasetError(
            str(data),
            found=f"{len(windows)} windows of {WINDOW} normal rows, {tested.size} rows to judge",
            expected=f"at least {WINDOW} and 1",
            remedy="use a longer recording",
        )
    return Telemetry(
        values=np.concatenate([one.values for one in series]),
        slots=np.concatenate([one.slots for one in series]),
        events=tuple(
            (start + max(first, one.probation), start + stop)
            for start, one in zip(starts, series, strict=True)
            for first, stop in one.events
            if stop > one.probation
        ),
        starts=tuple(starts),
        rows_s=tuple(one.row_s for one in series),
        tested=tested.astype(np.int64),
        training=TrainingWindows(
            windows=windows,
            slots=np.concatenate([slots for _, slots in parts]),
            # A probationary part is too short to tell a trend from a change of level.
            trended=np.zeros(widths.pop(), dtype=bool),
        ),
    )
