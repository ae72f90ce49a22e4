"""Keys and values that somebody wrote, checked by a table of the keys that there are."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import SpecError

__all__ = ["Keys", "checked", "shown"]

Keys = Mapping[str, tuple[Callable[[Any], Any], str]]
"""By key: what returns a value as it is meant, or `None` if it is wrong; and what is expected."""


def checked(said: Mapping[Any, Any], keys: Keys, subject: str) -> dict[str, Any]:
    """Return what is said, as it is meant; what is null is not said.

    Args:
        said: What somebody wrote.
        keys: All that there are.
        subject: What messages are about.

    Raises:
        SpecError: When a key or a value is not known.
    """
    found: dict[str, Any] = {}
    for key, value in said.items():
        if key not in keys:
            near = difflib.get_close_matches(shown(key), keys, n=1, cutoff=0.0)
            raise SpecError(
                subject,
                found=f"key {shown(key)}",
                expected=", ".join(keys),
                remedy=f"did you mean {near[0]!r}?",
            )
        if value is None:
            continue
        check, expected = keys[key]
        found[key] = check(value)
        if found[key] is None:
            raise SpecError(subject, place=key, found=shown(value), expected=expected)
    return found


def shown(value: Any) -> str:
    """Return a value for messages, and not all of it: aliases can make a small text endless."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return "an integer of thousands of digits"
