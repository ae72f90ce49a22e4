"""What the classes of a user's detector mean: by their word, or by the names in its metadata."""

from __future__ import annotations

from collections.abc import Mapping

from ....errors import SpecError
from .layouts import Layout

__all__ = ["class_table"]

_VEHICLES = {"bicycle", "car", "motorcycle", "motorbike", "bus", "train", "truck", "vehicle", "van"}
_PERSONS = {"person", "pedestrian", "people"}
_COCO = ("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck")
"""The first of COCO's classes: among them, those of 80 and those of 90 have the same order."""
_MOST = 100_000
_COCO_COUNTS = (80, 90, 91, None)
"""Numbers of classes by which a detector may be one of COCO; `None`: its outputs do not tell."""


def class_table(
    said: Mapping[int | str, int] | None,
    names: Mapping[int, str] | None,
    layout: Layout,
    count: int | None,
    subject: str,
) -> dict[int, int]:
    """Return our class (0 person, 1 vehicle) by the detector's own number.

    Args:
        said: Ours by its own numbers or names, as a user says; `None`: nothing was said.
        names: Of its classes, by number, as its metadata says; `None`: it does not.
        layout: Of its outputs.
        count: How many classes it has; `None`: its outputs do not tell.
        subject: The detector, for messages.

    Raises:
        SpecError: When nothing was said and no name says it, or a class is said that it has not.
    """
    if said is None:
        return _by_names(names, layout, count, subject)
    known = names
    if known is None and count in _COCO_COUNTS:
        known = dict(enumerate(_COCO, start=layout.first_coco))
    numbers = {_word(name): number for number, name in (known or {}).items()}
    # Those that do not begin at 0 exceed their count.
    most = _MOST if count is None else count + layout.first_coco
    table: dict[int, int] = {}
    for theirs, ours in said.items():
        number = numbers.get(_word(theirs)) if isinstance(theirs, str) else theirs
        if number is None or not 0 <= number < most:
            raise SpecError(
                subject,
                place="classes",
                found=repr(theirs),
                expected=_listed(names, count),
                remedy="tell its number" if isinstance(theirs, str) else None,
            )
        table[number] = ours
    return table


def _by_names(
    names: Mapping[int, str] | None, layout: Layout, count: int | None, subject: str
) -> dict[int, int]:
    table = {}
    for number, name in (names or {}).items():
        if _word(name) in _PERSONS:
            table[number] = 0
        elif _word(name) in _VEHICLES:
            table[number] = 1
    if table:
        return table
    first = layout.first_coco
    vehicles = [first + _COCO.index(name) for name in _COCO if name in _VEHICLES]
    if names is not None:
        found = f"names {', '.join(names.values())}"
    else:
        found = "no names" if count is None else f"{count} classes without names"
    raise SpecError(
        subject,
        place="classes",
        found=found[:300],
        expected="persons or vehicles among names in the metadata, or `classes` that say it",
        remedy=f"for COCO's classes say {{person: [{first}], vehicle: {vehicles}}}",
    )


def _listed(names: Mapping[int, str] | None, count: int | None) -> str:
    if names is not None:
        return f"a class among {', '.join(f'{n} {name}' for n, name in names.items())}"[:300]
    if count in _COCO_COUNTS:
        return "a class of COCO by name, or a number"
    return f"a number from 0 to {count - 1}" if count else "a number"


def _word(name: str) -> str:
    return name.strip().lower()
