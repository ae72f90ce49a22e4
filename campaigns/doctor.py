"""What can be measured on this machine, and what to do about the rest. It changes nothing."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError, SourceForbidden, SourceUnavailable
from ..profiler.cgroup import CgroupCpu, own_group
from ..profiler.host import Host, HostFacts, abilities, facts
from ..profiler.meter import EnergyMeter
from ..profiler.perf import Event, Scope, available
from ..profiler.sources import Discovery, discover
from ..profiler.sources.base import Source, SourceState, SourceStatus
from ..profiler.work import NodeCpu, ProcessGroup
from .agreement import Agreement, Verdict, judge, pairs, seconds_needed
from .recorded import closed_folders

__all__ = ["Check", "Section", "agreement", "checks", "tree_checks"]

_COLOURS = {
    "measured": "green",
    "integrated": "green",
    "good": "green",
    "agree": "green",
    "estimated": "yellow",
    "limited": "yellow",
    "too short": "yellow",
    "unknown": "yellow",
    "disagree": "red",
    "forbidden": "red",
    "failed": "red",
    "absent": "dim",
}
_SLEEPS = 20
_SLEEP_S = 0.001
_TICK_S = 0.1
_LEAST_S, _LONGEST_S = 1.0, 5.0
"""How long two readings are compared when nobody says so: what the sensors need, within these."""

_REFUSED = {SourceState.ABSENT, SourceState.FORBIDDEN, SourceState.FAILED}
_NEXT_DOMAIN = re.compile(r"; (?=\S+: |left out )")
"""Where a source's sentence goes on with another domain: each gets a line."""


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


Section = tuple[str, Sequence[Check]]


def checks(
    host: Host | None = None,
    modules: Path = Path("/lib/modules"),
    found: Discovery | None = None,
) -> Sequence[Section]:
    """Look at a running machine and return what was found, in groups.

    Args:
        host: The machine; this one if not given.
        modules: Where kernel modules are.
        found: Its energy sources, if they were looked for already.
    """
    host = host or Host()
    known = facts(host)
    found = found or discover(host, comparisons=True)
    return (
        ("Energy", [_energy(status) for status in found.statuses]),
        ("Work", [_processes(host), _cgroup(host), *_perf(host)]),
        ("Time", [_clock(known), _sleep()]),
        ("Machine", [_cpus(known), _governor(known), _virtual(known), _providers()]),
        ("Kernel", [_netem(host, modules / known.kernel)]),
    )


def tree_checks(host: Host) -> Sequence[Section]:
    """Look at a recorded tree and return what it shows; nothing is told of this machine.

    Where folders are closed to us nobody can say what is absent: then that is all there is to say.
    """
    if closed := closed_folders(host.sys):
        check = Check(
            what="folders",
            state="forbidden",
            found="\n".join(f"{path} may not be looked into" for path in closed),
            remedy=f"run as their owner, or let everybody look: chmod -R a+rX {host.sys}",
        )
        return [("Energy", [_as_recorded(check, host)])]
    found = [_energy(status) for status in discover(host, drivers=False).statuses]
    sections: list[Section] = [("Energy", [_as_recorded(check, host) for check in found])]
    known = facts(host)
    machine = [_governor(known)] if known.governor is not None else []
    if (host.proc / "cpuinfo").exists():
        machine.append(_virtual(known))
    version = abilities(host).cgroup_version
    if version is not None:
        machine.append(Check(what="control groups", state="good", found=f"version {version}"))
    if machine:
        sections.append(("Machine", machine))
    return sections


def _as_recorded(check: Check, host: Host) -> Check:
    """Name files as they were on the machine that was recorded: shorter, and not of ours."""
    found = check.found.replace(str(host.sys), "/sys").replace(str(host.proc), "/proc")
    return dataclasses.replace(check, found=found)


