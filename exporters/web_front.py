"""Taking connections for an aiohttp application: as many as there is room for, none for ever.

aiohttp's own sites keep one TLS context for good and take whoever comes. This front asks for the
configuration at each connection, so rotated certificates serve the next client, and gives up a
client that says nothing. What is answered, `web` decides.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from .web_config import WatchedWebConfig, WebConfig
from .web_tls import client_names

__all__ = ["Front", "Limits"]

_log = logging.getLogger(__name__)

_LINE_BYTES = 8190
_HEADERS = 64
_TLS_CLOSE_S = 10.0
"""A slow client needs it for the end of an answer that closes the connection."""

_RETRY_S = 1.0
_LAST_S = 1.0
"""What is left when the requests in flight had their time: closing takes no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may cost.

    Attributes:
        silent_s: Until the first request's head is here, and a TLS handshake before it, each.
        idle_s: From an answer until the next request's head is here; longer than scrapes lie apart.
        request_s: Receiving the rest of a request, working on it, and sending the answer.
        stop_s: How long requests in flight are waited for at the end.
        connections: How many at once; others wait to be taken. Each may hold a whole answer, and
            asyncio's buffer of 256 KiB with TLS.
        each: How many of them from one address; further ones are closed. `None`: all of them.
    """

    silent_s: float = 10.0
    idle_s: float = 90.0
    request_s: float = 30.0
    stop_s: float = 5.0
    connections: int = 40
    each: int | None = None


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """aiohttp logs a traceback for all that fails: port scans are none of ours."""

    def exception(self, msg: object, *args: object, exc_info: Any = None, **_: Any) -> None:
        if isinstance(exc_info, HttpProcessingError | ConnectionError):
            self.debug("%s: %s", msg, exc_info)
        else:
            self.error(f"{msg}: %s", *args, repr(exc_info))


class Front:
    """Takes connections and hands them to an application.

    Args:
        app: The application.
        watched: Asked for TLS at each connection.
        limits: What clients may cost.
        dropped: Counts connections that are closed because they are `silent`, or too many of one
            address (`crowded`).
    """

    def __init__(
        self,
        app: web.Application,
        *,
        watched: WatchedWebConfig,
        limits: Limits,
        dropped: Counter[str],
    ) -> None:
        self._watched, self._limits, self._dropped = watched, limits, dropped
        self._sockets: Sequence[socket.socket] = ()
        self._taking = self._ended = self._told = False
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self._by_address: Counter[str] = Counter()
        self._silences: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_Quiet(_log, {}),
            keepalive_timeout=limits.idle_s,
            lingering_time=_LAST_S,
            shutdown_timeout=_LAST_S,
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
            max_headers=_HEADERS,
        )

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Start the application, then take connections; the listening sockets are ours now."""
        self._sockets = sockets
        await self._runner.setup()
        self._resume()

    def heard(self, transport: asyncio.BaseTransport | None) -> None:
        """Note that a connection brought a request: it is not silent any more."""
        silence = self._silences.pop(transport, None) if transport is not None else None
        if silence is not None:
            silence.cancel()

    def enter(self, transport: asyncio.Transport) -> asyncio.Protocol | None:
        """Return aiohttp's handler for a new connection, which must be heard of soon."""
        server = self._runner.server
        if server is None:
            return None
        self._silences[transport] = asyncio.get_running_loop().call_later(
            self._limits.silent_s, self._give_up, transport
        )
        return server()

    def _give_up(self, transport: asyncio.Transport) -> None:
        """Close a connection that said nothing."""
        self._dropped["silent"] += 1
        transport.abort()

    def refuse(self) -> None:
        """Take no more connections, and drop those whose handshake is not done."""
        self._ended = True
        self._pause()
        for listening in self._sockets:
            listening.close()
        for task, connection in self._open.items():
            if connection.transport is None:
                task.cancel()

    async def end(self) -> None:
        """Close what is idle, end the application, and cut what is still open."""
        await self._runner.cleanup()
        await self._gone()
        for task, connection in self._open.items():
            if connection.transport is not None:
                connection.transport.abort()
            task.cancel()
        await self._gone()

    async def _gone(self) -> None:
        if self._open:
            await asyncio.wait(self._open, timeout=_LAST_S)

    def _resume(self) -> None:
        full = len(self._open) >= self._limits.connections
        if not (self._taking or self._ended or full):
            self._taking = True
            for listening in self._sockets:
                asyncio.get_running_loop().add_reader(listening, self._take, listening)

    def _pause(self) -> None:
        if self._taking:
            self._taking = False
            for listening in self._sockets:
                asyncio.get_running_loop().remove_reader(listening)

    def _take(self, listening: socket.socket) -> None:
        """Take one connection; the loop calls this as long as others wait."""
        loop = asyncio.get_running_loop()
        try:
            accepted, (address, *_) = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return  # it has gone again
        except OSError as error:
            # Mostly no file descriptor is left, and some may be closed soon. It is said once.
            if not self._told:
                _log.warning("no connection can be taken: %s", error.strerror)
            self._told = True
            self._pause()
            loop.call_later(_RETRY_S, self._resume)
            return
        if self._limits.each is not None and self._by_address[address] >= self._limits.each:
            self._dropped["crowded"] += 1
            accepted.close()
            return
        accepted.setblocking(False)
        self._by_address[address] += 1
        connection = _Connection(self._watched.current(), self)
        task = loop.create_task(self._keep(connection, accepted))
        self._open[task] = connection
        task.add_done_callback(lambda task: self._let_go(task, address))
        if len(self._open) >= self._limits.connections:
            self._pause()

    def _let_go(self, task: asyncio.Task[None], address: str) -> None:
        del self._open[task]
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        self._resume()

    async def _keep(self, connection: _Connection, accepted: socket.socket) -> None:
        """Stay with a connection from its handshake to its end."""
        tls = connection.config.tls
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=tls,
                ssl_handshake_timeout=self._limits.silent_s if tls else None,
                ssl_shutdown_timeout=_TLS_CLOSE_S if tls else None,
            )
        except OSError as error:
            _log.debug("a TLS handshake failed: %s", error)
            return
        await connection.lost.wait()


class _Connection(asyncio.Protocol):
    """One connection, between its transport and aiohttp's handler, which does the HTTP."""

    def __init__(self, config: WebConfig, front: Front) -> None:
        self.config = config
        self.transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()
        self._front = front
        self._handler: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        allowed = self.config.client_sans
        if allowed and allowed.isdisjoint(client_names(transport.get_extra_info("peercert"))):
            _log.debug("a client's certificate has none of the names that are allowed")
            transport.abort()
            return
        self._handler = self._front.enter(transport)
        if self._handler is None:  # the server ended while this connection was being made
            transport.abort()
            return
        self._handler.connection_made(transport)
        # Nothing stays behind in a buffer: an answer is sent when the system has all of it.
        # (One byte, not none: TLS in asyncio takes an empty buffer for a full one at 0.)
        transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        if self._handler is not None:
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._handler is None else self._handler.eof_received()

    def pause_writing(self) -> None:
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._front.heard(self.transport)
        if self._handler is not None:
            self._handler.connection_lost(exc)
