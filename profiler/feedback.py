"""Which requests may still be judged: a map of their ids, bounded in time and in number."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["RIGHT_OR_WRONG", "Feedback", "FeedbackStore", "Joined"]

RIGHT_OR_WRONG = ("accuracy", "within_tolerance")
"""Metrics of which a value is a share of what is right: none is above 1."""

Attributes = Mapping[str, str]


class Feedback(StrEnum):
    """What became of one value of feedback."""

    JOINED = "joined"
    """It is recorded with what is known of its request."""
    UNKNOWN = "unknown"
    """No request has this id: it never had, it is too long ago, or too many came since."""
    REPEATED = "repeated"
    """This request has a value of this metric already; the first one counts."""
    INVALID = "invalid"
    """The value is not a finite number of 0 or more, or a share above 1."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A value of feedback, and what is known of its request."""

    metric: str
    value: float
    attributes: Attributes


@dataclass(slots=True)
class _Entry:
    """One request: until when it is remembered, how it ended, and how it was judged."""

    until_s: float
    attributes: Attributes | None = None
    waiting: list[tuple[str, float]] = field(default_factory=list)
    metrics: set[str] = field(default_factory=set)


class FeedbackStore:
    """Joins values with requests by id, before or after the request has ended.

    Args:
        keep_s: How long a request is remembered.
        limit: How many are, at most; the oldest go first.
        clock: Monotonic seconds.
    """

    def __init__(self, *, keep_s: float, limit: int, clock: Callable[[], float]) -> None:
        self._keep_s, self._limit, self._clock = keep_s, limit, clock
        # In the order in which they run out. A dict would look for its first entry among all that
        # were there before.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, request_id: str) -> None:
        """Remember a request from now on."""
        with self._lock:
            now_s = self._clock()
            self._expire(now_s)
            self._entries.pop(request_id, None)
            self._entries[request_id] = _Entry(now_s + self._keep_s)
            if len(self._entries) > self._limit:
                self._entries.popitem(last=False)

    def end(self, request_id: str, attributes: Attributes) -> list[Joined]:
        """Say how a request ended; returns the values that waited for it."""
        with self._lock:
            entry = self._entries.get(request_id)
            if entry is None:
                return []
            entry.attributes = attributes
            waiting, entry.waiting = entry.waiting, []
        return [Joined(metric, value, attributes) for metric, value in waiting]

    def give(self, request_id: str, metric: str, value: float) -> Feedback | Joined:
        """Add a value; what can be recorded now is returned as `Joined`."""
        with self._lock:
            self._expire(self._clock())
            entry = self._entries.get(request_id)
            if entry is None:
                return Feedback.UNKNOWN
            if metric in entry.metrics:
                return Feedback.REPEATED
            entry.metrics.add(metric)
            if entry.attributes is None:
                entry.waiting.append((metric, value))
                return Feedback.JOINED
            return Joined(metric, value, entry.attributes)

    def _expire(self, now_s: float) -> None:
        while self._entries and self._entries[next(iter(self._entries))].until_s <= now_s:
            self._entries.popitem(last=False)
