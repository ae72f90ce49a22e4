"""Is it the same campaign? What changed since it began, told key by key.

Nothing is known here of what the keys mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import SpecError

__all__ = ["check_same"]

_MOST_LINES = 20
_MOST_CHARACTERS = 48
_LEAD_CHARACTERS = 8
"""How much of what two long values share is shown before they part."""
_MISSING = object()


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], subject: str) -> None:
    """Refuse to resume a campaign whose specification or data changed.

    Raises:
        SpecError: With each key that changed, and how, a line each.
    """
    changes = list(_changes(before, now, ""))
    if not changes:
        return
    lines = changes[:_MOST_LINES]
    if len(changes) > len(lines):
        lines.append(f"and {len(changes) - len(lines)} more")
    count = "a change" if len(changes) == 1 else f"{len(changes)} changes"
    raise SpecError(
        subject,
        place="--resume",
        found=f"{count} since the campaign began",
        expected="the same specification and data",
        remedy="undo what is listed here, or start anew with another --out:"
        + "".join(f"\n  {line}" for line in lines),
    )


def _changes(before: Any, now: Any, place: str) -> Iterator[str]:
    """Yield `place: before -> now` for each value that differs, and what came or went."""
    if before is _MISSING:
        yield f"{place}: added, {_shortened(_text(now))}"
    elif now is _MISSING:
        yield f"{place}: removed, it was {_shortened(_text(before))}"
    elif isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted(before.keys() | now.keys()):
            where = f"{place}.{key}" if place else str(key)
            yield from _changes(before.get(key, _MISSING), now.get(key, _MISSING), where)
    elif isinstance(before, list) and isinstance(now, list) and _are_parts(before, now):
        for index in range(max(len(before), len(now))):
            old, new = (some[index] if index < len(some) else _MISSING for some in (before, now))
            yield from _changes(old, new, f"{place}[{index}]")
    elif before != now:
        old, new = _text(before), _text(now)
        pairs = enumerate(zip(old, new, strict=False))
        least = min(len(old), len(new))
        shared = next((at for at, (one, other) in pairs if one != other), least)
        yield f"{place}: {_shortened(old, shared)} -> {_shortened(new, shared)}"


def _are_parts(before: list[Any], now: list[Any]) -> bool:
    """Whether lists are told item by item: those of plain values say more as a whole."""
    return any(isinstance(item, Mapping | list) for item in (*before, *now))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shortened(text: str, shared: int = 0) -> str:
    """Cut a long text to a window in which it parts from the other one."""
    if len(text) <= _MOST_CHARACTERS:
        return text
    start = max(0, min(shared - _LEAD_CHARACTERS, len(text) - _MOST_CHARACTERS))
    end = start + _MOST_CHARACTERS
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
