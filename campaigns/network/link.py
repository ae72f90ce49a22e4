"""The pure model of a path: (time, bytes) in, times of arrival out. It sends nothing.

Bytes of all connections of a direction pass one bottleneck: they leave it back to back at its rate,
in the order in which they were offered, and each then travels for the delay and the jitter.

Jitter belongs to the link, not to the bytes: it is drawn anew for each slot of 10 ms (a radio frame
of LTE and 5G, 3GPP TS 36.211 and TS 38.211), so that it does not depend on how a stream is cut.

TCP hides loss and shows its repair, so that a lost segment is the time that its repair takes. What
comes behind it on the same connection waits, and what is on other connections does not. There is no
congestion control: a link that loses keeps its rate, less what is sent again.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .conditions import Conditions, Link

__all__ = ["MSS_BYTES", "LinkModel", "Path"]

MSS_BYTES = 1460
"""Payload of a TCP segment in an Ethernet frame: 1,500 bytes less both headers."""
_SLOT_S = 0.01
_BLOCK = 1024
_INITIAL_WINDOW_BYTES = 10 * MSS_BYTES
"""RFC 6928: what a sender may send at once. A queue that holds less would lose it."""
_GRANT_S = 0.005
_GRANT_BYTES = 65536
_WINDOW_BYTES = 4 << 20
"""Bytes of one connection that may be under way, as a receive window bounds them."""

_LONGEST_AGAIN_S = 60.0
"""A connection that could not be repaired in a minute has other troubles than these."""


class _Draws:
    """Exponential draws with mean 1 by slot of time, the same for the same seed."""

    def __init__(self, seed: tuple[int, ...]) -> None:
        self._rng = np.random.default_rng(seed)
        self._first = 0
        self._values: NDArray[np.float64] = np.empty(0)

    def at(self, slot: int) -> float:
        """Return the draw of a slot; slots come in ascending order, give or take a few."""
        while slot >= self._first + len(self._values):
            # A block is kept after its end: directions look a little ahead of each other.
            kept = self._values[-_BLOCK:]
            self._first += len(self._values) - len(kept)
            self._values = np.concatenate([kept, self._rng.standard_exponential(_BLOCK)])
        return float(self._values[max(0, slot - self._first)])


class LinkModel:
    """One direction of a path, shared by all its connections.

    Times are seconds of one clock, which never goes back.

    Args:
        conditions: The path.
        direction: `up` or `down`.
        seed: What its randomness follows from.
        rtt_s: Returns the mean round trip at a time, seconds.
    """

    def __init__(
        self, conditions: Conditions, direction: str, seed: int, rtt_s: Callable[[float], float]
    ) -> None:
        timeline = tuple(conditions.timeline(direction))
        self._starts = [start_s for start_s, _ in timeline]
        self._links = [link for _, link in timeline]
        self._outages = self._links[0].outages
        self._seed = (seed, ("up", "down").index(direction))
        self._rtt_s = rtt_s
        self._free_s = -math.inf
        self._queued: deque[tuple[float, int]] = deque()
        self._queued_bytes = 0
        self.segments = 0
        self.segments_lost = 0
        self.restart(0.0)

    def restart(self, now_s: float) -> None:
        """Let the conditions, and all that is random in them, begin at a time."""
        self._zero_s = now_s
        self._jitter = _Draws((*self._seed, 0))
        self._rng = np.random.default_rng((*self._seed, 1))
        self._spared = float(self._rng.standard_exponential())

    def resumes_s(self, now_s: float) -> float:
        """Return when a packet may leave: at once, or at the end of an outage."""
        return self._after_outages(now_s, 0.0)

    def figures(self, now_s: float) -> Link:
        """Return the link's figures at a time."""
        if len(self._links) == 1:
            return self._links[0]
        return self._links[max(0, bisect.bisect_right(self._starts, now_s - self._zero_s) - 1)]

    def cross(self, now_s: float) -> float:
        """Return when an empty packet arrives that is sent now; it takes no room on the link."""
        return self._arrival_s(self._after_outages(max(now_s, self._free_s), 0.0))

    def carry(self, now_s: float, size_bytes: int) -> tuple[float, float]:
        """Let bytes pass the bottleneck; return when the last one leaves it, and arrives."""
        rate_bps = self.figures(now_s).rate_bps
        took_s = 0.0 if rate_bps is None else 8 * size_bytes / rate_bps
        left_s = self._after_outages(max(now_s, self._free_s), took_s)
        self._free_s = left_s
        if left_s > now_s:
            self._queued.append((left_s, size_bytes))
            self._queued_bytes += size_bytes
        return left_s, self._arrival_s(left_s)

    def room_s(self, now_s: float) -> float:
        """Return when the queue has room: now, or later.

        The queue holds a bandwidth-delay product, at least ten segments; without a rate, a window.
        """
        while self._queued and self._queued[0][0] <= now_s:
            self._queued_bytes -= self._queued.popleft()[1]
        over = self._queued_bytes - self._limit_bytes(now_s)
        if over < 0:
            return now_s
        for left_s, size_bytes in self._queued:
            over -= size_bytes
            if over < 0:
                return left_s
        return now_s

    def window_bytes(self, now_s: float) -> int:
        """Return how many bytes of one connection may be under way or waiting."""
        return max(_WINDOW_BYTES, 2 * self._limit_bytes(now_s))

    def grant_bytes(self, now_s: float) -> int:
        """Return how many bytes a connection may offer at once: 5 ms of the rate, for fairness."""
        rate_bps = self.figures(now_s).rate_bps
        share = _GRANT_BYTES if rate_bps is None else int(rate_bps / 8 * _GRANT_S)
        return min(_GRANT_BYTES, max(MSS_BYTES, share - share % MSS_BYTES))

    def lost(self, now_s: float, segments: int) -> list[int]:
        """Return which of so many segments that are sent now are lost, by position.

        How many segments are spared is drawn, as the sum of their hazards, so that a ratio that
        changes with time needs no draw of its own.
        """
        ratio = self.figures(now_s).loss_ratio
        self.segments += segments
        if not ratio:
            return []
        hazard = -math.log1p(-ratio)
        found, place = [], 0
        while self._spared < (segments - place) * hazard:
            place += int(self._spared / hazard)
            self._spared = float(self._rng.standard_exponential())
            if place >= segments:  # rounding
                break
            found.append(place)
            place += 1
        self._spared = max(0.0, self._spared - (segments - place) * hazard)
        self.segments_lost += len(found)
        return found

    def recovery_s(self, now_s: float) -> tuple[float, float]:
        """Return how long a segment lost now waits to be sent again, seconds: quickly, or at worst.

        Quickly is one round trip, from the third later segment on (RFC 5681). At worst it is the
        retransmission timeout: 200 ms (Linux), or two round trips if they are longer. After a
        retransmission that is lost too it is twice as long as before (RFC 6298).
        """
        rtt_s = self._rtt_s(now_s)
        timeout_s = max(0.2, 2 * rtt_s)
        again_s = 0.0
        ratio = self.figures(now_s).loss_ratio
        while self._rng.random() < ratio and again_s < _LONGEST_AGAIN_S:
            again_s = 2 * again_s + 2 * timeout_s
        return rtt_s + again_s, timeout_s + again_s

    def _limit_bytes(self, now_s: float) -> int:
        rate_bps = self.figures(now_s).rate_bps
        if rate_bps is None:
            return _WINDOW_BYTES
        return max(_INITIAL_WINDOW_BYTES, int(rate_bps / 8 * self._rtt_s(now_s)))

    def _arrival_s(self, left_s: float) -> float:
        link = self.figures(left_s)
        if not link.jitter_s:
            return left_s + link.delay_s
        slot = max(0, int((left_s - self._zero_s) / _SLOT_S))
        return left_s + link.delay_s + link.jitter_s * self._jitter.at(slot)

    def _after_outages(self, from_s: float, took_s: float) -> float:
        """Return when work of some length that begins at a time is done; outages suspend it."""
        for begin_s, end_s in self._outages:
            begin_s, end_s = self._zero_s + begin_s, self._zero_s + end_s
            if from_s + took_s <= begin_s and from_s < begin_s:
                break
            if from_s < end_s:
                took_s -= max(0.0, begin_s - from_s)
                from_s = end_s
        return from_s + took_s


class Path:
    """Both directions of a path, from its conditions and a seed.

    Args:
        conditions: What to do to bytes.
        seed: The same seed gives the same jitter and loss, by time and by order.
    """

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self.up = LinkModel(conditions, "up", seed, self.rtt_s)
        self.down = LinkModel(conditions, "down", seed, self.rtt_s)

    def rtt_s(self, now_s: float) -> float:
        """Return the mean round trip at a time without a queue, seconds."""
        return self.up.figures(now_s).mean_delay_s + self.down.figures(now_s).mean_delay_s

    def restart(self, now_s: float) -> None:
        """Let the conditions begin at a time, with their randomness from the start."""
        self.up.restart(now_s)
        self.down.restart(now_s)
