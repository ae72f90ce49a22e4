"""Conditions on levels, and levels computed from others, as a specification writes them.

Arithmetic, comparisons, `and`, `or`, `not`, `in` and a few functions, evaluated by `simpleeval`:
nothing in a specification can run code, or keep the machine busy.
"""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

from simpleeval import DEFAULT_OPERATORS, EvalWithCompoundTypes, InvalidExpression, NumberTooHigh

from ..errors import SpecError

__all__ = ["Expression"]

_FUNCTIONS: dict[str, Any] = {"abs": abs, "max": max, "min": min, "round": round}
_REMEDY = "write it as Python writes a comparison, for instance: batch <= 8 or precision == 'int8'"
_LONGEST = 1000
"""Characters of an expression."""
_HIGHEST_POWER = 64
_HIGHEST = 10**18
"""No level is as high, and it still fits a message."""
_TOO_DEEP = "it nests too deep"


def _power(base: Any, exponent: Any) -> Any:
    if abs(base) > _HIGHEST or abs(exponent) > _HIGHEST_POWER:
        raise NumberTooHigh(f"a base above {_HIGHEST} or an exponent above {_HIGHEST_POWER}")
    return base**exponent


def _of_numbers(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return an operation that takes numbers alone: of text and lists it could fill memory."""

    def computed(left: Any, right: Any) -> Any:
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TypeError("*, % and ** take numbers")
        return compute(left, right)

    return computed


class _Computer(EvalWithCompoundTypes):  # type: ignore[misc]
    """Computes what a small expression can say; loops and formats could take for ever."""

    def __init__(self, levels: Mapping[str, Any]) -> None:
        operators = DEFAULT_OPERATORS | {
            ast.Mult: _of_numbers(operator.mul),
            ast.Mod: _of_numbers(operator.mod),
            ast.Pow: _of_numbers(_power),
        }
        names = {"startswith", "endswith"}
        super().__init__(operators, dict(_FUNCTIONS), dict(levels), allowed_attrs={str: names})
        for kind in (ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.JoinedStr):
            del self.nodes[kind]


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
        if len(text) > _LONGEST:
            raise self._wrong(f"{len(text)} characters", f"at most {_LONGEST}", "write it shorter")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            is_deep = isinstance(error, RecursionError | MemoryError)
            said = _TOO_DEEP if is_deep else getattr(error, "msg", None) or str(error)
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
        try:
            found = _Computer(levels).eval(self.text, previously_parsed=self._tree)
        except (InvalidExpression, ArithmeticError, TypeError, ValueError, IndexError) as error:
            raise self._no_value(levels, str(error)) from None
        except KeyError as error:
            raise self._no_value(levels, f"it has no {error}") from None
        except RecursionError:
            raise self._no_value(levels, _TOO_DEEP) from None
        if not isinstance(found, int | float | str | None):
            raise self._no_value(levels, "neither a number nor text, true or false")
        if isinstance(found, int) and abs(found) > _HIGHEST:
            raise self._no_value(levels, f"a number beyond {_HIGHEST}")
        return found

    def _no_value(self, levels: Mapping[str, Any], why: str) -> SpecError:
        cell = ", ".join(f"{name}={levels[name]}" for name in sorted(self.names))
        where = f" for {cell}" if cell else ""
        return self._wrong(f"'{self.text}' cannot be computed{where}: {why}", "a value", None)

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
