"""One small validation, run as a user runs it, for every test that only looks at it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ..command import joulery

__all__ = ["PART", "folder", "ran"]

PART = ("--scenario", "shared-gpu", "--scenario", "steady", "--seeds", "2")


@pytest.fixture(scope="session")
def ran(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a small part of the grid, and what the command said."""
    out = tmp_path_factory.mktemp("validation") / "part"
    return out, joulery("validate-energy", *PART, "--out", out)


@pytest.fixture(scope="session")
def folder(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """The folder alone."""
    return ran[0]
