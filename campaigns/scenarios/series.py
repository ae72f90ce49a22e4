"""Read a table of numbers from CSV or Parquet, carefully: what is wrong is said with its place.

What the numbers mean, and how they are split, is the business of each scenario.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DatasetError

__all__ = ["MOST", "TIME_COLUMNS", "Table", "checksum", "number_in", "read_table", "shipped_table"]

TIME_COLUMNS = frozenset({"date", "datetime", "time", "timestamp"})
"""Names (in lower case) of columns that only label rows: never read as numbers."""

MOST = 1e18
"""In models of FP32, squares of larger numbers would add up to infinity."""

_A_NUMBER = f"a finite number of {MOST:g} at most"

_SHIPPED = Path(__file__).parent / "data" / "alibaba2018_machine_usage_300s.csv"
_SHIPPED_SHA256 = "3cbe34a882f31272cecdf9cdab27d2e91d964f9dd45c199f9f53e6d38379746a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Numbers in columns, in the order of the file.

    Args:
        path: The file.
        columns: Names of the columns of `values`.
        values: Shape (rows, columns); all finite.
        texts: Per asked text column, its fields.
        sha256: SHA-256 of the file, hexadecimal.
    """

    path: Path
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    texts: dict[str, tuple[str, ...]]
    sha256: str


