"""Work done by CPUs: busy seconds of the node, CPU seconds of processes.

Energy is shared by these. They are cumulative and never fall; the meter takes differences.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from ..errors import SourceFailed
from .host import Host

__all__ = ["CpuTotals", "NodeCpu", "ProcessGroup", "parse_process_cpu_s", "parse_stat"]

_TICKS_HZ = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2


@dataclass(frozen=True, slots=True)
class CpuTotals:
    """All CPUs together since boot: busy seconds, and how many CPUs there are."""

    busy_s: float
    cpus: int


def parse_stat(text: str, ticks_hz: int = _TICKS_HZ) -> CpuTotals:
    """Read `/proc/stat`.

    Busy is user, nice, system, irq and softirq. Guests are part of user; idle, waiting for I/O
    and time stolen by the hypervisor are not work of this machine.

    Raises:
        SourceFailed: When the text is not what the kernel's proc(5) describes.
    """
    total: list[str] = []
    cpus = 0
    for line in text.splitlines():
        if line.startswith("cpu "):
            total = line.split()[1:]
        elif line.startswith("cpu"):
            cpus += 1
    try:
        user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in total[:7])
    except ValueError as error:
        raise SourceFailed(
            "/proc/stat",
            place="line 'cpu'",
            found=" ".join(total)[:80] or "nothing",
            expected="seven or more counts of ticks",
        ) from error
    return CpuTotals(busy_s=(user + nice + system + irq + softirq) / ticks_hz, cpus=max(cpus, 1))


def parse_process_cpu_s(text: str, ticks_hz: int = _TICKS_HZ) -> float:
    """Read user plus system seconds from `/proc/<pid>/stat`, whatever the command is called.

    Raises:
        SourceFailed: When the text is not what the kernel's proc(5) describes.
    """
    fields = text.rpartition(")")[2].split()
    try:
        return (int(fields[11]) + int(fields[12])) / ticks_hz
    except (IndexError, ValueError) as error:
        raise SourceFailed(
            "/proc/<pid>/stat", found=text[:80], expected="utime and stime as fields 14 and 15"
        ) from error


class NodeCpu:
    """Busy seconds of all CPUs, from `/proc/stat`.

    Attributes:
        resolution_s: Smallest step of the busy seconds.
    """

    resolution_s = 1 / _TICKS_HZ

    def __init__(self, host: Host | None = None) -> None:
        self._path = (host or Host()).proc / "stat"

    def totals(self) -> CpuTotals:
        """Return busy seconds since boot and the number of CPUs."""
        return parse_stat(self._path.read_text())


class ProcessGroup:
    """CPU seconds of a process and all its descendants, those that ended included.

    Args:
        pid: The first process of the group.
        host: Where procfs is.

    A process that begins and ends between two calls is not seen; its time stays with the rest of
    the system.
    """

    def __init__(self, pid: int, host: Host | None = None) -> None:
        self.pid = pid
        self._proc = (host or Host()).proc
        self._living = {pid: 0.0}
        self._ended_s = 0.0

    def cpu_s(self) -> float:
        """Return the CPU seconds of the group so far; the value never falls."""
        now: dict[int, float] = {}
        for pid in {*self._living, *self._descendants()}:
            spent_s = self._spent_s(pid)
            if spent_s is not None:
                now[pid] = spent_s
        for pid, seen_s in self._living.items():
            # Gone; or less than before, so that a process of others took over the number.
            if now.get(pid, -1.0) < seen_s:
                now.pop(pid, None)
                self._ended_s += seen_s
        self._living = now
        return self._ended_s + sum(now.values())

    def _spent_s(self, pid: int) -> float | None:
        """Return the CPU seconds of one process, or `None` when it is gone."""
        try:
            # clock_getcpuclockid(3): the CPU clock of any process, in nanoseconds.
            return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
        except OSError:
            pass  # gone, or a kernel without such clocks: procfs tells which
        try:
            return parse_process_cpu_s((self._proc / f"{pid}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            return None

    def _descendants(self) -> Iterable[int]:
        if self.pid not in self._living:
            return []  # its orphans are known by number, and its own number may be another's now
        try:
            return list(self._listed())
        except FileNotFoundError:
            pass  # the kernel has no `children` files, or the first process is gone
        try:
            return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _listed(self) -> Iterable[int]:
        """Yield descendants from `/proc/<pid>/task/<tid>/children`: no walk over all processes."""
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            try:
                tasks = os.listdir(self._proc / f"{pid}/task")  # noqa: PTH208 - names only
                for task in tasks:
                    children = (self._proc / f"{pid}/task/{task}/children").read_text().split()
                    waiting += map(int, children)
                    yield from map(int, children)
            except (FileNotFoundError, ProcessLookupError):
                if pid == self.pid:
                    raise FileNotFoundError(pid) from None
