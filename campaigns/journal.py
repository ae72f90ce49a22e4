"""What a campaign remembers between two breaths: a SQLite journal that a kill cannot corrupt.

A finished trial's rows are on disk before the journal says it is finished, so a kill loses at most
the trial that was running. One runner at a time holds the campaign's lock; the kernel drops it with
the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import SpecError, TrialError

__all__ = ["Journal", "campaign_lock", "check_same"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trial (number INTEGER PRIMARY KEY, row TEXT NOT NULL);
"""


@contextlib.contextmanager
def campaign_lock(folder: Path) -> Iterator[None]:
    """Hold a campaign's folder for this process.

    Raises:
        TrialError: When another process runs this campaign.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrialError(
                str(folder),
                found="another process that runs this campaign",
                expected="one runner at a time",
                remedy="wait for it, or give this run another --out",
            ) from None
        yield


class Journal:
    """The finished trials of one campaign.

    Args:
        folder: The campaign's working folder; made when it is not there.

    Raises:
        TrialError: When the journal cannot be read or written, here and in every method.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with self._guarded():
            self._db = sqlite3.connect(folder / "journal.sqlite", isolation_level=None)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_SCHEMA)
            except sqlite3.Error:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the journal."""
        self._db.close()

    def facts(self) -> dict[str, Any]:
        """Return what is known about the campaign; empty for a new one."""
        with self._guarded():
            rows = self._db.execute("SELECT name, value FROM fact ORDER BY name").fetchall()
        return {name: json.loads(value) for name, value in rows}

    def remember(self, **facts: object) -> None:
        """Write facts about the campaign, all or none."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO fact VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )

    def trials(self) -> dict[int, dict[str, Any]]:
        """Return the row of each finished trial by number."""
        with self._guarded():
            rows = self._db.execute("SELECT number, row FROM trial ORDER BY number").fetchall()
        return {number: json.loads(row) for number, row in rows}

    def finish(
        self, number: int, row: Mapping[str, object], *, requests: pa.Table, energy: pa.Table
    ) -> None:
        """Record a finished trial: its tables first, then the word that it is finished."""
        for name, table in (("requests", requests), ("energy", energy)):
            path = self.part(name, number)
            path.parent.mkdir(exist_ok=True)
            scratch = path.with_suffix(".tmp")
            pq.write_table(table, scratch, compression="zstd")
            scratch.replace(path)
        with self._transaction():
            self._db.execute(
                "INSERT INTO trial VALUES (?, ?)", (number, json.dumps(dict(row), allow_nan=False))
            )

    def forget_incomplete(self) -> None:
        """Forget trials whose tables are gone, so that they are measured again."""
        names = ("requests", "energy")
        lost = [
            (number,)
            for number in self.trials()
            if not all(self.part(name, number).exists() for name in names)
        ]
        with self._transaction():
            self._db.executemany("DELETE FROM trial WHERE number = ?", lost)

    def part(self, name: str, number: int) -> Path:
        """Return where a table of one trial lies."""
        return self.folder / name / f"trial-{number:04d}.parquet"

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise TrialError(
                str(self.folder / "journal.sqlite"),
                found=str(error),
                expected="a campaign's journal on a disk with room",
            ) from None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.rollback()
                raise
            self._db.execute("COMMIT")


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], subject: str) -> None:
    """Refuse to resume a campaign whose specification or data changed.

    Raises:
        SpecError: With each key that changed, and how.
    """
    changes = list(_changes(before, now, ""))
    if changes:
        raise SpecError(
            subject,
            place="--resume",
            found="changes since the campaign began: " + "; ".join(changes),
            expected="the same specification and data",
            remedy="undo them, or start anew with another --out",
        )


def _changes(before: Any, now: Any, place: str) -> Iterator[str]:
    """Yield `place: before -> now` for each value that differs."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted(before.keys() | now.keys()):
            where = f"{place}.{key}" if place else str(key)
            yield from _changes(before.get(key), now.get(key), where)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _changes(old, new, f"{place}[{index}]")
    elif before != now:
        yield f"{place}: {json.dumps(before)} -> {json.dumps(now)}"
