"""What a campaign remembers between two breaths: a SQLite journal that a kill cannot corrupt.

A finished trial's rows are on disk before the journal says it is finished, so a kill, or the end of
power, loses at most the trial that was running. One runner at a time holds the campaign's lock; the
kernel drops it with the process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..datasets.folder import to_disk
from ..datasets.lock import locked
from ..errors import TrialError

__all__ = ["Journal", "campaign_lock", "room_asked"]

_TABLES = ("requests", "energy")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_LEAST_BYTES = 256 * 1024
"""With less than this SQLite speaks of I/O errors, and means that there is no room."""

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
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(folder / "lock"))
        except (BlockingIOError, FileNotFoundError):
            raise TrialError(
                str(folder),
                found="another process that runs this campaign",
                expected="one runner at a time",
                remedy="wait for it, or give this run another --out",
            ) from None
        yield


@contextlib.contextmanager
def room_asked(folder: Path) -> Iterator[None]:
    """Say so when a disk has no room for a campaign, whoever in the block writes to it.

    Args:
        folder: Where the campaign is written, for the message; a file that is known is named.

    Raises:
        TrialError: When the disk, or the user's share of it, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise _full(Path(error.filename).parent if error.filename else folder) from error


def _full(folder: Path) -> TrialError:
    return TrialError(
        str(folder),
        found="no room left on its disk",
        expected="room for the campaign and its dataset",
        remedy="make room there; what is finished is kept, and --resume goes on with it",
    )


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
        with self._guarded():
            for name, table in zip(_TABLES, (requests, energy), strict=True):
                _write(table, self.part(name, number))
        with self._transaction():
            self._db.execute(
                "INSERT INTO trial VALUES (?, ?)", (number, json.dumps(dict(row), allow_nan=False))
            )

    def forget_incomplete(self) -> None:
        """Forget trials whose tables are gone or torn, so that they are measured again."""
        with self._guarded():
            lost = [
                (number,)
                for number in self.trials()
                if not all(_is_whole(self.part(name, number)) for name in _TABLES)
            ]
        with self._transaction():
            self._db.executemany("DELETE FROM trial WHERE number = ?", lost)

    def part(self, name: str, number: int) -> Path:
        """Return where a table of one trial lies."""
        return self.folder / name / f"trial-{number:04d}.parquet"

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with room_asked(self.folder):
                yield
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.Error) and self._is_short(error):
                raise _full(self.folder) from None
            raise TrialError(
                str(self.folder / "journal.sqlite"),
                found=str(error),
                expected="a campaign's journal on a disk with room",
            ) from None

    def _is_short(self, error: sqlite3.Error) -> bool:
        """Whether it is for want of room that SQLite failed."""
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return False
        free_bytes = shutil.disk_usage(self.folder).free
        is_io = code & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        return code == sqlite3.SQLITE_FULL or (is_io and free_bytes < _LEAST_BYTES)

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


def _write(table: pa.Table, path: Path) -> None:
    """Write a table that is there whole or not at all, and wait until the disk has it."""
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_suffix(".tmp")
    try:
        with scratch.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
        to_disk(scratch)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    to_disk(path.parent)


def _is_whole(path: Path) -> bool:
    """Whether a table is there to its end; one that may not be read is another matter."""
    try:
        pq.read_metadata(path)
    except (FileNotFoundError, pa.ArrowInvalid):
        return False
    return True
