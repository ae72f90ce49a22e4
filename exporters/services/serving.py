"""Runs the service exporter: one address for Prometheus, one for services that send."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from aiohttp import web

from ...errors import SourceFailed
from ..exposition import TEXT
from ..pages import Pulse, application
from ..web import Limits, Link, landing_page, serve
from .exporter import ServiceExporter
from .settings import ServiceSettings

__all__ = ["run", "run_once"]

_log = logging.getLogger(__name__)

_TITLE = "joulery service exporter"
_ABOUT = "Tells latency and quality of the AI services of this node, whatever servers they are."
_RECEIVER = "joulery service exporter: receiver"
_RECEIVES = "Takes what services of this node send, by POST."
_ROUTES = (
    Link(path="/v1/metrics", about="OTLP over HTTP"),
    Link(path="/v1/answers", about="what a service answered, by request id"),
    Link(path="/v1/labels", about="what would have been right, by request id"),
)
_SENDERS = Limits(connections=256, each=64)
"""Services keep their connection open between two pushes. On a machine without Kubernetes, and in
the network of a node, many have one address."""

_MOST_BYTES = 16 * 1024 * 1024
"""More than any route takes; each has its own limit, and says so in its own protocol."""


def run(
    settings: ServiceSettings, *, listen: str, otlp_listen: str, web_config: Path | None = None
) -> None:
    """Find, read and serve until SIGTERM or SIGINT.

    Args:
        settings: See `ServiceSettings`.
        listen: Where Prometheus scrapes, as `web.serve` takes it.
        otlp_listen: Where services send to, likewise.
        web_config: TLS, passwords and headers of the former, see `web_config`.

    Raises:
        JouleryError: It cannot be served there, or a file is wrong.
    """
    asyncio.run(_run(settings, listen, otlp_listen, web_config))


def run_once(settings: ServiceSettings) -> str:
    """Scrape each service once, and return what there is to scrape as text.

    Raises:
        JouleryError: A file is wrong, or the API server does not tell the pods.
    """
    with closing(ServiceExporter(settings)) as exporter:
        asyncio.run(exporter.run_once())
        body = exporter.scrape.body(TEXT, compressed=False)
    if body is None:
        raise SourceFailed("this node", found="nothing to show; the log says why")
    return body.decode()


async def _run(
    settings: ServiceSettings, listen: str, otlp_listen: str, web_config: Path | None
) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    pulse = Pulse(settings.interval_s)
    with closing(ServiceExporter(settings, shown=pulse.beat)) as exporter:
        if settings.store is None:
            _log.info("answers and labels are kept in memory; --store names a file that stays")
        shows = application(
            exporter.scrape, pulse, title=_TITLE, about=_ABOUT, refresh=exporter.refresh
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(exporter.run(stop))
                group.create_task(
                    serve(
                        shows,
                        listen=listen,
                        config=web_config,
                        stop=stop,
                        ready=_told("serving %s/metrics"),
                    )
                )
                group.create_task(
                    serve(
                        _receives(exporter),
                        listen=otlp_listen,
                        config=None,
                        stop=stop,
                        ready=_told("receiving at %s"),
                        limits=_SENDERS,
                        dropped=exporter.dropped,
                        option="--otlp-listen",
                    )
                )
        except BaseExceptionGroup as failed:
            # What went wrong first; the others only ended with it.
            raise _first(failed) from None
    _log.info("stopped")


def _receives(exporter: ServiceExporter) -> web.Application:
    app = web.Application(client_max_size=_MOST_BYTES)
    exporter.receiver.add_routes(app)
    app.router.add_routes(exporter.feedback.routes())
    app.router.add_get("/", landing_page(_RECEIVER, about=_RECEIVES, links=_ROUTES))
    return app


def _told(text: str) -> Callable[[str], None]:
    return lambda url: _log.info(text, url)


def _first(failed: BaseException) -> BaseException:
    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]
    return failed
