"""The tables of model cards, of what `benchmarks/scenarios.py` found.

A card asks for a table by a comment, and what stands from there to `<!-- end -->` is written:

    <!-- table: exits fp32: macro_f1 accuracy bytes cpu_ms -->
    <!-- end -->

First what rows are: `alone` (models with one answer), `exits` (each exit alone), `thresholds` or
`references` (simple answers to the same requests, a row for each figure); then, if not all of them,
which precision or exit; then the columns. The first is told with its 95 % interval, and so is each
whose name a `+` follows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from ...errors import SpecError
from .base import SMALLEST_PRECISIONS

__all__ = ["filled_card"]

_Row = Mapping[str, str]
_Key = tuple[str, str, str]
"""Model, precision and exit."""

_ASKED = re.compile(r"(<!-- table: (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)
_KINDS = ("alone", "exits", "thresholds", "references")


def filled_card(
    card: str, text: str, scenario: str, quality: Sequence[_Row], cost: Sequence[_Row]
) -> str:
    """Return a card with the tables that it asks for.

    Args:
        card: What it is called, for messages.
        text: What it says.
        scenario: Whose models it describes.
        quality: What was judged: a row for each figure.
        cost: What was timed: a row for each configuration.

    Raises:
        SpecError: It asks for a table that there is not.
    """
    own = ([row for row in rows if row["scenario"] == scenario] for rows in (quality, cost))
    found = _Found(*own)

    def table(asked: re.Match[str]) -> str:
        try:
            lines = "".join(found.table(asked[2]))
        except ValueError as error:
            raise SpecError(card, place=f"table: {asked[2]}", found=str(error)) from error
        return f"{asked[1]}{lines}{asked[3]}"

    return _ASKED.sub(table, text)


class _Found:
    """All that is known of a scenario's models, by configuration and figure."""

    def __init__(self, quality: Sequence[_Row], cost: Sequence[_Row]) -> None:
        self._cells: dict[tuple[_Key, str], _Row] = {}
        self._bytes: dict[tuple[str, str], str] = {}
        for row in quality:
            key = (row["model"], row["precision"], row["exit"])
            if row["figure"] == "bytes":
                self._bytes[key[:2]] = f"{int(row['value']):,}".replace(",", " ")
            else:
                self._cells[key, row["figure"]] = row
        self._figures = {figure for _, figure in self._cells}
        self._times = {(row["model"], row["precision"], row["exit"]): row["cpu_ms"] for row in cost}

    def table(self, asked: str) -> Iterator[str]:
        """Yield the lines of a table.

        Raises:
            ValueError: There is no such kind, row or column.
        """
        which, _, names = asked.partition(":")
        kind, *only = which.split()
        columns = names.split()
        if kind not in _KINDS:
            raise ValueError(f"{kind!r}, expected one of {', '.join(_KINDS)}")
        figures = [name.removesuffix("+") for name in columns]
        for name in figures:
            if name not in self._figures | {"bytes", "cpu_ms"}:
                raise ValueError(f"no figure {name!r}")
        if kind == "references":
            told = (
                [f"`{name}`", _told(row)] for (key, name), row in self._cells.items() if not key[0]
            )
            yield from _lines(["figure", "value"], told)
            return
        keys = [key for key in self._keys(kind, figures) if _is_meant(key, only)]
        if not keys:
            raise ValueError("no row")
        heads = ["model", "precision", *([] if kind == "alone" else [kind.removesuffix("s")])]
        body = (
            [
                *key[: len(heads)],
                *(
                    self._cell(key, name, is_whole=column in (columns[0], f"{name}+"))
                    for name, column in zip(figures, columns, strict=True)
                ),
            ]
            for key in keys
        )
        yield from _lines([*heads, *(f"`{name}`" for name in figures)], body)

    def _keys(self, kind: str, columns: Sequence[str]) -> list[_Key]:
        """Return the configurations of a kind of which a column says something."""
        known = dict.fromkeys(key for key, name in self._cells if name in columns and key[0])
        return [key for key in known if _kind(key) == kind]

    def _cell(self, key: _Key, name: str, *, is_whole: bool) -> str:
        if name == "bytes":
            return self._bytes[key[:2]]
        if name == "cpu_ms":
            return _number(self._times[key]) if key in self._times else ""
        row = self._cells.get((key, name))
        if row is None:
            return ""
        return _told(row) if is_whole else _number(row["value"])


def _kind(key: _Key) -> str:
    if not key[2]:
        return "alone"
    return "exits" if key[2].isdigit() else "thresholds"


def _is_meant(key: _Key, only: Sequence[str]) -> bool:
    """Return whether a configuration is of the precision and by the exit that are asked for."""
    precisions = [one for one in only if one in SMALLEST_PRECISIONS]
    places = [one for one in only if one not in SMALLEST_PRECISIONS]
    return (not precisions or key[1] in precisions) and (not places or key[2] in places)


def _told(row: _Row) -> str:
    """Return a figure with its interval, where it has one."""
    if not row["low"]:
        return _number(row["value"])
    return f"{_number(row['value'])} ({_number(row['low'])} to {_number(row['high'])})"


def _number(text: str) -> str:
    """Return a number with as many digits as can mean something."""
    value = float(text)
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 0.0995 or not value:
        return f"{value:.3f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{digits}f}"


def _lines(heads: Sequence[str], body: Iterator[Sequence[str]]) -> Iterator[str]:
    for cells in (heads, ["---"] * len(heads), *body):
        yield f"| {' | '.join(cells)} |\n"
