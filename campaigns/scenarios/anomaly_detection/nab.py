"""Read the Numenta Anomaly Benchmark: its layout, its labels, its probationary part.

Lavin & Ahmad 2015. Layout: `data/<folder>/<file>.csv` beside `labels/combined_windows.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError
from ....profiler.quality.nab import probation_rows
from ..keys import shown
from ..series import checksum, read_table
from .delimited import content_of
from .labelled import LabelledSeries, moment, slots_of, stamps_of, standardised, usual_step_s
from .split import WINDOW

__all__ = ["is_nab", "nab_series"]

FOLDERS = ("realAWSCloudwatch", "realKnownCause")
"""Folders whose series are machines' own; the others are adverts, roads and tweets."""

_LABELS = Path("labels") / "combined_windows.json"


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
    content = content_of(root / _LABELS, "a JSON object of windows")
    try:
        labels = json.loads(content)
        if not isinstance(labels, dict):
            raise ValueError(f"a JSON {type(labels).__name__} where an object is expected")
    except (ValueError, RecursionError) as error:
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
    series = tuple(
        _read(path, path.relative_to(home).as_posix(), labels, root / _LABELS) for path in files
    )
    lines = [f"{checksum(content)}  {_LABELS.as_posix()}"]
    lines += [f"{one.sha256}  {one.name}" for one in series]
    return series, checksum("\n".join(lines).encode())


def _read(path: Path, name: str, labels: dict[str, object], file: Path) -> LabelledSeries:
    table = read_table(path, ("value",), texts=("timestamp",), minimum_rows=10 * WINDOW)
    if name not in labels:
        raise DatasetError(
            str(path), found=f"no labels for {name!r}", expected="an entry in the label file"
        )
    times = [
        moment(path, f"line {row + 2}, column 'timestamp'", text)
        for row, text in enumerate(table.texts["timestamp"])
    ]
    stamps = stamps_of(times)
    probation = probation_rows(len(stamps))
    return LabelledSeries(
        name=name,
        values=standardised(table.values, probation),
        slots=slots_of(times),
        events=_events(file, name, stamps, labels[name]),
        probation=probation,
        row_s=usual_step_s(stamps),
        sha256=table.sha256,
    )


def _events(
    path: Path, name: str, stamps: NDArray[np.datetime64], windows: object
) -> tuple[tuple[int, int], ...]:
    """Return the row ranges of labelled windows; times may repeat or step back, rows may not."""
    if not isinstance(windows, list):
        raise DatasetError(
            str(path),
            place=name,
            found=shown(windows),
            expected="a list of [start, end] pairs",
            remedy="copy the labels again",
        )
    ranges: list[tuple[int, int]] = []
    for number, window in enumerate(windows, start=1):
        place = f"{name}, window {number}"
        if not isinstance(window, list) or len(window) != 2:
            raise DatasetError(
                str(path),
                place=place,
                found=shown(window),
                expected="a pair [start, end] of times",
                remedy="correct or remove the window",
            )
        start, end = stamps_of([moment(path, place, text) for text in window])
        if end < start:
            raise DatasetError(
                str(path),
                place=place,
                found=f"{window[1]} after {window[0]}",
                expected="an end not before the start",
                remedy="correct or remove the window",
            )
        inside = np.flatnonzero((stamps >= start) & (stamps <= end))
        if inside.size:
            ranges.append((int(inside[0]), int(inside[-1]) + 1))
    return tuple(sorted(ranges))
