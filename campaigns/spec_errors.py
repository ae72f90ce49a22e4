"""What is wrong with a specification, said in one message: pydantic's list, for people."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import SpecError
from .loads import LOADS

__all__ = ["dotted", "explain"]


def dotted(path: Sequence[str | int]) -> str:
    """Return a place as people write it, for instance `loads[0].rate_hz`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def explain(
    error: ValidationError,
    subject: str,
    lines: Mapping[tuple[str | int, ...], str],
    root: type[BaseModel],
) -> SpecError:
    """Turn pydantic's list into one message about its first entry, and count the others.

    Args:
        error: What pydantic says.
        subject: The file.
        lines: Where each key and item stands, for instance `line 3`.
        root: What the file was read as.
    """
    # A misspelt key is also a missing key: the misspelling explains both, so it goes first.
    first, *others = sorted(
        error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden"
    )
    path = _place(first)
    line = next(
        (lines[path[:length]] for length in range(len(path), -1, -1) if path[:length] in lines),
        "line 1",
    )
    found, expected, remedy = _facts(first, path, root)
    # What holds the first mistake is wrong because of it, and not worth a word of its own.
    also = sorted({dotted(p) for p in map(_place, others) if p != path[: len(p)]})
    if also:
        remedy = (f"{remedy}; " if remedy else "") + f"also look at {', '.join(also)}"
    return SpecError(
        subject,
        place=line + (f", {dotted(path)}" if path else ""),
        found=found,
        expected=expected,
        remedy=remedy or None,
    )


def _place(entry: Any) -> tuple[str | int, ...]:
    """Return where an entry is: pydantic also says which kind of load it took it for."""
    # Of a key that the user chose, the key itself is the place.
    place: tuple[str | int, ...] = tuple(part for part in entry["loc"] if part != "[key]")
    if entry["type"] == "union_tag_invalid":
        return (*place, "arrival")
    return place[:2] + place[3:] if place[:1] == ("loads",) else place


_BOUNDS = {
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
}


def _facts(entry: Any, path: tuple[str | int, ...], root: type[BaseModel]) -> tuple[str, str, str]:
    """Return found, expected and remedy of one of pydantic's entries."""
    kind, context = entry["type"], entry.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys_at(entry["loc"][:-1], root)
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        return (
            f"the unknown key '{path[-1]}'",
            "one of " + ", ".join(known),
            f"did you mean '{near[0]}'?" if near else "`joulery spec schema` explains each",
        )
    if kind == "missing":
        return "nothing", f"the key '{path[-1]}'", f"add '{path[-1]}:'"
    if kind == "union_tag_invalid":
        near = difflib.get_close_matches(context["tag"], LOADS, n=1)
        known = [f"'{name}'" for name in LOADS]
        hint = f"did you mean '{near[0]}'?" if near else ""
        return f"'{context['tag']}'", "one of " + ", ".join(known), hint
    found = repr(entry["input"])
    if kind in _BOUNDS:
        return found, f"a number {_BOUNDS[kind].format(**context)}", ""
    if kind == "literal_error":
        return found, str(context["expected"]), ""
    if kind == "string_pattern_mismatch":
        is_url = context["pattern"].startswith("^http")
        return found, "a URL" if is_url else "lower case letters, digits, - and _", ""
    if kind == "tuple_type":
        return found, "a list", f"write [{entry['input']}]"
    if kind in ("model_type", "dict_type", "model_attributes_type", "union_tag_not_found"):
        return found, "keys with values", ""
    if kind == "too_short":
        return "nothing in it", f"at least {context['min_length']}", ""
    if entry["input"] is None:
        found = "nothing"
    if kind == "float_type" and _is_number(entry["input"]):
        return found, "a number", "YAML reads it as text: write 1.0e-2, not 1e-2"
    message = entry["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return found, message[0].lower() + message[1:], ""


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _keys_at(path: Sequence[str | int], root: type[BaseModel]) -> list[str]:
    """Return the keys that the specification knows at a place."""
    model = root
    if path[:1] == ("loads",):
        return list(LOADS[str(path[2])].model_fields)
    for part in path:
        if isinstance(part, str):
            if part not in model.model_fields:  # a name that the user gave
                continue
            annotation = model.model_fields[part].annotation
            for inner in getattr(annotation, "__args__", (annotation,)):
                if isinstance(inner, type) and issubclass(inner, BaseModel):
                    model = inner
    return list(model.model_fields)
