"""One HTTP/1.1 connection: a request out, an answer in, and on to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httptools

from .exchange import RawAnswer

__all__ = ["Connection"]

_BUFFER_BYTES = 65536


class Connection(asyncio.BufferedProtocol):
    """A connection that asks one thing at a time.

    Args:
        on_answer: Called with each whole answer, and whether the connection stays open.
        on_lost: Called when the connection is gone, with the reason.
    """

    def __init__(
        self,
        on_answer: Callable[[Connection, bool], None],
        on_lost: Callable[[Connection, str], None],
    ) -> None:
        self._on_answer, self._on_lost = on_answer, on_lost
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._head_done, self._complete, self._keep, self._extra = False, False, True, False
        self._why = "disconnected"
        self.status = 0
        self.is_lost = False

    def ask(self, message: tuple[bytes, ...]) -> None:
        """Send a request."""
        self._headers, self._body = [], []
        self._head_done = self._complete = False
        assert self._transport is not None
        for part in message:
            self._transport.write(part)

    def answer(self) -> RawAnswer:
        """Return the last answer."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        return RawAnswer(headers=tuple(self._headers), body=body)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection, whatever is on its way."""
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the buffer is what it is
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        try:
            self._parser.feed_data(self._view[:nbytes])
        except httptools.HttpParserError as error:
            self._why = f"malformed answer: {error}"
            self.abort()
            return
        if self._complete:
            self._complete = False
            self._on_answer(self, self._keep)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self._ends_with_the_connection():
            self._head_done = False
            self._on_answer(self, False)
        self.is_lost = True
        reason = self._why if error is None else type(error).__name__
        self._on_lost(self, reason)

    def _ends_with_the_connection(self) -> bool:
        """Whether an answer is on its way that says nowhere how long it is (RFC 9112, 6.3)."""
        names = {name for name, _ in self._headers}
        return self._head_done and not names & {b"content-length", b"transfer-encoding"}

    # What the parser calls.

    def on_message_begin(self) -> None:
        """See whether this is an answer too many."""
        self._extra = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if not self._extra:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take the status."""
        if not self._extra:
            self.status = self._parser.get_status_code()
            self._head_done = True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if not self._extra:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """See whether that was the answer, a word before it, or one too many."""
        self._head_done = False
        if self._extra:
            self._keep = False  # nobody knows what belongs to what any more
        elif self.status < 200:
            self._headers, self._body = [], []
        else:
            # The parser knows until this call returns.
            self._keep = self._parser.should_keep_alive()
            self._complete = True
