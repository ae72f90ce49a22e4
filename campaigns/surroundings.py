"""What surrounds the trials on this machine, read at single moments: heat, clocks, CPU time.

What happened between two moments, and whether a trial can bear it, is said in `circumstances`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import psutil

from ..errors import SourceError
from ..profiler.gpu_thermal import GpuThermals
from ..profiler.host import Host
from ..profiler.sources import Discovery
from ..profiler.thermal import Thermometer, ThrottleCounter

__all__ = ["Look", "Surroundings", "cpu_list", "cpus_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was read at one moment; `None` for what the machine does not tell.

    Args:
        clock_s: Monotonic clock, seconds.
        wall_s: Unix time, seconds.
        runner_s: CPU time of this very process so far, seconds.
        steal_s: Time that the hypervisor kept from all CPUs so far, seconds.
        temperature_c: Of the warmest processor package, °C.
        throttled: How often heat slowed cores and packages down so far.
        gpu_temperature_c: Of the warmest GPU, °C.
        gpu_slowed_s: Time in which heat slowed GPUs down so far, seconds.
    """

    clock_s: float
    wall_s: float
    runner_s: float
    steal_s: float | None = None
    temperature_c: float | None = None
    throttled: int | None = None
    gpu_temperature_c: float | None = None
    gpu_slowed_s: float | None = None


class Surroundings:
    """This machine's sensors of heat, and the clocks that are compared.

    Args:
        host: Where to look.
        found: The energy sources: with NVIDIA's GPUs among them, their heat is read too.

    Attributes:
        refused: What there is not, or may not be read, with the reason.
    """

    def __init__(self, host: Host, found: Discovery | None = None) -> None:
        self.refused: dict[str, str] = {}
        self._host = host
        self._thermometer = self._opened("temperature", lambda: Thermometer(host.sys))
        self._throttling = self._opened("throttle_counters", lambda: ThrottleCounter(host.sys))
        self._gpus = None
        if found is not None and any(source.name == "nvml" for source in found.sources):
            self._gpus = self._opened("gpu_temperature", _gpus)

    def look(self) -> Look:
        """Read everything once, now."""
        heat = None if self._gpus is None else _read(self._gpus.read)
        temperature_c = self.temperature_c()
        throttled = None if self._throttling is None else _read(self._throttling.read)
        return Look(
            clock_s=self._host.clock(),
            wall_s=time.time(),
            runner_s=time.process_time(),
            steal_s=getattr(psutil.cpu_times(), "steal", None),
            temperature_c=temperature_c,
            throttled=throttled,
            gpu_temperature_c=None if heat is None else heat.temperature_c,
            gpu_slowed_s=None if heat is None else heat.slowed_s,
        )

    def temperature_c(self) -> float | None:
        """Return the temperature of the warmest processor package, °C."""
        return None if self._thermometer is None else _read(self._thermometer.read_c)

    def gpu_temperature_c(self) -> float | None:
        """Return the temperature of the warmest GPU, °C."""
        heat = None if self._gpus is None else _read(self._gpus.read)
        return None if heat is None else heat.temperature_c

    def facts(self) -> dict[str, object]:
        """Return which sensors are read, and why others are not, for the environment."""
        return {
            "temperature": None if self._thermometer is None else list(self._thermometer.names),
            "throttle_counters": None if self._throttling is None else self._throttling.counters,
            "not_read": self.refused or None,
        }

    def _opened(self, name: str, opener: Callable[[], T]) -> T | None:
        try:
            return opener()
        except SourceError as error:
            self.refused[name] = str(error)
            return None


def cpu_list(cpus: Iterable[int]) -> str:
    """Return numbers of CPUs as the kernel writes them, for instance `0-3,8`."""
    runs = itertools.groupby(enumerate(sorted(cpus)), key=lambda pair: pair[1] - pair[0])
    ends = [[cpu for _, cpu in run] for _, run in runs]
    return ",".join(f"{e[0]}-{e[-1]}" if len(e) > 1 else f"{e[0]}" for e in ends)


def cpus_of(pid: int | None) -> str | None:
    """Return the CPUs that a process may use; `None` where it is none of this machine's."""
    if pid is None:
        return None
    try:
        return cpu_list(os.sched_getaffinity(pid))
    except ProcessLookupError:
        return None


def _read(read: Callable[[], T]) -> T | None:
    """Return what a sensor says; one that has gone says nothing."""
    try:
        return read()
    except SourceError:
        return None


def _gpus() -> GpuThermals:
    import pynvml  # here: a source of that name has loaded it already

    return GpuThermals(pynvml)
