"""Conditions on levels, and levels computed from others, as a specification writes them.

Arithmetic, comparisons, `and`, `or`, `not`, `in` and a few functions, evaluated by `simpleeval`:
nothing in a specification can run code.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Mapping
from typing import Any

from simpleeval import EvalWithCompoundTypes, InvalidExpression, SimpleEval

from ..errors import SpecError

__all__ = ["Expression"]

_FUNCTIONS: dict[str, Any] = {"abs": abs, "max": max, "min": min, "round": round}
_REMEDY = "write it as Python writes a comparison, for instance: batch <= 8 or precision == 'int8'"


class Expression:
    """One expression; it is parsed here and computed for each cell.

    Args:
        text: As it was written.
        known: Names that it may use.
        subject: The specification's file, for messages.
        place: Where in it the expression stands.

    Attributes:
        text: As given.
        names: Those that it uses.

    Raises:
        SpecError: It is no expression, or uses a name that is not known.
    """

    def __init__(self, text: str, known: Collection[str], *, subject: str, place: str) -> None:
        self.text, self._subject, self._place = text, subject, place
        try:
            self._tree = SimpleEval.parse(text.strip())
        except (InvalidExpression, SyntaxError, ValueError) as error:
            said = getattr(error, "msg", None) or str(error)
            raise self._wrong(f"'{text}' ({said})", "an expression", _REMEDY) from None
        used = {one.id for one in ast.walk(self._tree) if isinstance(one, ast.Name)}
        self.names = frozenset(used - _FUNCTIONS.keys())
        for name in sorted(self.names - set(known)):
            near = difflib.get_close_matches(name, known, n=1)
            raise self._wrong(
                f"the unknown name '{name}'",
                f"one of {', '.join(known)}",
                f"did you mean '{near[0]}'? text stands in quotes" if near else "quote text",
            )

    def __call__(self, levels: Mapping[str, Any]) -> Any:
        """Return its value for a cell; `None` where the cell lacks a level that it uses.

        Raises:
            SpecError: It cannot be computed for these levels.
        """
        if any(levels.get(name) is None for name in self.names):
            return None
        computer = EvalWithCompoundTypes(names=dict(levels), functions=_FUNCTIONS)
        try:
            return computer.eval(self.text, previously_parsed=self._tree)
        except (InvalidExpression, ArithmeticError, TypeError, ValueError) as error:
            cell = ", ".join(f"{name}={levels[name]}" for name in sorted(self.names))
            raise self._wrong(
                f"'{self.text}' cannot be computed for {cell}: {error}", "a value", None
            ) from None

    def holds(self, levels: Mapping[str, Any]) -> bool:
        """Return whether a condition holds; it says nothing of cells that lack what it names.

        Raises:
            SpecError: It cannot be computed, or is no condition.
        """
        found = self(levels)
        if found is None:
            return True
        if not isinstance(found, bool):
            raise self._wrong(f"'{self.text}' is {found!r}", "true or false", _REMEDY)
        return found

    def _wrong(self, found: str, expected: str, remedy: str | None) -> SpecError:
        return SpecError(
            self._subject, place=self._place, found=found, expected=expected, remedy=remedy
        )
