"""The pages of an exporter: its metrics, its probes, and one that leads to them.

Scraping and probing change nothing of what was measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from .exposition import Scrape, negotiated
from .web import Link, landing_page

__all__ = ["Pulse", "application"]

_PATIENCE = 6
"""After so many cycles without a good one the process counts as ill."""

_LEAST_PATIENCE_S = 60.0

_LINKS = (
    Link(path="/metrics", about="the metrics, for Prometheus"),
    Link(path="/healthz", about="whether measuring goes on"),
    Link(path="/readyz", about="whether there is something to scrape"),
)


class Pulse:
    """When the last good cycle ended; what the liveness probe asks.

    Args:
        interval_s: Time of a cycle.
        clock: Monotonic seconds.
    """

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._last_s = clock, clock()
        self._patience_s = max(_LEAST_PATIENCE_S, _PATIENCE * interval_s)

    def beat(self) -> None:
        """Say that a cycle went well."""
        self._last_s = self._clock()

    @property
    def alive(self) -> bool:
        """Whether the last good cycle is not too long ago."""
        return self._clock() - self._last_s < self._patience_s


def _nothing() -> None:
    """What is shown is there already."""


def application(
    scrape: Scrape,
    pulse: Pulse,
    *,
    title: str,
    about: str,
    refresh: Callable[[], None] = _nothing,
) -> web.Application:
    """Return what is served: the metrics, two probes, and a page that leads to them.

    Args:
        scrape: What there is to scrape.
        pulse: Whether measuring goes on.
        title: What this exporter is called.
        about: What it does, in a sentence.
        refresh: Called before the metrics are shown.
    """

    async def metrics(request: web.Request) -> web.Response:
        content_type = negotiated(request.headers.get("Accept", ""))
        refresh()
        compressed = "gzip" in request.headers.get("Accept-Encoding", "")
        body = scrape.body(content_type, compressed=compressed)
        if body is None:
            return web.Response(status=503, text="nothing was measured yet\n")
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def healthy(_: web.Request) -> web.Response:
        if pulse.alive:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="no good cycle for too long; see the log\n")

    async def ready(_: web.Request) -> web.Response:
        if scrape.ready:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="nothing was measured yet\n")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthy)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/", landing_page(title, about=about, links=_LINKS))
    return app
