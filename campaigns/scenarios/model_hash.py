"""Which file a model is: its SHA-256, hashed once."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from ...errors import SpecError

__all__ = ["model_sha256"]


def model_sha256(path: Path) -> str:
    """Return the SHA-256 of a model's file, hexadecimal.

    Raises:
        SpecError: When it cannot be read.
    """
    try:
        stamp = path.stat()
        return _hashed(path, stamp.st_mtime_ns, stamp.st_size)
    except OSError as error:
        raise SpecError(
            f"model {path}", found=error.strerror or str(error), expected="a file that can be read"
        ) from error


@lru_cache(maxsize=256)
def _hashed(path: Path, modified_ns: int, size_bytes: int) -> str:
    del modified_ns, size_bytes  # they tell one content from the next
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
