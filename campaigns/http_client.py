"""A lean HTTP/1.1 client for load: connections that stay open, callbacks instead of tasks.

One request at a time goes over a connection; a request that finds none free opens one. Bodies are
sent as they are, so that a request costs little more than its system calls.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import resource
import select
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from ..profiler.oip import Message
from .exchange import Exchange
from .http_connection import Connection

__all__ = ["HttpTarget", "precise_loop"]

_SPARE_FILES = 64
_MOST_CONNECTIONS = 8192
_JOINED_BYTES = 65536
"""Up to here one system call with a copy of the body is cheaper than two without."""
_SWEEPS = 10
"""How often in the time limit it is looked for requests that exceed it."""
_LONGEST_SWEEP_S = 0.02


class _PreciseSelector(selectors.EpollSelector):
    """epoll that wakes at the microsecond: its own timeout is rounded up to a millisecond."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            select.select((self.fileno(),), (), (), timeout)
        return super().select(0)


def precise_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that is not late by design."""
    return asyncio.SelectorEventLoop(_PreciseSelector())


class HttpTarget:
    """A server.

    Args:
        url: Where requests go.
        timeout_s: An answer later than this after its request was ready to be sent has failed.
        body: Returns the message that asks for a sample.
    """

    def __init__(self, url: str, *, timeout_s: float, body: Callable[[int], Message]) -> None:
        parts = urlsplit(url)
        self._host, self._tls = parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.rpartition("@")[2]
        # A server that compresses spends time on what nobody asks for.
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Accept: */*"]
        lines += ["Accept-Encoding: identity"]
        if parts.username is not None:
            name = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines.append(f"Authorization: Basic {base64.b64encode(name.encode()).decode()}")
        self._head = "\r\n".join(lines)
        self._timeout_s = timeout_s
        self._body = body
        self._messages: dict[int, tuple[bytes, ...]] = {}
        self._addresses: list[str] = []
        self._tls_context = ssl.create_default_context() if self._tls else None
        self._idle: list[Connection] = []
        self._busy: dict[Connection, Exchange] = {}
        self._waiting: deque[Exchange] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._count = self._opening = 0
        self._most = _most_connections()
        self._sweep: asyncio.TimerHandle | None = None
        self.on_over: Callable[[Exchange], None] = lambda _: None

    async def open(self) -> None:
        """Look the server's name up, once. A name that is not known fails each request."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        self._look_for_late()

    async def close(self) -> None:
        """Close every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._waiting.clear()
        tasks = tuple(self._connecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next round

    def prepare(self, samples: list[int]) -> None:
        """Make the requests for some samples, before they are needed."""
        for sample in samples:
            if sample not in self._messages:
                self._messages[sample] = self._made(self._body(sample))

    def send(self, exchange: Exchange) -> None:
        """Send a request, over a connection that is free, else over the next that is.

        Another one is opened; but what becomes free before is taken first.
        """
        if self._idle:
            self._ask(self._idle.pop(), exchange)
            return
        self._waiting.append(exchange)
        if self._count < self._most:
            exchange.sent_s = time.monotonic()  # what follows is the network's time, not ours
            self._open_another()

    def _open_another(self) -> None:
        self._count += 1
        self._opening += 1
        task = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _ask(self, connection: Connection, exchange: Exchange) -> None:
        self._busy[connection] = exchange
        message = self._messages.get(exchange.sample)
        if message is None:
            message = self._messages[exchange.sample] = self._made(self._body(exchange.sample))
        if exchange.sent_s != exchange.sent_s:
            exchange.sent_s = time.monotonic()
        connection.ask(message)

    def _made(self, message: Message) -> tuple[bytes, ...]:
        lines = [self._head, f"Content-Length: {len(message.body)}"]
        lines += [f"{name}: {value}" for name, value in message.headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return (
            (head + message.body,) if len(message.body) <= _JOINED_BYTES else (head, message.body)
        )

    async def _connect(self) -> None:
        found = await self._connected()
        self._opening -= 1
        if isinstance(found, Connection):
            self._free(found)
            return
        self._count -= 1
        if self._waiting:
            self._over(self._waiting.popleft(), type(found).__name__)
        self._serve_waiting()

    async def _connected(self) -> Connection | OSError:
        """Return a new connection, or why there is none."""
        loop = asyncio.get_running_loop()
        last = OSError("no address")
        # A name that means several addresses: the first that answers stays the first.
        for address in tuple(self._addresses) or (self._host,):
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self._answered, self._lost),
                    address,
                    self._port,
                    ssl=self._tls_context,
                    server_hostname=self._host if self._tls else None,
                )
            except OSError as error:
                last = error
                continue
            if connection.is_lost:  # in the same breath; it is counted out already
                self._count += 1
                return ConnectionResetError()
            if self._addresses and self._addresses[0] != address:
                self._addresses.remove(address)
                self._addresses.insert(0, address)
            return connection
        return last

    def _answered(self, connection: Connection, keep: bool) -> None:
        """Take a whole answer; the connection is free again."""
        now_s = time.monotonic()
        exchange = self._busy.pop(connection, None)
        if exchange is None:  # an answer that nobody asked for
            self._idle = [one for one in self._idle if one is not connection]
            connection.close()
            return
        status = connection.status
        late = now_s - exchange.ready_s > self._timeout_s
        if status == 200 and not late:
            exchange.done_s = now_s
            exchange.answer = connection.answer()
        if keep:
            self._free(connection)
        else:
            connection.close()
        self._over(exchange, "timeout" if late else "ok" if status == 200 else f"HTTP {status}")

    def _lost(self, connection: Connection, why: str) -> None:
        """Take note that a connection is gone, in the midst of an answer or between two."""
        self._count -= 1
        exchange = self._busy.pop(connection, None)
        if exchange is not None:
            self._over(exchange, why)
        elif connection in self._idle:
            self._idle.remove(connection)
        self._serve_waiting()

    def _free(self, connection: Connection) -> None:
        if self._waiting:
            self._ask(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _serve_waiting(self) -> None:
        """Open what is missing for those that wait."""
        while self._opening < len(self._waiting) and self._count < self._most:
            self._open_another()

    def _over(self, exchange: Exchange, status: str) -> None:
        exchange.status = status
        self.on_over(exchange)

    def _look_for_late(self) -> None:
        """Give up what exceeds its time limit; all are kept in the order of their sending."""
        latest_s = time.monotonic() - self._timeout_s
        while self._busy:
            connection, exchange = next(iter(self._busy.items()))
            if exchange.ready_s > latest_s:
                break
            del self._busy[connection]
            connection.abort()
            self._over(exchange, "timeout")
        while self._waiting and self._waiting[0].ready_s <= latest_s:
            self._over(self._waiting.popleft(), "timeout")
        wait_s = min(self._timeout_s / _SWEEPS, _LONGEST_SWEEP_S)
        self._sweep = asyncio.get_running_loop().call_later(wait_s, self._look_for_late)


def _most_connections() -> int:
    """Return how many connections this process may have; each is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(1, min(soft - _SPARE_FILES, _MOST_CONNECTIONS))
