"""Slow sensors that are asked over HTTP: a thread fetches, the meter takes the latest value.

A board controller or an exporter takes tens of milliseconds to answer and renews its value every
second or slower: the meter's sampling must not wait for it. Nothing is summed or subtracted here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from .base import Domain, Reading

if TYPE_CHECKING:  # slow to import, and most machines need none
    import requests

__all__ = ["STALE_UPDATES", "TIMEOUT_S", "Polled", "Sampled", "ask", "checked"]

STALE_UPDATES = 3
"""A value that was not renewed for this many updates is not handed out any more."""

TIMEOUT_S = (2.0, 5.0)
"""To connect, and between two pieces of an answer."""

IDLE_S = 30.0
"""The thread ends when nobody has asked for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One value as its service gave it.

    Args:
        value: The value, in the unit of its domain.
        stamp: When the service took it, as it says itself; `None` if it does not say. A value
            that comes with the stamp of the one before it is not a new one.
    """

    value: float
    stamp: float | None = None


@dataclass(slots=True)
class _Held:
    sampled: Sampled
    renewed_s: float


class Polled:
    """The latest values of a service, fetched by a thread that lives while somebody asks.

    Args:
        fetch: Asks the service once: values by domain name. Raises a `SourceError`.
        subject: Who is asked, for messages.
        every_s: Pause between two questions.
        clock: Monotonic seconds, for the age of values.
        idle_s: The thread ends when nobody has asked for so long.
    """

    def __init__(
        self,
        fetch: Callable[[], Mapping[str, Sampled]],
        *,
        subject: str,
        every_s: float,
        clock: Callable[[], float],
        idle_s: float = IDLE_S,
    ) -> None:
        self._fetch, self._subject, self._clock = fetch, subject, clock
        self._every_s, self._idle_s = every_s, idle_s
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._error: Exception | None = None
        self._asked_s = clock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def refresh(self) -> Mapping[str, Sampled]:
        """Ask the service now, in the caller's thread.

        Raises:
            SourceError: It does not answer, or answers nonsense.
        """
        sampled = self._fetch()
        now_s = self._clock()
        with self._lock:
            for name, new in sampled.items():
                old = self._held.get(name)
                same = old is not None and new.stamp is not None and new.stamp == old.sampled.stamp
                if old is None or not same:
                    self._held[name] = _Held(new, now_s)
        return sampled

    def readings(self, domains: Sequence[Domain]) -> tuple[Reading, ...]:
        """Return the latest value of each domain, without those that were not renewed.

        The first call, and the first after a rest, waits for one answer of the service.

        Raises:
            SourceFailed: No domain has a value that is fresh enough.
        """
        with self._lock:
            self._asked_s = self._clock()
            cold = self._thread is None or not self._thread.is_alive()
        if cold:
            self._poll_once()
            self._stop.clear()
            self._thread = threading.Thread(
                target=self._run, name=f"joulery-{self._subject}", daemon=True
            )
            self._thread.start()
        now_s = self._clock()
        with self._lock:
            error = self._error
            fresh = tuple(
                Reading(domain, held.sampled.value)
                for domain in domains
                if (held := self._held.get(domain.name)) is not None
                and now_s - held.renewed_s <= STALE_UPDATES * domain.update_s
            )
        if error is not None and not isinstance(error, SourceError):
            raise error  # a mistake of ours must not pass for a silent sensor
        if not fresh:
            raise SourceFailed(
                self._subject, found=f"no fresh value ({error or 'not renewed'})"
            ) from error
        return fresh

    def close(self) -> None:
        """End the thread; the next `readings` starts it again."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _poll_once(self) -> None:
        try:
            self.refresh()
        except Exception as error:  # noqa: BLE001 - told by `readings`, in the thread that asks
            self._error = error
        else:
            self._error = None

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            if self._clock() - self._asked_s > self._idle_s:
                return
            self._poll_once()


def ask(
    session: requests.Session, method: str, url: str, *, subject: str, **options: Any
) -> requests.Response:
    """Send one request.

    Raises:
        SourceUnavailable: Nobody answers at the address.
        SourceFailed: The server's certificate is not trusted.
    """
    import requests

    try:
        return session.request(method, url, timeout=TIMEOUT_S, **options)
    except requests.exceptions.SSLError as error:
        raise SourceFailed(
            subject,
            place=url,
            found=f"a certificate that is not trusted ({error})"[:300],
            remedy="let REQUESTS_CA_BUNDLE name the file with the authority that signed it",
        ) from error
    except requests.RequestException as error:
        raise SourceUnavailable(subject, place=url, found=str(error)[:300]) from error


def checked(response: requests.Response, *, subject: str, remedy: str) -> requests.Response:
    """Return a response that is a success.

    Raises:
        SourceForbidden: The server does not let this user in; `remedy` says how it would.
        SourceUnavailable: There is nothing at this address.
        SourceFailed: The server answers with another error.
    """
    found = f"HTTP {response.status_code}"
    if response.status_code in (401, 403):
        raise SourceForbidden(subject, place=response.url, found=found, remedy=remedy)
    if response.status_code == 404:
        raise SourceUnavailable(subject, place=response.url, found=found)
    if not response.ok:
        raise SourceFailed(subject, place=response.url, found=found)
    return response
