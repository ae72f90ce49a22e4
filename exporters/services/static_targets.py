"""Services that a file names, for machines without Kubernetes; it is read again when it changes.

    targets:
      - name: recommender
        url: http://192.0.2.7:8002/metrics
        dialect: triton

Who writes this file is trusted, other than who makes a pod: a URL may lead anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import yaml

from ...errors import SpecError
from ..dialects.dialect import Dialect
from ..web_file import Files, Section, Watched, read_yaml
from .addresses import address
from .target import Pod, Target

__all__ = ["StaticTargets"]

_KEYS = ("name", "url", "dialect", "model", "variant", "golden", "infer_url", "addresses")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?", re.ASCII)
_LONGEST = 256
_LOCAL = ("127.0.0.1", "::1")


class StaticTargets:
    """The services in a file. New content that is wrong is logged once, and the old stays.

    Args:
        path: The file, in YAML.
        dialects: Those that there are.

    Raises:
        SpecError: The file is wrong at the start.
    """

    def __init__(self, path: Path, dialects: Sequence[Dialect]) -> None:
        self._path, self._dialects = path, dialects
        self._watched = Watched(
            self._read, lambda found: f"{path}: read again, for it changed: {len(found)}"
        )

    def current(self) -> tuple[Target, ...]:
        """Return the services as the file names them now; costs a `stat`."""
        return self._watched.current()

    def _read(self, files: Files) -> tuple[Target, ...]:
        subject = str(self._path)
        try:
            text = files.read(self._path).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            found = error.strerror if isinstance(error, OSError) else str(error)
            raise SpecError(subject, found=found, expected="a list of targets in YAML") from None
        node = read_yaml(text, subject)
        if node is None:
            # An editor may have emptied it for a moment.
            raise SpecError(
                subject,
                found="an empty file",
                expected="targets:",
                remedy="`targets: []` is none on purpose",
            )
        top = Section.read(subject, node, known=("targets",))
        if "targets" not in top.values:
            raise top.wrong("targets", found="nothing", expected="a list")
        _, given = top.values["targets"]
        if not isinstance(given, yaml.SequenceNode):
            raise top.wrong("targets", found="no list", expected="a list")
        found_targets: dict[str, Target] = {}
        for index, item in enumerate(given.value):
            section = Section.read(subject, item, name=f"targets[{index}]", known=_KEYS)
            target = _target(section, self._dialects)
            if found_targets.setdefault(target.pod.name, target) is not target:
                raise section.wrong("name", found=f"{target.pod.name!r} twice", expected="once")
        return tuple(found_targets.values())


def _target(section: Section, dialects: Sequence[Dialect]) -> Target:
    name = section.text("name")
    if not _NAME.fullmatch(name):
        raise section.wrong(
            "name", found=repr(name), expected="128 letters, digits and ._-/ at most"
        )
    url, infer_url = _url(section, "url"), _url(section, "infer_url")
    golden = _text(section, "golden")
    if golden and infer_url is None:
        raise section.wrong(
            "golden",
            found="no infer_url beside it",
            expected="where it is sent to",
            remedy="add 'infer_url: http://HOST:PORT'",
        )
    kind = ""
    if "dialect" in section.values:
        kind = section.choice("dialect", [one.name for one in dialects])
    pod = Pod(namespace="", name=name, uid="", addresses=_addresses(section, url or infer_url))
    if url is None and infer_url is None and not pod.addresses:
        raise section.wrong(
            "url",
            found="nothing",
            expected="where its metrics are",
            remedy="add 'url:', or 'addresses:' for one that only pushes",
        )
    path = next((one.path for one in dialects if one.name == kind), "/metrics")
    if url is not None and url.path in {"", "/"}:
        url = url._replace(path=path)
    return Target(
        pod=pod,
        url="" if url is None else url.geturl(),
        dialect=kind,
        model=_text(section, "model"),
        variant=_text(section, "variant"),
        golden=golden,
        infer_url="" if infer_url is None else infer_url.geturl().rstrip("/"),
    )


def _text(section: Section, key: str) -> str:
    value = section.text(key) if key in section.values else ""
    if len(value) > _LONGEST or not value.isprintable():
        raise section.wrong(
            key, found=repr(value[:_LONGEST]), expected=f"a line of {_LONGEST} characters at most"
        )
    return value


def _url(section: Section, key: str) -> SplitResult | None:
    """Return the URL of a key; None when it is not there."""
    value = _text(section, key)
    if not value:
        return None
    try:
        url = urlsplit(value)
        good = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        good = None
    if not good or " " in value or url.fragment:
        raise section.wrong(
            key, found=repr(value), expected="a URL such as http://192.0.2.7:8002/metrics"
        )
    if url.username is not None:
        # It would stand in labels and in the log.
        raise section.wrong(key, found="a user in the URL", expected="none")
    return url


def _addresses(section: Section, url: SplitResult | None) -> tuple[str, ...]:
    """Return from where it may push: as the file says, else the host of its URL, if that is one."""
    given = section.texts("addresses")
    for text in given:
        if not address(text):
            raise section.wrong("addresses", found=repr(text), expected="IP addresses")
    host = "" if url is None else url.hostname or ""
    if given:
        return tuple(address(text) for text in given)
    if host == "localhost":
        return _LOCAL
    return (address(host),) if address(host) else ()
