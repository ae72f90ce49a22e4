"""The lists of packages that images install."""

from __future__ import annotations

import re
from collections.abc import Mapping

from packaging.utils import canonicalize_name

__all__ = ["pins_of"]


def pins_of(requirements: str) -> Mapping[str, str]:
    """Return the version of each package that is listed, by its canonical name."""
    pins: dict[str, str] = {}
    for line in requirements.splitlines():
        if line and not line.startswith("#"):
            name, sign, version = line.partition("==")
            assert sign, f"{line!r} is not one exact version"
            assert re.fullmatch(r"[0-9][0-9a-z.]*", version), f"{line!r} is not one exact version"
            assert name == canonicalize_name(name), f"{name!r} is written differently"
            assert name not in pins, f"{name} is listed twice"
            pins[name] = version
    return pins
