"""Energies of many consumers, kept in columns: hundreds of them are handled every few seconds.

They read like any mapping of names to `Energy`; each energy is made when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .quantities import Energy, Provenance

__all__ = ["Parts"]

_Floats = NDArray[np.float64]

_PROVENANCES = tuple(Provenance)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts(Mapping[str, Energy]):
    """The energy of each name, in the names' order.

    Args:
        names: Whose.
        value_j: The best values, in joules.
        low_j: Lower ends of their 95 % intervals, in joules.
        high_j: Upper ends of their 95 % intervals, in joules.
        ranks: Where each comes from, as its place among `Provenance`: the weaker, the higher.

    Raises:
        ValueError: When bounds are not finite or `low_j <= value_j <= high_j` does not hold.
    """

    names: tuple[str, ...]
    value_j: _Floats
    low_j: _Floats
    high_j: _Floats
    ranks: NDArray[np.intp]
    _at: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bounds = np.stack((self.low_j, self.value_j, self.high_j))
        wrong = ~(np.isfinite(bounds).all(axis=0) & (np.diff(bounds, axis=0) >= 0).all(axis=0))
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(
                f"energy bounds must be finite and ordered, found {bounds[:, at].tolist()}"
                f" of {self.names[at]!r}"
            )
        object.__setattr__(self, "_at", {name: at for at, name in enumerate(self.names)})

    @classmethod
    def of(cls, energies: Mapping[str, Energy]) -> Parts:
        """Return energies in columns; what is in columns already stays as it is."""
        if isinstance(energies, Parts):
            return energies
        found = energies.values()
        return cls(
            names=tuple(energies),
            value_j=np.array([one.value_j for one in found], dtype=float),
            low_j=np.array([one.low_j for one in found], dtype=float),
            high_j=np.array([one.high_j for one in found], dtype=float),
            ranks=np.array([cls.rank(one.provenance) for one in found], dtype=np.intp),
        )

    @staticmethod
    def rank(provenance: Provenance) -> int:
        """Return the place of a provenance: the weaker, the higher."""
        return _PROVENANCES.index(provenance)

    @staticmethod
    def provenance(rank: int) -> Provenance:
        """Return the provenance of a place."""
        return _PROVENANCES[rank]

    def __getitem__(self, name: str) -> Energy:
        at = self._at[name]
        return Energy(
            value_j=float(self.value_j[at]),
            low_j=float(self.low_j[at]),
            high_j=float(self.high_j[at]),
            provenance=_PROVENANCES[self.ranks[at]],
        )

    def __contains__(self, name: object) -> bool:
        return name in self._at

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
