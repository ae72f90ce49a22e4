"""Counting with the kernel's perf events: software events for real, hardware's where there are."""

from __future__ import annotations

import ast
import errno
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.errors import SourceFailed, SourceForbidden, SourceUnavailable
from joulery.profiler.host import Host
from joulery.profiler.perf import (
    Counts,
    Event,
    ScaledCounts,
    Scope,
    available,
    count_group,
    count_node,
    count_process,
    parse_cpus,
    perf_root,
)
from joulery.profiler.perf_events import Target, open_event, parse_read, syscall_number

from ..conftest import absent
from ..unprivileged import run_unprivileged

HOST = Host()
CLOCK = (Event.CPU_CLOCK_NS,)
HARDWARE = (Event.CYCLES, Event.INSTRUCTIONS)
BURN = "import time\nwhile time.process_time() < {s}: pass\n"


def _need_counting() -> None:
    """Need a kernel that counts and a user that may: perf_event_paranoid, root, no seccomp."""
    for scope, events in available(HOST).items():
        refusal = events[Event.CPU_CLOCK_NS]
        if refusal is not None:
            absent(f"perf events of a {scope} cannot be counted here: {refusal}")


@pytest.fixture
def group() -> Iterator[Path]:
    """Return a new, real control group that perf events know; the test may remove it."""
    _need_counting()
    path = perf_root(HOST) / f"joulery-perf-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        absent(f"no control group can be made here: {error}")
    yield path
    if path.exists():
        path.rmdir()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _hardware() -> bool:
    """Whether the kernel has a unit of core counters, by its own list and not by counting."""
    names = [path.name for path in Path("/sys/bus/event_source/devices").iterdir()]
    return any(name.startswith(("cpu", "arm", "riscv")) for name in names)


def _run_in(group: Path, program: str) -> None:
    enter = f"import os\nopen({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    subprocess.run([sys.executable, "-S", "-c", enter + program], check=True)


def test_a_group_counts_its_processes_and_keeps_them(group: Path) -> None:
    """The kernel's clock of a real group is its busy process's; it stays when the group ends."""
    with count_group(group, CLOCK, HOST) as counter:
        assert counter.read() == Counts(counts={Event.CPU_CLOCK_NS: 0}, running_ratio=1.0)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run_in(group, BURN.format(s=0.3))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seen = counter.read()
        assert spent_s - 0.1 <= seen.counts[Event.CPU_CLOCK_NS] / 1e9 <= spent_s + 0.05
        group.rmdir()
        assert counter.read() == seen


