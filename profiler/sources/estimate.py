"""Energy without a sensor: codecarbon's tables of hardware times the measured load.

CPU power is taken as a line from an idle share to the rated power (TDP) at full load; memory
draws by its size. Every figure here is `estimated`, with an interval that recordings of real
machines support; the profiler's README shows them.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from ...errors import SourceFailed, SourceUnavailable
from ..host import CpuModel, Host, HostFacts, facts
from ..quantities import Provenance
from ..work import NodeCpu
from .base import Domain, Kind, Reading

__all__ = ["CpuPower", "Estimate", "cpu_power", "normalised_model"]

IDLE_SHARE = 0.15
"""Idle power as a share of TDP. Five recorded machines idle at 0.08 to 0.24 of it, and this
share needs about the narrowest interval over all their loads."""

TDP_RATIOS = (0.3, 2.25)
"""Real over estimated power, where model and sockets are known: 0.32 to 2.21 in the recordings."""

THREAD_W = 4.0
"""Rated power per hardware thread where the model is unknown or shared with other guests;
codecarbon takes the same."""

THREAD_RATIOS = (0.15, 5.0)
"""Real over estimated power at `THREAD_W`: 0.69 to 4.77 in the recordings. The low end is lower
since large cloud processors, none of them recorded, have 2 W of rated power per thread."""

GUEST_MEMORY_W_PER_GB = 3 / 8
"""A guest owns a part of the modules, so its memory counts by size, as codecarbon's rule was
before it counted modules."""

MEMORY_RATIOS = (0.2, 2.0)
"""Real over estimated power of memory: codecarbon takes 5 W per x86 module, and one at rest draws
1 to 2 W. No recording stands behind this."""

LATE_TICKS = 20.0
"""Load comes in ticks, and on an idle or paused CPU late: for a moment more seems to have passed
than can. The model cannot run away, so its gate for plausibility stands this far above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPower:
    """Power of all CPUs as a line over their utilisation.

    Args:
        rated_w: Power at full load.
        ratios: 95 % interval of real over estimated power.
        origin: For people: where the rated power comes from.
    """

    rated_w: float
    ratios: tuple[float, float]
    origin: str

    @property
    def idle_w(self) -> float:
        """Power without any load."""
        return IDLE_SHARE * self.rated_w

    def energy_j(self, elapsed_s: float, busy_ratio_s: float) -> float:
        """Return the energy of a time.

        Args:
            elapsed_s: The time.
            busy_ratio_s: Utilisation, integrated over the time.
        """
        return self.idle_w * elapsed_s + (self.rated_w - self.idle_w) * busy_ratio_s


def normalised_model(name: str) -> str:
    """Return a CPU model's name as a key: no marks, clock rates, core counts or filler words."""
    text = re.sub(r"\((?:r|tm)\)|@.*$|\d+-core|\bcpu\b|\bprocessor\b", " ", name.lower())
    return " ".join(text.split())


def cpu_power(cpu: CpuModel) -> CpuPower:
    """Return the power line of a machine's CPUs, from codecarbon's table if it is in there."""
    if cpu.virtual:
        return CpuPower(
            rated_w=THREAD_W * cpu.threads,
            ratios=THREAD_RATIOS,
            origin=f"virtual machine: {THREAD_W:g} W for each of {cpu.threads} threads",
        )
    try:
        rated_w, why = _rated_w(normalised_model(cpu.name)), "is not in the table"
    except ImportError:
        rated_w, why = None, "is not looked up, for codecarbon is not installed"
    if rated_w is None:
        return CpuPower(
            rated_w=THREAD_W * cpu.threads,
            ratios=THREAD_RATIOS,
            origin=f"{cpu.name} {why}: {THREAD_W:g} W per thread",
        )
    return CpuPower(
        rated_w=rated_w * cpu.packages,
        ratios=TDP_RATIOS,
        origin=f"{cpu.name}: {rated_w:g} W rated, {cpu.packages} socket(s)",
    )


def _rated_w(model: str) -> float | None:
    """Return a model's rated power from codecarbon's table, `None` if it is not in there."""
    # Only here: pandas and codecarbon are slow to import, and a machine with sensors needs none.
    from codecarbon.input import DataSource

    table = DataSource().get_cpu_power_data()  # type: ignore[no-untyped-call]
    for name, rated in zip(table["Name"], table["TDP"], strict=True):
        # Some figures in the table are garbled ("27.29.5"): such a model counts as not in there.
        if normalised_model(str(name)) == model and re.fullmatch(r"\d+(\.\d+)?", str(rated)):
            return float(rated)
    return None


def _memory_w(machine: HostFacts) -> float:
    """Return the power of the memory: by size for a guest, else by codecarbon's guess of modules.

    Where codecarbon is not installed, as in the exporter's image, by size as well.

    Raises:
        SourceFailed: When neither can tell.
    """
    by_size_w = (
        None if machine.memory_bytes is None else GUEST_MEMORY_W_PER_GB * machine.memory_bytes / 1e9
    )
    if machine.cpu.virtual and by_size_w is not None:
        return by_size_w
    try:
        from codecarbon.external.logger import logger
        from codecarbon.external.ram import RAM
    except ImportError as error:
        if by_size_w is None:
            raise SourceFailed("estimate", place="memory", found="no size of it") from error
        return by_size_w
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # its warnings speak of its own tracker, which is not used
    try:
        power_w = float(RAM().total_power().W)
    finally:
        logger.setLevel(level)
    if power_w <= 0:  # what it returns when it cannot tell the size
        raise SourceFailed("estimate", place="memory", found=f"{power_w} W")
    return power_w


class Estimate:
    """CPU and memory of a machine without sensors, as two counters that a model drives.

    Args:
        host: The machine. Its clock times the power drawn without load.

    Raises:
        SourceUnavailable: The machine does not tell its load.
        SourceFailed: The load cannot be read, or codecarbon cannot tell the memory's power.
    """

    name = "estimate"

    def __init__(self, host: Host) -> None:
        self._clock, self._node = host.clock, NodeCpu(host)
        machine = facts(host)
        self._cpu, self._memory_w = cpu_power(machine.cpu), _memory_w(machine)
        line = self._cpu
        self.domains = (
            Domain(
                name="cpu",
                kind=Kind.CPU,
                form="counter",
                provenance=Provenance.ESTIMATED,
                max_power_w=LATE_TICKS * line.rated_w,
                resolution_j=self._node.resolution_s * (line.rated_w - line.idle_w),
                low_ratio=line.ratios[0],
                high_ratio=line.ratios[1],
                note=line.origin,
            ),
            Domain(
                name="ram",
                kind=Kind.DRAM,
                form="counter",
                provenance=Provenance.ESTIMATED,
                max_power_w=2 * self._memory_w,
                low_ratio=MEMORY_RATIOS[0],
                high_ratio=MEMORY_RATIOS[1],
                note=f"{self._memory_w:.1f} W by size",
            ),
        )
        self.sample()

    def sample(self) -> tuple[Reading, ...]:
        """Read clock and load once; see `Source`."""
        try:
            totals = self._node.totals()
        except OSError as error:
            raise SourceUnavailable("estimate", place="/proc/stat", found=str(error)) from error
        now_s = self._clock()
        energy_j = self._cpu.energy_j(now_s, totals.busy_s / totals.cpus)
        return (
            Reading(self.domains[0], energy_j),
            Reading(self.domains[1], self._memory_w * now_s),
        )
