"""Environments of peers that cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from .environments import _make


def test_a_peer_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be installed skips a developer's test and fails one in CI, with pip's reason."""
    wanted = tmp_path / "requirements-none.txt"
    wanted.write_text("./no-such-peer\n")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-peer"):
        _make(tmp_path / "skipped", wanted)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-peer"):
        _make(tmp_path / "failed", wanted)
