"""Physical quantities that carry their uncertainty and their origin.

Only values live here: nothing in this file reads a sensor or a clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

__all__ = ["Energy", "Provenance", "apportioned", "sum_energy", "weakest"]


class Provenance(StrEnum):
    """Where a number comes from, strongest first."""

    MEASURED = "measured"
    """A cumulative energy counter was read."""
    INTEGRATED = "integrated"
    """Power was sampled and summed over time."""
    APPORTIONED = "apportioned"
    """A share of a measured or integrated whole."""
    ESTIMATED = "estimated"
    """A model without any energy or power sensor."""


_STRENGTH = {provenance: rank for rank, provenance in enumerate(Provenance)}


def weakest(provenances: Iterable[Provenance]) -> Provenance:
    """Return the weakest of some provenances; a sum is only as good as its worst part.

    Raises:
        ValueError: When there is none.
    """
    return max(provenances, key=_STRENGTH.__getitem__)


def apportioned(whole: Provenance) -> Provenance:
    """Return what a share of such a whole is: an estimate's share remains an estimate."""
    estimated = whole is Provenance.ESTIMATED
    return Provenance.ESTIMATED if estimated else Provenance.APPORTIONED


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """An energy with its 95 % interval and its provenance.

    Args:
        value_j: The best value, in joules.
        low_j: Lower end of the 95 % interval, in joules.
        high_j: Upper end of the 95 % interval, in joules.
        provenance: Where the value comes from.

    Raises:
        ValueError: When a bound is not finite or `low_j <= value_j <= high_j` does not hold.
    """

    value_j: float
    low_j: float
    high_j: float
    provenance: Provenance

    def __post_init__(self) -> None:
        bounds = (self.low_j, self.value_j, self.high_j)
        if not all(map(math.isfinite, bounds)) or not self.low_j <= self.value_j <= self.high_j:
            raise ValueError(f"energy bounds must be finite and ordered, found {bounds}")

    def scaled(self, factor: float, provenance: Provenance | None = None) -> Energy:
        """Return this energy times a factor that is 0 or more and exact."""
        if factor < 0:
            raise ValueError(f"an energy is scaled by 0 or more, found {factor}")
        return Energy(
            value_j=self.value_j * factor,
            low_j=self.low_j * factor,
            high_j=self.high_j * factor,
            provenance=provenance or self.provenance,
        )


def sum_energy(
    parts: Iterable[Energy | None], *, errors: Literal["independent", "common"]
) -> Energy | None:
    """Add energies; a missing part makes the sum unknown (`None`), never smaller.

    Args:
        parts: The energies, `None` for one that is not known.
        errors: "independent" adds the half-widths in quadrature, "common" adds them linearly
            (the same wrong model stands behind every part).

    Returns:
        The sum with the weakest provenance of its parts, or `None` when a part is missing.

    Raises:
        ValueError: When there are no parts: the sum of nothing has no provenance.
    """
    known: list[Energy] = []
    for part in parts:
        if part is None:
            return None
        known.append(part)
    if not known:
        raise ValueError("a sum of energies needs at least one part")
    combine = math.hypot if errors == "independent" else lambda *widths: math.fsum(widths)
    value_j = math.fsum(part.value_j for part in known)
    return Energy(
        value_j=value_j,
        low_j=value_j - combine(*(part.value_j - part.low_j for part in known)),
        high_j=value_j + combine(*(part.high_j - part.value_j for part in known)),
        provenance=weakest(part.provenance for part in known),
    )
