"""Read the Numenta Anomaly Benchmark: its layout, its labels, its probationary part.

Lavin & Ahmad 2015. Layout: `data/<folder>/<file>.csv` beside `labels/combined_windows.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError
from ..series import checksum, read_table
from .split import SLOTS, WINDOW

__all__ = ["LabelledSeries", "is_nab", "nab_series"]

FOLDERS = ("realAWSCloudwatch", "realKnownCause")
"""Folders whose series are machines' own; the others are adverts, roads and tweets."""

_LABELS = Path("labels") / "combined_windows.json"
_DAY_S = 86_400
_PROBATION_SHARE = 0.15
_PROBATION_ROWS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSeries:
    """One series of the benchmark.

    Args:
        name: Its name in the label file, `<folder>/<file>.csv`.
        values: Shape (rows, 1), less the probationary part's median, over its standard deviation.
        slots: Shape (rows,): time-of-day slot of each row.
        events: Labelled windows as row ranges [start, stop).
        probation: How many of the first rows are for fitting.
        sha256: SHA-256 of the file.
    """

    name: str
    values: NDArray[np.float64]
    slots: NDArray[np.int64]
    events: tuple[tuple[int, int], ...]
    probation: int
    sha256: str


def _root(data: Path) -> Path | None:
    """Return the folder of the benchmark that `data` is, or lies two folders below."""
    places = (data,) if data.is_dir() else tuple(data.resolve().parents)[2:3]
    return next((place for place in places if (place / _LABELS).is_file()), None)


def is_nab(data: Path) -> bool:
    """Return whether `data` is a folder in the benchmark's layout, or a CSV file in one."""
    root = _root(data)
    return root is not None and (data.is_dir() or data.resolve().parent.parent == root / "data")


def nab_series(data: Path) -> tuple[tuple[LabelledSeries, ...], str]:
    """Read one series, or all of `FOLDERS`.

    Returns:
        The series, and the SHA-256 of files and labels together.

    Raises:
        DatasetError: When a file is missing or wrong, or the labels do not know it.
    """
    root = _root(data)
    if root is None:
        raise DatasetError(str(data), found="no NAB layout", expected=f"{_LABELS} in it")
    content = (root / _LABELS).read_bytes()
    try:
        labels = json.loads(content)
        if not isinstance(labels, dict):
            raise ValueError(f"a JSON {type(labels).__name__} where an object is expected")
    except ValueError as error:
        raise DatasetError(
            str(root / _LABELS), found=str(error), expected="a JSON object of windows"
        ) from error
    home = (root / "data").resolve()
    if data.is_dir():
        files = [path for folder in FOLDERS for path in sorted((home / folder).glob("*.csv"))]
    else:
        files = [data.resolve()]
    if not files:
        raise DatasetError(
            str(data), found="no series", expected=f"CSV files in data/{' or data/'.join(FOLDERS)}"
        )
    series = tuple(_read(path, path.relative_to(home).as_posix(), labels) for path in files)
    lines = [f"{checksum(content)}  {_LABELS.as_posix()}"]
    lines += [f"{one.sha256}  {one.name}" for one in series]
    return series, checksum("\n".join(lines).encode())


def _moment(path: Path, place: str, text: object) -> datetime:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError as error:
        raise DatasetError(
            str(path), place=place, found=repr(text), expected="a time such as 2014-02-14 14:30:00"
        ) from error


def _read(path: Path, name: str, labels: dict[str, object]) -> LabelledSeries:
    table = read_table(path, ("value",), texts=("timestamp",), minimum_rows=10 * WINDOW)
    if name not in labels:
        raise DatasetError(
            str(path), found=f"no labels for {name!r}", expected="an entry in the label file"
        )
    times = [
        _moment(path, f"line {row + 2}, column 'timestamp'", text)
        for row, text in enumerate(table.texts["timestamp"])
    ]
    seconds = np.array([t.hour * 3600 + t.minute * 60 + t.second for t in times], dtype=np.int64)
    stamps = np.array(times, dtype="datetime64[us]")
    probation = int(_PROBATION_SHARE * min(len(stamps), _PROBATION_ROWS))
    return LabelledSeries(
        name=name,
        values=_standardised(table.values, probation),
        slots=seconds * SLOTS // _DAY_S,
        events=_events(path, stamps, labels[name]),
        probation=probation,
        sha256=table.sha256,
    )


def _standardised(values: NDArray[np.float64], probation: int) -> NDArray[np.float64]:
    early = values[:probation]
    centre = float(np.median(early))
    # Not a robust spread: all series share one threshold, so bursts must weigh alike in each.
    spread = float(early.std())
    # A series that never moved while it was watched is judged by its own size instead.
    return (values - centre) / (spread if spread > 0 else max(abs(centre), 1.0))


def _events(
    path: Path, stamps: NDArray[np.datetime64], windows: object
) -> tuple[tuple[int, int], ...]:
    """Return the row ranges of labelled windows; times may repeat or step back, rows may not."""
    if not isinstance(windows, list):
        raise DatasetError(
            str(path), found="labels that are no list", expected="[start, end] pairs"
        )
    ranges: list[tuple[int, int]] = []
    for window in windows:
        start, end = (np.datetime64(_moment(path, "labels", moment)) for moment in window)
        inside = np.flatnonzero((stamps >= start) & (stamps <= end))
        if inside.size:
            ranges.append((int(inside[0]), int(inside[-1]) + 1))
    return tuple(sorted(ranges))
