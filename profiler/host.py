"""The machine we run on: where its kernel files are, its clock, and facts about it.

This is the one place where the real `/sys`, `/proc` and monotonic clock are wired; everything
else takes a `Host`, so that tests hand in recorded trees.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Abilities",
    "CpuModel",
    "Host",
    "HostFacts",
    "abilities",
    "boot_id",
    "facts",
    "parse_cpuinfo",
    "text_of",
]

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where to look.

    Args:
        sys: Root of sysfs.
        proc: Root of procfs.
        clock: Monotonic seconds. Give the meter the same one.
    """

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    clock: Clock = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuModel:
    """What `/proc/cpuinfo` says.

    Args:
        name: Model name, or "unknown" (many ARM kernels give none).
        threads: Logical CPUs.
        packages: Sockets.
        virtual: A hypervisor runs below us, so that the sockets are not ours alone.
    """

    name: str
    threads: int
    packages: int
    virtual: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """Facts that change what a measurement means; `None` where the machine does not say."""

    cpu: CpuModel
    memory_bytes: int | None
    architecture: str
    kernel: str
    governor: str | None
    clocksource: str | None
    clock_resolution_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What the kernel offers for measuring work.

    Args:
        process_clock: CPU time of another process in nanoseconds, rather than in ticks.
        process_children: Children of a process without a walk over all processes.
        cgroup_version: 1 or 2; `None` where there are no control groups.
    """

    process_clock: bool
    process_children: bool
    cgroup_version: int | None


def parse_cpuinfo(text: str) -> CpuModel:
    """Read `/proc/cpuinfo`."""
    threads = len(re.findall(r"^processor\s*:", text, re.M))
    named = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.M)
    packages = set(re.findall(r"^physical id\s*:\s*(\d+)", text, re.M))
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", text, re.M)
    return CpuModel(
        name=named.group(1).strip() if named else "unknown",
        threads=max(threads, 1),
        packages=max(len(packages), 1),
        virtual=flags is not None,
    )


def facts(host: Host) -> HostFacts:
    """Read the facts of a machine."""
    memory = re.search(r"^MemTotal:\s*(\d+) kB", text_of(host.proc / "meminfo") or "", re.M)
    cpu = host.sys / "devices/system/cpu/cpu0/cpufreq/scaling_governor"
    clock = host.sys / "devices/system/clocksource/clocksource0/current_clocksource"
    return HostFacts(
        cpu=parse_cpuinfo(text_of(host.proc / "cpuinfo") or ""),
        memory_bytes=int(memory.group(1)) * 1024 if memory else None,
        architecture=platform.machine(),
        kernel=platform.release(),
        governor=text_of(cpu),
        clocksource=text_of(clock),
        clock_resolution_s=time.get_clock_info("monotonic").resolution,
    )


def abilities(host: Host) -> Abilities:
    """Try what the kernel offers for measuring work, on this very process."""
    pid = os.getpid()
    return Abilities(
        process_clock=_has_process_clock(pid),
        process_children=(host.proc / f"{pid}/task/{pid}/children").exists(),
        cgroup_version=_cgroup_version(host),
    )


def _has_process_clock(pid: int) -> bool:
    try:
        time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return False
    return True


def _cgroup_version(host: Host) -> int | None:
    root = host.sys / "fs/cgroup"
    if (root / "cgroup.controllers").exists():
        return 2
    return 1 if (root / "cpuacct").exists() or (root / "cpu,cpuacct").exists() else None


def boot_id(host: Host) -> str:
    """Return what tells one boot of a machine from the next; empty where nothing does."""
    return text_of(host.proc / "sys/kernel/random/boot_id") or ""


def text_of(path: Path) -> str | None:
    """Return what a file of the kernel says, `None` where this machine does not tell it."""
    try:
        return path.read_text().strip()
    except OSError:
        return None
