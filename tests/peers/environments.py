"""Environments of peers: what they need comes in other versions than what we need."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ..conftest import REPOSITORY, absent

__all__ = ["environment"]

_HERE = Path(__file__).parent
_FOLDER = REPOSITORY / ".venv" / "peers"


def environment(name: str) -> Path:
    """Return the Python of an environment that has what `requirements-NAME.txt` lists.

    It is made when it is first asked for and kept until the list or this Python changes; others
    who ask meanwhile wait. Where that fails, the test fails in CI and is skipped elsewhere.
    """
    wanted = _HERE / f"requirements-{name}.txt"
    stamp = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    folder = _FOLDER / name
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "stamp"
        if not made.is_file() or made.read_text() != stamp:
            _make(folder, wanted)
            made.write_text(stamp)
    return folder / "bin" / "python"


def _make(folder: Path, wanted: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # Our own pip: to install another one takes as long as to install what is wanted. Bytecode is
    # made of what is used, when it is.
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    pip += ["--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-compile"]
    # Python shall not find our packages there.
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [*pip, "--requirement", str(wanted)],
    ):
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
        if ended.returncode != 0:
            said = (ended.stderr or ended.stdout).strip().splitlines()
            absent(f"no environment for {wanted.name}: {said[-1] if said else ended.returncode}")
