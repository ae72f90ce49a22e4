"""The files of a simulated node, read by the sources that read a real one, against the truth."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from joulery.errors import SourceUnavailable
from joulery.profiler.cgroup import CgroupCpu
from joulery.profiler.host import facts
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.simulator.load import Consumer
from joulery.profiler.simulator.machine import Machine
from joulery.profiler.simulator.node import Node
from joulery.profiler.simulator.tree import NodeTree
from joulery.profiler.sources import Kind, discover
from joulery.profiler.sources.hwmon import Hwmon
from joulery.profiler.sources.powercap import Powercap
from joulery.profiler.work import NodeCpu

STEP_J = 61e-6
"""The counters' unit, which a reading may lack at either end."""

GPU = replace(Machine(), gpu_idle_w=20.0, gpu_w=100.0)
TWO = replace(Machine(), sockets=2)
CONSUMERS = (
    Consumer(name="system", busy=0.1, request_s=0.002),
    Consumer(name="a", busy=2.0),
    Consumer(name="pod", busy=1.0, starts_s=2.0, ends_s=5.0),
    Consumer(name="trainer", busy=0.5, cores=1.0, device="gpu"),
)


@pytest.fixture
def tree(tmp_path: Path) -> NodeTree:
    """Return a node of one socket and an accelerator."""
    return NodeTree(tmp_path, Node(GPU, CONSUMERS, seed=3))


def readings(source: Powercap | Hwmon) -> dict[str, float]:
    """Return what a source reads now, by domain."""
    return {reading.domain.name: reading.value for reading in source.sample()}


def test_counters_that_wrap_tell_the_truth(tmp_path: Path) -> None:
    """Through many wraps, two sockets' energies are what was drawn, to the counters' step."""
    node, wraps = Node(TWO, CONSUMERS[:3], seed=3), 0
    with NodeTree(tmp_path, node, modulus_uj=2_000_000_000) as tree:
        source = Powercap(tree.host.sys)
        assert {domain.modulus_j for domain in source.domains} == {2000.0, 500.0}
        before, work = readings(source), NodeCpu(tree.host)
        meter = EnergyMeter([source], clock=tree.clock, interval_s=None, work=work)
        with meter, meter.window("w") as window:
            for _ in range(600):
                tree.advance(0.5)
                meter.sample()
                now = readings(source)
                wraps += sum(now[name] < before[name] for name in now)
                before = now
    assert wraps > 10
    energies = [entry.energy for entry in window.result.domains.values() if entry.summed]
    truths_j = [node.truth.total_j(domain) for domain in node.domains]
    assert [energy and energy.value_j for energy in energies] == [
        pytest.approx(truth_j, abs=2 * STEP_J) for truth_j in truths_j
    ]


def test_an_accelerator_holds_its_counter(tree: NodeTree) -> None:
    """The accelerator's counter moves every 0.1 s and holds in between, as its driver's does."""
    source = Hwmon(tree.host.sys)
    assert [(domain.kind, domain.summed) for domain in source.domains] == [(Kind.GPU, True)]
    domain = source.domains[0].name
    seen, truths_j = [], []
    for _ in range(40):
        tree.advance(0.03)
        seen.append(readings(source)[domain])
        truths_j.append(tree.node.truth.total_j("gpu"))
    moves = [later != earlier for earlier, later in itertools.pairwise(seen)]
    # Renewed at 0.1, 0.2, ... of 1.2 seconds: the looks at 0.12, 0.21, 0.30, 0.42 see it move.
    assert moves[:14] == [n in (4, 7, 10, 14) for n in range(2, 16)]
    # At 0.9 s as at 0.3 and 0.6 a look meets the renewal: it is as fresh as can be.
    moved_j = seen[29] - seen[9]
    assert moved_j == pytest.approx(truths_j[29] - truths_j[9], abs=2 * STEP_J)


def test_busy_time_is_told_to_a_tick(tree: NodeTree) -> None:
    """/proc/stat tells the busy seconds of all CPUs, named or not, and nothing of accelerators."""
    cpu = NodeCpu(tree.host)
    before_s = cpu.totals().busy_s
    for _ in range(50):
        tree.advance(0.13)
        spent_s = float(tree.node.cpu_s[:3].sum())
        totals = cpu.totals()
        assert totals.busy_s - before_s == pytest.approx(spent_s, abs=cpu.resolution_s + 1e-9)
        assert totals.cpus == GPU.cores


def test_groups_tell_their_cpu_time(tree: NodeTree) -> None:
    """A consumer's control group tells its CPU seconds to the microsecond."""
    with CgroupCpu(tree.group("a")) as group:
        for _ in range(20):
            tree.advance(0.25)
            assert group.cpu_s() == pytest.approx(float(tree.node.cpu_s[1]), abs=1.1e-6)


