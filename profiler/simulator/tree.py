"""The files a real machine would show, written from a simulated node as it moves.

The layout is the kernel's: powercap (Documentation/power/powercap/powercap.rst) with counters that
wrap, hwmon (Documentation/hwmon/sysfs-interface.rst), `/proc/stat`, and control groups of version
2. Readers cannot tell it from a machine; the truth stays with the node.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..host import Host
from .node import Node

__all__ = ["NodeTree"]

_TICKS_HZ = 100
_RAPL_UJ = 61
_GPU_UPDATE_S = 0.1
_GROUP = "kubepods.slice"

_CPUINFO = """processor\t: {n}
vendor_id\t: simulated
model name\t: joulery simulated processor
physical id\t: {socket}
"""


class NodeTree:
    """A folder with `sys` and `proc` of a simulated node.

    Args:
        root: The folder; it is made.
        node: What is shown.
        modulus_uj: Package counters wrap here; memory's at a quarter of it, as real ones do.
        jitter_s: How far the clock may be off at each look, at most.
        seed: Of the jitter, and of where the counters begin.
        sensors_only: Show no more than energy counters: who works is told elsewhere.
    """

    def __init__(
        self,
        root: Path,
        node: Node,
        *,
        modulus_uj: int = 262_143_328_850,
        jitter_s: float = 0.0,
        seed: int = 0,
        sensors_only: bool = False,
    ) -> None:
        self.root, self.node, self._sensors_only = root, node, sensors_only
        self._rng = np.random.default_rng(seed)
        self._jitter_s, self._told_s = jitter_s, -math.inf
        # A machine that has run for a while: no two counters stand alike.
        self._offsets_uj = {d: int(self._rng.integers(modulus_uj)) for d in node.domains}
        self._counters: dict[str, Path] = {}
        self._moduli: dict[str, int] = {}
        self._latched_j = dict.fromkeys(node.domains, 0.0)
        self._files: dict[Path, int] = {}
        self._groups = [self.group(one.name) / "cpu.stat" for one in node.consumers]
        for socket in range(node.machine.sockets):
            self._zones(socket, modulus_uj)
        if "gpu" in node.domains:
            self._accelerator()
        if not sensors_only:
            self._machine()
        self._show()

    @property
    def host(self) -> Host:
        """Where to read, and the clock to read by."""
        return Host(sys=self.root / "sys", proc=self.root / "proc", clock=self.clock)

    def clock(self) -> float:
        """Return the node's time, off by the jitter, never backwards."""
        now_s = self.node.now_s + self._jitter_s * float(self._rng.uniform())
        self._told_s = max(self._told_s, now_s)
        return self._told_s

    def group(self, consumer: str) -> Path:
        """Return the control group of a consumer; it is there while the consumer is."""
        return self.root / "sys/fs/cgroup" / _GROUP / consumer

    def work_s(self, consumer: str) -> Callable[[], float]:
        """Return a reader of the accelerator's busy seconds of a consumer.

        No kernel file has them; vendors' libraries do.
        """
        at = [one.name for one in self.node.consumers].index(consumer)
        return lambda: float(self.node.cpu_s[at])

    def advance(self, seconds: float) -> None:
        """Let time pass, and show what is there then.

        Sensors that renew seldom show what they last saw.
        """
        node = self.node
        end_s = node.now_s + seconds
        if "gpu" in node.domains:
            seen_s = math.floor(end_s / _GPU_UPDATE_S + 1e-6) * _GPU_UPDATE_S
            if seen_s > node.now_s:
                node.advance(seen_s - node.now_s)
                self._latched_j["gpu"] = node.truth.total_j("gpu")
        node.advance(end_s - node.now_s)
        for domain in node.domains:
            if domain != "gpu":
                self._latched_j[domain] = node.truth.total_j(domain)
        self._show()

    def vanish(self, domain: str) -> None:
        """Take a counter away, as a driver does that fails."""
        self._remove(self._counters[domain])

    def appear(self, domain: str) -> None:
        """Bring a counter back."""
        self._count(domain)

    def _zones(self, socket: int, modulus_uj: int) -> None:
        package = self.root / f"sys/devices/virtual/powercap/intel-rapl/intel-rapl:{socket}"
        memory = package / f"{package.name}:0"
        for zone, name, modulus in (
            (package, f"package-{socket}", modulus_uj),
            (memory, "dram", modulus_uj // 4),
        ):
            self._write(zone / "name", f"{name}\n")
            self._write(zone / "max_energy_range_uj", f"{modulus}\n")
            self._write(zone / "enabled", "1\n")
            self._link(zone, "powercap")
            domain = name if zone is package else f"dram-{socket}"
            self._counters[domain], self._moduli[domain] = zone / "energy_uj", modulus

    def _link(self, device: Path, kind: str) -> None:
        """Show a device in its class, as a link."""
        link = self.root / "sys/class" / kind / device.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(device, link.parent))

    def _accelerator(self) -> None:
        chip = self.root / "sys/class/hwmon/hwmon0"
        self._write(chip / "name", "xe\n")
        self._write(chip / "energy1_label", "card\n")
        self._counters["gpu"], self._moduli["gpu"] = chip / "energy1_input", 2**62

    def _machine(self) -> None:
        machine = self.node.machine
        cpus = machine.sockets * machine.cores
        blocks = (_CPUINFO.format(n=n, socket=n // machine.cores) for n in range(cpus))
        self._write(self.root / "proc/cpuinfo", "\n".join(blocks))
        self._write(self.root / "sys/fs/cgroup/cgroup.controllers", "cpu memory\n")

    def _show(self) -> None:
        for domain, path in self._counters.items():
            if path in self._files or self.node.now_s == 0:
                self._count(domain)
        if not self._sensors_only:
            self._show_work()

    def _show_work(self) -> None:
        node = self.node
        cpus = node.machine.sockets * node.machine.cores
        busy_s = float(node.cpu_s[~node.on_gpu].sum())
        rest = round(_TICKS_HZ * (cpus * node.now_s - busy_s))
        lines = "".join(f"cpu{n} 0 0 0 0 0 0 0 0 0 0\n" for n in range(cpus))
        busy = round(_TICKS_HZ * busy_s)
        self._write(self.root / "proc/stat", f"cpu  {busy} 0 0 {rest} 0 0 0 0 0 0\n{lines}")
        for at, (path, one) in enumerate(zip(self._groups, node.consumers, strict=True)):
            if not node.on_gpu[at]:
                self._work(path, float(node.cpu_s[at]), one.starts_s, one.ends_s)

    def _work(self, path: Path, spent_s: float, starts_s: float, ends_s: float) -> None:
        if starts_s <= self.node.now_s < ends_s:
            usec = int(spent_s * 1e6)
            self._write(path, f"usage_usec {usec}\nuser_usec {usec}\nsystem_usec 0\n")
        elif path in self._files:
            self._remove(path)
            path.parent.rmdir()

    def _count(self, domain: str) -> None:
        count = int(self._latched_j[domain] * 1e6)
        modulus = self._moduli[domain]
        count = (self._offsets_uj[domain] + count // _RAPL_UJ * _RAPL_UJ) % modulus
        # Blank lines up to the counter's width, for when it wraps: a file that never grows or
        # shrinks is never read half old and half new.
        self._write(self._counters[domain], f"{count}\n".ljust(len(f"{modulus}\n"), "\n"))

    def _write(self, path: Path, text: str) -> None:
        """Write a file in place, since readers keep files open; and so do we, for speed.

        No text is shorter than the one before, and a new file appears whole: who reads meanwhile
        has the one or the other.
        """
        data = text.encode()
        if path in self._files:
            os.pwrite(self._files[path], data, 0)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}")
        self._files[path] = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        os.pwrite(self._files[path], data, 0)
        hidden.rename(path)

    def _remove(self, path: Path) -> None:
        os.close(self._files.pop(path))
        path.unlink()

    def close(self) -> None:
        """Close the files; they stay where they are."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> NodeTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
