"""Control groups of pods as plain files, for what a kernel cannot be brought to show at will."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from joulery.profiler.host import Host
from joulery.profiler.simulator.kubepods import Kubepods
from joulery.profiler.simulator.mirror import MirrorNode
from joulery.profiler.work import NodeCpu

__all__ = ["ALONE", "OTHER", "SYSTEMD", "SYSTEMD_POD", "Files"]

ALONE = "11111111-2222-4333-8444-555555555555"
OTHER = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
SYSTEMD = "kubepods.slice/kubepods-burstable.slice"
SYSTEMD_POD = f"{SYSTEMD}/kubepods-burstable-pod{ALONE.replace('-', '_')}.slice"


class Files:
    """Control groups of version 2 as plain files, and a `/proc/stat` of two CPUs."""

    def __init__(self, root: Path) -> None:
        self.cgroupfs, self.now_s = root / "cgroup", 0.0
        self.host = Host(proc=root / "proc", clock=lambda: self.now_s)
        self.cgroupfs.mkdir(parents=True)
        self.host.proc.mkdir()
        (self.cgroupfs / "cgroup.controllers").touch()
        self.rest(0.0)

    def use(self, name: str, seconds: float) -> None:
        """Let a group, which is made, have used so much CPU time."""
        path = self.cgroupfs / name / "cpu.stat"
        path.parent.mkdir(parents=True, exist_ok=True)
        count = f"usage_usec {round(seconds * 1e6):<15}\nuser_usec 1\n".encode()
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.pwrite(file, count, 0)
        os.close(file)

    def rest(self, seconds: float) -> None:
        """Let the CPUs have rested for so long."""
        text = f"cpu  0 0 0 {round(100 * seconds)} 0 0 0 0 0 0\ncpu0 0\ncpu1 0\n"
        (self.host.proc / "stat").write_text(text)

    def node(self, **options: Any) -> MirrorNode:
        """Return a mirror of them."""
        return MirrorNode(Kubepods(self.cgroupfs), NodeCpu(self.host), **options)
