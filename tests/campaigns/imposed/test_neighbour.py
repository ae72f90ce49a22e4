"""Neighbours that take CPU time from a service: how much they use, where, and that they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from joulery.campaigns.imposed.neighbour import start_neighbour
from joulery.errors import TrialError

_LATEST_S = 60.0
_OWED_S = 0.1
"""So much may be made up for, which was not used before the first look."""

_PARENT = """
import os, time
from joulery.campaigns.imposed.neighbour import start_neighbour
with start_neighbour(0.2, os.sched_getaffinity(0)) as neighbour:
    neighbour.begin()
    print("works", flush=True)
    time.sleep(600)
"""


def _wait(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _LATEST_S
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def _children(pid: int) -> list[psutil.Process]:
    return [one for one in psutil.Process(pid).children() if "burner" in " ".join(one.cmdline())]


@pytest.mark.parametrize(("cpus", "processes"), [(0.25, 1), (1.0, 1), (1.5, 2)])
def test_a_neighbour_uses_what_it_is_told_to_and_no_more(cpus: float, processes: int) -> None:
    """It works on the CPUs it was given, never more than asked, and rests when told to."""
    cores = sorted(os.sched_getaffinity(0))[-processes:]
    with start_neighbour(cpus, cores) as neighbour:
        children = _children(os.getpid())
        assert len(children) == processes
        assert all(os.sched_getaffinity(one.pid) == set(cores) for one in children)
        before_s = neighbour.cpu_s()
        neighbour.begin()
        began_s = time.monotonic()
        _wait(lambda: neighbour.cpu_s() - before_s > 0.5)
        used_s = neighbour.cpu_s() - before_s
        assert used_s <= cpus * (time.monotonic() - began_s) + processes * _OWED_S
        neighbour.rest()
        rested_s = neighbour.cpu_s()
        time.sleep(0.3)
        assert neighbour.cpu_s() - rested_s < 0.01
    assert not any(one.is_running() for one in children)


def test_a_neighbour_goes_with_its_parent_even_when_that_is_killed() -> None:
    """After SIGKILL of who started it, no process of it stays."""
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"works\n"
        children = _children(parent.pid)
        assert children
        os.kill(parent.pid, signal.SIGKILL)
        _wait(lambda: not any(one.is_running() for one in children))


def test_a_neighbour_that_ended_is_told() -> None:
    """A trial whose neighbour was killed fails instead of looking quiet."""
    with start_neighbour(0.2, os.sched_getaffinity(0)) as neighbour:
        neighbour.begin()
        (child,) = _children(os.getpid())
        child.kill()
        with pytest.raises(TrialError, match="neighbour: found its process ended"):
            neighbour.rest()