def test_a_process_counts_with_all_that_it_starts() -> None:
    """Descendants that were there, later ones and their threads count, also when they ended."""
    _need_counting()
    # A child that waits, and burns when told; then a thread and a new child burn as well.
    inner = "import sys; sys.stdin.readline()\n" + BURN.format(s=0.15)
    outer = (
        "import subprocess, sys, threading, time\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {inner!r}], stdin=-1)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "child.communicate(b'go')\n"
        "def burn():\n    while time.thread_time() < 0.15: pass\n"
        "thread = threading.Thread(target=burn); thread.start(); thread.join()\n"
        f"subprocess.run([sys.executable, '-S', '-c', {BURN.format(s=0.15)!r}])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-S", "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with count_process(process.pid, CLOCK, HOST) as counter:
            process.communicate(b"go\n")
            counted_s = counter.read().counts[Event.CPU_CLOCK_NS] / 1e9
    assert 0.4 <= counted_s < 2.0


def test_cores_of_two_sorts_are_counted_one_by_one(tmp_path: Path) -> None:
    """With two kinds of core counters a thread is counted on each CPU, and the sum is the same."""
    _need_counting()
    for name in ("cpu_core", "cpu_atom"):
        (tmp_path / "bus/event_source/devices" / name).mkdir(parents=True)
        (tmp_path / "bus/event_source/devices" / name / "cpus").write_text("0\n")
    online = tmp_path / "devices/system/cpu/online"
    online.parent.mkdir(parents=True)
    online.write_text(Path("/sys/devices/system/cpu/online").read_text())
    cpus = len(parse_cpus(online.read_text()))
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        before = _open_files()
        with count_process(child.pid, CLOCK, HOST):
            plain = _open_files() - before
        with count_process(child.pid, CLOCK, Host(sys=tmp_path)):
            assert _open_files() - before == cpus * plain
        child.communicate(b"\n")
    with count_process(os.getpid(), CLOCK, Host(sys=tmp_path)) as counter:
        # Half of it on each of two CPUs, where there are two: no half may count for both.
        allowed = os.sched_getaffinity(0)
        for cpu in (min(allowed), max(allowed)):
            os.sched_setaffinity(0, {cpu})
            began_s = time.thread_time()
            while time.thread_time() - began_s < 0.1:
                pass
        os.sched_setaffinity(0, allowed)
        assert counter.read().counts[Event.CPU_CLOCK_NS] / 1e9 == pytest.approx(0.2, abs=0.1)


def test_the_node_counts_all_cpus() -> None:
    """The clock of the node runs on every CPU at once, and never falls."""
    _need_counting()
    cpus = len(parse_cpus(Path("/sys/devices/system/cpu/online").read_text()))
    with count_node(CLOCK, HOST) as counter:
        began_s, first = time.monotonic(), counter.read().counts[Event.CPU_CLOCK_NS]
        time.sleep(0.2)
        passed_s, last = time.monotonic() - began_s, counter.read().counts[Event.CPU_CLOCK_NS]
    assert (last - first) / 1e9 == pytest.approx(cpus * passed_s, rel=0.2)


@pytest.mark.parametrize("scope", list(Scope))
def test_hardware_is_counted_or_refused(group: Path, scope: Scope) -> None:
    """Cycles are counted where the kernel lists core counters; elsewhere refused, never zero."""
    openers = {
        Scope.PROCESS: lambda: count_process(os.getpid(), HARDWARE, HOST),
        Scope.GROUP: lambda: count_group(group, HARDWARE, HOST),
        Scope.NODE: lambda: count_node(HARDWARE, HOST),
    }
    refusal = available(HOST)[scope][Event.CYCLES]
    if not _hardware():
        assert isinstance(refusal, SourceUnavailable)
        with pytest.raises(SourceUnavailable, match="no such counter") as caught:
            openers[scope]()
        assert caught.value.remedy
        return
    assert refusal is None
    with openers[scope]() as counter:
        _run_in(group, BURN.format(s=0.2))
        began_s = time.process_time()
        while time.process_time() - began_s < 0.1:
            pass
        seen = counter.read()
    # Any processor of today makes well over 1e8 cycles in a tenth of a second.
    assert min(seen.counts.values()) > 1e7
    assert 0 < seen.running_ratio <= 1


@pytest.mark.parametrize("scope", list(Scope))
def test_a_user_without_rights_is_forbidden(scope: Scope) -> None:
    """Where the kernel's setting keeps users out, every event is forbidden with the remedy."""
    level = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    if level < 2:
        absent(f"perf_event_paranoid is {level}: this kernel lets every user count")
    program = (
        "from joulery.profiler.perf import available, Event, Scope\n"
        "from joulery.profiler.host import Host\n"
        f"tried = available(Host())[Scope({str(scope)!r})]\n"
        "print([(type(e).__name__, str(e)) for e in tried.values()])"
    )
    ended = run_unprivileged("-c", program)
    assert ended.returncode == 0, ended.stderr
    for kind, text in ast.literal_eval(ended.stdout):
        assert kind == SourceForbidden.__name__
        assert f"perf_event_paranoid is {level}" in text
        assert "sysctl" in text


@pytest.mark.parametrize("name", ["missing", "plain"])
def test_a_folder_that_is_no_group(tmp_path: Path, name: str) -> None:
    """A folder that is not there, or not of a control group, is unavailable for any event."""
    _need_counting()
    (tmp_path / "plain").mkdir()
    for events in (CLOCK, HARDWARE):
        with pytest.raises(SourceUnavailable, match="no such group"):
            count_group(tmp_path / name, events, HOST)


def test_a_process_that_ended() -> None:
    """A process that is gone is unavailable."""
    _need_counting()
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        child.wait()
    with pytest.raises(SourceUnavailable, match="no such process"):
        count_process(child.pid, CLOCK, HOST)
    with pytest.raises(SourceUnavailable, match="ended"):
        open_event(HOST, Target(scope=Scope.PROCESS, number=child.pid, cpu=-1), Event.CPU_CLOCK_NS)


def test_no_file_stays_open(group: Path) -> None:
    """Neither counting, nor a refusal midway, nor trying what is there leaves a file open."""
    before = _open_files()
    for _ in range(5):
        available(HOST)
        for counter in (
            count_group(group, CLOCK, HOST),
            count_node(CLOCK, HOST),
            count_process(os.getpid(), CLOCK, HOST),
        ):
            assert _open_files() > before
            counter.close()
            with pytest.raises(SourceUnavailable, match="closed"):
                counter.read()
        if not _hardware():
            with pytest.raises(SourceUnavailable):
                count_node((*CLOCK, *HARDWARE), HOST)  # the clock opens, the rest is refused
    assert _open_files() == before


def test_too_many_open_files_says_so(group: Path) -> None:
    """A limit on open files is a failure with its remedy, and what was open is closed again."""
    before = _open_files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # for the folder, no event
    try:
        with pytest.raises(SourceFailed, match="ulimit") as caught:
            count_group(group, CLOCK, HOST)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.found == os.strerror(errno.EMFILE)
    assert _open_files() == before


@pytest.mark.parametrize("events", [(), (Event.CYCLES, Event.CYCLES)])
def test_events_are_given_once_each(events: tuple[Event, ...]) -> None:
    """Nothing to count, or one thing twice, is a mistake of the caller."""
    with pytest.raises(ValueError, match="once"):
        count_node(events, HOST)


_STEPS = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**12)), min_size=1
)


