"""The pure model of one direction of one TCP connection on a link: bytes in order, and repaired."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .link import MSS_BYTES, LinkModel

__all__ = ["Stream", "Taken"]

_PIECE_S = 0.0005
"""A piece arrives as a whole, so that its first byte is late by this much at most, or a segment."""
_DUPLICATE_ACKS = 3
"""RFC 5681: so many later segments tell the sender that one was lost."""


@dataclass(slots=True)
class _Piece:
    """Bytes that arrive together; `pending`: later segments that hasten its repair."""

    due_s: float
    size_bytes: int
    pending: int = 0
    quickly_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What arrived.

    Args:
        size_bytes: So many bytes, in order.
        due_s: When the first of them was to arrive.
        ended: Whether the end of the stream arrived behind them.
    """

    size_bytes: int
    due_s: float
    ended: bool


class Stream:
    """One direction of a connection: offer bytes as they come, take them as they arrive.

    Args:
        link: What they pass.
    """

    def __init__(self, link: LinkModel) -> None:
        self._link = link
        self._pieces: deque[_Piece] = deque()
        self._unrepaired: list[_Piece] = []
        self._last_s = float("-inf")
        self.under_way_bytes = 0

    def offer(self, now_s: float, size_bytes: int) -> None:
        """Send bytes now."""
        self.under_way_bytes += size_bytes
        whole = self._piece_bytes(now_s)
        while size_bytes > 0:
            piece = min(whole, size_bytes)
            self._send(now_s, piece)
            size_bytes -= piece

    def end(self, now_s: float) -> None:
        """Send the end of the stream now, behind all that was offered."""
        self._pieces.append(_Piece(self._link.carry(now_s, 0)[1], 0))

    def due_s(self) -> float | None:
        """Return when the next bytes arrive; what is offered later may hasten it."""
        return max(self._pieces[0].due_s, self._last_s) if self._pieces else None

    def take(self, now_s: float) -> Taken | None:
        """Take all that has arrived by now."""
        first_s = self.due_s()
        if first_s is None or first_s > now_s:
            return None
        size_bytes, ended = 0, False
        while self._pieces and self._pieces[0].due_s <= now_s:
            piece = self._pieces.popleft()
            self._last_s = max(self._last_s, piece.due_s)
            size_bytes += piece.size_bytes
            ended = ended or not piece.size_bytes
        self.under_way_bytes -= size_bytes
        return Taken(size_bytes=size_bytes, due_s=first_s, ended=ended)

    def _piece_bytes(self, now_s: float) -> int:
        rate_bps = self._link.figures(now_s).rate_bps
        if rate_bps is None:
            return self._link.grant_bytes(now_s)
        return max(1, int(rate_bps / 8 * _PIECE_S / MSS_BYTES)) * MSS_BYTES

    def _send(self, now_s: float, size_bytes: int) -> None:
        """Send a piece; from its first lost segment on it is a piece that waits for the repair."""
        segments = -(-size_bytes // MSS_BYTES)
        left_s, arrives_s = self._link.carry(now_s, size_bytes)
        self._hasten(segments, left_s, arrives_s - left_s)
        lost = self._link.lost(now_s, segments)
        intact = size_bytes if not lost else lost[0] * MSS_BYTES
        if intact:
            self._pieces.append(_Piece(arrives_s, intact))
        if not lost:
            return
        for _ in lost:
            self._link.carry(now_s, MSS_BYTES)  # what is sent again takes room, too
        quickly_s, at_worst_s = self._link.recovery_s(now_s)
        travels_s = arrives_s - left_s
        piece = _Piece(
            due_s=self._link.resumes_s(left_s + at_worst_s) + travels_s,
            size_bytes=size_bytes - intact,
            pending=_DUPLICATE_ACKS,
            quickly_s=quickly_s,
        )
        self._pieces.append(piece)
        self._unrepaired.append(piece)
        self._hasten(segments - 1 - lost[-1], left_s, travels_s)

    def _hasten(self, segments: int, left_s: float, travels_s: float) -> None:
        """Tell pieces that wait for a repair that segments were sent behind them."""
        for piece in self._unrepaired:
            piece.pending -= segments
            if piece.pending <= 0:
                again_s = self._link.resumes_s(left_s + piece.quickly_s) + travels_s
                piece.due_s = min(piece.due_s, again_s)
        if self._unrepaired:
            self._unrepaired = [piece for piece in self._unrepaired if piece.pending > 0]
