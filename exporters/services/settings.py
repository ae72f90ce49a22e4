"""How the service exporter is set up."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ServiceSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How the exporter is set up; the command has a flag for each.

    Args:
        interval_s: From one scrape of a service to its next.
        node: Whose pods are looked for.
        pod_uid: The exporter's own pod, which is no service.
        targets: A file that names services; without one they are found by the API server.
        golden: The folder of golden sets; `None`: nothing is probed.
        probe_rate_hz: Requests a second to one service that is probed.
        store: The file of answers and labels; `None`: they are kept in memory.
    """

    interval_s: float = 10.0
    node: str = field(default_factory=platform.node)
    pod_uid: str = ""
    targets: Path | None = None
    golden: Path | None = None
    probe_rate_hz: float = 0.2
    store: Path | None = None
