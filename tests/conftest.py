"""What every test may use: the shared real data, and real programs.

Real things that are not there are a skip on a developer's machine and a failure in CI.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

import joulery.campaigns  # noqa: F401  before a test loads ONNX Runtime: it says what that may do

__all__ = ["REPOSITORY", "require_program", "test_data"]

REPOSITORY = Path(__file__).resolve().parents[1]


def absent(what: str) -> NoReturn:
    """Fail in CI, skip elsewhere: `what` is not on this machine."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and in CI a missing real component is a failure", pytrace=False)
    pytest.skip(what)


def require_program(name: str) -> str:
    """Return the path of an executable; when it is missing, fail in CI and skip elsewhere."""
    path = shutil.which(name)
    if path is None:
        absent(f"the program {name!r} is not on the PATH")
    return path


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder of real test data: `JOULERY_TEST_DATA`, else `../shared/data`."""
    named = os.environ.get("JOULERY_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        absent(f"there is no test data at {folder}; JOULERY_TEST_DATA can name its folder")
    return folder
