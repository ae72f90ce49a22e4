"""Understands the body of a scrape: which dialect it is in, and what it says in that dialect.

What a service sends is a stranger's text, and a dialect may be another package's code: whatever
goes wrong with either is a scrape that is refused, and hurts no other service.
"""

from __future__ import annotations

from dataclasses import replace

from ..dialects import (
    DIALECTS,
    Hints,
    Limits,
    Reading,
    ScrapeRefused,
    dialects,
    named,
    parse,
    recognised,
)
from ..exposition import render
from ..families import Family, Histogram, Snapshot, Summary
from ..service_metrics import POD_LABELS, SERVICE_CATALOGUE
from .target import Target

__all__ = ["read"]

_LIMITS = Limits(size_bytes=2 * 2**20, lines=50_000, series=2_000)
"""A server of a hundred models stays below; all services of the node share our time and memory."""

_OPENMETRICS = "application/openmetrics-text"
_NOBODY = ("",) * len(POD_LABELS)
_TOLD = {one.name: one for one in SERVICE_CATALOGUE if one.labels[: len(POD_LABELS)] == POD_LABELS}
_KINDS: dict[str, tuple[type, ...]] = {"histogram": (Histogram,), "summary": (Summary,)}


def read(body: bytes, content_type: str, target: Target) -> tuple[str, Reading]:
    """Return the name of the dialect that a scrape is in, and what it says.

    A server that tells nothing in the dialect that was named for it has the problem
    `other_dialect`: it may be the wrong one, or the server is too young to have figures.

    Args:
        body: As it came, without content encoding.
        content_type: What its server calls it.
        target: Whose it is; it may name the dialect, and has hints for what is not told.

    Raises:
        ScrapeRefused: It is malformed, beyond the limits, of no known dialect (`no_dialect`), or
            its dialect failed (`not_understood`).
    """
    chosen = named(target.dialect) if target.dialect else None
    families = parse(
        body,
        dialects() if chosen is None else (chosen,),
        openmetrics=content_type.lower().startswith(_OPENMETRICS),
        limits=_LIMITS,
    )
    dialect = chosen or recognised(families)
    if dialect is None:
        raise ScrapeRefused("no_dialect", "no known server says any of this")
    try:
        reading = dialect.translate(families, Hints(model=target.model, variant=target.variant))
        if dialect not in DIALECTS:
            _check(reading)
    except Exception as error:
        raise ScrapeRefused(
            "not_understood", f"dialect {dialect.name}: {type(error).__name__}: {error}"
        ) from error
    if chosen is not None and not any(name.startswith(chosen.signature) for name in families):
        reading = replace(reading, problems={**reading.problems, "other_dialect": 1})
    return dialect.name, reading


def _check(reading: Reading) -> None:
    """Raise an exception for what cannot be served; ours are known to tell no such thing.

    A single value that cannot be written would fail the scrapes of all services together.
    """
    for one in reading.told:
        metric, kinds = one.metric, _KINDS.get(one.metric.type, (int, float))
        if _TOLD.get(metric.name) is not metric:
            raise ValueError(f"{metric.name} is no metric of a pod in the catalogue")
        if not isinstance(one.value, kinds):
            raise ValueError(f"{metric.name}: found {one.value!r}, expected a {metric.type}")
        sample = ((*_NOBODY, *one.labels), one.value)
        render(Snapshot(families=(Family(metric, (sample,)),)))
    for reason, times in reading.problems.items():
        reason.encode()
        if times < 0:
            raise ValueError(f"problem {reason}: found {times}, expected a count")