def agreement(
    sources: Sequence[Source],
    host: Host,
    *,
    seconds: float | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Section | None:
    """Measure what is read twice, and tell whether the readings agree.

    Args:
        sources: The energy sources.
        host: The machine, for its clock and the work of its CPUs.
        seconds: How long; what the slowest sensor needs, from 1 to 5 s, if not given.
        progress: Called now and then with the share that is done, 0 to 1.

    Returns:
        The comparisons; `None` when nothing is read twice.
    """
    found = pairs(sources)
    if not found:
        return None
    if seconds is None:
        seconds = min(max(seconds_needed(found), _LEAST_S), _LONGEST_S)
    read = {key.partition(":")[0] for pair in found for key in (*pair.first, *pair.second)}
    chosen = [source for source in sources if source.name in read]
    with (
        EnergyMeter(chosen, clock=host.clock, work=NodeCpu(host)) as meter,
        meter.window("agreement") as window,
    ):
        until_s = host.clock() + seconds
        while (left_s := until_s - host.clock()) > 0:
            progress(1 - left_s / seconds)
            time.sleep(min(left_s, _TICK_S))
    judged = [judge(pair, window.result.domains) for pair in found]
    return f"Agreement in {window.result.duration_s:.1f} s", [_agreement(one) for one in judged]


def _agreement(one: Agreement) -> Check:
    first, second = (" + ".join(keys) for keys in (one.pair.first, one.pair.second))
    what = f"{one.pair.device} and its parts" if one.pair.covers else one.pair.device
    if one.first is None or one.second is None or one.difference_j is None:
        return Check(
            what=what,
            state=one.verdict,
            found=f"{first} and {second}: {'; '.join(one.gaps)}",
            remedy="measure again; a source that keeps failing says why above",
        )
    needed_s = seconds_needed([one.pair])
    remedies = {
        Verdict.TOO_SHORT: f"joulery doctor --seconds {max(needed_s, 2 * _LEAST_S):.0f}",
        Verdict.DISAGREE: "trust neither before you know which one is wrong",
    }
    return Check(
        what=what,
        state=one.verdict,
        found=f"{one.first.value_j:.2f} J {first}\n{one.second.value_j:.2f} J {second}\n"
        f"difference {one.difference_j:+.2f} J ({one.low_j:+.2f} to {one.high_j:+.2f})",
        remedy=remedies.get(one.verdict, ""),
    )


def _energy(status: SourceStatus) -> Check:
    found = status.what.removeprefix(f"{status.name}: ").removeprefix(f"{status.name} ")
    if status.state not in _REFUSED:
        found = _NEXT_DOMAIN.sub("\n", found)
    return Check(what=status.name, state=str(status.state), found=found, remedy=status.remedy or "")


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


def _processes(host: Host) -> Check:
    """Measure how finely the CPU time of a process is seen, and say what finding them costs."""
    group, can = ProcessGroup(os.getpid(), host), abilities(host)
    before_s = group.cpu_s()
    while (step_s := group.cpu_s() - before_s) <= 0:
        pass
    clock = "in nanoseconds" if can.process_clock else "in ticks of the kernel"
    listed = "listed by the kernel" if can.process_children else "found among all processes"
    remedies = [
        "" if can.process_clock and step_s < 1e-3 else "use measured windows of several seconds",
        ""
        if can.process_children
        else "each sample costs more: a kernel with "
        "CONFIG_PROC_CHILDREN, or a control group, is cheaper",
    ]
    return Check(
        what="processes",
        state="limited" if any(remedies) else "good",
        found=f"CPU time {clock}, seen to advance by {1e6 * step_s:.0f} µs; children {listed}",
        remedy="; ".join(filter(None, remedies)),
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
    import onnxruntime  # here: a recorded tree needs none of it

    names = onnxruntime.get_available_providers()
    return Check(
        what="ONNX providers",
        state="good",
        found=", ".join(name.removesuffix("ExecutionProvider") for name in names),
    )


def _cgroup(host: Host) -> Check:
    """Read the CPU time of the group we are in."""
    what, version = "control groups", abilities(host).cgroup_version
    try:
        with CgroupCpu(own_group(host)) as group:
            step = f"{1e9 * group.resolution_s:.0f} ns"
            found = f"version {version}; CPU time of our own group in steps of {step}"
            return Check(what=what, state="good", found=found)
    except SourceError as error:
        return _refused(what, error)


def _perf(host: Host) -> Sequence[Check]:
    """Try the kernel's counters; scopes of which the same is to be told share a row."""
    rows: dict[tuple[str, str, str], list[Scope]] = {}
    for scope, events in available(host).items():
        row = _perf_row(events)
        rows.setdefault((row.state, row.found, row.remedy), []).append(scope)
    return [
        Check(what="perf events", state=state, found=f"{', '.join(some)}: {found}", remedy=remedy)
        for (state, found, remedy), some in rows.items()
    ]


def _perf_row(events: Mapping[Event, SourceError | None]) -> Check:
    counted = ", ".join(event for event, refusal in events.items() if refusal is None)
    refusals = {event: refusal for event, refusal in events.items() if refusal is not None}
    if not refusals:
        return Check(what="perf events", state="good", found=counted)
    first = next(iter(refusals.values()))
    missing = f"{', '.join(refusals)}: {first.found or first.subject}"
    row = _refused("perf events", first)
    return Check(
        what="perf events",
        # The clock alone is no more than the control group tells.
        state="limited" if set(events) - set(refusals) - {Event.CPU_CLOCK_NS} else row.state,
        found=f"only {counted}; {missing}" if counted else missing,
        remedy=row.remedy,
    )


def _refused(what: str, error: SourceError) -> Check:
    state = "absent" if isinstance(error, SourceUnavailable) else "failed"
    return Check(
        what=what,
        state="forbidden" if isinstance(error, SourceForbidden) else state,
        found=f"{error.subject}: {error.found}" if error.found else error.subject,
        remedy=error.remedy or "",
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
