"""Scrapes the services of a node, each for itself: one that is slow or endless hurts no other.

What a body means a dialect knows; here it is fetched, within bounds. A service whose last scrape
failed has no reading, as it is with Prometheus: stale numbers are worse than none.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import aiohttp

from ..dialects.parsing import ScrapeRefused
from ..dialects.reading import Reading
from ..families import Family, Sample
from ..service_metrics import TARGET_PROBLEMS, TARGET_SCRAPE, TARGET_UP
from .target import Pod, Target

__all__ = ["Read", "Scraper"]

_log = logging.getLogger(__name__)

_ACCEPT = "text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5"
_CHUNK_BYTES = 64 * 1024
_MOST_REASONS = 16
"""Of one service; what is beyond counts as other."""


Read = Callable[[bytes, str, Target], tuple[str, Reading]]
"""Makes a reading of a body, its content type and whose it is, with the dialect's name.

It raises `ScrapeRefused` when nothing of the body can be used.
"""


@dataclass(slots=True)
class _Scraped:
    """What is known of one service."""

    task: asyncio.Task[None] | None = None
    reading: Reading | None = None
    dialect: str = ""
    took_s: float | None = None
    problems: Counter[str] = field(default_factory=Counter)
    silent: bool = False

    def count(self, reason: str, times: int = 1) -> None:
        known = reason in self.problems or len(self.problems) < _MOST_REASONS
        self.problems[reason if known else "other"] += times


class Scraper:
    """Scrapes each service once in an interval, at a moment of its own.

    All methods belong to one event loop.

    Args:
        read: Understands a body.
        interval_s: From one scrape of a service to its next.
        timeout_s: How long one may take, from connecting to the last byte.
        most_bytes: Of a body, unpacked.
        most_at_once: Scrapes under way at once; further ones wait.
    """

    def __init__(
        self,
        read: Read,
        *,
        interval_s: float = 10.0,
        timeout_s: float = 5.0,
        most_bytes: int = 2 * 1024 * 1024,
        most_at_once: int = 16,
    ) -> None:
        self._read, self._interval_s = read, interval_s
        self._timeout_s, self._most_bytes = min(timeout_s, interval_s), most_bytes
        self._turns = asyncio.Semaphore(most_at_once)
        self._known: dict[Target, _Scraped] = {}
        self._session: aiohttp.ClientSession | None = None

    def update(self, targets: Iterable[Target]) -> None:
        """Say which services there are now; those that are as before go on."""
        before, self._known = self._known, {}
        for target in targets:
            if target.url:
                self._known[target] = before.pop(target) if target in before else _Scraped()
        for gone in before.values():
            if gone.task is not None:
                gone.task.cancel()
        self._begin()

    async def run(self, stop: asyncio.Event) -> None:
        """Scrape until `stop` is set; scrapes under way are given up then."""
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2 * self._interval_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": _ACCEPT, "User-Agent": "joulery"},
        ) as self._session:
            self._begin()
            await stop.wait()
            tasks = [one.task for one in self._known.values() if one.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._session = None

    def readings(self) -> list[tuple[Pod, Reading]]:
        """Return what each service told last; none of those whose last scrape failed."""
        return [
            (target.pod, one.reading)
            for target, one in self._known.items()
            if one.reading is not None
        ]

    def families(self) -> list[Family]:
        """Return how scraping goes, by pod; the ports of a pod are taken together."""
        up: dict[tuple[str, ...], float] = {}
        took: dict[tuple[str, ...], float] = {}
        problems: Counter[tuple[str, ...]] = Counter()
        for target, one in self._known.items():
            labels = target.pod.labels
            for reason, times in one.problems.items():
                problems[*labels, reason] += times
            if one.took_s is None or one.silent:
                continue
            key = (*labels, one.dialect or target.dialect)
            up[key] = min(up.get(key, 1.0), float(one.reading is not None))
            took[labels] = took.get(labels, 0.0) + one.took_s
        counted: tuple[Sample, ...] = tuple((key, float(n)) for key, n in problems.items())
        return [
            Family(TARGET_UP, tuple(up.items())),
            Family(TARGET_SCRAPE, tuple(took.items())),
            Family(TARGET_PROBLEMS, counted),
        ]

    @property
    def count(self) -> int:
        """How many services are scraped."""
        return sum(not one.silent for one in self._known.values())

    def _begin(self) -> None:
        if self._session is None:
            return
        for target, one in self._known.items():
            if one.task is None:
                one.task = asyncio.create_task(self._follow(target, one, self._session))

    async def _follow(self, target: Target, one: _Scraped, session: aiohttp.ClientSession) -> None:
        """Scrape one service again and again."""
        await asyncio.sleep(self._interval_s * _phase(target))
        due_s = time.monotonic()
        while True:
            async with self._turns:
                await self._scrape(target, one, session)
            due_s = max(due_s + self._interval_s, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())

    async def _scrape(self, target: Target, one: _Scraped, session: aiohttp.ClientSession) -> None:
        began_s, reading, reason = time.monotonic(), None, ""
        try:
            body, content_type = await self._fetched(target, session)
            one.dialect, reading = self._read(body, content_type, target)
        except ScrapeRefused as refused:
            reason = refused.reason
        except TimeoutError:
            reason = "timeout"
        except aiohttp.ClientResponseError as error:
            reason = f"status_{error.status}" if error.status else "malformed_http"
        except aiohttp.ClientError:
            reason = "unreachable"
        except Exception as error:  # noqa: BLE001 - a body nobody thought of is its sender's problem
            reason = "not_understood"
            _log.debug("%s: %r", target.url, error, exc_info=True)
        one.silent = reason == "no_dialect" and not target.certain
        if one.silent:
            reason = ""
        if reason:
            if reason not in one.problems:
                _log.warning(
                    "%s/%s at %s: %s (said once; joulery_target_problems_total counts)",
                    *(target.pod.namespace, target.pod.name, target.url, reason),
                )
            one.count(reason)
        for left_out, times in (reading.problems if reading is not None else {}).items():
            one.count(left_out, times)
        one.reading, one.took_s = reading, time.monotonic() - began_s

    async def _fetched(self, target: Target, session: aiohttp.ClientSession) -> tuple[bytes, str]:
        """Return a body and its content type.

        A redirect is refused: it could lead anywhere, and a pod may only speak for itself.
        """
        # Pods have certificates of their own making, for names that are not their addresses.
        async with session.get(target.url, allow_redirects=False, ssl=False) as response:
            if response.status != 200:
                raise ScrapeRefused(f"status_{response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._most_bytes:
                    response.close()
                    raise ScrapeRefused("too_large")
            return bytes(body), response.headers.get("Content-Type", "")


def _phase(target: Target) -> float:
    """Return when in its interval a service is scraped, as a share; so that not all are at once."""
    digest = hashlib.blake2b(f"{target.pod.uid} {target.url}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32
