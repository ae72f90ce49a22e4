"""A lock that a file stands for: held by one process, and dropped by the kernel with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["locked"]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock for as long as the block lasts; nobody is waited for.

    Args:
        path: The file; it is made when it is not there, and stays.

    Raises:
        BlockingIOError: When another process holds it, or takes the file away at this moment.
    """
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it before may have removed the file: a lock on what nobody finds locks nothing.
        if not path.exists() or not os.path.samestat(os.fstat(handle.fileno()), path.stat()):
            raise BlockingIOError(str(path))
        yield
