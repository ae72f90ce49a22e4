"""One request on its way, and where requests can be sent: to a server, or to a function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Exchange", "FunctionTarget", "RawAnswer", "Target"]

_NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """An answer as it came: header names in lower case, and the body."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(slots=True, eq=False)
class Exchange:
    """One request; times are monotonic seconds.

    Args:
        place: Its number among the requests of all senders.
        sample: What it asks.
        due_s: When it became due: latency counts from here.
        ready_s: When it could have been sent: later than due where it waits for its turn by
            design; how late the sender was counts from here.
        user: Who asks, in a closed loop.
        sent_s: When it was sent.
        done_s: When the answer was complete.
        status: `ok`, or what went wrong.
        answer: What came back.
    """

    place: int
    sample: int
    due_s: float
    ready_s: float
    user: int = 0
    sent_s: float = _NAN
    done_s: float = _NAN
    status: str = "unsent"
    answer: RawAnswer | None = None


class Target(Protocol):
    """Where requests are sent. It never waits, and tells when each one is over."""

    on_over: Callable[[Exchange], None]
    """Called once for each request: answered, failed or too late."""

    def send(self, exchange: Exchange) -> None:
        """Send a request; what becomes of it is written into it."""


class FunctionTarget:
    """A service in this process: a function that takes a sample and returns when it is done.

    Args:
        function: The service.
    """

    def __init__(self, function: Callable[[int], object]) -> None:
        self._function = function
        self.on_over: Callable[[Exchange], None] = lambda _: None

    def send(self, exchange: Exchange) -> None:
        """Call the function."""
        exchange.sent_s = time.monotonic()
        self._function(exchange.sample)
        exchange.done_s = time.monotonic()
        exchange.status = "ok"
        self.on_over(exchange)
