"""Facts about a machine, from its kernel's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from joulery.profiler.host import CpuModel, Host, abilities, facts, parse_cpuinfo


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "processor\t: 0\nmodel name\t: Xeon\nphysical id\t: 0\nflags\t\t: fpu vme\n\n"
            "processor\t: 1\nmodel name\t: Xeon\nphysical id\t: 1\nflags\t\t: fpu vme\n",
            CpuModel(name="Xeon", threads=2, packages=2, virtual=False),
        ),
        (
            "processor : 0\nmodel name : AMD EPYC\nphysical id : 0\nflags : fpu hypervisor sse\n",
            CpuModel(name="AMD EPYC", threads=1, packages=1, virtual=True),
        ),
        (
            "processor : 0\nBogoMIPS : 50\n\nprocessor : 1\n\nModel : Raspberry Pi 5\n",
            CpuModel(name="Raspberry Pi 5", threads=2, packages=1, virtual=False),
        ),
        ("", CpuModel(name="unknown", threads=1, packages=1, virtual=False)),
    ],
)
def test_cpus_are_told_apart(text: str, expected: CpuModel) -> None:
    """Sockets, threads, virtual machines and boards without a model name are recognised."""
    assert parse_cpuinfo(text) == expected


def test_facts_that_are_not_there_are_none(tmp_path: Path) -> None:
    """A machine that does not tell a fact has none, rather than an invented one."""
    found = facts(Host(sys=tmp_path, proc=tmp_path))
    assert (found.memory_bytes, found.governor, found.clocksource) == (None, None, None)
    assert found.clock_resolution_s > 0


def test_facts_are_read(tmp_path: Path) -> None:
    """Governor, clock source and memory come from the kernel's files, in SI units."""
    for name, text in (
        ("meminfo", "MemTotal:       16384 kB\n"),
        ("devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ("devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = facts(Host(sys=tmp_path, proc=tmp_path))
    assert (found.memory_bytes, found.governor, found.clocksource) == (2**24, "performance", "tsc")


def test_this_kernel_shows_its_abilities() -> None:
    """The kernel at hand is tried, not looked up: the CPU clock of a process is there on Linux."""
    found = abilities(Host())
    assert found.process_clock
    assert found.cgroup_version in {None, 1, 2}
    path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    assert found.process_children == path.exists()


@pytest.mark.parametrize(
    ("file", "version"),
    [("cgroup.controllers", 2), ("cpuacct/tasks", 1), ("cpu,cpuacct/tasks", 1), ("x/y", None)],
)
def test_the_version_of_control_groups(tmp_path: Path, file: str, version: int | None) -> None:
    """Version 2 has its controllers file at the root, version 1 a folder for CPU accounting."""
    path = tmp_path / "fs/cgroup" / file
    path.parent.mkdir(parents=True)
    path.touch()
    assert abilities(Host(sys=tmp_path)).cgroup_version == version
