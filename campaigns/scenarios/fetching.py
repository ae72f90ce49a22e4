"""Bring public data of a scenario, each file by its SHA-256: only when asked to."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import pooch
import requests
import yaml
from pydantic import BaseModel, ConfigDict, Field

from ...errors import DatasetError, SpecError

__all__ = ["PublicData", "fetch", "public_data"]

_REGISTRY = Path(__file__).parent / "data" / "registry.yaml"
_TIMEOUT_S = 60


class PublicData(BaseModel):
    """Data that can be fetched.

    Attributes:
        title: For people.
        scenarios: That read it.
        licence: Its licence.
        source: Where it comes from, and which version.
        base_url: What the paths of its files are added to.
        files: SHA-256 of each file by its path.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    scenarios: tuple[str, ...]
    licence: str
    source: str
    base_url: str
    files: dict[str, str] = Field(min_length=1)


def public_data() -> dict[str, PublicData]:
    """Return all data that can be fetched, by name."""
    found = yaml.safe_load(_REGISTRY.read_text(encoding="utf-8"))
    return {name: PublicData.model_validate(one) for name, one in found.items()}


def fetch(
    name: str,
    folder: Path,
    *,
    mirror: str | None = None,
    fetched: Callable[[str], None] = lambda _: None,
) -> Path:
    """Bring the files of some data that are not there yet, and check those that are.

    Args:
        name: See `public_data`.
        folder: A folder of the data's own name is made in it.
        mirror: Another place that has the same files under the same paths, a URL.
        fetched: Told each file's path once it is there.

    Returns:
        The folder of the data.

    Raises:
        SpecError: There is no data of that name.
        DatasetError: A file cannot be had, is not the one that was registered, or cannot be kept.
    """
    known = public_data()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise SpecError(
            "data",
            found=repr(name),
            expected=f"one of {', '.join(known)}",
            remedy=f"did you mean {near[0]!r}?",
        )
    data = known[name]
    to = folder / name
    base_url = (mirror or data.base_url).rstrip("/") + "/"
    files = {path: f"sha256:{digest}" for path, digest in data.files.items()}
    keeper = pooch.create(path=to, base_url=base_url, registry=files)
    pooch.get_logger().setLevel("ERROR")
    for path in files:
        try:
            keeper.fetch(path, downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_S))
        except requests.RequestException as error:
            raise DatasetError(
                f"{base_url}{path}",
                found=" ".join(str(error).split()),
                expected="the file",
                remedy="see that it can be reached from here; --mirror names another place",
            ) from None
        except ValueError:
            raise DatasetError(
                f"{base_url}{path}",
                found="other content than was registered",
                expected=f"SHA-256 {data.files[path]}",
                remedy="fetch again; if it stays, it was changed where it comes from",
            ) from None
        except OSError as error:
            raise DatasetError(
                str(to / path),
                found=error.strerror or str(error),
                expected="a file that can be written",
                remedy="--to names another folder",
            ) from None
        fetched(path)
    return to
