"""Nodes to look at: control groups and log folders as kubelets and runtimes lay them out."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joulery.errors import SourceUnavailable
from joulery.profiler.cgroup import cpu_root
from joulery.profiler.host import Host

from ..conftest import absent

__all__ = ["LAYOUTS", "Node", "container_id", "pod_uid", "real_group"]

LAYOUTS = {
    "cgroupfs": "kubepods/burstable/pod{uid}/{id}",
    "cgroupfs guaranteed": "kubepods/pod{uid}/crio-{id}",
    "systemd": "kubepods.slice/kubepods-besteffort.slice/"
    "kubepods-besteffort-pod{slice}.slice/cri-containerd-{id}.scope",
    "systemd guaranteed": "kubepods.slice/kubepods-pod{slice}.slice/crio-{id}.scope/container",
    "kind": "system.slice/docker-{outer}.scope/kubelet.slice/kubelet-kubepods.slice/"
    "kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{slice}.slice/"
    "cri-containerd-{id}.scope",
    "kind on cgroupfs": "docker/{outer}/kubelet/kubepods/besteffort/pod{uid}/{id}",
    "nested": "kubepods/kubepods/besteffort/pod{uid}/{id}",
    "only containers": "system.slice/containerd.service/"
    "kubepods-burstable-pod{slice}.slice:cri-containerd:{id}",
    "only containers at the root": "kubepods-besteffort-pod{slice}.slice:cri-containerd:{id}",
}
"""Where the group of a container is, below the root of the hierarchy."""


def pod_uid(number: int, *, static: bool = False) -> str:
    """Return the uid of a pod, the same one for the same number."""
    uid = uuid.UUID(int=(number + 1) << 64 | 0x4000_8000_0000)
    return uid.hex if static else str(uid)


def container_id(number: int) -> str:
    """Return the id of a container, the same one for the same number."""
    return f"{number:064x}"


class Node:
    """A node's folders: `cgroup`, `pods` and `containers`.

    Args:
        folder: Where to make them; version 2 of control groups.
    """

    def __init__(self, folder: Path) -> None:
        self.cgroup, self.pods = folder / "cgroup", folder / "pods"
        self.containers = folder / "containers"
        for path in (self.cgroup / "init.scope", self.pods, self.containers):
            path.mkdir(parents=True)
        (self.cgroup / "cgroup.controllers").write_text("cpu memory\n")

    def group(self, layout: str, uid: str, container: str, *, cpu_s: float = 1.0) -> Path:
        """Make a container's groups with the files that count; return its pod's, or its own."""
        names = {"slice": uid.replace("-", "_"), "outer": container_id(0xD0C)}
        path = self.cgroup / LAYOUTS[layout].format(uid=uid, id=container, **names)
        path.mkdir(parents=True, exist_ok=True)
        topmost = path
        for folder in (path, *path.parents):
            if folder == self.cgroup:
                break
            (folder / "cpu.stat").write_text(f"usage_usec {round(cpu_s * 1e6)}\n")
            if uid in folder.name or names["slice"] in folder.name:
                topmost = folder
        return topmost

    def name(self, uid: str, namespace: str, pod: str, **containers: str) -> None:
        """Make a pod's log folder, and the links to the logs of its containers."""
        folder = self.pods / f"{namespace}_{pod}_{uid}"
        folder.mkdir(exist_ok=True)
        for container, number in containers.items():
            link = self.containers / f"{pod}_{namespace}_{container}-{number}.log"
            link.symlink_to(f"/var/log/pods/{folder.name}/{container}/0.log")


@contextmanager
def real_group() -> Iterator[Path]:
    """Yield a new, real control group of this machine, and remove it with all that is below."""
    try:
        path = cpu_root(Host()) / f"joulery-test-{os.getpid()}"
        path.mkdir()
    except (OSError, SourceUnavailable) as error:
        absent(f"no control group can be made here: {error}")
    try:
        yield path
    finally:
        for folder, _, _ in os.walk(path, topdown=False):
            Path(folder).rmdir()
