"""Levels that follow from others: expressions under `derived`, computed for each combination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ..errors import SpecError
from .configuration import FACTORS, KNOB_FACTORS
from .expressions import Expression
from .scenarios.base import ModelFamily
from .spec import Factors, ScenarioSpec

__all__ = ["Derived"]

_MAY_FOLLOW = tuple(name for name in FACTORS if name not in ("model", "precision"))
"""Which models there are, and in which precisions, decides what else there is."""


class Derived:
    """The derived factors of a scenario.

    Args:
        part: The scenario's entry.
        subject: The specification's file, for messages.
        place: Where the entry stands in it.

    Raises:
        SpecError: When one is no factor, has levels too, or is no expression of the others.
    """

    def __init__(self, part: ScenarioSpec, subject: str, place: str) -> None:
        self._subject, self._place = subject, f"{place}.derived"
        self._expressions: dict[str, Expression] = {}
        others = [name for name in FACTORS if name not in part.derived]
        for name, text in part.derived.items():
            at = f"{self._place}.{name}"
            if name not in _MAY_FOLLOW:
                expected = f"one of {', '.join(_MAY_FOLLOW)}"
                raise SpecError(subject, place=at, found=f"'{name}'", expected=expected)
            if name in part.factors.model_fields_set:
                raise SpecError(
                    subject,
                    place=at,
                    found="levels under `factors`, too",
                    expected="levels or an expression",
                    remedy=f"remove `factors.{name}`, or this",
                )
            self._expressions[name] = Expression(text, others, subject=subject, place=at)

    def completed(self, levels: Mapping[str, Any], family: ModelFamily) -> dict[str, Any]:
        """Return a combination with its derived levels.

        A factor that the model does not have, or that cannot be told as the combination lacks what
        it follows from, stays as it is.

        Args:
            levels: Those of the factors that are crossed, by name.
            family: The combination's model.

        Raises:
            SpecError: When a level cannot be computed, or is none that the factor can have.
        """
        found = dict(levels)
        for name, expression in self._expressions.items():
            if name in KNOB_FACTORS and name not in family.knobs:
                continue
            level = expression(levels)
            if level is not None:
                found[name] = self._checked(name, level, levels, family)
        return found

    def _checked(
        self, name: str, level: Any, levels: Mapping[str, Any], family: ModelFamily
    ) -> Any:
        """Return a level as the factor's own type has it."""
        try:
            whole = Factors.model_validate({"model": ("any",), name: (level,)})
        except ValidationError as error:
            expected = error.errors()[0]["msg"].removeprefix("Input should be ")
        else:
            if name != "max_exit" or level <= family.exits:
                return getattr(whole, name)[0]
            expected = f"at most {family.exits}, the exits of {family.name}"
        cell = " ".join(f"{key}={value}" for key, value in levels.items() if value is not None)
        raise SpecError(
            self._subject,
            place=f"{self._place}.{name}",
            found=f"{level!r} for {cell}",
            expected=expected,
        )
