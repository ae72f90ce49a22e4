"""The mirror: simulated counters that follow real control groups, with the truth about each pod."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from joulery.errors import SourceFailed, SpecError
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.simulator.live import TRUTH
from joulery.profiler.simulator.load import Consumer
from joulery.profiler.simulator.machine import Machine
from joulery.profiler.simulator.mirror import LINES, LiveMirror, machine_of
from joulery.profiler.simulator.node import Node
from joulery.profiler.simulator.tree import NodeTree
from joulery.profiler.sources.powercap import Powercap

from ...conftest import absent
from .groups import ALONE, OTHER, SYSTEMD, SYSTEMD_POD, Files

STEP_J = 61e-6
"""The counters' unit, which a reading may lack."""

UNSEEN_S = 0.05
"""Groups are not read at one moment: so far off may be what an ended pod did unseen."""

MODULUS_UJ = 3_000_000_000
BURN = """
import os, sys, time
open(sys.argv[1] + '/cgroup.procs', 'w').write('0')
os.nice(5)
while True:
    ends_s = time.process_time() + 0.01
    while time.process_time() < ends_s: pass
    time.sleep(0.02)
"""

HIERARCHIES: list[Path | None] = [
    path
    for path in map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpuacct"))
    if (path / "cgroup.controllers").exists() or (path / "cpuacct.usage").exists()
] or [None]
"""Where this kernel counts the CPU time of groups: in version 1, in version 2 or in both."""


def remove(root: Path) -> None:
    """Remove a control group and all below it, once the kernel has let go of its processes."""
    for path in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        remove_one(path)
    remove_one(root)


def remove_one(path: Path) -> None:
    """Remove one control group."""
    for _ in range(200):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
    path.rmdir()


