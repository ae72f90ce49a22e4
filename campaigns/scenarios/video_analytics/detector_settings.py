"""What a user says of a detector beside its file, in specifications and to `joulery serve`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..keys import Keys, checked
from .layouts import LAYOUTS

__all__ = ["DetectorSettings", "settings_from"]

_MOST = 100_000
"""No detector has so many classes."""
_OURS = {"person": 0, "vehicle": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSettings:
    """What the file of a detector does not tell.

    Args:
        layout: The name of its layout; `None`: recognised by its outputs.
        classes: Ours (0 person, 1 vehicle) by its own numbers, or names; `None`: by the names in
            its metadata.
        size: Width and height of its picture, where the file leaves them open, in pixels; `None`:
            as its metadata says, else 640 each.
        mean: Taken from red, green and blue, each from 0 to 1; not for a UINT8 input.
        std: What they are then divided by.
        logits: Whether its scores have yet to go through the logistic function; `None`: only those
            of a heat map that none of its own nodes made such.
        least_score: Detections below are left out, unless another score is asked for.
        most_iou: Of detections of one class that overlap more, the surest stays.
        limit: How many detections of a frame are kept, surest first.
    """

    layout: str | None = None
    classes: Mapping[int | str, int] | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    logits: bool | None = None
    least_score: float = 0.05
    most_iou: float = 0.45
    limit: int = 100


def _classes(value: Any) -> dict[int | str, int] | None:
    if not isinstance(value, dict) or not value or not value.keys() <= _OURS.keys():
        return None
    table: dict[int | str, int] = {}
    for ours, theirs in value.items():
        if not isinstance(theirs, list | tuple) or not theirs:
            return None
        for one in theirs:
            fits = 0 <= one < _MOST if type(one) is int else isinstance(one, str)
            if not fits or one in table:
                return None
            table[one] = _OURS[ours]
    return table


def _numbers(
    count: int, least: float, most: float, kinds: tuple[type, ...]
) -> Callable[[Any], Any]:
    def check(value: Any) -> tuple[Any, ...] | None:
        if not isinstance(value, list | tuple) or len(value) != count:
            return None
        fits = all(type(one) in kinds and least <= one <= most for one in value)
        return tuple(value) if fits else None

    return check


def _share(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 < value <= 1 else None


_FLOATS = (int, float)
_LAYOUTS = tuple(layout.name for layout in LAYOUTS)

_KEYS: Keys = {
    "layout": (lambda one: one if one in _LAYOUTS else None, ", ".join(_LAYOUTS)),
    "classes": (
        _classes,
        "numbers or names of its classes, each once, such as {person: [0], vehicle: [2, truck]}",
    ),
    "size_px": (_numbers(2, 16, 8192, (int,)), "width and height, 16 to 8192 each"),
    "mean": (_numbers(3, -1e6, 1e6, _FLOATS), "three numbers: of red, green and blue"),
    "std": (_numbers(3, 1e-6, 1e6, _FLOATS), "three numbers above 0"),
    "logits": (lambda one: one if isinstance(one, bool) else None, "true or false"),
    "most_iou": (_share, "a share above 0, at most 1"),
}
"""Each key: how its value is checked, and what is expected."""


def settings_from(said: Mapping[str, Any], subject: str) -> DetectorSettings:
    """Return the settings that somebody said; what is null is not said.

    Raises:
        SpecError: When a key or a value is not known.
    """
    found = checked(said, _KEYS, subject)
    return DetectorSettings(**{key.removesuffix("_px"): value for key, value in found.items()})
