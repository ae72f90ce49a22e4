"""A simulated energy sensor that follows the real work of this machine's pods.

Most clusters, and all virtual machines, have no energy counters, so that what an exporter says of
their pods cannot be judged. Here only the sensor is simulated. Work is real: what each pod's
control group used, and as the system's work what the node was busy beyond that. The folder shows
nothing but `sys/class/powercap`; `/proc` and control groups are the machine's own.

    python -m joulery.profiler.simulator DIR --mirror /sys/fs/cgroup

The counters are renewed every 50 ms, so that a reader sees them up to that much late, and takes
them for dead if it gives a counter less than that to move. The command takes real-time priority
for it, where it may: on a machine full of work counters would else stand still for so long that
they are rightly taken for stuck. With 300 pods it takes a twentieth of a core.

Work that the kernel has not charged yet (a scheduler's tick at most) comes a step later. What a pod
did between the last look and its end is told by the group above it. A pod that begins and ends
between two looks has no name, and its work is the system's.

Truth is a definition, that of `node`, and it is written while the mirror runs: `truth.jsonl` gets
a line every second, the last of them is `truth.json` in the end. A line is cumulative:

    {"wall_s": Unix time of the look, "idle_j": {domain: J}, "total_j": {domain: J},
     "system_active_j": {domain: J}, "system_work_s": CPU seconds,
     "pods": {uid: {"work_s": CPU seconds, "active_j": {domain: J}}}}

In every line idle, the system's and the pods' energies add up to the total of each domain. Any two
lines may be taken, and subtracted; a last line without its newline is still being written. Domains
are `package-0` and `dram-0`; in `sys/class/powercap` the second is named `dram` within the first.
A pod that ended stays, as it was. Lines grow with the pods ever seen, some 150 bytes each.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import JouleryError, SpecError
from ..host import Host
from ..work import NodeCpu
from .kubepods import Kubepods
from .live import TRUTH, take_folder
from .load import Consumer
from .machine import Machine
from .node import Node
from .tree import NodeTree

__all__ = ["LINES", "LiveMirror", "MirrorNode", "machine_of"]

LINES = "truth.jsonl"

PERIOD_S = 0.05
"""Groups are looked at, and counters renewed, so often."""

_SPREAD = 0.03
_MEMORY_SPREAD = 0.2
"""Services of one kind, in the scenarios: in power per CPU second, and in memory intensity."""

_LEAST_UJ = 1_000_000
_SYSTEM = Consumer(name="system", busy=0.0)


def machine_of(cpus: int) -> Machine:
    """Return a machine of one socket with so many CPUs; more of them draw less each."""
    core_w = 6.0 if cpus <= 8 else 6.0 * (8 / cpus) ** 0.4
    full_w = cpus * core_w
    idle_w, wake_w = 5.0 + 0.15 * full_w, 3.0 + 0.06 * full_w
    return Machine(
        cores=cpus,
        idle_w=idle_w,
        wake_w=wake_w,
        core_w=core_w,
        limit_w=idle_w + wake_w + 1.6 * full_w,
        leakage_w_per_k=0.0015 * full_w,
        kelvin_per_w=15.0 / full_w,
        dram_idle_w=1.0 + 0.04 * full_w,
        dram_w=0.15 * core_w,
    )


class MirrorNode(Node):
    """A machine whose consumers are the real pods of this one; the first is the system.

    Each second of a pod's work draws power by an intensity and a memory intensity that are drawn
    from the seed and its uid: a uid has the same ones in every run.

    Args:
        pods: Whose work it is. What they did before does not count.
        cpu: Busy time of the machine.
        seed: Of the intensities, and of the power that no load explains.
        spread: Standard deviation of the intensity; 0: a second of work draws alike in all pods.
            That of the memory intensity is 0.2 as in the scenarios, and less below a spread of
            0.03.
    """

    def __init__(
        self, pods: Kubepods, cpu: NodeCpu, *, seed: int = 0, spread: float = _SPREAD
    ) -> None:
        began = cpu.totals()
        super().__init__(machine_of(began.cpus), (_SYSTEM,), seed=seed)
        self._pods, self._cpu, self._seed, self._spread = pods, cpu, seed, spread
        self._columns: dict[str, int] = {}
        self._began_s, self._system_s, self._pods_s = began.busy_s, 0.0, 0.0
        self._meet(pods.look(0.0))

    @property
    def columns(self) -> dict[str, int]:
        """Where each pod that was ever seen stands in every array, by uid."""
        return dict(self._columns)

    def _meet(self, did_s: dict[str, float]) -> None:
        """Let pods join that are seen for the first time."""
        new = sorted(did_s.keys() - self._columns.keys())
        if new:
            self._columns |= {uid: len(self.consumers) + n for n, uid in enumerate(new)}
            self.join([self._consumer(uid) for uid in new])

    def _consumer(self, uid: str) -> Consumer:
        rng = np.random.default_rng([self._seed, *uid.encode()])
        memory = _MEMORY_SPREAD * min(1.0, self._spread / _SPREAD)
        return Consumer(
            name=uid,
            busy=0.0,
            intensity=max(0.1, float(rng.normal(1.0, self._spread))),
            memory=float(rng.lognormal(0.0, memory)),
        )

    def advance(self, seconds: float) -> None:
        """Let so much time have passed in which the pods did what they did since the last call."""
        if seconds <= 0:
            return
        # Half as much again, and a tenth of a second: looks are not taken at one moment.
        did_s = self._pods.look((1.5 * seconds + 0.1) * self.machine.cores)
        busy_s = self._cpu.totals().busy_s - self._began_s
        self._meet(did_s)
        work = np.zeros(len(self.consumers))
        for uid, spent_s in did_s.items():
            work[self._columns[uid]] = spent_s
        self._pods_s += float(work.sum())
        # The node's time is rounded to ticks: cut off at 0 step by step, rounding would add up.
        system_s = max(self._system_s, busy_s - self._pods_s)
        work[0], self._system_s = system_s - self._system_s, system_s
        self._spend(work[None, :], seconds)
        self.now_s += seconds

    def line(self, wall_s: float) -> dict[str, object]:
        """Return the truth so far, as it is written."""
        active_j = {domain: self.truth.active_j[domain].tolist() for domain in self.domains}
        return {
            "wall_s": wall_s,
            "idle_j": {domain: self.truth.idle_j[domain] for domain in self.domains},
            "total_j": {domain: self.truth.total_j(domain) for domain in self.domains},
            "system_active_j": {domain: active_j[domain][0] for domain in self.domains},
            "system_work_s": float(self.cpu_s[0]),
            "pods": {
                uid: {
                    "work_s": float(self.cpu_s[at]),
                    "active_j": {domain: active_j[domain][at] for domain in self.domains},
                }
                for uid, at in self._columns.items()
            },
        }


@dataclass(slots=True, kw_only=True)
class LiveMirror:
    """A mirror that runs in a folder.

    Args:
        folder: Where the files go: a new folder, or an empty one.
        cgroupfs: Where control groups are mounted, see `Kubepods`.
        seed: Of everything chance decides.
        spread: How unlike the pods' work is, see `MirrorNode`.
        max_energy_uj: Where the package's counter wraps; memory's wraps at a quarter of it.
        line_s: Time between two lines of truth.
        host: Procfs, and the clock.
        wall: Unix time.

    Raises:
        SpecError: No control groups count CPU time there, the folder holds something, or an
            option is out of range.
    """

    folder: Path
    cgroupfs: Path
    seed: int = 0
    spread: float = _SPREAD
    max_energy_uj: int = 262_143_328_850
    line_s: float = 1.0
    host: Host = field(default_factory=Host)
    wall: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise SpecError("--seed", found=str(self.seed), expected="a whole number, 0 or more")
        if not 0 <= self.spread <= 1:
            raise SpecError("--spread", found=str(self.spread), expected="a number from 0 to 1")
        if self.max_energy_uj < _LEAST_UJ:
            raise SpecError(
                "--max-energy-uj",
                found=str(self.max_energy_uj),
                expected=f"{_LEAST_UJ} or more",
                remedy="a counter must not wrap twice between two readings",
            )
        if not 0 < self.line_s < float("inf"):
            raise SpecError("--line-s", found=str(self.line_s), expected="a number > 0")
        Kubepods(self.cgroupfs).close()
        take_folder(self.folder)

    def run(
        self,
        stop: threading.Event,
        *,
        started: Callable[[NodeTree], None] = lambda _: None,
        waits: Callable[[Path], None] = lambda _: None,
    ) -> MirrorNode:
        """Follow the pods until it is told to stop; then write the truth.

        Args:
            stop: Set it to stop.
            started: Told when the files are there.
            waits: Told once where there is no group of pods yet; it is looked for all the time,
                and until it is there all work is the system's.

        Returns:
            The machine, as it stands in the end.

        Raises:
            SourceError: A control group cannot be read; the truth so far is written.
            JouleryError: A file cannot be written or read.
        """
        try:
            return self._run(stop, started, waits)
        except OSError as error:
            raise JouleryError(f"{error.filename or self.folder}", found=error.strerror) from error

    def _run(
        self,
        stop: threading.Event,
        started: Callable[[NodeTree], None],
        waits: Callable[[Path], None],
    ) -> MirrorNode:
        clock = self.host.clock
        with Kubepods(self.cgroupfs) as pods:
            began_s, wall_s = clock(), self.wall()
            node = MirrorNode(pods, NodeCpu(self.host), seed=self.seed, spread=self.spread)
            tree = NodeTree(
                self.folder, node, modulus_uj=self.max_energy_uj, seed=self.seed, sensors_only=True
            )
            with tree, _Lines(self.folder) as lines:
                lines.write(node.line(wall_s))
                started(tree)
                if not pods.found:
                    waits(self.cgroupfs)
                due_s, line_due_s, stopped = began_s, began_s + self.line_s, False
                try:
                    while not stopped:
                        due_s = max(due_s + PERIOD_S, clock())
                        stopped = stop.wait(due_s - clock())
                        now_s, wall_s = clock(), self.wall()
                        tree.advance(now_s - began_s - node.now_s)
                        if now_s >= line_due_s and not stopped:
                            lines.write(node.line(wall_s))
                            line_due_s = max(line_due_s + self.line_s, now_s)
                finally:
                    lines.write(node.line(wall_s), last=True)
        return node


class _Lines:
    """The truth's files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = os.open(folder / LINES, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def write(self, line: dict[str, object], *, last: bool = False) -> None:
        text = json.dumps(line)
        data = memoryview(f"{text}\n".encode())
        while data:
            data = data[os.write(self._file, data) :]
        if last:
            (self._folder / TRUTH).write_text(f"{text}\n")

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
