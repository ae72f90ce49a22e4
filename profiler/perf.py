"""Cycles, instructions and cache misses of control groups, processes and the node: optional work.

Many virtual machines have no such counters and many users no right to them: that is said, and
never a zero. The system call itself is in `perf_events`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from .host import Host
from .perf_events import CLOCK, Event, Scope, Target, open_event, parse_read
from .work import descendants

__all__ = [
    "Counts",
    "Event",
    "PerfCounts",
    "ScaledCounts",
    "Scope",
    "available",
    "count_group",
    "count_node",
    "count_process",
    "parse_cpus",
    "perf_root",
]

_ENABLE = 0x2400  # PERF_EVENT_IOC_ENABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was counted since the counting began.

    Args:
        counts: By event. They never fall.
        running_ratio: Share of the time in which the events really had a counter, 0 to 1. Below
            1 more events were asked for than there are counters: the kernel takes turns
            (multiplexing), and the counts are scaled up for the time without.
    """

    counts: Mapping[Event, int]
    running_ratio: float


def parse_cpus(text: str) -> tuple[int, ...]:
    """Read a list of CPUs such as "0-3,8" (kernel document admin-guide/cputopology.rst).

    Raises:
        SourceFailed: When it is none.
    """
    cpus: list[int] = []
    try:
        for part in text.strip().split(","):
            first, _, last = part.partition("-")
            cpus += range(int(first), int(last or first) + 1)
    except ValueError as error:
        raise SourceFailed("CPUs online", found=repr(text[:40]), expected="as '0-3,8'") from error
    return tuple(cpus)


