"""Read numbers from separated text of any separator, with a header or without.

`series` reads what the project calls a table; benchmarks have forms of their own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DatasetError
from ..series import number_in

__all__ = ["Fields", "content_of", "read_fields"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Numbers in columns, in the order of the file.

    Args:
        columns: Names of the columns of `values`.
        values: Shape (rows, columns); all finite.
        texts: Per column that is not read as numbers, its fields.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    texts: dict[str, tuple[str, ...]]


def content_of(path: Path, what: str) -> bytes:
    """Return the bytes of a file.

    Args:
        path: The file.
        what: What it should be, for the error.

    Raises:
        DatasetError: When it is missing, empty or not readable.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(
            str(path), found="no such file", expected=what, remedy="copy the data set again"
        ) from error
    except OSError as error:
        raise DatasetError(str(path), found=str(error), expected=what) from error
    if not content.strip():
        raise DatasetError(
            str(path), found="an empty file", expected=what, remedy="copy the data set again"
        )
    return content


def read_fields(
    path: Path, content: bytes, *, separator: str, texts: Sequence[str] = (), header: bool = True
) -> Fields:
    """Read separated text in UTF-8.

    Args:
        path: The file, for errors.
        content: Its bytes.
        separator: One character.
        texts: Columns to keep as text.
        header: Whether the first line names the columns; otherwise they are numbered from 1.

    Raises:
        DatasetError: When it is not UTF-8, not numeric, not finite, lacks a text column, or its
            lines differ in length.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            str(path), found=f"byte {error.start}, which is not UTF-8", expected="text in UTF-8"
        ) from error
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[float]] = []
    kept: dict[str, list[str]] = {name: [] for name in texts}
    names: list[str] = []
    try:
        for fields in lines:
            if not fields:
                continue
            if not names:
                names = [f.strip() for f in fields] if header else _numbered(len(fields))
                _check_names(path, names, texts)
                if header:
                    continue
            if len(fields) != len(names):
                raise DatasetError(
                    str(path),
                    place=f"line {lines.line_num}",
                    found=f"{len(fields)} fields",
                    expected=f"{len(names)}, as in the first line",
                    remedy="the file may be cut short: copy it again, or correct the line",
                )
            pairs = zip(names, fields, strict=True)
            rows.append([number_in(path, lines.line_num, n, f) for n, f in pairs if n not in kept])
            for name, column in kept.items():
                column.append(fields[names.index(name)])
    except csv.Error as error:
        raise DatasetError(
            str(path), place=f"line {lines.line_num}", found=str(error), expected="separated values"
        ) from error
    columns = tuple(name for name in names if name not in kept)
    if not rows or not columns:
        raise DatasetError(str(path), found="no numbers", expected="rows of numbers")
    return Fields(
        columns=columns,
        values=np.array(rows, dtype=np.float64),
        texts={name: tuple(column) for name, column in kept.items()},
    )


def _numbered(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


def _check_names(path: Path, names: Sequence[str], texts: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    missing = next((name for name in texts if name not in names), None)
    if twice is None and missing is None:
        return
    raise DatasetError(
        str(path),
        place="header",
        found=f"column {twice!r} twice" if missing is None else f"columns {', '.join(names)}",
        expected="each column once" if missing is None else f"a column {missing!r}",
        remedy="correct the header",
    )
