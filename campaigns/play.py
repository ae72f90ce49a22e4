"""Send the requests of a schedule at their times: open loops, closed loops, all at once.

An open loop sends whatever became of earlier requests. In a closed loop a request becomes due when
its user has the answer to the last one and has thought. Everything runs in callbacks of one event
loop: a task per request would cost more than the request.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator

from .exchange import Exchange, Target
from .schedule import AnySchedule, ClosedSchedule, Schedule

__all__ = ["Player"]

_AT_ONCE = 16
"""After so many sends in a row, answers are looked at."""
_AFTER_FAILURE_S = 0.01
"""A user whose request failed comes back no sooner: nobody learns from failures at full speed."""


class Player:
    """Sends one schedule and knows when the last answer is there.

    Args:
        target: Where to.
        schedule: What and when.
        index: Which of several senders this is: requests are numbered across all of them.
        of: How many there are.

    Attributes:
        exchanges: Every request, in the order in which they became due.
    """

    def __init__(
        self, target: Target, schedule: AnySchedule, *, index: int = 0, of: int = 1
    ) -> None:
        self.exchanges: list[Exchange] = []
        self._target = target
        self._schedule = schedule
        self._index, self._of = index, of
        if isinstance(schedule, Schedule):
            # Made before the load: nothing is built while requests are due.
            self.exchanges = [
                Exchange(place=index + place * of, sample=sample, due_s=due_s, ready_s=due_s)
                for place, (due_s, sample) in enumerate(
                    zip(schedule.intended_s.tolist(), schedule.samples.tolist(), strict=True)
                )
            ]

    async def play(self, start_s: float) -> list[Exchange]:
        """Send everything and wait for all answers; return the requests.

        Args:
            start_s: Time zero of the schedule, monotonic seconds.
        """
        loop = asyncio.get_running_loop()
        if isinstance(self._schedule, Schedule):
            play: _Open | _Closed = _Open(self._target, self.exchanges, loop)
        else:
            places = itertools.count(self._index, self._of)
            play = _Closed(self._target, self._schedule, self.exchanges, loop, places)
        self._target.on_over = play.over
        play.begin(start_s)
        await play.finished
        return self.exchanges


class _Open:
    """Each request at its time."""

    def __init__(
        self, target: Target, exchanges: list[Exchange], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.finished: asyncio.Future[None] = loop.create_future()
        self._send = target.send
        self._exchanges, self._loop = exchanges, loop
        self._next, self._left = 0, len(exchanges)

    def begin(self, start_s: float) -> None:
        for exchange in self._exchanges:
            exchange.due_s += start_s
            exchange.ready_s = exchange.due_s
        if not self._exchanges:
            self.finished.set_result(None)
            return
        self._tick()

    def over(self, _: Exchange) -> None:
        self._left -= 1
        if not self._left:
            self.finished.set_result(None)

    def _tick(self) -> None:
        """Send what is due; come back when the next one is."""
        exchanges, loop = self._exchanges, self._loop
        until = min(self._next + _AT_ONCE, len(exchanges))
        while self._next < until:
            exchange = exchanges[self._next]
            if exchange.due_s > loop.time():
                loop.call_at(exchange.due_s, self._tick)
                return
            self._next += 1
            self._send(exchange)
        if self._next < len(exchanges):
            loop.call_soon(self._tick)


class _Closed:
    """Users who ask, wait and think; `places` are the numbers of their requests."""

    def __init__(
        self,
        target: Target,
        schedule: ClosedSchedule,
        exchanges: list[Exchange],
        loop: asyncio.AbstractEventLoop,
        places: Iterator[int],
    ) -> None:
        self.finished: asyncio.Future[None] = loop.create_future()
        self._send, self._places = target.send, places
        self._schedule, self._exchanges, self._loop = schedule, exchanges, loop
        self._samples: list[int] = schedule.samples.tolist()
        self._think_s: list[list[float]] = schedule.think_s.tolist()
        users = len(schedule.first_s)
        self._turn, self._open = [0] * users, [0] * users
        self._failed = [False] * users
        self._active = users
        self._start_s = 0.0
        self._ready: deque[tuple[int, float]] = deque()
        self._asking = False

    def begin(self, start_s: float) -> None:
        self._start_s = start_s
        if not self._active:
            self.finished.set_result(None)
        for user, first_s in enumerate(self._schedule.first_s.tolist()):
            self._plan(user, start_s + first_s)

    def over(self, exchange: Exchange) -> None:
        user = exchange.user
        self._open[user] -= 1
        self._failed[user] |= exchange.status != "ok"
        if self._open[user]:
            return  # others of the query are on their way
        now_s = self._loop.time()
        thoughts_s = self._think_s[user]
        think_s = thoughts_s[self._turn[user] % len(thoughts_s)]
        self._turn[user] += 1
        if self._failed[user]:
            self._failed[user] = False
            self._plan(user, now_s + max(think_s, _AFTER_FAILURE_S))
        else:
            self._plan(user, exchange.done_s + think_s)

    def _plan(self, user: int, ready_s: float) -> None:
        """Let a user ask at a time, or not any more."""
        number = self._schedule.number
        if number is None:
            ended = ready_s - self._start_s >= self._schedule.duration_s
        else:
            ended = len(self._exchanges) >= number
        if ended:
            self._active -= 1
            if not self._active:
                self.finished.set_result(None)
        elif ready_s > self._loop.time():
            self._loop.call_at(ready_s, self._ask, user, ready_s)
        else:
            self._ask(user, ready_s)

    def _ask(self, user: int, ready_s: float) -> None:
        """Send a user's query.

        A target may answer at once, which makes the user ask again from within: users wait in a
        line, so that the calls do not nest.
        """
        self._ready.append((user, ready_s))
        if self._asking:
            return
        self._asking = True
        for _ in range(_AT_ONCE):
            if not self._ready:
                break
            self._query(*self._ready.popleft())
        self._asking = False
        if self._ready:
            self._loop.call_soon(self._ask, *self._ready.popleft())

    def _query(self, user: int, ready_s: float) -> None:
        schedule, exchanges = self._schedule, self._exchanges
        if schedule.number is not None and len(exchanges) >= schedule.number:
            self._plan(user, ready_s)  # others took the last one meanwhile
            return
        due_s = ready_s if schedule.number is None else self._start_s
        query = []
        for _ in range(schedule.per_query):
            exchange = Exchange(
                place=next(self._places),
                sample=self._samples[len(exchanges) % len(self._samples)],
                due_s=due_s,
                ready_s=ready_s,
                user=user,
            )
            exchanges.append(exchange)
            query.append(exchange)
        self._open[user] = len(query)
        for exchange in query:
            self._send(exchange)
