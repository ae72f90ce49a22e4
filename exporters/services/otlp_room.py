"""How much of our memory and time senders may take at once, each of them and all together."""

from __future__ import annotations

from collections import Counter

__all__ = ["Full", "Room"]


class Full(Exception):
    """There is no room now; soon there may be."""


class Room:
    """Room that is taken and given back; it belongs to one event loop.

    Args:
        whole: How much there is.
        each: How much of it one sender may have.
    """

    def __init__(self, *, whole: int, each: int) -> None:
        self._whole, self._each = whole, each
        self._taken: Counter[str] = Counter()

    def take(self, sender: str, amount: int) -> None:
        """Take room.

        Raises:
            Full: There is not so much.
        """
        if self._taken[sender] + amount > self._each or self._taken.total() + amount > self._whole:
            raise Full
        self._taken[sender] += amount

    def give_back(self, sender: str, amount: int) -> None:
        """Give back room that was taken."""
        self._taken[sender] -= amount
        if not self._taken[sender]:
            del self._taken[sender]
