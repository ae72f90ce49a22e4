"""Programs run as a user without rights, so that refusals of the kernel are real ones."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from .conftest import require_program

__all__ = ["open_folder", "run_unprivileged"]

_NOBODY = 65534


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a new folder that every user may look into; pytest's own are their owner's."""
    with tempfile.TemporaryDirectory(prefix="joulery-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run_unprivileged(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run this Python with some arguments as "nobody"; as ourselves when we are not root."""
    drop: list[str] = []
    if os.geteuid() == 0:
        drop = [require_program("setpriv"), f"--reuid={_NOBODY}", f"--regid={_NOBODY}"]
        drop += ["--clear-groups", "--bounding-set=-all"]
    return subprocess.run(
        [*drop, sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
        cwd="/",
    )