class ScaledCounts:
    """Counts of one group of events, made whole for the times in which others had the counters.

    Every step is scaled by its own times, not the whole by all times: a whole that is scaled anew
    at each reading can fall. A step without any counter waits for the next one.
    """

    def __init__(self, events: int) -> None:
        self.totals = [0] * events
        self.enabled_ns = self.running_ns = 0
        self._counts = (0,) * events
        self._counted_ns = (0, 0)

    def update(self, enabled_ns: int, running_ns: int, counts: tuple[int, ...]) -> None:
        """Take a reading: cumulative times and counts, as the kernel gives them.

        Raises:
            SourceFailed: When a count or a time fell.
        """
        steps = [now - before for now, before in zip(counts, self._counts, strict=True)]
        enabled, running = enabled_ns - self._counted_ns[0], running_ns - self._counted_ns[1]
        if min(enabled, running, *steps) < 0:
            raise SourceFailed("perf events", found="a count that fell")
        self.enabled_ns, self.running_ns = enabled_ns, running_ns
        if running > 0:
            for index, step in enumerate(steps):
                self.totals[index] += max(step, step * enabled // running)
            self._counts, self._counted_ns = counts, (enabled_ns, running_ns)


class PerfCounts:
    """Events of one consumer, counted from when this was made until it is closed.

    Made by `count_group`, `count_process` and `count_node`. A reading is one system call per CPU
    (or thread); each event of each of them is an open file, and work for the kernel whenever it
    switches from one consumer to another: count what you need.
    """

    def __init__(self, what: str, events: Sequence[Event]) -> None:
        if not events or len(set(events)) != len(events):
            raise ValueError(f"give each event to count once, found {', '.join(events) or 'none'}")
        self.what, self.events = what, tuple(events)
        self._files: list[int] = []
        self._groups: list[tuple[tuple[int, ...], ScaledCounts]] = []

    def read(self) -> Counts:
        """Return the counts so far; those of a group or process that ended stay.

        Raises:
            SourceUnavailable: After `close`.
            SourceFailed: The kernel could not count, or never had a counter free.
        """
        if not self._groups:
            raise SourceUnavailable(f"perf events of {self.what}", found="a closed reader")
        for files, group in self._groups:
            group.update(*self._read(files))
        enabled_ns = sum(group.enabled_ns for _, group in self._groups)
        running_ns = sum(group.running_ns for _, group in self._groups)
        if enabled_ns > 0 and running_ns == 0:
            raise SourceFailed(
                f"perf events of {self.what}",
                found="never a counter free",
                remedy="count fewer events; 'sysctl kernel.nmi_watchdog=0' frees a counter",
            )
        totals = zip(*(group.totals for _, group in self._groups), strict=True)
        return Counts(
            counts=dict(zip(self.events, map(sum, totals), strict=True)),
            running_ratio=running_ns / enabled_ns if enabled_ns > 0 else 1.0,
        )

    def _read(self, files: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
        """Return times and counts of what is counted by these files.

        Of a thread that is counted by CPU, each file's time enabled is the thread's on all of
        them, and each file's time running that on its own.
        """
        # More than a whole answer, so that a longer one is seen to be another.
        size = 8 * (4 + len(self.events))
        read = [parse_read(os.read(file, size), len(self.events)) for file in files]
        enabled_ns, running_ns, counts = zip(*read, strict=True)
        return max(enabled_ns), sum(running_ns), tuple(map(sum, zip(*counts, strict=True)))

    def _add(self, host: Host, *targets: Target) -> None:
        """Open all events as one group: the kernel gives counters to all of them or to none.

        Several targets are one and the same thread, on each CPU.
        """
        leaders = []
        for target in targets:
            leader = -1
            for event in self.events:
                file = open_event(host, target, event, leader)
                self._files.append(file)
                leader = file if leader < 0 else leader
            leaders.append(leader)
        for leader in leaders:
            fcntl.ioctl(leader, _ENABLE, 0)
        self._groups.append((tuple(leaders), ScaledCounts(len(self.events))))

    def close(self) -> None:
        """Stop counting."""
        self._groups.clear()
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> PerfCounts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def count_group(path: Path, events: Sequence[Event], host: Host) -> PerfCounts:
    """Count the events of a control group and all below it.

    Args:
        path: The group's folder, under `perf_root`.
        events: What to count, all or nothing: `available` tells which there are.
        host: Where CPUs and the kernel's settings are.

    Raises:
        SourceUnavailable: There is no such group, or an event is not offered here.
        SourceForbidden: This user may not count.
        SourceFailed: The kernel refuses for another reason.
    """
    counts, cpus = PerfCounts(f"control group {path}", events), _cpus(host)
    with _closed_on_error(counts), _folder(path) as number:
        # Refused alike are a folder that is no group, and an event that is not offered: an event
        # that always is tells them apart.
        os.close(open_event(host, Target(scope=Scope.GROUP, number=number, cpu=cpus[0]), CLOCK))
        for cpu in cpus:
            counts._add(host, Target(scope=Scope.GROUP, number=number, cpu=cpu))
    return counts


def count_node(events: Sequence[Event], host: Host) -> PerfCounts:
    """Count the events of all CPUs that are online, whoever runs; raises as `count_group`."""
    counts = PerfCounts("the node", events)
    with _closed_on_error(counts):
        for cpu in _cpus(host):
            counts._add(host, Target(scope=Scope.NODE, number=-1, cpu=cpu))
    return counts


def count_process(pid: int, events: Sequence[Event], host: Host) -> PerfCounts:
    """Count the events of a process, of its descendants and of all that they start from now on.

    Threads that begin while those that are there get listed are missed: open it before the work
    starts. Needs Linux 4.13 or later. Raises as `count_group`.
    """
    counts = PerfCounts(f"process {pid}", events)
    # Cores of several sorts have counters of several sorts. An event for any CPU counts on one
    # sort only; an event per CPU finds the counter of its own.
    cpus = _cpus(host) if _sorts_of_cores(host) > 1 else (-1,)
    with _closed_on_error(counts):
        for process in (pid, *descendants(pid, host.proc)):
            for thread in _threads(host, process):
                each = (Target(scope=Scope.PROCESS, number=thread, cpu=cpu) for cpu in cpus)
                try:
                    counts._add(host, *each)
                except SourceUnavailable:
                    if thread in _threads(host, process):
                        raise
                    # It ended meanwhile, and takes nothing along: its counting had just begun.
        if not counts._groups:
            raise SourceUnavailable(f"perf events of process {pid}", found="no such process")
    return counts


def perf_root(host: Host) -> Path:
    """Return the folder under which groups can be counted.

    Version 1 has a hierarchy `perf_event`; where that is not mounted, version 2 counts, also where
    it is mounted beside version 1 (hybrid).

    Raises:
        SourceUnavailable: When there is neither.
    """
    root = host.sys / "fs/cgroup"
    if (root / "perf_event").is_dir():
        return root / "perf_event"
    for path in (root, root / "unified"):
        if (path / "cgroup.controllers").exists():
            return path
    raise SourceUnavailable(f"perf events {root}", found="no control groups with perf events")


def available(host: Host) -> Mapping[Scope, Mapping[Event, SourceError | None]]:
    """Try every event in every scope for a moment: this process, the group of all, the node.

    Returns:
        `None` for what can be counted, else why not.
    """
    return {scope: {event: _refusal(host, scope, event) for event in Event} for scope in Scope}


def _refusal(host: Host, scope: Scope, event: Event) -> SourceError | None:
    try:
        if scope is Scope.GROUP:
            with _folder(perf_root(host)) as number:
                target = Target(scope=scope, number=number, cpu=_cpus(host)[0])
                os.close(open_event(host, target, event))
        elif scope is Scope.NODE:
            target = Target(scope=scope, number=-1, cpu=_cpus(host)[0])
            os.close(open_event(host, target, event))
        else:
            os.close(open_event(host, Target(scope=scope, number=0, cpu=-1), event))
    except SourceError as error:
        return error
    return None


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """Open a group's folder for as long as its events are being opened."""
    subject = f"control group {path}"
    try:
        number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceUnavailable(subject, found="no such group") from error
    except PermissionError as error:
        raise SourceForbidden(subject, remedy="run as root, or the owner of the group") from error
    except OSError as error:
        raise SourceFailed(subject, found=error.strerror) from error
    try:
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def _closed_on_error(counts: PerfCounts) -> Iterator[None]:
    try:
        yield
    except BaseException:
        counts.close()
        raise


def _cpus(host: Host) -> tuple[int, ...]:
    path = host.sys / "devices/system/cpu/online"
    try:
        return parse_cpus(path.read_text())
    except FileNotFoundError as error:
        raise SourceUnavailable(f"perf events {path}", found="no such file") from error
    except OSError as error:
        raise SourceFailed(f"perf events {path}", found=error.strerror) from error


def _sorts_of_cores(host: Host) -> int:
    """Return how many kinds of core counters there are: only such list the CPUs they belong to.

    Hybrid Intel has `cpu_core` and `cpu_atom`, Arm a unit per sort of core; plain x86 lists none.
    """
    return len(list((host.sys / "bus/event_source/devices").glob("*/cpus")))


def _threads(host: Host, process: int) -> list[int]:
    try:
        return [int(path.name) for path in (host.proc / f"{process}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # it ended
