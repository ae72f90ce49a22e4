"""What a detector's file tells of itself in its metadata, as Ultralytics writes it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

__all__ = ["names_in", "size_in"]


def names_in(metadata: Mapping[str, str]) -> dict[int, str] | None:
    """Return the names of classes by their numbers; `None`: it does not tell."""
    names = _literal(metadata, "names")
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        return None
    return {key: str(name) for key, name in names.items() if isinstance(key, int)}


def size_in(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Return width and height, in pixels, of the picture it is made for; `None`: not told."""
    size = _literal(metadata, "imgsz")
    if not isinstance(size, list | tuple) or len(size) != 2:
        return None
    height, width = size
    return (width, height) if type(width) is type(height) is int and min(size) > 0 else None


def _literal(metadata: Mapping[str, str], key: str) -> Any:
    text = metadata.get(key)
    try:
        return ast.literal_eval(text) if text else None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
