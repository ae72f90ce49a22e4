"""A simulated node in real time, run as people run it and read from outside."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from joulery.errors import SpecError
from joulery.profiler.host import Host
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.simulator.live import TRUTH, LiveNode
from joulery.profiler.sources.powercap import Powercap
from joulery.profiler.work import NodeCpu

SPEED = 50.0


@contextmanager
def running(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run a node in a folder, and give it back when its files are there."""
    command = [sys.executable, "-m", "joulery.profiler.simulator", str(folder), *options]
    quiet = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("groups"):
                    break
            yield process
        finally:
            process.kill()


def finished(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Interrupt a node and return the rest of what it says."""
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return said


def truth_of(folder: Path) -> dict[str, Any]:
    """Return what a node wrote when it ended, which must add up."""
    truth: dict[str, Any] = json.loads((folder / TRUTH).read_text())
    parts_j = [one["active_j"] for one in truth["consumers"].values()]
    whole_j = sum(truth["total_j"].values())
    assert sum(parts_j) + sum(truth["idle_j"].values()) == pytest.approx(whole_j)
    return truth


def test_it_can_be_measured_while_it_runs(tmp_path: Path) -> None:
    """A meter beside a node of speed 1 measures the energy, the time and the work it tells."""
    node = tmp_path / "node"
    host = Host(sys=node / "sys", proc=node / "proc")
    with running(node, "--scenario", "never-idle", "--seed", "1") as process:
        meter = EnergyMeter([Powercap(host.sys)], clock=host.clock, work=NodeCpu(host))
        with meter, meter.window("w") as window:
            time.sleep(1.5)
        finished(process, signal.SIGTERM)
    truth, result = truth_of(node), window.result
    assert truth["simulated_s"] == pytest.approx(result.duration_s, abs=1.0)
    energy = result.energy
    assert energy is not None
    drawn_j = sum(truth["total_j"].values())
    # The node was there a moment before the meter, and a moment after it.
    assert 0.5 * drawn_j < energy.value_j < energy.high_j < 1.1 * drawn_j
    spent_s = sum(one["work_s"] for one in truth["consumers"].values())
    assert result.busy_s == pytest.approx(spent_s, rel=0.5)


def test_a_signal_is_never_lost() -> None:
    """It stops a node that just then looks whether to stop, which is what this one always does."""
    looks = (
        "import signal, threading\n"
        "from joulery.profiler.simulator.__main__ import set_on_signal\n"
        "stop = threading.Event()\n"
        "set_on_signal(stop, signal.SIGTERM)\n"
        "print(flush=True)\n"
        "while not stop.wait(0):\n"
        "    pass\n"
    )
    for _ in range(5):
        command = [sys.executable, "-c", looks]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "\n"
            try:
                finished(process, signal.SIGTERM)
            finally:
                process.kill()


def test_it_can_run_fast(tmp_path: Path) -> None:
    """At fifty times the speed its counters wrap while they are read, and tell all energy."""
    node, drawn_j = tmp_path / "node", defaultdict[str, float](float)
    options = ("--speed", str(SPEED), "--scenario", "wraps", "--seed", "4")
    with running(node, *options) as process:
        source, ends_s = Powercap(node / "sys"), time.monotonic() + 2.0
        before = {reading.domain.name: reading.value for reading in source.sample()}
        wraps = 0
        while time.monotonic() < ends_s:
            for reading in source.sample():
                modulus_j = reading.domain.modulus_j
                assert modulus_j is not None
                step_j = reading.value - before[reading.domain.name]
                wraps += step_j < 0
                drawn_j[reading.domain.name] += step_j % modulus_j
                before[reading.domain.name] = reading.value
            time.sleep(0.01)
        said = finished(process, signal.SIGINT)
    truth = truth_of(node)
    assert truth["simulated_s"] > 0.5 * SPEED * 2.0
    assert wraps > 0
    whole_j = sum(truth["total_j"].values())
    assert 0.5 * whole_j < sum(drawn_j.values()) < whole_j
    assert "what was really drawn, in joules" in said
    assert f"{truth['total_j']['package-0']:.1f}" in said
    assert TRUTH in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scenario", "stedy"), "--scenario: found stedy, expected one of steady"),
        (("--speed", "fast"), "invalid float value: 'fast'"),
    ],
)
def test_what_cannot_be_run_is_said(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    """A wrong option is named, with what was found and expected, and nothing is begun."""
    folder = tmp_path / "node"
    command = [sys.executable, "-m", "joulery.profiler.simulator", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"scenario": "stedy"}, "did you mean 'steady'?"),
        ({"speed": 0.0}, "--speed: found 0.0, expected a number > 0"),
        ({"speed": math.nan}, "--speed: found nan"),
        ({"speed": math.inf}, "--speed: found inf"),
        ({"seed": -1}, "--seed: found -1"),
    ],
)
def test_wrong_options_make_no_node(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    """Each option has its own refusal, before any file is made."""
    with pytest.raises(SpecError) as caught:
        LiveNode(folder=tmp_path / "node", **wrong)
    assert said in str(caught.value)
    assert not (tmp_path / "node").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """Files of another node or of somebody else are neither overwritten nor mixed with."""
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(SpecError, match="mine in it"):
        LiveNode(folder=tmp_path)
    with pytest.raises(SpecError, match=r"Not a directory|File exists"):
        LiveNode(folder=tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "precious"


def test_counters_fail_in_a_scenario_that_says_so(tmp_path: Path) -> None:
    """In the scenario of missing readings counters vanish for a while, and come back."""
    folder = tmp_path / "node"
    seen: set[frozenset[str]] = set()
    with running(folder, "--scenario", "missing", "--speed", str(SPEED), "--seed", "2"):
        source = Powercap(folder / "sys")
        ends_s = time.monotonic() + 20.0
        both = frozenset(domain.name for domain in source.domains)
        while time.monotonic() < ends_s and not (both in seen and len(seen) > 1):
            seen.add(frozenset(reading.domain.name for reading in source.sample()))
    assert both in seen
    assert len(seen) > 1
