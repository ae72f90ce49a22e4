"""How the energy exporter is set up."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the exporter is set up; the command has a flag for each.

    Args:
        interval_s: Time of a cycle.
        sysfs: Root of sysfs, of the host.
        procfs: Root of procfs, of the host.
        cgroupfs: Where control groups are mounted; below sysfs if not given.
        pod_logs: Where the kubelet has a folder of logs for each pod.
        container_logs: Where it has a link to the log of each container.
        pod_resources: The kubelet's socket that tells who has which device.
        node: The node's name.
        pod_uid: The exporter's own pod.
        retention_s: A pod that ended keeps its totals so long.
        idle_policy: Who bears the idle energy.
    """

    interval_s: float = 5.0
    sysfs: Path = Path("/sys")
    procfs: Path = Path("/proc")
    cgroupfs: Path | None = None
    pod_logs: Path = Path("/var/log/pods")
    container_logs: Path = Path("/var/log/containers")
    pod_resources: Path = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
    node: str = field(default_factory=platform.node)
    pod_uid: str | None = None
    retention_s: float = 900.0
    idle_policy: Literal["none", "time_share"] = "none"