def checksum(content: bytes) -> str:
    """Return the SHA-256 of some bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def shipped_table(columns: Sequence[str] | None = None) -> Table:
    """Return the telemetry that ships with the project (Alibaba 2018, 300 s).

    Raises:
        DatasetError: When the file is missing or is not the one that was shipped.
    """
    content = _content(_SHIPPED)
    found = checksum(content)
    if found != _SHIPPED_SHA256:
        raise DatasetError(
            str(_SHIPPED),
            found=f"SHA-256 {found}",
            expected=_SHIPPED_SHA256,
            remedy="install joulery again, or name your own file with `data`",
        )
    return _read_csv(_SHIPPED, content, columns, (), 1)


def read_table(
    path: Path,
    columns: Sequence[str] | None = None,
    *,
    texts: Sequence[str] = (),
    minimum_rows: int = 1,
) -> Table:
    """Read a CSV (UTF-8, comma, header) or Parquet file.

    Args:
        path: The file; `.parquet` or `.pq` is read as Parquet, everything else as CSV.
        columns: The columns to read as numbers; `None` for all but `TIME_COLUMNS` and `texts`.
        texts: Columns to keep as text (CSV only).
        minimum_rows: Fewer rows are refused.

    Raises:
        DatasetError: When the file is missing, a directory, empty, truncated, not numeric, not
            finite, too short, not UTF-8, or lacks a column.
    """
    content = _content(path)
    if path.suffix.lower() in {".parquet", ".pq"}:
        return _read_parquet(path, content, columns, minimum_rows)
    return _read_csv(path, content, columns, texts, minimum_rows)


def _content(path: Path) -> bytes:
    remedy = "name a CSV or Parquet file with `data`"
    if not path.exists():
        raise DatasetError(str(path), found="no such file", expected="a data file", remedy=remedy)
    if path.is_dir():
        raise DatasetError(str(path), found="a directory", expected="a data file", remedy=remedy)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            str(path), found=str(error), expected="a readable file", remedy="check its permissions"
        ) from error
    if not content.strip():
        raise DatasetError(
            str(path), found="an empty file", expected="a header and rows of numbers", remedy=remedy
        )
    return content


def _chosen(
    path: Path, header: Sequence[str], columns: Sequence[str] | None, texts: Sequence[str]
) -> tuple[str, ...]:
    """Return the numeric columns to read, all of them present."""
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(
            str(path),
            place="header",
            found=f"column {twice!r} twice",
            expected="each column once",
            remedy="rename one of them",
        )
    if not header:
        raise DatasetError(
            str(path), found="no header", expected="a header and rows of numbers under it"
        )
    for name in (*(columns or ()), *texts):
        if name not in header:
            near = difflib.get_close_matches(name, header, n=1, cutoff=0.0)
            raise DatasetError(
                str(path),
                place="header",
                found=f"no column {name!r} among {', '.join(map(repr, header))}",
                expected=f"a column {name!r}",
                remedy=f"rename {near[0]!r}, the nearest, if it is that one",
            )
    if columns is not None:
        return tuple(columns)
    numeric = tuple(c for c in header if c.lower() not in TIME_COLUMNS and c not in texts)
    if not numeric:
        raise DatasetError(
            str(path), place="header", found="only time columns", expected="a column of numbers"
        )
    return numeric


def _enough(path: Path, rows: int, minimum_rows: int) -> None:
    if rows == 0:
        raise DatasetError(
            str(path), found="a header and no rows", expected="rows of numbers under the header"
        )
    if rows < minimum_rows:
        raise DatasetError(
            str(path),
            found=f"{rows} rows",
            expected=f"at least {minimum_rows} rows",
            remedy="use a longer recording; if the file was longer, copy it again",
        )


def number_in(path: Path, line: int, column: str, field: str) -> float:
    """Return the number in a field.

    Raises:
        DatasetError: When it is none, is not finite or is larger than `MOST`.
    """
    try:
        # Python reads '1_000' as 1000; a data file does not mean that.
        value = math.nan if "_" in field else float(field)
    except ValueError:
        value = math.nan
    if not abs(value) <= MOST:
        what = "an empty field" if not field.strip() else repr(field)
        raise DatasetError(
            str(path),
            place=f"line {line}, column {column!r}",
            found=what,
            expected=_A_NUMBER,
            remedy="correct or remove the row",
        )
    return value


def _read_csv(
    path: Path,
    content: bytes,
    columns: Sequence[str] | None,
    texts: Sequence[str],
    minimum_rows: int,
) -> Table:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            str(path),
            place=f"line {line}",
            found=f"byte 0x{content[error.start]:02x}, which is not UTF-8",
            expected="a CSV file in UTF-8, or a file named .parquet",
            remedy="save it again as UTF-8",
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[float]] = []
    kept: dict[str, list[str]] = {name: [] for name in texts}
    try:
        header = [name.strip() for name in next((fields for fields in reader if fields), ())]
        numeric = _chosen(path, header, columns, texts)
        places = [(name, header.index(name)) for name in numeric]
        labels = [(name, header.index(name)) for name in texts]
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise DatasetError(
                    str(path),
                    place=f"line {reader.line_num}",
                    found=f"{len(fields)} fields",
                    expected=f"{len(header)}, as in the header",
                    remedy="the file may be cut short: copy it again, or correct the line",
                )
            rows.append([number_in(path, reader.line_num, c, fields[i]) for c, i in places])
            for name, index in labels:
                kept[name].append(fields[index])
    except csv.Error as error:
        raise DatasetError(
            str(path),
            place=f"line {reader.line_num}",
            found=str(error),
            expected="comma-separated values",
            remedy="the file may be cut short: copy it again",
        ) from error
    _enough(path, len(rows), minimum_rows)
    return Table(
        path=path,
        columns=numeric,
        values=np.array(rows, dtype=np.float64),
        texts={name: tuple(fields) for name, fields in kept.items()},
        sha256=checksum(content),
    )


def _read_parquet(
    path: Path, content: bytes, columns: Sequence[str] | None, minimum_rows: int
) -> Table:
    # Imported here: reading CSV, the usual case, does not need it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            str(path),
            found=str(error).splitlines()[0],
            expected="a complete Parquet file",
            remedy="the file may be cut short: copy it again",
        ) from error
    numeric = _chosen(path, table.column_names, columns, ())
    _enough(path, table.num_rows, minimum_rows)
    values = np.empty((table.num_rows, len(numeric)), dtype=np.float64)
    for index, name in enumerate(numeric):
        kind = table.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or kind == pa.bool_()):
            raise DatasetError(
                str(path),
                place=f"row 1, column {name!r}",
                found=f"{table[name][0].as_py()!r} of type {kind}",
                expected="numbers",
                remedy="write the column as float64",
            )
        values[:, index] = table[name].to_numpy()
        wrong = np.flatnonzero(~(np.abs(values[:, index]) <= MOST))
        if wrong.size:
            raise DatasetError(
                str(path),
                place=f"row {wrong[0] + 1}, column {name!r}",
                found=repr(table[name][int(wrong[0])].as_py()),
                expected=_A_NUMBER,
                remedy="correct or remove the row",
            )
    return Table(path=path, columns=numeric, values=values, texts={}, sha256=checksum(content))