def test_pods_come_and_go(tree: NodeTree) -> None:
    """A group is there while its consumer is; what works on the accelerator has none."""
    names = ("system", "a", "pod", "trainer")
    seen = []
    for _ in range(6):
        seen.append([name for name in names if tree.group(name).is_dir()])
        tree.advance(1.0)
    assert seen == [["system", "a"]] * 2 + [["system", "a", "pod"]] * 3 + [["system", "a"]]
    with pytest.raises(SourceUnavailable):
        CgroupCpu(tree.group("pod"))


def test_a_group_that_was_open_keeps_its_last_count(tree: NodeTree) -> None:
    """Other than the kernel's, a removed file that is open can still be read, and stays as it was.

    Whoever watches must let go of consumers that ended, as the simulated node tells.
    """
    tree.advance(3.0)
    with CgroupCpu(tree.group("pod")) as group:
        tree.advance(1.9)
        last_s = group.cpu_s()
        tree.advance(3.0)
        assert group.cpu_s() == last_s > 0


def test_counters_fail_and_come_back(tmp_path: Path) -> None:
    """A counter that vanished is left out of the readings; when it is back it has gone on."""
    node = Node(TWO, CONSUMERS[:3], seed=3)
    with NodeTree(tmp_path, node) as tree:
        source = Powercap(tree.host.sys)
        before = readings(source)
        tree.advance(1.0)
        tree.vanish("dram-1")
        assert before.keys() - readings(source).keys() == {"package-1/dram"}
        tree.advance(1.0)
        assert "package-1/dram" not in readings(source)
        tree.appear("dram-1")
        after = readings(source)
    assert after.keys() == before.keys()
    drawn_j = after["package-1/dram"] - before["package-1/dram"]
    assert drawn_j == pytest.approx(node.truth.total_j("dram-1"), abs=STEP_J)


def test_the_clock_jitters_forwards(tmp_path: Path) -> None:
    """Each look at the clock is late by chance, by no more than the jitter, and never earlier."""
    with NodeTree(tmp_path, Node(Machine(), CONSUMERS[:2], seed=1), jitter_s=0.02) as tree:
        told_s = []
        for _ in range(200):
            told_s.append(tree.clock())
            assert 0 <= told_s[-1] - tree.node.now_s <= 0.02
            tree.advance(0.01)
    assert sorted(told_s) == told_s
    late_s = [told - 0.01 * n for n, told in enumerate(told_s)]
    assert max(late_s) - min(late_s) > 0.005


def test_the_whole_profiler_takes_it_for_a_machine(tree: NodeTree) -> None:
    """Discovery finds its processors, memory and accelerator, and the facts of its processor."""
    found = discover(tree.host, drivers=False)
    assert found.summary == "powercap:package-0, powercap:package-0/dram, hwmon:xe/card"
    cpu = facts(tree.host).cpu
    assert (cpu.threads, cpu.packages, cpu.virtual) == (GPU.cores, 1, False)


def test_the_same_seed_shows_the_same_files(tmp_path: Path) -> None:
    """Two trees of one seed are the same to the byte; another seed begins at other counts."""
    texts = []
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        node = Node(GPU, CONSUMERS, seed=seed)
        with NodeTree(tmp_path / name, node, seed=seed) as tree:
            for _ in range(10):
                tree.advance(0.37)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        texts.append({path.relative_to(tmp_path / name): path.read_text() for path in files})
    one, same, other = texts
    assert one == same
    assert one.keys() == other.keys()
    assert one != other


def read_until(stop: threading.Event, reads: list[Callable[[], object]], errors: list[str]) -> None:
    """Read everything again and again, and keep what was wrong."""
    while not stop.is_set():
        for read in reads:
            try:
                read()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                errors.append(repr(error))


def test_files_can_be_read_at_any_time(tmp_path: Path) -> None:
    """A reader beside the moving node never meets half a file, at wraps of the counters least."""
    node = Node(replace(GPU, sockets=2), CONSUMERS, seed=3)
    with NodeTree(tmp_path, node, modulus_uj=2_000_000) as tree, CgroupCpu(tree.group("a")) as a:
        power, chip = Powercap(tree.host.sys), Hwmon(tree.host.sys)
        cpu = NodeCpu(tree.host)
        stop, errors = threading.Event(), list[str]()

        def whole() -> None:
            assert len(power.sample()) == 4

        reads: list[Callable[[], object]] = [whole, chip.sample, cpu.totals, a.cpu_s]
        reader = threading.Thread(target=read_until, args=(stop, reads, errors))
        reader.start()
        try:
            for _ in range(2000):
                tree.advance(0.05)
        finally:
            stop.set()
            reader.join()
    assert errors == []
