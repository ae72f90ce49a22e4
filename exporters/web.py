"""Serving HTTP for our exporters: any aiohttp application, with TLS, passwords and bounded clients.

What is served, the application knows; the web configuration stands in `web_config`. Connections
are taken here and not by aiohttp, so that each gets the certificates of its time, and so that no
client can hold more than its share: a scrape must find an exporter that has room for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

from .web_auth import Passwords
from .web_config import WatchedWebConfig
from .web_front import Front, Limits
from .web_listen import bind, url_of

__all__ = ["Limits", "Link", "landing_page", "serve"]

_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _nobody(_url: str) -> None:
    """Tell nobody that the server is ready."""


async def serve(
    app: web.Application,
    *,
    listen: str,
    config: Path | None,
    stop: asyncio.Event,
    open_paths: frozenset[str] = frozenset({"/healthz", "/readyz"}),
    ready: Callable[[str], None] = _nobody,
    limits: Limits | None = None,
    dropped: Counter[str] | None = None,
    option: str = "--listen",
) -> None:
    """Serve an application until `stop` is set; then requests in flight are answered first.

    Args:
        app: The application; it is used up, for it gets our middleware.
        listen: `ADDRESS:PORT`, `[ADDRESS]:PORT`, or `:PORT` for all addresses; port 0 is any.
        config: The web configuration file: TLS, passwords and headers. It and its certificates
            are read again when they change.
        stop: Set from outside to end.
        open_paths: Routes that need no password; a client's certificate they do need.
        ready: Told the URL, without a slash at its end, once clients can connect.
        limits: What one client may cost.
        dropped: Counts clients that cost more, by what they were: silent, crowded (too many
            connections from one address), slow (a request that did not end in time).
        option: What the command calls `listen`, for errors.

    Raises:
        SpecError: When the address or the web configuration is wrong.
        JouleryError: When the address cannot be had.
    """
    limits = limits or Limits()
    watched = WatchedWebConfig(config)
    current = watched.current()
    if current.users and current.tls is None:
        _log.warning("%s: passwords without TLS can be read on their way", config)
    dropped = Counter() if dropped is None else dropped
    front = Front(app, watched=watched, limits=limits, dropped=dropped)
    guard = _Guard(watched, front, open_paths, limits, dropped)

    @web.middleware
    async def around(request: web.Request, handler: _Handler) -> web.StreamResponse:
        return await guard.around(request, handler)

    app.middlewares.insert(0, around)
    app.on_response_prepare.append(guard.dress)
    sockets = bind(listen, option)
    try:
        await front.start(sockets)
        ready(url_of(listen, sockets[0], tls=current.tls is not None))
        await stop.wait()
    finally:
        front.refuse()
        await guard.finish()
        await front.end()


class _Guard:
    """Stands before each request: passwords, time limits, headers, and errors in one line."""

    def __init__(
        self,
        watched: WatchedWebConfig,
        front: Front,
        open_paths: frozenset[str],
        limits: Limits,
        dropped: Counter[str],
    ) -> None:
        self._watched, self._front = watched, front
        self._open_paths, self._limits, self._dropped = open_paths, limits, dropped
        self._passwords = Passwords()
        self._busy = 0
        self._stopping = False
        self._idle = asyncio.Event()

    async def finish(self) -> None:
        """Wait until the requests in flight are answered, or their time is over."""
        self._stopping = True
        if self._busy:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), self._limits.stop_s)

    async def around(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer one request."""
        self._front.heard(request.transport)
        self._busy += 1
        self._idle.clear()
        try:
            return await self._answer(request, handler)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer and send, all within the time that a request has."""
        response: web.StreamResponse | None = None
        try:
            async with asyncio.timeout(self._limits.request_s):
                response = await self._decide(request, handler)
                await response.prepare(request)
                await response.write_eof()
                # Only now has the client taken it: it may read as slowly as it likes.
                await request.writer.drain()
        except TimeoutError:
            self._dropped["slow"] += 1
            if response is not None and response.prepared:
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("the client took no answer in time") from None
            _log.warning(
                "%s %s: no answer within %g s", request.method, request.path, self._limits.request_s
            )
            raise web.HTTPServiceUnavailable(text="No answer in time.\n") from None
        if isinstance(response, web.HTTPException):
            raise response  # aiohttp wants these raised, also when they are sent already
        return response

    async def _decide(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            users = self._watched.current().users
            resource = request.match_info.route.resource
            # The route that will answer counts, not how its path was spelt.
            is_open = resource is not None and resource.canonical in self._open_paths
            if users and not is_open:
                await self._passwords.require(request.headers.get(hdrs.AUTHORIZATION, ""), users)
            return await handler(request)
        except web.HTTPException as answer:
            return answer
        except web.RequestPayloadError as error:
            return web.HTTPBadRequest(text=f"The request's body cannot be read: {error}\n")
        except Exception as error:
            if request.transport is None:
                raise ConnectionResetError("the client has gone") from error
            _log.error(
                "%s %s: %s: %s",
                *(request.method, request.path, type(error).__name__, error),
                exc_info=_log.isEnabledFor(logging.DEBUG),
            )
            return web.HTTPInternalServerError(text="This failed; the log says why.\n")

    async def dress(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers of the configuration, and tell nothing about what we are made of."""
        for name, value in self._watched.current().headers.items():
            response.headers.setdefault(name, value)
        response.headers[hdrs.SERVER] = "joulery"
        if self._stopping:
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One line of a landing page: where it leads, and what is there."""

    path: str
    about: str


def landing_page(title: str, *, about: str, links: Sequence[Link]) -> _Handler:
    """Return a handler for `/`: a page that says what this is, and where its parts are.

    Args:
        title: What this exporter is called.
        about: What it does, in a sentence or two.
        links: The pages it has.
    """
    name, items = html.escape(title), ""
    for link in links:
        path = html.escape(link.path)
        items += f'<li><a href="{path}">{path}</a>: {html.escape(link.about)}</li>\n'
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{name}</title>\n</head>\n<body>\n<h1>{name}</h1>\n"
        f"<p>{html.escape(about)}</p>\n<ul>\n{items}</ul>\n</body>\n</html>\n"
    )

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    return show
