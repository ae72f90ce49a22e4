"""What the numbers were measured on: hardware, kernel, packages, clock, sensors, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from ..profiler.host import Host, abilities, facts, text_of
from .surroundings import Surroundings

__all__ = ["environment"]

_PACKAGES = (
    "joulery",
    "onnxruntime",
    "numpy",
    "aiohttp",
    "httptools",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "codecarbon",
    "nvidia-ml-py",
)


def environment(host: Host | None = None) -> dict[str, object]:
    """Return the environment of a campaign; `None` stands for what this machine does not tell.

    Args:
        host: The machine; this one if not given.
    """
    host = host or Host()
    known = facts(host)
    cpu = host.sys / "devices/system/cpu"
    return {
        "machine": {
            "architecture": known.architecture,
            "cpu_model": known.cpu.name,
            "cpus": known.cpu.threads,
            "cpus_usable": sorted(os.sched_getaffinity(0)),
            "sockets": known.cpu.packages,
            "memory_bytes": known.memory_bytes,
            "virtual": known.cpu.virtual,
        },
        "power_management": {
            "governor": known.governor,
            "driver": text_of(cpu / "cpu0/cpufreq/scaling_driver"),
            "turbo_off": text_of(cpu / "intel_pstate/no_turbo"),
            "boost": text_of(cpu / "cpufreq/boost"),
            "smt": text_of(cpu / "smt/control"),
        },
        "heat": Surroundings(host).facts(),
        "system": {
            "kernel": known.kernel,
            "distribution": _distribution(),
            "cgroup_version": abilities(host).cgroup_version,
            "load_average_1min": os.getloadavg()[0],
        },
        "clock": {
            "name": time.get_clock_info("monotonic").implementation,
            "resolution_s": known.clock_resolution_s,
            "source": known.clocksource,
        },
        "software": {
            "python": platform.python_version(),
            "commit": _commit(Path(__file__).resolve().parent.parent),
            "packages": _packages(),
        },
    }


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _packages() -> Mapping[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _commit(folder: Path) -> str | None:
    """Return the commit of the checkout, with `-dirty` when files differ; `None` outside one."""
    if not (folder / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
