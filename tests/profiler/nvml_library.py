"""The small NVML library that tests compile, and processes of their own that find it.

A process loads NVML once, so each case that needs a library runs apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..conftest import require_program

__all__ = ["compile_nvml", "run_with"]


def compile_nvml(folder: Path) -> Path:
    """Compile the library into a folder and return the folder."""
    source = Path(__file__).parent / "sources" / "nvml.c"
    target = folder / "libnvidia-ml.so.1"
    options = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([require_program("gcc"), *options, "-o", str(target), str(source)], check=True)
    return folder


def run_with(folder: Path, code: str, **environment: str) -> Any:
    """Run code in a process that finds its NVML in `folder`; return the JSON that it prints."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"LD_LIBRARY_PATH": str(folder)} | environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
