"""Processes of the exporters' pods, as the kernel of this very node tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "exporter_process"]

_GROUPS = Path("/sys/fs/cgroup/cpuacct/kubepods")
_TOKEN = "/secrets/kubernetes.io/serviceaccount"
"""Where a token is mounted, below /run or /var/run."""


@dataclass(frozen=True)
class Process:
    """A process of a container."""

    pid: int

    @property
    def folder(self) -> Path:
        """Where the kernel tells of it."""
        return Path("/proc", str(self.pid))

    @property
    def has_token(self) -> bool:
        """Whether its container can speak to the API server."""
        mounts = (self.folder / "mountinfo").read_text().splitlines()
        return any(mount.split()[4].endswith(_TOKEN) for mount in mounts)

    def status(self, key: str) -> list[str]:
        """Return the values of a line of its status."""
        lines = (self.folder / "status").read_text().splitlines()
        [found] = [line for line in lines if line.startswith(f"{key}:")]
        return found.split()[1:]

    def ports(self) -> set[tuple[int, int]]:
        """Return own and other port of each TCP socket that is its own; a listener's other is 0."""
        links = [str(link.readlink()) for link in (self.folder / "fd").iterdir()]
        own = {link[8:-1] for link in links if link.startswith("socket:[")}
        found: set[tuple[int, int]] = set()
        # The containers of a pod share these tables.
        for table in ("tcp", "tcp6"):
            for line in (self.folder / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] in own:
                    here, there = (int(one.rpartition(":")[2], 16) for one in fields[1:3])
                    found.add((here, there))
        return found


def exporter_process(uid: str, exporter: str) -> Process:
    """Return the process of a pod that runs `joulery exporter`, `energy` or `services`."""
    pids = [
        int(pid)
        for group in _GROUPS.glob(f"*/pod{uid}/*/cgroup.procs")
        for pid in group.read_text().split()
    ]
    words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in pids}
    [found] = [pid for pid in pids if exporter.encode() in words[pid]]
    return Process(found)
