"""One domain being metered: what turns its readings into energies, and how sure those are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .counter import CounterDiff, Delta, Meterable, PowerSum
from .quantities import Energy
from .sources.base import Domain

__all__ = ["STEADY_UPDATES", "Track", "track_domain"]

STEADY_UPDATES = 20
"""A time shorter than this many sensor updates does not tell its own mean power well enough."""


@dataclass(slots=True)
class Track:
    """One domain of one source, and what turns its readings into energies."""

    source: str
    domain: Domain
    differ: Meterable

    @property
    def key(self) -> str:
        """The domain's name among all sources."""
        return f"{self.source}:{self.domain.name}"

    def energy(self, deltas: Sequence[Delta], jitter_s: float) -> tuple[Energy, float]:
        """Add up energies that follow one another, at least one.

        The sensor's value may be as old as its update interval, and the reading off the window's
        edges by `jitter_s` in all. Below `STEADY_UPDATES` updates the mean power says little, and
        the edges are reckoned at the highest power instead.

        Returns:
            The energy, and how much of its half-width comes from the edges.
        """
        domain = self.domain
        value_j = math.fsum(delta.energy_j for delta in deltas)
        elapsed_s = deltas[-1].end_s - deltas[0].start_s
        steady = elapsed_s > STEADY_UPDATES * domain.update_s
        mean_w = value_j / elapsed_s if elapsed_s > 0 else domain.max_power_w
        stale_j = (mean_w if steady else domain.max_power_w) * domain.update_s
        # A power somewhere between two readings: uniform, so that 95 % is 1.96 / sqrt(3) of it.
        spread_j = 1.96 / math.sqrt(3) * math.hypot(*(delta.spread_j for delta in deltas))
        edge_j = stale_j + min(mean_w, domain.max_power_w) * jitter_s + domain.resolution_j
        width_j = math.hypot(edge_j, spread_j)
        energy = Energy(
            value_j=value_j,
            low_j=max(0.0, value_j * domain.low_ratio - width_j),
            high_j=value_j * domain.high_ratio + width_j,
            provenance=domain.provenance,
        )
        return energy, edge_j


def track_domain(source: str, domain: Domain) -> Track:
    """Return what meters a domain, from its first reading on."""
    differ: Meterable
    if domain.form == "power":
        differ = PowerSum(max_power_w=domain.max_power_w)
    else:
        differ = CounterDiff(
            max_power_w=domain.max_power_w,
            modulus_j=domain.modulus_j,
            update_s=domain.update_s,
            resolution_j=domain.resolution_j,
            stuck_s=domain.stuck_s,
        )
    return Track(source, domain, differ)
