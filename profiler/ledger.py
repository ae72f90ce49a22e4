"""Each consumer's energy over many times: totals that never fall, with honest intervals.

What is not known of a device stays wrong in the same way from time to time, so that half-widths
add up; what is chance of one time (edges, rounding) adds up in quadrature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .attribution import Attribution
from .parts import Parts
from .quantities import Energy, Provenance, weakest
from .sources.base import Kind

__all__ = ["Account", "Ledger"]

_Floats = NDArray[np.float64]

_FIGURES = ("value_j", "below_j", "above_j", "chance_below_j", "chance_above_j", "largest_j")
"""Of an account, in the order of the columns."""

_LEAST_ROOM = 64


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
            # As `_Rows` does it, to the last digit: a total told once must not fall.
            low_j=max(0.0, self.value_j - float(np.hypot(self.below_j, self.chance_below_j))),
            high_j=self.value_j + float(np.hypot(self.above_j, self.chance_above_j)),
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
        self._rows = _Rows()

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
        self._rows.add(Parts.of(attribution.parts), np.array(chances_j))

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
    def parts(self) -> Parts:
        """Each consumer's total, those that are gone included, as they are now."""
        return self._rows.parts()

    def close(self, name: str, *, gone: bool = False) -> Energy | None:
        """Take a consumer out and return its last total; `None` if it was never seen.

        Args:
            name: The consumer.
            gone: It ended between two looks. What it did after the last one nobody counted, and
                `system` has it: up to as much as it ever drew between two looks.
        """
        account = self._rows.take(name)
        if account is not None and gone:
            account.above_j += account.largest_j
        return None if account is None else account.energy()


class _Rows:
    """An account for each of many names: a column each, which another takes over when it ends."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._free: list[int] = []
        self._sums: _Floats = np.zeros((len(_FIGURES), 0))
        self._ranks = np.zeros(0, dtype=np.intp)

    def add(self, parts: Parts, chance_j: _Floats) -> None:
        """Add a time's energies, as `Account` does."""
        if len(parts) != len(chance_j):
            raise ValueError(f"{len(parts)} parts have {len(chance_j)} amounts of chance")
        for name in parts.names:
            if name not in self._at:
                self._admit(name)
        at = [self._at[name] for name in parts.names]
        value_j, below_j, above_j, chance_below_j, chance_above_j, largest_j = self._sums[:, at]
        low_j, high_j = parts.value_j - parts.low_j, parts.high_j - parts.value_j
        # See `Account.add`.
        by_low_j, by_high_j = np.minimum(low_j, chance_j), np.minimum(high_j, chance_j)
        self._sums[:, at] = (
            value_j + parts.value_j,
            below_j + np.sqrt(np.maximum(0.0, low_j**2 - by_low_j**2)),
            above_j + np.sqrt(np.maximum(0.0, high_j**2 - by_high_j**2)),
            np.hypot(chance_below_j, by_low_j),
            np.hypot(chance_above_j, by_high_j),
            np.maximum(largest_j, parts.value_j),
        )
        self._ranks[at] = np.maximum(self._ranks[at], parts.ranks)

    def parts(self) -> Parts:
        """Return the totals."""
        at = list(self._at.values())
        value_j, below_j, above_j, chance_below_j, chance_above_j, _ = self._sums[:, at]
        return Parts(
            names=tuple(self._at),
            value_j=value_j,
            low_j=np.maximum(0.0, value_j - np.hypot(below_j, chance_below_j)),
            high_j=value_j + np.hypot(above_j, chance_above_j),
            ranks=self._ranks[at],
        )

    def take(self, name: str) -> Account | None:
        """Take an account out."""
        at = self._at.pop(name, None)
        if at is None:
            return None
        self._free.append(at)
        figures = dict(zip(_FIGURES, self._sums[:, at].tolist(), strict=True))
        return Account(**figures, provenance=Parts.provenance(int(self._ranks[at])))

    def _admit(self, name: str) -> None:
        if not self._free:
            size = len(self._ranks)
            more = max(_LEAST_ROOM, size)
            self._sums = np.pad(self._sums, ((0, 0), (0, more)))
            self._ranks = np.pad(self._ranks, (0, more))
            self._free.extend(range(size + more - 1, size - 1, -1))
        at = self._at[name] = self._free.pop()
        self._sums[:, at], self._ranks[at] = 0.0, 0


def _without(half_j: float, chance_j: float) -> float:
    """Return a half-width without its part that is chance."""
    return math.sqrt(max(0.0, half_j**2 - chance_j**2))
