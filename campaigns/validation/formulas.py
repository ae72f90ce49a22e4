"""The formulas that are compared: ours, and the two that the field's tools use.

Each is judged by the truth of the quantity it claims to tell, not by that of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ...profiler.sources.base import Kind
from ...profiler.window import WindowResult

__all__ = ["FORMULAS", "Claim", "Formula", "RatioThroughOrigin", "share_of_total"]


class Claim(StrEnum):
    """What a formula says it tells of a consumer."""

    ACTIVE = "active"
    """What its work added to the idle machine."""
    WITH_IDLE = "active_and_idle"
    """The same, and a part of the idle energy by its share of the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """One way to share energy among consumers.

    Args:
        name: Its name in the dataset.
        title: Its name for people.
        claim: What it tells.
        ours: It is this project's.
    """

    name: str
    title: str
    claim: Claim
    ours: bool = False


FORMULAS = (
    Formula(name="joulery", title="joulery, CPU time alone", claim=Claim.ACTIVE, ours=True),
    Formula(name="joulery_counters", title="joulery, with counters", claim=Claim.ACTIVE, ours=True),
    Formula(
        name="ratio_through_origin",
        title="energy × utilisation × share (as Kepler 0.10)",
        claim=Claim.ACTIVE,
    ),
    Formula(
        name="joulery_time_share",
        title="joulery, idle shared by time",
        claim=Claim.WITH_IDLE,
        ours=True,
    ),
    Formula(
        name="share_of_total",
        title="energy × share of busy CPU time (as early Scaphandre)",
        claim=Claim.WITH_IDLE,
    ),
)
"""In the order of the report: each reference stands after ours of the same claim."""


def _work(lap: WindowResult, kind: Kind) -> tuple[Mapping[str, float], float, float]:
    """Return named work, all work, and what the devices could have done."""
    if kind is Kind.GPU:
        named = {name: used.gpu_s for name, used in lap.usage.items() if used.gpu_s is not None}
        return named, sum(named.values()), lap.duration_s
    return lap.work_s, max(lap.busy_s, sum(lap.work_s.values())), lap.cpus * lap.duration_s


def share_of_total(lap: WindowResult) -> dict[str, float] | None:
    """Return each consumer's share of all energy, by its share of all work."""
    parts = dict.fromkeys(lap.usage, 0.0)
    for kind, energy in lap.kinds.items():
        if energy is None:
            return None
        named, busy_s, _ = _work(lap, kind)
        for name, spent_s in named.items() if busy_s > 0 else ():
            parts[name] += energy.value_j * spent_s / busy_s
    return parts


class RatioThroughOrigin:
    """Energy times utilisation, by share of the work: no load, no power.

    A GPU has an idle power: the lowest seen while nobody worked on it.
    """

    def __init__(self) -> None:
        self._gpu_idle_w = 0.0

    def __call__(self, lap: WindowResult) -> dict[str, float] | None:
        """Return each consumer's part of one lap."""
        parts = dict.fromkeys(lap.usage, 0.0)
        for kind, energy in lap.kinds.items():
            if energy is None:
                return None
            named, busy_s, capacity_s = _work(lap, kind)
            active_j = energy.value_j * busy_s / capacity_s
            if kind is Kind.GPU:
                power_w = energy.value_j / lap.duration_s
                if busy_s == 0:
                    self._gpu_idle_w = min(power_w, self._gpu_idle_w or power_w)
                active_j = max(0.0, energy.value_j - self._gpu_idle_w * lap.duration_s)
            for name, spent_s in named.items() if busy_s > 0 else ():
                parts[name] += active_j * spent_s / busy_s
        return parts
