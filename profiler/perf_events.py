"""The system call perf_event_open(2): one event opened, one answer read, one refusal explained.

Constants from the kernel's include/uapi/linux/perf_event.h and asm/unistd.h. Whose events are
counted, and what comes of several readings, is decided in `perf`.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ..errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from .host import Host

__all__ = ["CLOCK", "Event", "Scope", "Target", "open_event", "parse_read", "syscall_number"]

_HARDWARE, _SOFTWARE, _CACHE = 0, 1, 3
_LAST_LEVEL_READ_MISS = 2 | 0 << 8 | 1 << 16
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")  # perf_event_attr as first published, 64 bytes
_DISABLED, _INHERIT = 1 << 0, 1 << 1
_ENABLED_RUNNING_GROUP = 1 << 0 | 1 << 1 | 1 << 3
_PID_CGROUP, _CLOSE_ON_EXEC = 1 << 2, 1 << 3

_NUMBERS = {
    ("x86_64", 8): 298,
    ("x86_64", 4): 336,
    ("i686", 4): 336,
    ("aarch64", 8): 241,
    ("aarch64", 4): 364,
    ("armv7l", 4): 364,
    ("riscv64", 8): 241,
    ("loongarch64", 8): 241,
    ("ppc64le", 8): 319,
}
"""Number of the system call by the kernel's machine and the size of this program's pointers."""


class Event(StrEnum):
    """What can be counted."""

    CYCLES = "cycles"
    """CPU cycles that were not halted."""
    INSTRUCTIONS = "instructions"
    LLC_MISSES = "llc_misses"
    """Reads that missed the last level of cache. The kernel has no such event for AMD's cores."""
    CACHE_MISSES = "cache_misses"
    """What the kernel calls cache misses: usually of the last level, on AMD of the second."""
    CPU_CLOCK_NS = "cpu_clock_ns"
    """Nanoseconds on a CPU, by the kernel alone: also where there are no hardware counters. Of
    the node it is the time of all CPUs, rest included."""


CLOCK = Event.CPU_CLOCK_NS
"""The one event that every kernel with perf events offers."""

_CODES = {
    Event.CYCLES: (_HARDWARE, 0),
    Event.INSTRUCTIONS: (_HARDWARE, 1),
    Event.LLC_MISSES: (_CACHE, _LAST_LEVEL_READ_MISS),
    Event.CACHE_MISSES: (_HARDWARE, 3),
    Event.CPU_CLOCK_NS: (_SOFTWARE, 0),
}


class Scope(StrEnum):
    """Whose events are counted; the last two need more rights."""

    PROCESS = "process"
    GROUP = "control group"
    NODE = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one event is opened for.

    Args:
        scope: Whose events.
        number: The thread; the file of the group's folder; -1 for the node.
        cpu: The CPU; -1 for any, of a thread only.
    """

    scope: Scope
    number: int
    cpu: int


def syscall_number(machine: str, pointer_bytes: int) -> int:
    """Return the number of perf_event_open.

    Args:
        machine: The kernel's architecture, as `uname -m` says it.
        pointer_bytes: Size of this program's pointers: a 32-bit program has numbers of its own.

    Raises:
        SourceUnavailable: For an architecture that is not known here.
    """
    try:
        return _NUMBERS[machine, pointer_bytes]
    except KeyError:
        raise SourceUnavailable(
            "perf events",
            found=f"{machine} with {8 * pointer_bytes} bits",
            expected="an architecture whose system calls are known",
        ) from None


def parse_read(data: bytes, events: int) -> tuple[int, int, tuple[int, ...]]:
    """Read what the kernel answers for a group: nanoseconds enabled, and running, and the counts.

    Raises:
        SourceFailed: When it has another length: events in an error state answer nothing.
    """
    if len(data) != 8 * (3 + events):
        raise SourceFailed(
            "perf events", found=f"{len(data)} bytes", expected=f"{events} counts and two times"
        )
    _, enabled_ns, running_ns, *counts = struct.unpack(f"={3 + events}Q", data)
    return enabled_ns, running_ns, tuple(counts)


@functools.cache
def _syscall() -> Callable[..., int]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    number = ctypes.c_long
    call.argtypes = [number, ctypes.c_char_p, number, number, number, ctypes.c_ulong]
    call.restype = number
    return call


def open_event(host: Host, target: Target, event: Event, leader: int = -1) -> int:
    """Open one event and return its file.

    Args:
        host: Where the kernel's settings are.
        target: Whose events.
        event: The event.
        leader: File of the first event of the group; without one, this is the first, and it waits
            until it is enabled.

    Raises:
        SourceUnavailable: The event, the process or the group is not there.
        SourceForbidden: This user may not count.
        SourceFailed: The kernel refuses for another reason.
    """
    number = syscall_number(platform.machine(), struct.calcsize("P"))
    kind, code = _CODES[event]
    bits = (_DISABLED if leader < 0 else 0) | (_INHERIT if target.scope is Scope.PROCESS else 0)
    attributes = _ATTRIBUTES.pack(
        kind, _ATTRIBUTES.size, code, 0, 0, _ENABLED_RUNNING_GROUP, bits, 0, 0, 0
    )
    flags = _CLOSE_ON_EXEC | (_PID_CGROUP if target.scope is Scope.GROUP else 0)
    file = _syscall()(number, attributes, target.number, target.cpu, leader, flags)
    if file < 0:
        raise _explained(host, target.scope, event, ctypes.get_errno())
    return file


def _explained(host: Host, scope: Scope, event: Event, code: int) -> SourceError:
    """Return the error that a refusal of the kernel stands for."""
    subject, found = f"perf events, {event} of a {scope}", os.strerror(code)
    if code in {errno.EACCES, errno.EPERM}:
        level = _paranoid(host)
        return SourceForbidden(
            subject,
            found=found if level is None else f"perf_event_paranoid is {level}",
            remedy="run as root or with CAP_PERFMON, or 'sysctl kernel.perf_event_paranoid="
            f"{1 if scope is Scope.PROCESS else 0}'; a container's seccomp profile must allow "
            "perf_event_open",
        )
    if code == errno.ESRCH:
        return SourceUnavailable(subject, found="a process that has ended")
    if scope is Scope.GROUP and event is CLOCK and code in {errno.ENOENT, errno.EBADF}:
        return SourceUnavailable(subject, found="a folder that is no such group")
    if code in {errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.ENXIO}:
        return SourceUnavailable(
            subject,
            found="no such counter here",
            remedy="most virtual machines have none; the host may pass its own through (vPMU)",
        )
    if code in {errno.ENOSYS, errno.EINVAL}:  # EINVAL: built without groups, or before 4.13
        return SourceUnavailable(subject, found=f"a kernel without it ({found})")
    remedies = {
        errno.EMFILE: "each event of each CPU is an open file: raise 'ulimit -n'",
        errno.ENFILE: "each event of each CPU is an open file: raise 'sysctl fs.file-max'",
        errno.EBUSY: "another program holds the counters: stop it",
    }
    return SourceFailed(subject, found=found, remedy=remedies.get(code))


def _paranoid(host: Host) -> str | None:
    try:
        return (host.proc / "sys/kernel/perf_event_paranoid").read_text().strip()
    except OSError:
        return None
