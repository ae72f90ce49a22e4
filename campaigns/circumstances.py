"""Under which circumstances a trial was measured: what changed around it while its window ran.

Heat, neighbours and clocks disturb a measurement in silence. Here they become columns of the
trial's row, and reasons not to believe it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from ..profiler.window import WindowResult
from .spec import Limits
from .surroundings import Look

__all__ = ["Circumstances", "between"]

N = TypeVar("N", int, float)

_DRIFT_RATIO = 1e-3
"""Twice what ntpd does to a clock that it pulls right without a step: such a clock is sane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What changed between the edges of a trial's window; `None` for what is not known.

    Where the service does not run on this machine, of heat and neighbours nothing is known.

    Args:
        window_s: Time between the edges, seconds.
        clock_step_s: How far the wall clock went ahead of the monotonic one, seconds.
        cool_down_s: Time that was waited for the machine to settle, seconds.
        temperature_before_c: Of the warmest processor package at the start, °C.
        temperature_after_c: The same at the end.
        throttled_count: How often heat slowed cores or packages down.
        gpu_temperature_before_c: Of the warmest GPU at the start, °C.
        gpu_temperature_after_c: The same at the end.
        gpu_throttled_s: Time in which heat slowed GPUs down, seconds.
        neighbour_cpu_s: CPU time of who has no part in the trial, seconds.
        steal_cpu_s: Time that the hypervisor kept from this machine's CPUs, seconds.
        cpus: Logical CPUs of the machine.
        service_cpus: The CPUs that the service may use.
        generator_cpus: The CPUs that the load generator may use.
    """

    window_s: float
    clock_step_s: float
    cool_down_s: float | None = None
    temperature_before_c: float | None = None
    temperature_after_c: float | None = None
    throttled_count: int | None = None
    gpu_temperature_before_c: float | None = None
    gpu_temperature_after_c: float | None = None
    gpu_throttled_s: float | None = None
    neighbour_cpu_s: float | None = None
    steal_cpu_s: float | None = None
    cpus: int = 1
    service_cpus: str | None = None
    generator_cpus: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return the columns of the circumstances."""
        return {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("window_s", "cpus")
        }

    def reasons(self, limits: Limits) -> tuple[str, ...]:
        """Return why a trial under such circumstances may not be believed."""
        found = []
        if self.throttled_count:
            found.append(f"throttled ({self.throttled_count} events of cores and packages)")
        if self.gpu_throttled_s:
            found.append(f"throttled (GPUs for {self.gpu_throttled_s:.3f} s)")
        others_s, stolen_s = self.neighbour_cpu_s or 0.0, self.steal_cpu_s or 0.0
        ratio = (others_s + stolen_s) / (self.cpus * self.window_s)
        if ratio > limits.neighbour_ratio:
            found.append(
                f"neighbours ({others_s:.2f} s of CPU time used by others, {stolen_s:.2f} s "
                f"stolen: {100 * ratio:.0f} % of all CPUs, at most "
                f"{100 * limits.neighbour_ratio:g} %)"
            )
        most_s = max(limits.clock_step_s, _DRIFT_RATIO * self.window_s)
        if abs(self.clock_step_s) > most_s:
            found.append(
                f"clock_step (the wall clock moved by {1e3 * self.clock_step_s:+.0f} ms against "
                f"the monotonic one, at most {1e3 * most_s:g} ms)"
            )
        return tuple(found)


def between(
    before: Look,
    after: Look,
    window: WindowResult,
    *,
    cool_down_s: float | None,
    service_cpus: str | None,
    generator_cpus: str | None,
) -> Circumstances:
    """Return what changed between two looks at the edges of a window.

    Args:
        before: The look at its start.
        after: The look at its end.
        window: What the meter saw; all its consumers have a part in the trial.
        cool_down_s: Time that was waited before, seconds.
        service_cpus: The CPUs that the service may use; `None`: it runs elsewhere.
        generator_cpus: The CPUs that the load generator may use.
    """
    passed_s = after.clock_s - before.clock_s
    step_s = after.wall_s - before.wall_s - passed_s
    if service_cpus is None:
        return Circumstances(window_s=passed_s, clock_step_s=step_s, generator_cpus=generator_cpus)
    own_s = sum(window.work_s.values()) + after.runner_s - before.runner_s
    return Circumstances(
        window_s=passed_s,
        clock_step_s=step_s,
        cool_down_s=cool_down_s,
        temperature_before_c=before.temperature_c,
        temperature_after_c=after.temperature_c,
        throttled_count=_rise(before.throttled, after.throttled),
        gpu_temperature_before_c=before.gpu_temperature_c,
        gpu_temperature_after_c=after.gpu_temperature_c,
        gpu_throttled_s=_rise(before.gpu_slowed_s, after.gpu_slowed_s),
        neighbour_cpu_s=max(0.0, window.busy_s - own_s),
        steal_cpu_s=_rise(before.steal_s, after.steal_s),
        cpus=window.cpus,
        service_cpus=service_cpus,
        generator_cpus=generator_cpus,
    )


def _rise(before: N | None, after: N | None) -> N | None:
    """Return by how much a count rose; `None` where it is not known, or began anew."""
    if before is None or after is None or after < before:
        return None
    return after - before
