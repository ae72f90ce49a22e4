"""The file of joined answers: its tables, and what becomes of one that cannot be read."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from ...errors import SpecError

__all__ = ["is_corrupt", "open_file", "set_aside"]

_log = logging.getLogger(__name__)

_VERSION = 2
_BUSY_S = 5.0

# Ids are kept as hashes of 16 bytes: whatever clients send, a row has one size, and nobody learns
# from the file what was asked. `seq` tells the order in which rows came.
_TABLES = """
CREATE TABLE series (
    series INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL, pod TEXT NOT NULL, uid TEXT NOT NULL,
    model TEXT NOT NULL, variant TEXT NOT NULL, exit TEXT NOT NULL
);
CREATE TABLE answers (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL, series INTEGER NOT NULL, prediction TEXT NOT NULL, at_s REAL NOT NULL,
    labelled INTEGER NOT NULL DEFAULT 0,
    UNIQUE (id, series)
);
CREATE INDEX answers_by_series ON answers (series, seq);
CREATE TABLE labels (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL, metric TEXT NOT NULL, value TEXT NOT NULL, is_score INTEGER NOT NULL,
    at_s REAL NOT NULL,
    met INTEGER NOT NULL DEFAULT 0,
    UNIQUE (id, metric)
);
CREATE TABLE totals (
    series INTEGER NOT NULL, metric TEXT NOT NULL,
    judged INTEGER NOT NULL, correct REAL NOT NULL, squares REAL NOT NULL,
    PRIMARY KEY (series, metric)
);
"""


def open_file(path: Path | None) -> sqlite3.Connection:
    """Open the file, or begin one; `None`: in memory.

    One that is broken, or of another version, is set aside: it must not keep the exporter from
    starting, again and again.

    Raises:
        SpecError: There can be no file, or another process uses it.
    """
    try:
        return _opened(path)
    except sqlite3.DatabaseError as error:
        if path is None or not is_corrupt(error):
            raise _unusable(path, error) from error
        set_aside(path, str(error))
    try:
        return _opened(path)
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error


def is_corrupt(error: sqlite3.Error) -> bool:
    """Return whether an error says that the file's content is broken."""
    # The low byte is the kind; an error that Python raised itself has none.
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(path: Path, why: str) -> None:
    """Put a broken file away, in the place of one put away before, so that they cannot pile up."""
    aside = path.with_name(f"{path.name}.broken")
    _log.warning("%s: %s; it is set aside as %s, and a new one begun", path, why, aside.name)
    try:
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error


def _opened(path: Path | None) -> sqlite3.Connection:
    # Transactions are begun by hand: `isolation_level` None. One lock of ours guards the threads.
    file = sqlite3.connect(
        ":memory:" if path is None else path,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        file.execute("PRAGMA locking_mode = EXCLUSIVE")  # and so needs no shared memory
        file.execute("PRAGMA journal_mode = WAL")
        # A power cut may take the last transactions, and breaks nothing.
        file.execute("PRAGMA synchronous = NORMAL")
        found = file.execute("PRAGMA quick_check(1)").fetchone()[0]
        [version] = file.execute("PRAGMA user_version").fetchone()
        if (
            found == "ok"
            and not version
            and not file.execute("PRAGMA schema_version").fetchone()[0]
        ):
            file.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT")
        elif found != "ok" or version != _VERSION:
            broken = sqlite3.DatabaseError(
                f"it is broken: {found}" if found != "ok" else f"it has version {version}"
            )
            broken.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise broken
    except BaseException:
        file.close()
        raise
    return file


def _unusable(path: Path | None, error: Exception) -> SpecError:
    return SpecError(
        f"store of answers {path or 'in memory'}",
        found=str(error),
        expected="a file that can be written, in a folder that is there, and used by nobody else",
    )
