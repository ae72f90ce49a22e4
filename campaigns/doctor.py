"""What can be measured on this machine, and what to do about the rest. It changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from ..profiler.host import Host, HostFacts, abilities, facts
from ..profiler.sources import discover
from ..profiler.sources.base import SourceStatus
from ..profiler.work import ProcessGroup

__all__ = ["Check", "checks"]

_COLOURS = {
    "measured": "green",
    "integrated": "green",
    "good": "green",
    "estimated": "yellow",
    "forbidden": "red",
    "failed": "red",
    "limited": "yellow",
    "absent": "dim",
}
_SLEEPS = 20
_SLEEP_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    what: str
    state: str
    found: str
    remedy: str = ""

    @property
    def colour(self) -> str:
        """The colour of the state on a terminal."""
        return _COLOURS.get(self.state, "white")


def checks(
    host: Host | None = None, modules: Path = Path("/lib/modules")
) -> Sequence[tuple[str, Sequence[Check]]]:
    """Look at the machine and return what was found, in groups.

    Args:
        host: The machine; this one if not given.
        modules: Where kernel modules are.
    """
    host = host or Host()
    known = facts(host)
    return (
        ("Energy", [_energy(status) for status in discover(host).statuses]),
        ("Time", [_clock(known), _sleep(), _cpu_time()]),
        ("Machine", [_cpus(known), _governor(known), _virtual(known), _providers()]),
        ("Kernel", [_cgroup(host), _perf(host), _netem(host, modules / known.kernel)]),
    )


def _energy(status: SourceStatus) -> Check:
    return Check(
        what=status.name,
        state=str(status.state),
        found=status.what.removeprefix(f"{status.name}: ").removeprefix(f"{status.name} "),
        remedy=status.remedy or "",
    )


def _clock(known: HostFacts) -> Check:
    fine = known.clock_resolution_s <= 1e-6
    return Check(
        what="monotonic clock",
        state="good" if fine else "limited",
        found=f"{known.clocksource}, resolution {1e9 * known.clock_resolution_s:g} ns",
        remedy="" if fine else "latencies below this cannot be told apart",
    )


def _sleep() -> Check:
    """Measure how late a sleeper wakes: a generator cannot send more punctually than that."""
    late_s = []
    for _ in range(_SLEEPS):
        began_s = time.monotonic()
        time.sleep(_SLEEP_S)
        late_s.append(time.monotonic() - began_s - _SLEEP_S)
    worst_s = max(late_s)
    fine = worst_s < 1e-3
    return Check(
        what="wake-up",
        state="good" if fine else "limited",
        found=f"at most {1e6 * worst_s:.0f} µs late in {_SLEEPS} sleeps",
        remedy="" if fine else "stop other work on this machine while a campaign runs",
    )


def _cpu_time() -> Check:
    group = ProcessGroup(os.getpid())
    before_s = group.cpu_s()
    while (step_s := group.cpu_s() - before_s) <= 0:
        pass
    fine = step_s < 1e-3
    return Check(
        what="process CPU time",
        state="good" if fine else "limited",
        found=f"seen to advance by {1e6 * step_s:.0f} µs",
        remedy="" if fine else "use measured windows of several seconds",
    )


def _cpus(known: HostFacts) -> Check:
    usable = len(os.sched_getaffinity(0))
    remedy = "service and load generator share one CPU and disturb each other; use two or more"
    return Check(
        what="CPUs",
        state="good" if usable >= 2 else "limited",
        found=f"{usable} usable of {known.cpu.threads}",
        remedy="" if usable >= 2 else remedy,
    )


def _governor(known: HostFacts) -> Check:
    if known.governor is None:
        return Check(
            what="CPU frequency",
            state="absent",
            found="no cpufreq here: the frequency is not ours to see",
            remedy="on a virtual machine, ask the host; else load the cpufreq driver",
        )
    fixed = known.governor == "performance"
    return Check(
        what="CPU frequency",
        state="good" if fixed else "limited",
        found=f"governor {known.governor}",
        remedy="" if fixed else "cpupower frequency-set -g performance, for steadier trials",
    )


def _virtual(known: HostFacts) -> Check:
    virtual = known.cpu.virtual
    return Check(
        what="machine",
        state="limited" if virtual else "good",
        found=f"{known.cpu.name}, {'virtual' if virtual else 'bare metal'}",
        remedy="neighbours on the host are not seen: repeat more often" if virtual else "",
    )


def _providers() -> Check:
    names = onnxruntime.get_available_providers()
    return Check(
        what="ONNX providers",
        state="good",
        found=", ".join(name.removesuffix("ExecutionProvider") for name in names),
    )


def _cgroup(host: Host) -> Check:
    version = abilities(host).cgroup_version
    return Check(
        what="control groups",
        state="absent" if version is None else "good",
        found="none" if version is None else f"v{version}",
    )


def _perf(host: Host) -> Check:
    try:
        level = int((host.proc / "sys/kernel/perf_event_paranoid").read_text())
    except OSError:
        return Check(what="perf events", state="absent", found="not in this kernel")
    allowed = level <= 0 or os.geteuid() == 0
    return Check(
        what="perf events",
        state="good" if allowed else "forbidden",
        found=f"perf_event_paranoid is {level}",
        remedy="" if allowed else "sysctl kernel.perf_event_paranoid=0",
    )


def _netem(host: Host, modules: Path) -> Check:
    lists = (modules / "modules.dep", modules / "modules.builtin")
    known = (host.sys / "module/sch_netem").exists() or any(
        "sch_netem" in path.read_text() for path in lists if path.exists()
    )
    return Check(
        what="network emulation",
        state="good" if known else "absent",
        found="sch_netem is here" if known else "this kernel has no sch_netem",
    )
