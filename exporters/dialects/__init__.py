"""Every dialect, in one explicit list: how each kind of server names what it tells.

Other packages add theirs through the entry-point group `joulery.dialects`: a `Dialect`.
"""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from ...errors import SpecError
from . import (
    joulery,
    mlserver,
    openvino,
    ray_serve,
    tensorflow_serving,
    torchserve,
    triton,
    vllm,
)
from .dialect import Dialect, Families, Hints
from .parsing import Limits, ScrapeRefused, parse
from .reading import Reading

__all__ = [
    "DIALECTS",
    "ENTRY_POINTS",
    "Dialect",
    "Families",
    "Hints",
    "Limits",
    "Reading",
    "ScrapeRefused",
    "dialects",
    "named",
    "parse",
    "recognised",
]

ENTRY_POINTS = "joulery.dialects"
"""The entry-point group through which other packages add dialects."""

DIALECTS: tuple[Dialect, ...] = (
    joulery.DIALECT,
    vllm.DIALECT,
    triton.DIALECT,
    tensorflow_serving.DIALECT,
    openvino.DIALECT,
    torchserve.DIALECT,
    ray_serve.DIALECT,
    mlserver.DIALECT,
)
"""Ours; a scrape is of the first that knows it. KServe's server comes around others, so it is last.
"""

_log = logging.getLogger(__name__)


@functools.cache
def dialects() -> tuple[Dialect, ...]:
    """Return all dialects, those of other packages after ours; they are looked for once."""
    found = {one.name: one for one in DIALECTS}
    for point in entry_points(group=ENTRY_POINTS):
        one = _plugged(point)
        if one is None:
            continue
        if one.name in found:
            _log.warning("%s: there is a dialect %r already; it stays", point.value, one.name)
            continue
        found[one.name] = one
    return tuple(found.values())


def _plugged(point: EntryPoint) -> Dialect | None:
    """Return another package's dialect; what breaks on loading it is no failure of ours."""
    try:
        one = point.load()
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything
        _log.warning("%s: the dialect %r cannot be loaded: %s", point.value, point.name, error)
        return None
    if not isinstance(one, Dialect):
        _log.warning("%s: the dialect %r is no Dialect", point.value, point.name)
        return None
    return one


def named(name: str) -> Dialect:
    """Return the dialect of a name.

    Raises:
        SpecError: There is none; the nearest is told.
    """
    known = {one.name: one for one in dialects()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    raise SpecError(
        "dialect",
        found=repr(name),
        expected="one of " + ", ".join(known),
        remedy=f"the nearest is {near[0]!r}" if near else None,
    )


def recognised(family_names: Iterable[str]) -> Dialect | None:
    """Return the dialect that a scrape with these families is of; `None`: none that is known."""
    names = tuple(family_names)
    for one in dialects():
        if any(name.startswith(one.signature) for name in names):
            return one
    return None
