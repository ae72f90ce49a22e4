"""What was measured in a window: energies of domains, and work. `meter` fills these records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .counter import GapReason
from .quantities import Energy, sum_energy
from .sources.base import Kind
from .usage import Usage

__all__ = ["DomainEnergy", "Interval", "WindowResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What one domain did between two samples.

    Args:
        source: The source.
        domain: The domain.
        start_s: Clock at the earlier sample.
        end_s: Clock at the later sample.
        energy: The energy between them; `None` in a gap.
        gap: Why the energy is not known; `None` when it is.
    """

    source: str
    domain: str
    start_s: float
    end_s: float
    energy: Energy | None
    gap: GapReason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainEnergy:
    """The energy of one domain in a window.

    Args:
        source: The source.
        domain: The domain.
        kind: What the domain covers.
        summed: It belongs to the non-overlapping set that makes the total.
        energy: The energy; `None` when a gap hides a part of it.
        gaps: How many gaps there were, by reason.
        edge_j: How much of the energy's half-width comes from the edges of the window.
    """

    source: str
    domain: str
    kind: Kind
    summed: bool
    energy: Energy | None
    gaps: Mapping[GapReason, int]
    edge_j: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """Energy and work between two instants.

    Args:
        name: The window's name.
        start_s: Clock at its start.
        end_s: Clock at its end.
        domains: Each domain's energy, by `source:domain`, not only those that are summed.
        busy_s: Busy CPU seconds of the whole node.
        resolution_s: Smallest step of `busy_s`.
        cpus: Logical CPUs of the node.
        usage: What each named consumer used while it was known to the meter.
        accelerators_s: Busy seconds of the accelerators of a kind, where the meter counts them.
        intervals: Every domain's energies from sample to sample.
    """

    name: str
    start_s: float
    end_s: float
    domains: Mapping[str, DomainEnergy]
    busy_s: float
    resolution_s: float
    cpus: int
    usage: Mapping[str, Usage]
    intervals: tuple[Interval, ...]
    accelerators_s: Mapping[Kind, float] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        """Seconds between start and end."""
        return self.end_s - self.start_s

    @property
    def work_s(self) -> Mapping[str, float]:
        """CPU seconds of each named consumer."""
        return {name: used.cpu_s for name, used in self.usage.items()}

    @property
    def signals(self) -> Mapping[str, tuple[float, ...]]:
        """What was counted of each consumer beside its work, of those that have it."""
        return {name: used.signals for name, used in self.usage.items() if used.signals}

    def edge_j(self, kind: Kind) -> float:
        """How much of the half-width of a kind's energy comes from the window's edges."""
        return sum(e.edge_j for e in self.domains.values() if e.summed and e.kind is kind)

    @property
    def utilisation_ratio(self) -> float:
        """Busy share of all CPUs, 0 to 1."""
        capacity_s = self.cpus * self.duration_s
        return min(1.0, self.busy_s / capacity_s) if capacity_s > 0 else 0.0

    @property
    def kinds(self) -> Mapping[Kind, Energy | None]:
        """Energy of the summed domains of each kind; `None` when a part is not known."""
        parts: dict[Kind, list[Energy | None]] = {}
        for entry in self.domains.values():
            if entry.summed:
                parts.setdefault(entry.kind, []).append(entry.energy)
        # Sensors of one maker err together, and so do two lines of one table of estimates.
        return {kind: sum_energy(some, errors="common") for kind, some in parts.items()}

    @property
    def energy(self) -> Energy | None:
        """Energy of all summed domains; `None` when a part is not known or nothing is summed."""
        kinds = self.kinds
        return sum_energy(kinds.values(), errors="common") if kinds else None

    @property
    def power_w(self) -> float | None:
        """Mean power of all summed domains, in watts; `None` where their energy is."""
        energy = self.energy
        return None if energy is None else energy.value_j / self.duration_s
