"""Runs the energy exporter as a process: a thread that measures, and an HTTP server that shows.

Scraping and probing change nothing: they read what the thread showed last.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from aiohttp import web

from ..errors import SourceFailed
from .energy import EnergyExporter
from .exposition import TEXT
from .pages import Pulse, application
from .web import serve

__all__ = ["measure", "run", "run_once"]

_log = logging.getLogger(__name__)

_ABOUT = "Gives every pod of this node its joules, each with its 95 % interval and its origin."


def measure(exporter: EnergyExporter, stop: threading.Event, pulse: Pulse) -> None:
    """Let cycles follow one another at even times until told to stop, with looks between them.

    A cycle that takes longer than its time delays the next one; none is caught up with.
    """
    interval_s = exporter.settings.interval_s
    due_s, late = time.monotonic() + interval_s, False
    while not stop.wait(max(0.0, min(exporter.look_s, due_s - time.monotonic()))):
        try:
            if time.monotonic() < due_s:
                exporter.look()
                continue
            if exporter.cycle(late=late):
                pulse.beat()
        except Exception as error:  # noqa: BLE001 - what is wrong now may be right in the next cycle
            _log.error("a cycle failed: %s: %s", type(error).__name__, error)
            _log.debug("where it failed", exc_info=True)
        if time.monotonic() >= due_s:
            due_s += interval_s
            late = due_s < time.monotonic()
            due_s = time.monotonic() + interval_s if late else due_s


def run(
    exporter: EnergyExporter, *, listen: str, web_config: Path | None = None, otlp: bool = False
) -> None:
    """Measure and serve until SIGTERM or SIGINT.

    Args:
        exporter: What measures; it is entered and left here.
        listen: Where to serve, as `web.serve` takes it.
        web_config: TLS, passwords and headers, see `web_config`.
        otlp: Also push what is served, where OpenTelemetry's variables say.

    Raises:
        JouleryError: It cannot be served there, or the configuration is wrong.
    """
    pulse, stop = Pulse(exporter.settings.interval_s), threading.Event()
    with ExitStack() as stack:
        stack.enter_context(exporter)
        if otlp:
            from .otlp import pushing

            stack.enter_context(pushing(exporter.scrape, exporter.settings.node))
        thread = threading.Thread(
            target=measure, args=(exporter, stop, pulse), name="joulery-energy", daemon=True
        )
        stack.callback(thread.join)
        stack.callback(stop.set)
        thread.start()
        app = application(exporter.scrape, pulse, title="joulery energy exporter", about=_ABOUT)
        asyncio.run(_served(app, listen, web_config))


async def _served(app: web.Application, listen: str, config: Path | None) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(
        app,
        listen=listen,
        config=config,
        stop=stop,
        ready=lambda url: _log.info("serving %s/metrics", url),
    )
    _log.info("stopped")


def run_once(exporter: EnergyExporter) -> str:
    """Measure for one cycle, and return the scrape as text."""
    until_s = time.monotonic() + exporter.settings.interval_s
    with exporter:
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, exporter.look_s))
            exporter.look()
        exporter.cycle()
        body = exporter.scrape.body(TEXT, compressed=False)
    if body is None:
        raise SourceFailed("this node", found="a cycle that failed; the log says why")
    return body.decode()
