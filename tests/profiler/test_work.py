"""CPU time of processes and nodes: it never falls, and those who ended still count."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulery.errors import SourceFailed
from joulery.profiler.host import Host
from joulery.profiler.work import CpuRest, NodeCpu, ProcessGroup, parse_process_cpu_s, parse_stat

BURN = "import time\nt=time.process_time()\nwhile time.process_time()-t<{s}: pass\n"
PARENT = f"""
import subprocess, sys
for _ in range(2):
    subprocess.run([sys.executable, "-S", "-c", {BURN.format(s=0.15)!r}], check=True)
print("done", flush=True)
sys.stdin.read()
"""


def test_a_group_counts_children_that_ended() -> None:
    """A process whose two children burnt CPU and ended has their seconds; the value never fell."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        os.set_blocking(parent.stdout.fileno(), False)
        group, seen = ProcessGroup(parent.pid), [0.0]
        while not parent.stdout.read():
            seen.append(group.cpu_s())
            time.sleep(0.005)
        seen.append(group.cpu_s())
        parent.stdin.close()
        parent.wait()
        seen += [group.cpu_s(), group.cpu_s()]
    assert seen == sorted(seen)
    assert seen[-1] == seen[-2]
    # Two children of 0.15 s each, less what the last look before an end did not see.
    assert 0.2 <= seen[-1] < 5.0


def test_our_own_clock_agrees() -> None:
    """The CPU clock of a process, read from outside by number, is its own process time."""
    # In a process of its own: pytest's may have children, and they belong to its group.
    program = (
        "import os, time; from joulery.profiler.work import ProcessGroup; "
        "group = ProcessGroup(os.getpid()); before_s = time.process_time(); "
        "assert before_s <= group.cpu_s() <= time.process_time()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_process_that_never_was() -> None:
    """A group whose process is gone has no CPU time, and asking is not an error."""
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        child.wait()
    assert ProcessGroup(child.pid).cpu_s() == 0.0


@given(st.lists(st.integers(0, 10**12), min_size=7, max_size=10), st.integers(1, 512))
def test_rest_is_idle_waiting_or_stolen(fields: list[int], cpus: int) -> None:
    """Idle, iowait and steal are rest; user, nice, system, irq, softirq and guest are not."""
    text = f"cpu  {' '.join(map(str, fields))}\n" + "".join(f"cpu{n} 0 0\n" for n in range(cpus))
    rest_s = (fields[3] + fields[4] + sum(fields[7:8])) / 100
    assert parse_stat(text, ticks_hz=100) == CpuRest(rest_s=rest_s, cpus=cpus)


@pytest.mark.parametrize("text", ["", "cpu  1 2 3\n", "cpu  a b c d e f g\n", "intr 5\n"])
def test_a_garbled_stat_is_a_failure(text: str) -> None:
    """A `/proc/stat` that is not one fails with what was found."""
    with pytest.raises(SourceFailed, match="/proc/stat"):
        parse_stat(text)


@pytest.mark.parametrize("command", ["python", "a b", "evil) 9 9 (name", ")"])
def test_a_command_may_have_any_name(command: str) -> None:
    """User and system ticks are found behind a command with spaces and brackets in its name."""
    text = f"42 ({command}) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 77\n"
    assert parse_process_cpu_s(text, ticks_hz=100) == 3.0


def test_a_garbled_process_is_a_failure() -> None:
    """A process file cut short fails with what was found."""
    with pytest.raises(SourceFailed, match="utime"):
        parse_process_cpu_s("42 (python) S 1 2")


def test_this_node_gets_busier() -> None:
    """Burning CPU makes the node's busy seconds grow, and never fall."""
    node = NodeCpu()
    seen = [node.totals().busy_s]
    began_s = time.process_time()
    while time.process_time() - began_s < 0.1:
        seen.append(node.totals().busy_s)
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    assert node.totals().cpus == os.cpu_count()


def test_short_bursts_of_work_are_counted() -> None:
    """Work in bursts far shorter than a tick is in the node's busy seconds, within a few ticks."""
    node, group = NodeCpu(), ProcessGroup(os.getpid())
    busy_s, own_s, began_s = node.totals().busy_s, group.cpu_s(), time.monotonic()
    while time.monotonic() - began_s < 1.0:
        burst_s = time.monotonic()
        while time.monotonic() - burst_s < 0.0004:
            pass
        time.sleep(0.002)
    assert node.totals().busy_s - busy_s >= group.cpu_s() - own_s - 3 * node.resolution_s


def test_without_process_clocks_ticks_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a kernel that refuses CPU clocks of other processes, `/proc/<pid>/stat` is read."""
    folder = tmp_path / str(os.getpid())
    folder.mkdir()
    (folder / "stat").write_text("1 (x) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0\n")

    def refuse(_: int) -> float:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(time, "clock_gettime", refuse)  # no such kernel is at hand
    ticks = os.sysconf("SC_CLK_TCK")
    assert ProcessGroup(os.getpid(), Host(proc=tmp_path)).cpu_s() == 300 / ticks
