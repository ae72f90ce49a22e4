"""The service exporter: finds the AI services of a node, and tells what they say in one schema.

Each side works for itself: scraping, receiving, feedback, probing. Here they learn which services
there are, and what they know is put together, again and again, into what a scrape says.
"""

from __future__ import annotations

import asyncio
import logging
import math
import platform
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from ... import __version__
from ...errors import SourceFailed
from ..dialects import dialects
from ..exposition import Scrape
from ..families import Family, ordered
from ..metrics import EXPORTER_BUILD_INFO, EXPORTER_CPU, EXPORTER_MEMORY, Metric
from ..own import resident_bytes
from ..service_metrics import (
    API_SERVER_FAILURES,
    API_SERVER_UP,
    RECEIVER_DROPPED,
    RECEIVER_POINTS,
    RECEIVER_REQUESTS,
    SERVICE_CATALOGUE,
    TARGET_PROBLEMS,
    TARGETS,
)
from ..web_file import Files, Watched
from .discovery import targets_of
from .feedback import FeedbackReceiver
from .golden import GoldenSet, load_golden
from .identity import Identities
from .joins import AnswerStore
from .pods_watch import FAILURES, PodsWatch, cluster
from .probe import Prober
from .publishing import Publisher
from .reading import read
from .receiver import OUTCOMES, Receiver
from .scraper import Scraper
from .settings import ServiceSettings
from .static_targets import StaticTargets
from .streams import Streams
from .target import Pod, Target

__all__ = ["ServiceExporter"]

_log = logging.getLogger(__name__)

_LOOK_S = 5.0
"""The file of services and the golden sets are looked at so often."""

_FRESH_S = 1.0
"""A scrape is answered with a snapshot that is no older. One is made when it is asked for: made
by the clock, most of them would be made for nobody, and those that are scraped would be older."""

_UNASKED = 2
"""When nobody asks, one is made in so many intervals: the liveness probe sees that it can be."""

_FORGET_S = 60.0
"""Pods that have been gone for so long are forgotten: their last words were scraped before. What
they answered is kept for labels that come late."""

_FIRST_LIST_S = 20.0
"""Where pods are asked for once, the API server has so much time."""

_DROPPED = ("silent", "slow", "crowded")
_MOST_COMPLAINTS = 1000

_Labels = tuple[str, str, str]


