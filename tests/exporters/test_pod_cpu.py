"""CPU time of pods: real control groups that come, end and come again, and unreadable ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulery.errors import SourceFailed, SourceUnavailable
from joulery.exporters.pod_cpu import PodCpu

from ..unprivileged import open_folder, run_unprivileged
from .nodes import Node, container_id, pod_uid, real_group

_BURN = (
    "import sys, time\nopen(sys.argv[1], 'w').write('0')\nwhile time.process_time() < 0.15: pass\n"
)
_BURNT_S = 0.1
"""At least this much is spent within the group; the interpreter begins outside."""


@pytest.fixture
def pod() -> Iterator[Path]:
    """Return the real group of a pod, in which there is no container yet."""
    with real_group() as group:
        path = group / f"pod{pod_uid(1)}"
        path.mkdir()
        yield path


def _work(group: Path) -> None:
    """Do some work within a real group."""
    subprocess.run([sys.executable, "-S", "-c", _BURN, str(group / "cgroup.procs")], check=True)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_pod_counts_what_its_containers_did(pod: Path) -> None:
    """The pod's own group counts its containers, those that ended as well."""
    with PodCpu([pod]) as cpu:
        assert cpu.cpu_s() == 0.0
        container = pod / container_id(1)
        container.mkdir()
        _work(container)
        container.rmdir()
        assert cpu.cpu_s() == cpu.last_s >= _BURNT_S


def test_groups_that_come_and_end(pod: Path) -> None:
    """Of several groups, one that came later is added whole, and one that ended stays counted."""
    first, second = pod / container_id(1), pod / container_id(2)
    first.mkdir()
    with PodCpu([first]) as cpu:
        _work(first)
        before_s = cpu.cpu_s()
        assert before_s >= _BURNT_S
        second.mkdir()
        _work(second)
        cpu.follow((first, second))
        both_s = cpu.cpu_s()
        assert both_s >= before_s + _BURNT_S
        first.rmdir()
        assert cpu.cpu_s() >= both_s
        cpu.follow((second,))
        _work(second)
        assert cpu.cpu_s() >= both_s + _BURNT_S
        end_s = cpu.last_s
        second.rmdir()
        for _ in range(2):
            with pytest.raises(SourceUnavailable, match="none that is left"):
                cpu.cpu_s()
        assert cpu.last_s == end_s


@pytest.mark.parametrize("seen", [False, True])
def test_a_pod_that_starts_again(pod: Path, seen: bool) -> None:
    """A group made anew at its old path goes on from the old total, whether its end was seen."""
    with PodCpu([pod]) as cpu:
        _work(pod)
        before_s = cpu.cpu_s()
        pod.rmdir()
        if seen:
            with pytest.raises(SourceUnavailable):
                cpu.cpu_s()
        pod.mkdir()
        assert cpu.cpu_s() == before_s >= _BURNT_S
        _work(pod)
        assert cpu.cpu_s() >= before_s + _BURNT_S


def test_a_group_that_cannot_be_read(tmp_path: Path) -> None:
    """One group that answers nonsense, or tells no CPU time, fails the pod, and is not zero."""
    node = Node(tmp_path)
    groups = [
        node.group("only containers", pod_uid(1), container_id(number), cpu_s=number)
        for number in (1, 2)
    ]
    with PodCpu(groups) as cpu:
        assert cpu.cpu_s() == 3.0
        (groups[0] / "cpu.stat").write_text("usage_usec many\n")
        (groups[1] / "cpu.stat").write_text("usage_usec 5000000\n")
        with pytest.raises(SourceFailed, match="many"):
            cpu.cpu_s()
        assert cpu.last_s == 3.0
        (groups[0] / "cpu.stat").write_text("usage_usec 1000000\n")
        assert cpu.cpu_s() == 6.0
        empty = tmp_path / "empty"
        empty.mkdir()
        cpu.follow([*groups, empty])
        with pytest.raises(SourceFailed, match=r"neither cpu\.stat"):
            cpu.cpu_s()
        empty.rmdir()
        (groups[1] / "cpu.stat").write_text("usage_usec 1000000\n")
        assert cpu.cpu_s() == 6.0  # it never falls


def test_a_group_that_may_not_be_read() -> None:
    """One forbidden group beside a readable one is forbidden, with what to do."""
    program = (
        "import sys; from pathlib import Path; from joulery.errors import SourceForbidden\n"
        "from joulery.exporters.pod_cpu import PodCpu\n"
        "try: PodCpu(map(Path, sys.argv[1:])).cpu_s()\n"
        "except SourceForbidden as error: print(error.remedy)\n"
    )
    with open_folder() as folder:
        node = Node(folder)
        groups = [node.group("only containers", pod_uid(1), container_id(n)) for n in (1, 2)]
        (groups[0] / "cpu.stat").chmod(0)
        ended = run_unprivileged("-c", program, *map(str, groups))
    assert "root" in ended.stdout, ended.stderr


def test_no_file_stays_open(tmp_path: Path) -> None:
    """A pod has one file open for each of its groups, and none once it was closed."""
    node = Node(tmp_path)
    before = _open_files()
    groups = [node.group("only containers", pod_uid(1), container_id(n)) for n in range(5)]
    cpu = PodCpu([*groups, tmp_path / "gone"])
    for _ in range(3):
        assert cpu.cpu_s() == 5.0
        assert _open_files() == before + 5
    cpu.close()
    assert _open_files() == before
    with pytest.raises(SourceUnavailable, match="closed"):
        cpu.cpu_s()
    assert cpu.last_s == 5.0
