"""The web configuration file of Prometheus' exporters: TLS, passwords and headers of our server.

The form is the exporter toolkit's (docs/web-configuration.md there), so that the same file serves
all exporters of a cluster. What cannot be done here is refused, never ignored. The TLS part stands
in `web_tls`, the reading itself in `web_file`, and how a server applies all this in `web`.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..errors import SpecError
from .web_file import Files, Section, Watched, read_yaml
from .web_tls import TLS_KEYS, TLS_REFUSED, read_tls

__all__ = ["WatchedWebConfig", "WebConfig", "load_web_config"]

_log = logging.getLogger(__name__)

_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users")
_REFUSED = {"rate_limit": "remove it: this server bounds its clients by itself"}

_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that may be set, and the values each may have; none named means any."""

_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
_COSTS = range(4, 17)
"""Each step doubles the time of a check: 16 takes seconds, and a scrape waits for 10 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """How to serve: without any of it, plain HTTP for everyone.

    Attributes:
        tls: For new connections; None is plain HTTP.
        client_sans: A client's certificate must have one of these names; empty allows all.
        headers: Added to each response.
        users: Hash by bcrypt of each user's password; empty asks for none.
    """

    tls: ssl.SSLContext | None = None
    client_sans: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, bytes] = field(default_factory=dict)


def load_web_config(path: Path) -> WebConfig:
    """Read and check a web configuration file, and the certificates it names.

    Raises:
        SpecError: With file, line, key, what was found and what was expected.
    """
    return _load(path, Files())


class WatchedWebConfig:
    """A web configuration that is read again when its file, or a certificate, changed.

    New content that is wrong is logged once, and the old stays in use.

    Args:
        path: The file; None is a server without TLS and passwords, for good.

    Raises:
        SpecError: When the file is wrong at the start.
    """

    def __init__(self, path: Path | None) -> None:
        self._none, self._watched = WebConfig(), None
        if path is not None:
            again = f"{path}: read again, for it or a certificate changed"
            self._watched = Watched(partial(_load, path), lambda _: again)

    def current(self) -> WebConfig:
        """Return the configuration as it is now; costs a `stat` per file."""
        return self._none if self._watched is None else self._watched.current()


def _load(path: Path, files: Files) -> WebConfig:
    subject = str(path)
    try:
        text = files.read(path).decode("utf-8")
    except FileNotFoundError:
        raise SpecError(
            subject, found="no such file", expected="a web configuration in YAML"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError(subject, found=found, expected="a readable text file") from None
    node = read_yaml(text, subject)
    if node is None:
        raise SpecError(
            subject,
            # An editor may have emptied it for a moment: that must not open the server to all.
            found="an empty file",
            expected="one of " + ", ".join(_SECTIONS),
            remedy="to serve without TLS and passwords, name no web configuration",
        )
    top = Section.read(subject, node, known=_SECTIONS, refused=_REFUSED)
    headers = _read_headers(top.inner("http_server_config", known=("http2", "headers")))
    users = _read_users(top.inner("basic_auth_users"))
    tls = top.inner("tls_server_config", known=TLS_KEYS, refused=TLS_REFUSED)
    context, sans = (None, frozenset[str]()) if tls is None else read_tls(tls, path, files)
    return WebConfig(tls=context, client_sans=sans, headers=headers, users=users)


def _read_headers(http: Section | None) -> Mapping[str, str]:
    if http is None:
        return {}
    if http.flag("http2", default=False):
        _log.info("%s: http2 is on, and this server speaks HTTP/1.1 only", http.subject)
    section = http.inner("headers", known=tuple(_HEADERS))
    if section is None:
        return {}
    headers: dict[str, str] = {}
    for name in section.values:
        allowed = _HEADERS[name]
        value = section.choice(name, allowed) if allowed else section.text(name, blank=True)
        if not (value.isascii() and (value.isprintable() or not value)):
            raise section.wrong(name, found=repr(value), expected="printable ASCII on one line")
        if value:
            headers[name] = value
    return headers


def _read_users(section: Section | None) -> Mapping[str, bytes]:
    users: dict[str, bytes] = {}
    if section is None:
        return users
    for name in section.values:
        hashed = section.text(name, secret=True)
        match = _BCRYPT.fullmatch(hashed)
        if ":" in name or not name:
            raise section.wrong(
                name, found="a user's name that HTTP cannot send", expected="a name without ':'"
            )
        if match is None:
            raise section.wrong(
                name,
                found="a text that is no bcrypt hash",
                expected="60 characters that begin with $2a$, $2b$ or $2y$",
                remedy="`htpasswd -nBC 10 USER` makes one; put it in quotes",
            )
        if int(match["cost"]) not in _COSTS:
            raise section.wrong(
                name,
                found=f"a bcrypt hash of cost {int(match['cost'])}",
                expected=f"a cost from {_COSTS[0]} to {_COSTS[-1]}",
                remedy="`htpasswd -nBC 10 USER` makes one of cost 10",
            )
        users[name] = hashed.encode("ascii")
    return users
