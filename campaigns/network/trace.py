"""Conditions that change with time, from a CSV file: a row holds from its time to the next one's.

Columns are `time_s`, and any of `delay_s`, `jitter_s`, `rate_mbps` and `loss_ratio`: for both
directions as written here, or for one with `up` or `down` inside, as in `rate_down_mbps`. What has
no column is a perfect link's. Times begin at 0 and ascend; the last row stays.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import SpecError
from .conditions import Change, Conditions, Link

__all__ = ["parse_trace", "read_trace"]

_TIME = "time_s"
_FIGURES = ("delay_s", "jitter_s", "rate_mbps", "loss_ratio")
_DIRECTIONS = ("up", "down")


def _column(figure: str, direction: str) -> str:
    what, unit = figure.split("_")
    return f"{what}_{direction}_{unit}"


_COLUMNS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    figure: (figure, _DIRECTIONS) for figure in _FIGURES
} | {_column(figure, way): (figure, (way,)) for figure in _FIGURES for way in _DIRECTIONS}
"""Which figure of which directions each column has."""


def read_trace(path: Path) -> Conditions:
    """Read a trace; the conditions have the name of the file.

    Raises:
        SpecError: When it cannot be read, or is no trace: with line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SpecError(
            str(path), found="no such file", expected="a network trace in CSV"
        ) from None
    except (OSError, ValueError) as error:
        raise SpecError(str(path), found=str(error), expected="a readable text file") from None
    return parse_trace(text, name=path.stem, subject=str(path))


def parse_trace(text: str, *, name: str, subject: str) -> Conditions:
    """Return the conditions that a trace's text describes.

    Args:
        text: The file.
        name: Name of the conditions.
        subject: What messages call the file.

    Raises:
        SpecError: With line and column, when it is no trace.
    """
    reader = csv.reader(io.StringIO(text))
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        place = f"line {reader.line_num}"
        raise SpecError(subject, place=place, found=str(error), expected="CSV") from None
    if len(rows) < 2:
        raise SpecError(
            subject,
            found="no rows" if rows else "an empty file",
            expected=f"a header with {_TIME}, and a row for each time",
        )
    heads = [head.strip() for head in rows[0][1]]
    _check_heads(heads, subject)
    changes = [_change(row, heads, f"line {line}", subject) for line, row in rows[1:]]
    _check_times(changes, [line for line, _ in rows[1:]], subject)
    first = changes[0]
    return Conditions(
        name=name, up=first.up, down=first.down, changes=tuple(changes[1:]), origin=subject
    )


def _check_heads(heads: Sequence[str], subject: str) -> None:
    """Refuse columns that are missing, unknown, or say the same thing twice."""
    if _TIME not in heads:
        raise SpecError(subject, place="header", found=", ".join(heads), expected=_TIME)
    told: dict[tuple[str, str], str] = {}
    for head in heads:
        if head == _TIME and heads.count(head) == 1:
            continue
        if head not in _COLUMNS and head != _TIME:
            near = difflib.get_close_matches(head, _COLUMNS, n=1)
            raise SpecError(
                subject,
                place="header",
                found=f"the unknown column {head!r}",
                expected=f"{_TIME} and any of " + ", ".join(_COLUMNS),
                remedy=f"did you mean {near[0]!r}?" if near else None,
            )
        figure, directions = _COLUMNS.get(head, (_TIME, ("both",)))
        for way in directions:
            if (figure, way) in told:
                raise SpecError(
                    subject,
                    place="header",
                    found=f"{told[figure, way]!r} and {head!r}",
                    expected="each figure of a direction once",
                )
            told[figure, way] = head


def _change(row: Sequence[str], heads: Sequence[str], line: str, subject: str) -> Change:
    if len(row) != len(heads):
        raise SpecError(
            subject, place=line, found=f"{len(row)} cells", expected=f"{len(heads)}, as the header"
        )
    figures: dict[str, dict[str, float]] = {way: {} for way in _DIRECTIONS}
    time_s = 0.0
    for head, cell in zip(heads, row, strict=True):
        value = _number(cell, f"{line}, {head}", subject)
        if head == _TIME:
            time_s = value
            continue
        figure, directions = _COLUMNS[head]
        for way in directions:
            figures[way][figure] = value
    up, down = (_link(figures[way], line, subject) for way in _DIRECTIONS)
    return Change(time_s=time_s, up=up, down=down)


def _number(cell: str, place: str, subject: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise SpecError(
            subject,
            place=place,
            found=repr(cell) if cell.strip() else "nothing",
            expected="a number >= 0",
            remedy="a trace has every figure at every time; leave out what is not known",
        )
    return value


def _link(figures: Mapping[str, float], line: str, subject: str) -> Link:
    rate_mbps = figures.get("rate_mbps")
    try:
        return Link(
            delay_s=figures.get("delay_s", 0.0),
            jitter_s=figures.get("jitter_s", 0.0),
            rate_bps=None if rate_mbps is None else rate_mbps * 1e6,
            loss_ratio=figures.get("loss_ratio", 0.0),
        )
    except SpecError as error:
        raise error.at(subject, f"{line}, {error.place}") from None


def _check_times(changes: Sequence[Change], lines: Sequence[int], subject: str) -> None:
    if changes[0].time_s != 0:
        raise SpecError(
            subject,
            place=f"line {lines[0]}, {_TIME}",
            found=f"{changes[0].time_s:g}",
            expected="0: the figures at the start",
        )
    for before, after, line in zip(changes, changes[1:], lines[1:], strict=False):
        if after.time_s <= before.time_s:
            raise SpecError(
                subject,
                place=f"line {line}, {_TIME}",
                found=f"{after.time_s:g} after {before.time_s:g}",
                expected="times that ascend",
            )
