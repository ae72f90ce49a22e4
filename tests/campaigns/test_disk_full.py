"""A disk without room: a campaign says so, keeps what is finished, and goes on later."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from joulery.benchmarks.campaigns.attack import Arena, make_spec
from joulery.campaigns.journal import Journal, campaign_lock, room_asked
from joulery.errors import TrialError

from ..conftest import absent
from .command import wait_for_trials

TABLE = pa.table({"x": pa.array(range(300), pa.int64())})


def _mounted(folder: Path, size: str) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        absent(f"a file system of a given size cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB: room for a small campaign, its dataset and its report."""
    folder = tmp_path / "disk"
    folder.mkdir()
    _mounted(folder, "12m")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(disk: Path, *, but_bytes: int = 0) -> Path:
    """Take all room, but so much of it."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while shutil.disk_usage(disk).free > but_bytes:
                file.write(bytes(4096))
        except OSError:
            pass  # full
    return path


def test_a_full_disk_stops_a_campaign_and_costs_no_finished_trial(
    disk: Path, tmp_path: Path
) -> None:
    """Full between trials, or full for the dataset alone: the folder and the remedy are named."""
    spec = make_spec(tmp_path / "c.yaml", batches=[1], repeats=4)
    with Arena(spec, disk) as arena:
        arena.start()
        wait_for_trials(arena.journal, 1, arena.runner)
        filler = _fill(disk)
        assert arena.runner.wait(60) == 1
        _assert_told(arena, arena.journal.parent)
        filler.unlink()
        arena.finished = arena.rows()
        assert 1 <= len(arena.finished) < 4
        filler = _fill(disk, but_bytes=1_000_000)
        arena.start()
        assert arena.runner.wait(120) == 1
        _assert_told(arena, arena.out.parent)
        assert len(arena.rows()) >= 4
        assert not arena.out.exists()
        assert not list(arena.out.parent.glob(".*"))
        filler.unlink()
        arena.finished = arena.rows()
        arena.start()
        assert arena.finish() == []


def _assert_told(arena: Arena, folder: Path) -> None:
    words = arena.words()
    assert f"TrialError: {folder}" in words
    assert "no room left on its disk" in words
    assert "--resume goes on with it" in words
    assert "Traceback" not in words


@pytest.mark.parametrize("size", [f"{size}k" for size in range(4, 124, 20)])
def test_a_journal_without_room_keeps_what_it_confirmed(tmp_path: Path, size: str) -> None:
    """Wherever the room ends, the error names the folder, and every confirmed trial is whole."""
    folder = tmp_path / "disk"
    folder.mkdir()
    _mounted(folder, size)
    confirmed: list[int] = []
    try:
        with pytest.raises(TrialError, match=r"no room left.*--resume") as caught:
            _fill_journal(folder, confirmed)
        assert caught.value.subject.startswith(str(folder))
        assert list(folder.rglob("*.tmp")) == []
        subprocess.run(["mount", "-o", "remount,size=1m", str(folder)], check=True)
        journal = Journal(folder / "c")
        before = journal.trials()
        journal.forget_incomplete()
        assert journal.trials() == before
        assert list(before) == confirmed
        journal.finish(len(before) + 1, {"trial": 0}, requests=TABLE, energy=TABLE)
        journal.close()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill_journal(folder: Path, confirmed: list[int]) -> None:
    """Record trials until the room ends; tell which were confirmed."""
    with room_asked(folder), campaign_lock(folder / "c"):
        journal = Journal(folder / "c")
        try:
            journal.remember(spec="a" * 2000)
            for number in itertools.count(1):
                row = {"trial": number, "x": "y" * 1500}
                journal.finish(number, row, requests=TABLE, energy=TABLE)
                confirmed.append(number)
        finally:
            journal.close()
