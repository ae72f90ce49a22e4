"""Each consumer's energy over many times: totals that never fall, with honest intervals.

What is not known of a device stays wrong in the same way from time to time, so that half-widths
add up; what is chance of one time (edges, rounding) adds up in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .attribution import Attribution
from .quantities import Energy, Provenance, weakest
from .sources.base import Kind

__all__ = ["Account", "Ledger"]


@dataclass(slots=True)
class Account:
    """The running total of one part."""

    value_j: float = 0.0
    below_j: float = 0.0
    above_j: float = 0.0
    chance_below_j: float = 0.0
    chance_above_j: float = 0.0
    largest_j: float = 0.0
    provenance: Provenance | None = None

    def add(self, part: Energy, chance_j: float) -> None:
        """Add a time's energy, of whose half-width so much is chance."""
        self.value_j += part.value_j
        self.largest_j = max(self.largest_j, part.value_j)
        # An interval that ends at nothing, or at the whole device, cuts chance off as well.
        low_j, high_j = part.value_j - part.low_j, part.high_j - part.value_j
        below_j, above_j = min(low_j, chance_j), min(high_j, chance_j)
        self.below_j += _without(low_j, below_j)
        self.above_j += _without(high_j, above_j)
        self.chance_below_j = math.hypot(self.chance_below_j, below_j)
        self.chance_above_j = math.hypot(self.chance_above_j, above_j)
        known = (
            (part.provenance,) if self.provenance is None else (self.provenance, part.provenance)
        )
        self.provenance = weakest(known)

    def energy(self) -> Energy | None:
        """Return the total; `None` before anything was added."""
        if self.provenance is None:
            return None
        return Energy(
            value_j=self.value_j,
            low_j=max(0.0, self.value_j - math.hypot(self.below_j, self.chance_below_j)),
            high_j=self.value_j + math.hypot(self.above_j, self.chance_above_j),
            provenance=self.provenance,
        )


class Ledger:
    """Adds up attributions; times whose energy is not known are left out, and counted.

    Attributes:
        known_s: Time that was attributed.
        unknown_s: Time whose energy was not known: it is in no total.
        owed_j: Idle energy that times so far were too short of, for `attribute_window` to keep.
    """

    def __init__(self) -> None:
        self.known_s = 0.0
        self.unknown_s = 0.0
        self.owed_j: dict[Kind, float] = {}
        self._idle, self._system, self._total = Account(), Account(), Account()
        self._parts: dict[str, Account] = {}

    def add(self, attribution: Attribution | None, duration_s: float) -> None:
        """Add one time, or say that its energy is not known."""
        if attribution is None:
            self.unknown_s += duration_s
            return
        self.known_s += duration_s
        idle_j, system_j, *chances_j = attribution.random_j
        self._total.add(attribution.total, attribution.edge_j)
        self._idle.add(attribution.idle, idle_j)
        self._system.add(attribution.system, system_j)
        for (name, part), chance_j in zip(attribution.parts.items(), chances_j, strict=True):
            self._parts.setdefault(name, Account()).add(part, chance_j)

    @property
    def total(self) -> Energy | None:
        """All energy of the known times."""
        return self._total.energy()

    @property
    def idle(self) -> Energy | None:
        """What no one bears."""
        return self._idle.energy()

    @property
    def system(self) -> Energy | None:
        """What work that nobody named drew."""
        return self._system.energy()

    @property
    def parts(self) -> Mapping[str, Energy]:
        """Each consumer's total, those that are gone included."""
        found = {name: account.energy() for name, account in self._parts.items()}
        return {name: energy for name, energy in found.items() if energy is not None}

    def close(self, name: str, *, gone: bool = False) -> Energy | None:
        """Take a consumer out and return its last total; `None` if it was never seen.

        Args:
            name: The consumer.
            gone: It ended between two looks. What it did after the last one nobody counted, and
                `system` has it: up to as much as it ever drew between two looks.
        """
        account = self._parts.pop(name, None)
        if account is not None and gone:
            account.above_j += account.largest_j
        return None if account is None else account.energy()


def _without(half_j: float, chance_j: float) -> float:
    """Return a half-width without its part that is chance."""
    return math.sqrt(max(0.0, half_j**2 - chance_j**2))
