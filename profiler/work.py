"""Work done by CPUs: busy seconds of the node, CPU seconds of processes.

Energy is shared by these. They are cumulative and never fall; the meter takes differences.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceFailed
from .host import Host

__all__ = [
    "CpuRest",
    "CpuTotals",
    "NodeCpu",
    "ProcessGroup",
    "descendants",
    "parse_process_cpu_s",
    "parse_stat",
]

_TICKS_HZ = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2


@dataclass(frozen=True, slots=True)
class CpuTotals:
    """All CPUs together: busy seconds from some origin, and how many CPUs there are."""

    busy_s: float
    cpus: int


@dataclass(frozen=True, slots=True)
class CpuRest:
    """All CPUs together since boot: seconds without work of ours, and how many CPUs there are."""

    rest_s: float
    cpus: int


def parse_stat(text: str, ticks_hz: int = _TICKS_HZ) -> CpuRest:
    """Read `/proc/stat`.

    Rest is idle, waiting for I/O, and time stolen by the hypervisor.

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
        _user, _nice, _system, idle, iowait, _irq, _softirq, *more = (int(f) for f in total[:8])
    except ValueError as error:
        raise SourceFailed(
            "/proc/stat",
            place="line 'cpu'",
            found=" ".join(total)[:80] or "nothing",
            expected="seven or more counts of ticks",
        ) from error
    # Kernels before 2.6.11 did not count stolen time.
    return CpuRest(rest_s=(idle + iowait + sum(more)) / ticks_hz, cpus=max(cpus, 1))


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
    """Busy seconds of all CPUs: the time that passed, less the rest that `/proc/stat` counts.

    The kernel's busy columns are samples: work between two timer ticks is missed, or counted for
    a whole tick. Its idle time is measured, where CPUs stop their tick when idle (`NO_HZ_IDLE`, as
    distributions have it), and only rounded to a tick.

    Args:
        host: Where procfs is, and the clock.

    Attributes:
        resolution_s: Smallest step of the busy seconds.
    """

    resolution_s = 1 / _TICKS_HZ

    def __init__(self, host: Host | None = None) -> None:
        host = host or Host()
        self._path, self._clock = host.proc / "stat", host.clock
        self._highest_s = -math.inf

    def totals(self) -> CpuTotals:
        """Return busy seconds from some origin, which never fall, and the number of CPUs."""
        rest = parse_stat(self._path.read_text())
        # Rounding lets a rest of one tick appear at once: work done is not undone by that.
        self._highest_s = max(self._highest_s, rest.cpus * self._clock() - rest.rest_s)
        return CpuTotals(busy_s=self._highest_s, cpus=rest.cpus)


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
        return descendants(self.pid, self._proc)


def descendants(pid: int, proc: Path) -> list[int]:
    """Return the processes that a process started, and those that they started; none if gone.

    Args:
        pid: The first process, which is not in the list.
        proc: Root of procfs.
    """
    try:
        return list(_listed(pid, proc))
    except FileNotFoundError:
        pass  # the kernel has no `children` files, or the first process is gone
    import psutil  # here, since few need it

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _listed(first: int, proc: Path) -> Iterable[int]:
    """Yield descendants from `/proc/<pid>/task/<tid>/children`: no walk over all processes."""
    waiting = [first]
    while waiting:
        pid = waiting.pop()
        try:
            tasks = os.listdir(proc / f"{pid}/task")  # noqa: PTH208 - names only
            for task in tasks:
                children = (proc / f"{pid}/task/{task}/children").read_text().split()
                waiting += map(int, children)
                yield from map(int, children)
        except (FileNotFoundError, ProcessLookupError):
            if pid == first:
                raise FileNotFoundError(pid) from None