@given(_STEPS)
def test_scaled_counts_never_fall(steps: list[tuple[int, int, int]]) -> None:
    """However counters are shared, totals rise, hold all that was seen, and are exact unshared."""
    group = ScaledCounts(1)
    enabled = running = count = 0
    shared, before = False, 0
    for idle_ns, running_ns, counted in steps:
        step = counted if running_ns else 0  # nothing is counted while there is no counter
        enabled, running, count = enabled + idle_ns + running_ns, running + running_ns, count + step
        shared = shared or idle_ns > 0
        group.update(enabled, running, (count,))
        assert group.totals[0] >= max(before, count)
        if not shared:
            assert group.totals[0] == count
        before = group.totals[0]


def test_a_shared_counter_is_scaled_by_its_time() -> None:
    """Half the time without a counter doubles the step; a step without any waits for the next."""
    group = ScaledCounts(2)
    group.update(100, 50, (10, 1))
    assert group.totals == [20, 2]
    group.update(200, 50, (10, 1))
    assert group.totals == [20, 2]
    group.update(300, 150, (40, 1))
    assert group.totals == [20 + 60, 2]
    with pytest.raises(SourceFailed, match="fell"):
        group.update(400, 250, (39, 1))


def test_an_answer_of_the_kernel() -> None:
    """Number of events, both times, then the counts; what has another length is a failure."""
    data = b"".join(value.to_bytes(8, sys.byteorder) for value in (2, 30, 20, 7, 2**63))
    assert parse_read(data, 2) == (30, 20, (7, 2**63))
    for broken, events in ((b"", 2), (data[:-1], 2), (data, 1)):
        with pytest.raises(SourceFailed, match="bytes"):
            parse_read(broken, events)


def test_lists_of_cpus() -> None:
    """Ranges and single CPUs; what is none is a failure, not an empty machine."""
    assert parse_cpus("0-3,8,10-11\n") == (0, 1, 2, 3, 8, 10, 11)
    for text in ("", "a-b", "0-3,"):
        with pytest.raises(SourceFailed, match="CPUs"):
            parse_cpus(text)


def test_numbers_of_the_system_call() -> None:
    """Programs of 32 bits have their own numbers; an unknown machine cannot count."""
    assert syscall_number("x86_64", 8) == 298
    assert syscall_number("aarch64", 4) == syscall_number("armv7l", 4) == 364
    with pytest.raises(SourceUnavailable, match="vax"):
        syscall_number("vax", 4)


def test_a_machine_without_groups_or_cpus(tmp_path: Path) -> None:
    """A tree that shows neither groups nor CPUs cannot count, and says which is missing."""
    tried = available(Host(sys=tmp_path, proc=tmp_path))
    assert "control groups" in str(tried[Scope.GROUP][Event.CYCLES])
    assert "online" in str(tried[Scope.NODE][Event.CYCLES])
