"""What a dialect is: how one kind of server names what it tells, in words of our catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric as Family

from .reading import Reading

__all__ = ["Dialect", "Families", "Hints"]

Families = Mapping[str, Family]
"""What Prometheus' parser made of a scrape: families by name (of a counter without `_total`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What is known of a service apart from its scrape; for labels that the server has none of.

    Args:
        model: From the annotation `joulery.io/model`, else empty.
        variant: From `joulery.io/variant`, else empty.
    """

    model: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one kind of server names what it tells.

    Args:
        name: As written in the annotation `joulery.io/dialect`, in kebab-case.
        title: For people.
        prefixes: What the names of its families begin with; other lines are not even parsed.
        signature: A scrape with a family that begins so is of this dialect.
        port_names: Names of container ports that serve its metrics.
        port: Where it serves metrics unless told otherwise.
        path: Likewise.
        translate: Makes a reading of families; pure, raises nothing on any families.
    """

    name: str
    title: str
    prefixes: tuple[str, ...]
    signature: tuple[str, ...]
    port_names: tuple[str, ...]
    port: int
    path: str
    translate: Callable[[Families, Hints], Reading]
