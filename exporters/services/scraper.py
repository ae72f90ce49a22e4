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

_MOST_CPU = 0.005
"""Of a core, for understanding what one service says; one that says more is asked less often."""

_LONGEST_S = 300.0
"""Between scrapes of what only looked like an AI service, and has never answered as one."""

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
    cpu_s: float = 0.0
    vain: int = 0
    """How many scrapes there were before the first that told something."""
    has_answered: bool = False
    problems: Counter[str] = field(default_factory=Counter)

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
        async with self._opened() as self._session:
            self._begin()
            await stop.wait()
            tasks = [one.task for one in self._known.values() if one.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._session = None

    async def run_once(self) -> None:
        """Scrape each service once, now."""
        async with self._opened() as session:
            known = self._known.items()
            await asyncio.gather(*(self._turn(target, one, session) for target, one in known))

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
            if one.took_s is None or not _is_service(target, one):
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
        return sum(_is_service(target, one) for target, one in self._known.items())

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2 * self._interval_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": _ACCEPT, "User-Agent": "joulery"},
        )

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
            await self._turn(target, one, session)
            due_s = max(due_s + self._pause_s(target, one), time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())

    def _pause_s(self, target: Target, one: _Scraped) -> float:
        """Return the time from one scrape of a service to its next."""
        pause_s = max(self._interval_s, one.cpu_s / _MOST_CPU)
        if _is_service(target, one):
            return pause_s
        # A guess that proves wrong costs less and less; a service that starts slowly is found
        # after twice the time that it took.
        doubled_s = self._interval_s * 2.0 ** min(one.vain - 1, 20)
        return max(pause_s, min(doubled_s, _LONGEST_S))

    async def _turn(self, target: Target, one: _Scraped, session: aiohttp.ClientSession) -> None:
        """Scrape one service when it is its turn."""
        async with self._turns:
            await self._scrape(target, one, session)

    async def _scrape(self, target: Target, one: _Scraped, session: aiohttp.ClientSession) -> None:
        began_s, reading, reason = time.monotonic(), None, ""
        try:
            body, content_type = await self._fetched(target, session)
            cpu_s = time.thread_time()
            try:
                one.dialect, reading = self._read(body, content_type, target)
            finally:
                one.cpu_s = time.thread_time() - cpu_s
        except ScrapeRefused as refused:
            reason = refused.reason
            _log.debug("%s: %s", target.url, refused, exc_info=refused.__cause__)
        except TimeoutError:
            reason = "timeout"
        except aiohttp.ClientResponseError as error:
            reason = f"status_{error.status}" if error.status else "malformed_http"
        except aiohttp.ClientError:
            reason = "unreachable"
        except Exception as error:  # noqa: BLE001 - a body nobody thought of is its sender's problem
            reason = "not_understood"
            _log.debug("%s: %r", target.url, error, exc_info=True)
        if reading is not None:
            one.has_answered = True
        elif not one.has_answered:
            one.vain += 1
        problems = {reason: 1} if reading is None else reading.problems
        if reason == "no_dialect" and not _is_service(target, one):
            problems = {}
        for problem, times in problems.items():
            if problem not in one.problems:
                who = "/".join(filter(None, (target.pod.namespace, target.pod.name)))
                _log.warning(
                    "%s at %s: %s (said once; joulery_target_problems_total counts)",
                    *(who, target.url, problem),
                )
            one.count(problem, times)
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


def _is_service(target: Target, one: _Scraped) -> bool:
    """Return whether this is an AI service for sure: somebody said so, or it has answered as one.

    Of what only looked like one it is not told whether it is up: then nobody's alert goes off.
    """
    return target.certain or one.has_answered


def _phase(target: Target) -> float:
    """Return when in its interval a service is scraped, as a share; so that not all are at once."""
    digest = hashlib.blake2b(f"{target.pod.uid} {target.url}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32
