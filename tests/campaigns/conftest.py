"""One finished run of the small campaign, for every test that only looks at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .command import SPEC, joulery


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small campaign's specification."""
    path = tmp_path_factory.mktemp("spec") / "small.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="session")
def finished(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of one whole run."""
    out = tmp_path_factory.mktemp("finished") / "small"
    done = joulery("run", spec, "--out", out, "--plain")
    assert f"{out / 'report.html'}" in done.stdout
    return out