class ServiceExporter:
    """Knows what the AI services of a node say; `scrape` has it.

    All methods belong to one event loop.

    Args:
        settings: See `ServiceSettings`.
        shown: Told whenever there is a new snapshot.

    Attributes:
        settings: As given.
        scrape: What there is to scrape.
        receiver: Takes what services push.
        feedback: Takes answers and labels.
        dropped: Connections of senders that were given up; whoever serves them counts.

    Raises:
        SpecError: A file that the settings name is wrong.
    """

    def __init__(
        self, settings: ServiceSettings, *, shown: Callable[[], None] = lambda: None
    ) -> None:
        self.settings, self._shown = settings, shown
        self._golden = Watched(
            self._read_golden,
            lambda found: f"golden sets read again, for they changed: {len(found)}",
        )
        self._static: StaticTargets | None = None
        self._watch: PodsWatch | None = None
        if settings.targets is None:
            self._watch = PodsWatch(settings.node)
        else:
            self._static = StaticTargets(settings.targets, dialects())
        self.scrape, self.dropped = Scrape(), Counter[str]()
        self._shown_s = -math.inf
        self._publisher, self._identities = Publisher(), Identities()
        self._streams = Streams(began_ns=time.time_ns(), clock=time.monotonic)
        self._scraper = Scraper(read, interval_s=settings.interval_s)
        self._prober = Prober(
            self._golden.current(), clock=time.monotonic, rate_hz=settings.probe_rate_hz
        )
        self._store = AnswerStore(settings.store, clock=time.time)
        self.receiver = Receiver(self._identities, self._streams)
        self.feedback = FeedbackReceiver(self._store, self._identities)
        self._pods: dict[_Labels, Pod] | None = None
        self._pods_before: dict[_Labels, Pod] = {}
        self._complaints: set[str] = set()

    def close(self) -> None:
        """Close the store of answers, once nothing is received any more."""
        self._store.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Find, scrape, probe and show until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._scraper.run(stop))
            group.create_task(self._prober.run(stop))
            group.create_task(_again(stop, _UNASKED * self.settings.interval_s, self._show))
            group.create_task(_again(stop, _FORGET_S, self._forget))
            look_s = min(_LOOK_S, self.settings.interval_s)
            if self.settings.golden is not None:
                group.create_task(_again(stop, look_s, self._look_at_golden))
            if self._watch is not None:
                group.create_task(self._watch.run(stop, self._found))
            else:
                group.create_task(_again(stop, look_s, self._look))

    async def run_once(self) -> None:
        """Find the services, scrape each once, and show what they say.

        Raises:
            SourceUnavailable: It is not known where the API server is, or who asks it.
            SourceFailed: It did not tell the pods.
        """
        if self._watch is None:
            await self._look()
        else:
            await self._list_once(self._watch)
        await self._scraper.run_once()
        self._put_together()

    def refresh(self) -> None:
        """Serve what is known now, unless that was done a moment ago."""
        self._refresh(_FRESH_S)

    async def _show(self) -> None:
        """See that all can be put together, when nobody asked for it of late."""
        self._refresh(_UNASKED * self.settings.interval_s)

    def _refresh(self, age_s: float) -> None:
        """Serve what is known now, unless what is served is no older than this.

        When it cannot be put together the log says why, and what was served before stays.
        """
        if time.monotonic() - self._shown_s < age_s:
            return
        try:
            self._put_together()
        except Exception as error:  # noqa: BLE001 - the next time it may be right again
            _tell("show", error)

    def _put_together(self) -> None:
        """Put together what is known, and let it be served."""
        pushed = self._streams.readings()
        # Of two sides that tell the same, the first is believed.
        sides = [
            self.feedback.readings().items(),
            pushed.items(),
            self._scraper.readings(),
            self._prober.readings().items(),
        ]
        problems = {
            (*pod.labels, reason): float(times)
            for pod, reading in pushed.items()
            for reason, times in reading.problems.items()
        }
        targets = {"scrape": self._scraper.count, "otlp": len(pushed)}
        own = [
            *self._scraper.families(),
            *self.feedback.families(),
            *self._api_server(),
            Family(TARGET_PROBLEMS, tuple(problems.items())),
            _counted(TARGETS, targets),
            _counted(RECEIVER_REQUESTS, self.receiver.requests, OUTCOMES),
            _counted(RECEIVER_POINTS, self.receiver.points),
            _counted(RECEIVER_DROPPED, self.dropped, _DROPPED),
            Family(EXPORTER_BUILD_INFO, (((__version__, platform.python_version()), 1.0),)),
            Family(EXPORTER_CPU, (((), time.process_time()),)),
            Family(EXPORTER_MEMORY, (((), float(resident_bytes())),)),
        ]
        self.scrape.show(ordered(self._publisher.families(sides, own), SERVICE_CATALOGUE))
        self._shown_s = time.monotonic()
        self._shown()

    def _api_server(self) -> list[Family]:
        """Return whether the API server tells of pods; nothing where it is not asked."""
        if self._watch is None:
            return []
        return [
            Family(API_SERVER_UP, (((), float(self._watch.connected)),)),
            _counted(API_SERVER_FAILURES, self._watch.failures, FAILURES),
        ]

    async def _forget(self) -> None:
        """Forget pods that are gone now and were so the last time.

        Before the pods are known nothing is: what the store has of them would be lost.
        """
        if self._pods is None:
            return
        kept = {**self._pods_before, **self._pods}
        self._pods_before = self._pods
        self._streams.keep_only(kept.values())
        await self.feedback.keep_only(kept.values())

    async def _look(self) -> None:
        """Take over the services that the file names."""
        assert self._static is not None
        targets = self._static.current()
        self._use({target.pod.labels: target.pod for target in targets}, targets)

    def _read_golden(self, files: Files) -> Mapping[str, GoldenSet]:
        return {} if self.settings.golden is None else load_golden(self.settings.golden, files)

    async def _look_at_golden(self) -> None:
        """Take over the golden sets as they are now; large ones take their time to read."""
        self._prober.use(await asyncio.to_thread(self._golden.current))

    async def _list_once(self, watch: PodsWatch) -> None:
        await cluster()  # what it raises is the answer; else it would be tried again and again
        known = asyncio.Event()

        def found(pods: Iterable[Mapping[str, Any]]) -> None:
            self._found(pods)
            known.set()

        try:
            async with asyncio.timeout(_FIRST_LIST_S):
                await watch.run(known, found)
        except TimeoutError:
            raise SourceFailed(
                f"pods of node {self.settings.node}",
                found=f"no list of them from the API server in {_FIRST_LIST_S:g} s",
                remedy="the log says why; without Kubernetes, --targets names a file of services",
            ) from None

    def _found(self, pods: Iterable[Mapping[str, Any]]) -> None:
        """Take over the pods of the node, as the API server tells them."""
        found: dict[_Labels, Pod] = {}
        targets: list[Target] = []
        for one in pods:
            pod, services, problems = targets_of(one, dialects(), own_uid=self.settings.pod_uid)
            found[pod.labels] = pod
            targets += services
            for problem in problems:
                self._complain(f"{pod.namespace}/{pod.name}: {problem}")
        self._use(found, targets)

    def _use(self, pods: dict[_Labels, Pod], targets: Iterable[Target]) -> None:
        wanted = tuple(targets)
        self._pods = pods
        self._identities.update(pods.values())
        self._scraper.update(wanted)
        self._prober.update(wanted)

    def _complain(self, text: str) -> None:
        """Log what is wrong with a pod, once."""
        if len(self._complaints) < _MOST_COMPLAINTS and text not in self._complaints:
            self._complaints.add(text)
            _log.warning("%s", text)


def _counted(metric: Metric, counts: Mapping[str, int], known: Iterable[str] = ()) -> Family:
    """Return a family by its only label; what is known to occur is there from the start."""
    every = {**dict.fromkeys(known, 0), **counts}
    return Family(metric, tuple(((name,), float(n)) for name, n in sorted(every.items())))


async def _again(stop: asyncio.Event, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again until `stop` is set."""
    while not stop.is_set():
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the next time it may be right again
            _tell(work.__name__.strip("_"), error)
        try:
            async with asyncio.timeout(every_s):
                await stop.wait()
        except TimeoutError:
            continue


def _tell(what: str, error: Exception) -> None:
    """Log what failed, and where for who looks closer."""
    _log.error("%s failed: %s: %s", what, type(error).__name__, error)
    _log.debug("where it failed", exc_info=error)
