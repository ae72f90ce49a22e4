"""Read data in the format of the Skoltech Anomaly Benchmark (Katser & Kozitsin 2020).

Files with the separator `;`: `datetime`, the sensors, `anomaly` (0 or 1) and `changepoint`, which
is not used. The first 400 rows of each file are its own normal part, as the benchmark has it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....errors import DatasetError
from ..series import checksum
from .delimited import content_of, read_fields
from .labelled import (
    LabelledSeries,
    as_events,
    moment,
    slots_of,
    stamps_of,
    standardised,
    usual_step_s,
)
from .split import WINDOW

__all__ = ["is_skab", "skab_series"]

_TIME, _LABEL, _CHANGE = "datetime", "anomaly", "changepoint"
_PROBATION_ROWS = 400
_PROBATION_SHARE = 0.4
_MINIMUM_ROWS = 10 * WINDOW


def _header(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.readline(4096).decode("utf-8", errors="replace").lstrip("\ufeff").strip()


def _is_file(path: Path) -> bool:
    fields = [field.strip() for field in _header(path).split(";")]
    return path.suffix.lower() == ".csv" and len(fields) > 2 and fields[0] == _TIME


def _files(data: Path) -> list[Path]:
    """Return the files of a folder or of the folders in it; what has no labels is left out."""
    if not data.is_dir():
        return [data]
    found = sorted([*data.glob("*.csv"), *data.glob("*/*.csv")])
    return [path for path in found if _is_file(path) and _LABEL in _header(path).split(";")]


def is_skab(data: Path) -> bool:
    """Return whether `data` is a file in this format, or a folder with labelled ones."""
    if data.is_dir():
        return bool(_files(data))
    return data.is_file() and _is_file(data)


def skab_series(data: Path) -> tuple[tuple[LabelledSeries, ...], str]:
    """Read one file, or all labelled ones of a folder.

    Returns:
        The series, and the SHA-256 of the files together.

    Raises:
        DatasetError: When a file is wrong.
    """
    series = tuple(_read(path) for path in _files(data))
    if len(series) == 1:
        return series, series[0].sha256
    lines = [f"{one.sha256}  {one.name}" for one in series]
    return series, checksum("\n".join(lines).encode())


def _read(path: Path) -> LabelledSeries:
    content = content_of(path, "a recording with the separator ';'")
    fields = read_fields(path, content, separator=";", texts=(_TIME,))
    if _LABEL not in fields.columns:
        raise DatasetError(
            str(path),
            place="header",
            found=f"columns {', '.join(fields.columns)}",
            expected=f"a column {_LABEL!r} of 0 and 1",
            remedy="a recording without labels is read as comma-separated telemetry",
        )
    sensors = [name for name in fields.columns if name not in (_LABEL, _CHANGE)]
    values = fields.values[:, [fields.columns.index(name) for name in sensors]]
    if not sensors or len(values) < _MINIMUM_ROWS:
        raise DatasetError(
            str(path),
            found=f"{len(values)} rows of {len(sensors)} sensors",
            expected=f"at least {_MINIMUM_ROWS} rows of 1",
            remedy="use a longer recording",
        )
    times = [
        moment(path, f"line {row + 2}, column {_TIME!r}", text)
        for row, text in enumerate(fields.texts[_TIME])
    ]
    stamps = stamps_of(times)
    back = np.flatnonzero(np.diff(stamps) < np.timedelta64(0, "us"))
    if back.size:
        raise DatasetError(
            str(path),
            place=f"line {back[0] + 3}, column {_TIME!r}",
            found=f"{times[back[0] + 1]} after {times[back[0]]}",
            expected="rows in the order of time",
            remedy="sort the rows by time",
        )
    probation = min(_PROBATION_ROWS, int(_PROBATION_SHARE * len(values)))
    if not np.ptp(values[:probation], axis=0).any():
        raise DatasetError(
            str(path),
            found=f"constant sensors only in the first {probation} rows",
            expected="sensors that move",
        )
    labels = fields.values[:, fields.columns.index(_LABEL)]
    return LabelledSeries(
        name=path.name,
        values=standardised(values, probation),
        slots=slots_of(times),
        events=as_events(path, labels, _LABEL),
        probation=probation,
        row_s=usual_step_s(stamps),
        sha256=checksum(content),
    )
