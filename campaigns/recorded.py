"""A copy of another machine's /sys: whether a folder is one, and what of it is closed to us."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import SpecError
from ..profiler.host import Host

__all__ = ["closed_folders", "recorded_host"]

_SYSFS = {"block", "bus", "class", "cray", "devices", "firmware", "fs", "kernel", "module"}
"""Folders at the top of sysfs; `cray` is added by the kernels of Cray machines."""


def recorded_host(folder: Path) -> Host:
    """Return the machine that a recorded tree shows: a copy of sysfs, perhaps procfs beside it.

    Args:
        folder: The copy of `/sys`, or the folder that holds it as `sys`.

    Raises:
        SpecError: When it is no such tree.
    """
    try:
        within = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise SpecError(
            "--sysfs", found=f"{folder}: {error.strerror}", expected="a folder, a copy of /sys"
        ) from error
    if "sys" in within and not within & _SYSFS:
        return recorded_host(folder / "sys")
    if not within & _SYSFS:
        some = ", ".join(sorted(within)[:5]) or "nothing"
        raise SpecError(
            "--sysfs",
            found=f"{some} in {folder}",
            expected=f"a copy of /sys, which holds {', '.join(sorted(_SYSFS))}",
        )
    return Host(sys=folder, proc=folder.parent / "proc")


def closed_folders(sys: Path) -> list[Path]:
    """Return the folders, of those that hold sensors, that this user may not look into."""
    roots = [sys / "class", sys / "cray"]
    walks = (os.walk(root) for root in roots)
    inner = (Path(folder) / name for walk in walks for folder, names, _ in walk for name in names)
    # Not `is_dir`, which fails within a folder that only tells its names.
    return sorted(
        path
        for path in (sys, *roots, *inner)
        if os.access(path, os.F_OK) and not os.access(path, os.R_OK | os.X_OK)
    )