@pytest.fixture(params=HIERARCHIES, ids=str)
def groups(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return a new, real control group of this machine, for `kubepods` to be made in."""
    if request.param is None:
        absent("no control group counts CPU time here")
    root: Path = request.param / f"joulery-test-{os.getpid()}"
    try:
        root.mkdir()
    except OSError as error:
        absent(f"no control group can be made here: {error}")
    try:
        yield root
    finally:
        remove(root)


@contextmanager
def burning(group: Path, *, count: int = 1) -> Iterator[None]:
    """Keep processes busy within a group, a third of the time; none is left afterwards."""
    with ExitStack() as stack:
        for _ in range(count):
            command = [sys.executable, "-S", "-c", BURN, str(group)]
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.kill)
        yield


def used_s(group: Path) -> float:
    """Return the CPU seconds that a group counts."""
    if (group / "cpuacct.usage").exists():
        return int((group / "cpuacct.usage").read_text()) / 1e9
    return int((group / "cpu.stat").read_text().split()[1]) / 1e6


@contextmanager
def mirroring(folder: Path, root: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run the mirror as people do, and give it back when its files are there."""
    command = [sys.executable, "-m", "joulery.profiler.simulator", str(folder)]
    command += ["--mirror", str(root), *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("truth"):
                    break
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Stop the mirror, and return what it says to either side."""
    process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return out, said


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Return the truth, line by line so far; in each of them energy is conserved."""
    whole = (folder / LINES).read_text().rpartition("\n")[0]
    lines: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
    for line in lines:
        for domain, total_j in line["total_j"].items():
            pods_j = sum(pod["active_j"][domain] for pod in line["pods"].values())
            parts_j = line["idle_j"][domain] + line["system_active_j"][domain] + pods_j
            assert parts_j == pytest.approx(total_j, rel=1e-9, abs=1e-9)
    for before, after in itertools.pairwise(lines):
        assert after["wall_s"] >= before["wall_s"]
        assert all(after["total_j"][name] >= j for name, j in before["total_j"].items())
        assert after["system_work_s"] >= before["system_work_s"]
        for uid, pod in before["pods"].items():
            assert after["pods"][uid]["work_s"] >= pod["work_s"]
    return lines


def shown_uj(folder: Path) -> dict[str, int]:
    """Return what the counters show, by domain."""
    zone = folder / "sys/class/powercap/intel-rapl:0"
    paths = {"package-0": zone, "dram-0": zone / "intel-rapl:0:0"}
    return {name: int((path / "energy_uj").read_text()) for name, path in paths.items()}


def soon_to_wrap(folder: Path) -> tuple[int, dict[str, int]]:
    """Return a seed whose package counter begins 20 to 40 J before it wraps, and the counts."""
    for seed in range(5000):
        root = folder / str(seed)
        node = Node(Machine(), [Consumer(name="system", busy=0.0)], seed=0)
        with NodeTree(root, node, modulus_uj=MODULUS_UJ, seed=seed, sensors_only=True):
            counts_uj = shown_uj(root)
        shutil.rmtree(root)
        if 20e6 < MODULUS_UJ - counts_uj["package-0"] < 40e6:
            return seed, counts_uj
    raise AssertionError("no such seed")


def measured_j(folder: Path, begins_uj: int) -> tuple[dict[str, float], float, float]:
    """Measure with the profiler's own meter until the package's counter has wrapped.

    Returns:
        Joules by domain, and Unix time just after the measurement began and after it ended.
    """
    meter = EnergyMeter([Powercap(folder / "sys")], clock=time.monotonic)
    with meter:
        # A counter that was not seen to move yet has 20 ms to do so; this one is renewed in 50.
        time.sleep(0.3)
        with meter.window("w") as window:
            began_s = time.time()
            time.sleep(1.0)
            while shown_uj(folder)["package-0"] >= begins_uj and time.time() < began_s + 30:
                time.sleep(0.1)
        ends_s = time.time()
    result, energies_j = window.result, dict[str, float]()
    for name, domain in (("package-0", "package-0"), ("package-0/dram", "dram-0")):
        (energy,) = [one.energy for key, one in result.domains.items() if key.endswith(name)]
        assert energy is not None, meter.gaps
        energies_j[domain] = energy.value_j
    return energies_j, began_s, ends_s


def test_it_mirrors_the_work_of_real_groups(groups: Path, tmp_path: Path) -> None:
    """Counters that wrap show the truth to their step, and pods' truth is by the kernel's count."""
    node, (seed, begins_uj) = tmp_path / "node", soon_to_wrap(tmp_path)
    quality = groups / "kubepods/besteffort"
    for uid in (ALONE, OTHER):
        (quality / f"pod{uid}").mkdir(parents=True)
    one, two = quality / f"pod{ALONE}", quality / f"pod{OTHER}"
    options = ["--spread", "0", "--seed", str(seed), "--line-s", "0.001"]
    options += ["--max-energy-uj", str(MODULUS_UJ)]
    with ExitStack() as stack, mirroring(node, groups, *options) as mirror:
        stack.enter_context(burning(one))
        with burning(two, count=2):
            energies_j, began_s, ends_s = measured_j(node, begins_uj["package-0"])
            # What a pod does while nobody looks, just before it ends, is still its own.
            mirror.send_signal(signal.SIGSTOP)
            seen_s = lines_of(node)[-1]["pods"][OTHER]["work_s"]
            time.sleep(0.7)
        two_s = used_s(two)
        remove_one(two)
        mirror.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        stack.close()
        out, said = ended(mirror)
    lines, truth = lines_of(node), json.loads((node / TRUTH).read_text())
    assert said == ""
    assert "really drawn" in out
    assert truth == lines[-1]
    assert shown_uj(node)["package-0"] < begins_uj["package-0"], "it has not wrapped"
    for domain, last_uj in shown_uj(node).items():
        modulus_uj = MODULUS_UJ // (4 if domain == "dram-0" else 1)
        counted_j = (last_uj - begins_uj[domain]) % modulus_uj / 1e6
        assert counted_j == pytest.approx(truth["total_j"][domain], abs=STEP_J + 1e-6)
        # Both edges of the window are counts that were shown then: those of lines.
        firsts_j = [line["total_j"][domain] for line in lines if line["wall_s"] <= began_s]
        lasts_j = [line["total_j"][domain] for line in lines if line["wall_s"] <= ends_s]
        between_j = [j - i for i in firsts_j[-10:] for j in lasts_j[-10:]]
        off_j = min(abs(energies_j[domain] - j) for j in between_j)
        assert off_j <= 2 * STEP_J
    pods = truth["pods"]
    assert pods[ALONE]["work_s"] == pytest.approx(used_s(one), abs=2e-6)
    assert two_s > seen_s + 0.1
    assert pods[OTHER]["work_s"] == pytest.approx(two_s, abs=UNSEEN_S)
    last = next(n for n, line in enumerate(lines) if line["pods"][OTHER] == pods[OTHER])
    assert len(lines) - last > 3  # it was gone for some looks, and kept its truth
    assert all(line["pods"][OTHER] == pods[OTHER] for line in lines[last:])


def test_twice_the_work_is_twice_the_energy(groups: Path, tmp_path: Path) -> None:
    """Of pods that work alike at one time, each has active energy in proportion to its work."""
    node, quality = tmp_path / "node", groups / "kubepods/burstable"
    one, two = quality / f"pod{ALONE}", groups / f"kubepods/pod{OTHER}"
    one.mkdir(parents=True)
    two.mkdir()
    with burning(one), burning(two, count=2), mirroring(node, groups, "--spread", "0") as mirror:
        time.sleep(2.5)
        ended(mirror)
    pods = lines_of(node)[-1]["pods"]
    assert pods[OTHER]["work_s"] > 1.3 * pods[ALONE]["work_s"] > 0
    for domain in ("package-0", "dram-0"):
        each_w = [pods[uid]["active_j"][domain] / pods[uid]["work_s"] for uid in (ALONE, OTHER)]
        # Power moves while they work by turns: waking up, frequency, others' load.
        assert each_w[0] == pytest.approx(each_w[1], rel=0.15)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return an empty hierarchy of files."""
    return Files(tmp_path / "host")


def test_the_system_has_what_pods_have_not(files: Files) -> None:
    """The system's work is the node's busy time less the pods', never less than nothing."""
    pod = SYSTEMD_POD
    for name in ("kubepods.slice", SYSTEMD, pod):
        files.use(name, 100.0)
    node = files.node(spread=0.0)
    for now_s, rest_s, pod_s in ((1.0, 1.0, 0.4), (2.0, 2.7, 0.8), (3.0, 4.3, 1.2)):
        files.now_s = now_s
        files.rest(rest_s)
        for name in ("kubepods.slice", SYSTEMD, pod):
            files.use(name, 100.0 + pod_s)
        node.advance(1.0)
    # Busy 1.0, 1.3 and 1.7 s: 0.6, 0.5 and 0.5 s beyond the pod. What was work stays work.
    assert node.cpu_s.tolist() == pytest.approx([0.6, 1.2])
    line: Any = node.line(7.0)
    assert line["wall_s"] == 7.0
    assert line["system_work_s"] == pytest.approx(0.6)
    assert line["pods"][ALONE]["work_s"] == pytest.approx(1.2)
    assert line["total_j"]["package-0"] > machine_of(2).idle_w * 3.0


def test_unlike_work_is_drawn_from_seed_and_uid(files: Files) -> None:
    """A uid has its own intensities, the same in any company; without spread all are alike."""
    for pod in (ALONE, OTHER):
        files.use(f"kubepods/pod{pod}", 1.0)
    files.use("kubepods", 2.0)
    both = {one.name: one for one in files.node(spread=0.2, seed=3).consumers}
    assert all(one.memory == one.intensity == 1.0 for one in files.node(spread=0.0).consumers)
    assert both[ALONE].intensity != both[OTHER].intensity
    assert both["system"].intensity == 1.0
    shutil.rmtree(files.cgroupfs / f"kubepods/pod{OTHER}")
    assert files.node(spread=0.2, seed=3).consumers == (both["system"], both[ALONE])
    assert files.node(spread=0.2, seed=4).consumers[1] != both[ALONE]


def test_it_waits_for_kubepods(files: Files, tmp_path: Path) -> None:
    """Without pods it says so once and runs; pods that appear are followed from the start."""
    node = tmp_path / "node"
    with mirroring(node, files.cgroupfs, "--line-s", "0.05") as mirror:
        for name in ("kubepods/besteffort", f"kubepods/besteffort/pod{ALONE}"):
            files.use(name, 0.02)
        files.use("kubepods", 0.02)
        ends_s = time.monotonic() + 30
        while ALONE not in lines_of(node)[-1]["pods"] and time.monotonic() < ends_s:
            time.sleep(0.05)
        _, said = ended(mirror)
    assert lines_of(node)[0]["pods"] == {}
    assert lines_of(node)[-1]["pods"][ALONE]["work_s"] == pytest.approx(0.02)
    assert said.count("no kubepods") == 1
    assert not (node / "proc").exists()
    assert [path.name for path in (node / "sys/class").iterdir()] == ["powercap"]
    assert not (node / "sys/fs").exists()


def test_a_group_that_answers_nonsense_ends_it(files: Files, tmp_path: Path) -> None:
    """What cannot be read is named and nothing is made of it; the truth so far is there."""
    node = tmp_path / "node"
    files.use("kubepods", 0.0)
    with mirroring(node, files.cgroupfs) as mirror:
        (files.cgroupfs / "kubepods/cpu.stat").write_text("nr_periods 0\n")
        _, said = mirror.communicate(timeout=30)
    assert mirror.returncode == SourceFailed.exit_code
    assert "kubepods, cpu.stat: found 'nr_periods 0" in said
    assert "Traceback" not in said
    assert json.loads((node / TRUTH).read_text())["pods"] == {}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"spread": -0.1}, "--spread: found -0.1, expected a number from 0 to 1"),
        ({"spread": math.nan}, "--spread: found nan"),
        ({"max_energy_uj": 5}, "--max-energy-uj: found 5, expected 1000000 or more"),
        ({"line_s": 0.0}, "--line-s: found 0.0, expected a number > 0"),
        ({"line_s": math.inf}, "--line-s: found inf"),
        ({"seed": -1}, "--seed: found -1"),
    ],
)
def test_wrong_options_make_no_mirror(files: Files, wrong: dict[str, Any], said: str) -> None:
    """Each option has its own refusal, before any file is made."""
    folder = files.cgroupfs.with_name("node")
    with pytest.raises(SpecError) as caught:
        LiveMirror(folder=folder, cgroupfs=files.cgroupfs, **wrong)
    assert said in str(caught.value)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mirror", "/sys/fs/cgroup", "--speed", "1"), "--speed: found it beside --mirror"),
        (("--mirror", "/sys/fs/cgroup", "--scenario", "x"), "--scenario: found it beside"),
        (("--spread", "0"), "--spread: found it without --mirror"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    """The mirror plays no scenario, and a scenario mirrors nothing: said, and nothing is begun."""
    command = [sys.executable, "-m", "joulery.profiler.simulator", str(tmp_path / "node"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == SpecError.exit_code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "node").exists()


def test_no_control_groups_and_no_empty_folder_are_refused(files: Files, tmp_path: Path) -> None:
    """A folder that holds something is left alone; a place without control groups is named."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("precious")
    with pytest.raises(SpecError, match="mine in it"):
        LiveMirror(folder=tmp_path / "full", cgroupfs=files.cgroupfs)
    for cgroupfs, found in ((tmp_path / "full", "no control groups"), (tmp_path / "x", "no such")):
        with pytest.raises(SpecError, match=found) as caught:
            LiveMirror(folder=tmp_path / "node", cgroupfs=cgroupfs)
        assert "/sys/fs/cgroup" in str(caught.value)
    assert not (tmp_path / "node").exists()
