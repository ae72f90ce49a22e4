"""A folder that appears whole or not at all, with a manifest of what is in it.

What the files mean is not known here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import DatasetError
from .lock import locked
from .metadata import file_facts

__all__ = [
    "MANIFEST",
    "check_target",
    "discard",
    "files",
    "hidden_name",
    "read_manifest",
    "sweep",
    "to_disk",
    "update_manifest",
    "write_text",
    "write_whole",
]

MANIFEST = "SHA256SUMS"


def check_target(folder: Path, *, replace: bool = False) -> None:
    """See that a dataset may be written to a folder; call it before hours of measuring.

    A folder that is not there, or is empty, is free. One that holds a dataset and nothing else
    is free when `replace` is set; what joulery did not write it never deletes.

    Raises:
        DatasetError: When the folder is not free.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise DatasetError(str(folder), found="a file", expected="a folder, or nothing")
    held = files(folder)
    if not held:
        return
    foreign = sorted(set(held) - set(read_manifest(folder)) - {MANIFEST})
    if foreign:
        raise DatasetError(
            str(folder),
            found=f"{foreign[0]}, which belongs to no dataset",
            expected="a new folder, or one that holds a dataset alone",
            remedy="choose another folder, or move the file away",
        )
    if not replace:
        raise DatasetError(
            str(folder),
            found="a dataset",
            expected="a new folder",
            remedy="choose another folder, or replace this one (--force)",
        )


def write_whole(
    folder: Path,
    fill: Callable[[Path], object],
    *,
    replace: bool = False,
    finish: Callable[[Path], object] | None = None,
) -> None:
    """Write a folder: under its final name it is whole, or it is not there.

    Everything goes to a hidden folder beside the final one, which is renamed at the end. A process
    that is killed leaves only the hidden folder behind; the next write, or `sweep`, drops it.

    Args:
        folder: The final name; its parents are made.
        fill: Called with the hidden folder; writes everything but the manifest.
        replace: Whether a dataset that is there already gives way; see `check_target`.
        finish: Called after `fill`; what it writes becomes part of the folder as well.

    Raises:
        DatasetError: When the folder is not free.
        OSError: When the disk is full or may not be written; nothing is left behind.
    """
    sweep(folder)
    check_target(folder, replace=replace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _hidden(folder) as hidden:
        new = hidden / "new"
        new.mkdir()
        fill(new)
        if finish is not None:
            finish(new)
        update_manifest(new, files(new))
        for path in (*new.rglob("*"), new):
            to_disk(path)
        check_target(folder, replace=replace)
        _put(new, folder, hidden / "old")


def discard(folder: Path) -> None:
    """Remove a folder at one stroke: a kill leaves the whole of it, or what `sweep` drops."""
    with _hidden(folder) as hidden:
        folder.rename(hidden / "gone")
        to_disk(folder.parent)


def sweep(folder: Path) -> None:
    """Drop what killed writers left beside a folder; one that still writes is left alone.

    A kill between the two renames of a replacement leaves the name free: what had it comes back.
    """
    if not folder.parent.is_dir():
        return
    for path in sorted(folder.parent.iterdir()):
        if not hidden_name(folder.name).fullmatch(path.name) or not path.is_dir():
            continue
        with contextlib.suppress(BlockingIOError, FileNotFoundError), locked(path / "lock"):
            old = path / "old"
            if old.exists() and not os.path.lexists(folder):
                old.rename(folder)
                to_disk(folder.parent)
            shutil.rmtree(path, ignore_errors=True)


def hidden_name(name: str) -> re.Pattern[str]:
    """Return what the hidden folders beside a folder of this name are called."""
    # As `tempfile` draws names. Without '-': that would also be the hidden folder of 'name-x'.
    return re.compile(rf"\.{re.escape(name)}-[a-z0-9_]{{8}}\.partial")


@contextlib.contextmanager
def _hidden(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside one, locked for as long as the block lasts; then drop it."""
    with contextlib.ExitStack() as held:
        while True:
            hidden = tempfile.mkdtemp(
                prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent
            )
            # Who sweeps just now takes it for left over: then another one is made.
            with contextlib.suppress(BlockingIOError, FileNotFoundError):
                held.enter_context(locked(Path(hidden) / "lock"))
                break
        try:
            yield Path(hidden)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _put(new: Path, folder: Path, old: Path) -> None:
    """Rename `new` to `folder`, whose former content goes to `old`, and back if that fails."""
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    to_disk(folder.parent)


def files(folder: Path) -> list[str]:
    """Return every file below a folder, relative to it, sorted."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    )


def write_text(path: Path, text: str) -> None:
    """Write a text with the same bytes on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


def to_disk(path: Path) -> None:
    """Wait until a file or folder has reached the disk: a rename must not overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> dict[str, str]:
    """Return SHA-256 by relative path from the folder's manifest; empty without one.

    Raises:
        DatasetError: When a line of it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64:
            raise DatasetError(
                str(path),
                place=f"line {number}",
                found=repr(line),
                expected="a SHA-256, two spaces, a path",
            )
        sums[name] = digest
    return sums


def update_manifest(folder: Path, paths: Iterable[str]) -> None:
    """Enter files of a dataset in its manifest, again or for the first time; leave the others."""
    sums = read_manifest(folder)
    sums |= {path: file_facts(folder / path)[1] for path in paths if path != MANIFEST}
    lines = [f"{digest}  {path}\n" for path, digest in sorted(sums.items())]
    fresh = folder / f".{MANIFEST}.new"
    write_text(fresh, "".join(lines))
    fresh.replace(folder / MANIFEST)
