"""Read a user's traffic: CSV or Parquet with any columns, Numenta's series, SNDlib's matrices.

Columns are chosen with the path, `traffic.csv#rx,tx`. Without a choice they are `net_in` and
`net_out` where the file has both, else all columns of numbers.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import DatasetError
from ..series import TIME_COLUMNS, Table, checksum, read_table
from .sndlib import is_sndlib, read_matrices
from .split import CHANNELS, MINIMUM_ROWS
from .steps import Steps, even_steps, instants_s

__all__ = ["MOST_SERIES", "Traffic", "load"]

MOST_SERIES = 8
"""More series at once make models that take long to fit, and figures that say little of each."""

_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of times in Parquet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A user's series.

    Args:
        table: One row a step.
        source: Where it came from and what was done to it, for people.
        key: Hexadecimal, another for other data and for another choice of columns.
    """

    table: Table
    source: str
    key: str


def load(data: Path) -> Traffic:
    """Read series from a path, which may end in `#` and the columns to read.

    Raises:
        DatasetError: When the data is missing, broken, too short, not finite or too uneven, lacks a
            column, or has more than `MOST_SERIES`.
    """
    path, asked = _chosen(data)
    if is_sndlib(path):
        table, remark = read_matrices(path, asked, minimum_rows=MINIMUM_ROWS)
    else:
        table, remark = _read(path, asked)
    if len(table.columns) > MOST_SERIES:
        raise DatasetError(
            str(path),
            found=f"{len(table.columns)} series",
            expected=f"at most {MOST_SERIES}",
            remedy=f"choose some: {path.name}#{','.join(table.columns[:2])}",
        )
    if len(table.values) < MINIMUM_ROWS:
        raise DatasetError(
            str(path),
            found=f"{len(table.values)} rows of times that rise",
            expected=f"at least {MINIMUM_ROWS} rows",
            remedy="use a longer recording",
        )
    default = asked is None and table.columns == CHANNELS and not remark
    lines = [table.sha256, *table.columns]
    key = table.sha256 if default else checksum("\n".join(lines).encode())
    source = path.name if table.columns == CHANNELS else f"{path.name} ({', '.join(table.columns)})"
    return Traffic(table=table, source=f"{source}; {remark}" if remark else source, key=key)


def _chosen(data: Path) -> tuple[Path, tuple[str, ...] | None]:
    """Return the file, and the columns that are named after it."""
    name, mark, columns = data.name.rpartition("#")
    if data.exists() or not mark or not name:
        return data, None
    chosen = tuple(column.strip() for column in columns.split(","))
    if not all(chosen) or len(set(chosen)) < len(chosen):
        raise DatasetError(
            str(data),
            found=f"columns {columns!r}",
            expected="names separated by commas, each once",
            remedy=f"write {name}#{','.join(CHANNELS)}",
        )
    return data.with_name(name), chosen


def _read(path: Path, asked: tuple[str, ...] | None) -> tuple[Table, str]:
    columns = asked
    if asked is None and path.is_file():
        columns = _usual_columns(path)
    is_parquet = path.suffix.lower() in {".parquet", ".pq"}
    timed = None if is_parquet else _csv_time(path)
    table = read_table(
        path,
        CHANNELS if columns is None else columns,
        texts=() if timed is None else (timed,),
        minimum_rows=MINIMUM_ROWS,
    )
    steps: Steps | None = None
    if timed is not None:
        steps = even_steps(path, instants_s(path, timed, table.texts[timed]))
    elif is_parquet:
        steps = _parquet_steps(path)
    if steps is None:
        return table, ""
    return dataclasses.replace(table, values=table.values[steps.rows], texts={}), steps.remark


def _usual_columns(path: Path) -> tuple[str, ...] | None:
    """Return the columns of a file of which none are chosen; `None`: it cannot be told."""
    if path.suffix.lower() in {".parquet", ".pq"}:
        header, numeric = _parquet_columns(path)
    else:
        header, numeric = _csv_columns(path)
    if not header or set(CHANNELS) <= set(header):
        return None
    if not numeric:
        raise DatasetError(
            str(path),
            place="header",
            found=f"no column of numbers among {', '.join(map(repr, header))}",
            expected=f"{' and '.join(CHANNELS)}, or any columns of numbers",
            remedy="write one row a step, and a number in each column of traffic",
        )
    return numeric


def _head(path: Path) -> list[list[str]]:
    """Return the header and the first row of a CSV file, as far as they can be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(io.StringIO(file.read(1 << 16)))
            return [row for row, _ in zip((row for row in rows if row), range(2), strict=False)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _csv_columns(path: Path) -> tuple[list[str], tuple[str, ...]]:
    head = _head(path)
    if len(head) < 2 or len(head[0]) != len(head[1]):
        return [], ()
    header = [name.strip() for name in head[0]]
    numeric = tuple(
        name
        for name, field in zip(header, head[1], strict=True)
        if name.lower() not in TIME_COLUMNS and _like_a_number(field)
    )
    return header, numeric


def _like_a_number(field: str) -> bool:
    """Return whether a column that begins so is one of numbers; an empty field may be a gap."""
    if not field.strip():
        return True
    try:
        float(field)
    except ValueError:
        return False
    return True


def _csv_time(path: Path) -> str | None:
    """Return the first column of times, if there is one."""
    header = [name.strip() for name in (_head(path) or [[]])[0]]
    return next((name for name in header if name.lower() in TIME_COLUMNS), None)


def _parquet_columns(path: Path) -> tuple[list[str], tuple[str, ...]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return [], ()
    numeric = tuple(
        field.name
        for field in schema
        if field.name.lower() not in TIME_COLUMNS
        and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type))
    )
    return list(schema.names), numeric


def _parquet_steps(path: Path) -> Steps | None:
    """Return the steps of a Parquet file with a column of times; zones are the file's own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names: Sequence[str] = pq.read_schema(path).names
    timed = next((name for name in names if name.lower() in TIME_COLUMNS), None)
    if timed is None:
        return None
    column = pq.read_table(path, columns=[timed])[timed]
    if column.null_count:
        raise DatasetError(
            str(path), place=f"column {timed!r}", found="a row without a time",
            expected="a time in every row", remedy="correct or remove the row",
        )  # fmt: skip
    if pa.types.is_timestamp(column.type):
        times = column.cast(pa.int64()).to_numpy() / _PER_S[column.type.unit]
    else:
        times = instants_s(path, timed, [str(value) for value in column.to_pylist()], first=1)
    return even_steps(path, times)
