"""One process of the load generator: it takes orders from a pipe and sends its share.

Nothing is judged here. What came back is decoded by who gave the orders, after the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..profiler.oip import Message
from .exchange import Exchange, RawAnswer
from .http_client import HttpTarget, precise_loop
from .play import Player
from .schedule import AnySchedule

__all__ = ["Encoding", "Outcome", "Served", "serve"]

Encoding = tuple[str, bool]
"""What makes an encoded request another one: workload, and whether it is binary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where a plan sends its requests.

    Args:
        url: Where requests go.
        encoding: Which of the bodies at hand are sent.
        timeout_s: An answer later than this has failed.
        index: Which of several senders this is.
        of: How many there are.
    """

    url: str
    encoding: Encoding
    timeout_s: float
    index: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one sender's requests; times are monotonic seconds.

    Args:
        place: Shape (requests,): number of each among the requests of all senders.
        sample: What it asked.
        due_s: When it became due.
        ready_s: When it could have been sent.
        sent_s: When it was; NaN if never.
        done_s: When the answer was complete; NaN where there is none.
        status: `ok`, or what went wrong.
        answer: What came back.
        cpu_s: CPU time of the sender from the start to the last answer.
        cores: CPUs that it may run on.
    """

    place: NDArray[np.int64]
    sample: NDArray[np.int64]
    due_s: NDArray[np.float64]
    ready_s: NDArray[np.float64]
    sent_s: NDArray[np.float64]
    done_s: NDArray[np.float64]
    status: list[str]
    answer: list[RawAnswer | None]
    cpu_s: float
    cores: int


def serve(pipe: Connection) -> None:
    """Take orders from the pipe until it closes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with (
        contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError),
        asyncio.Runner(loop_factory=precise_loop) as runner,
    ):
        worker = _Worker(runner)
        orders: dict[str, Callable[[Any], object]] = {
            "bodies": worker.take_bodies,
            "open": worker.open,
            "round": worker.round,
            "arm": worker.arm,
            "window": worker.window,
            "collect": worker.collect,
        }
        pipe.send(("ready", None))
        while True:
            verb, argument = pipe.recv()
            if verb == "stop":
                break
            try:
                pipe.send(("done", orders[verb](argument)))
            except (OSError, ValueError, MemoryError) as error:
                pipe.send(("error", f"{type(error).__name__}: {error}"))


def _end_with_parent() -> None:
    """End when the campaign does, however it died: a window's rest would disturb the next one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Worker:
    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._bodies: dict[Encoding, dict[int, Message]] = {}
        self._target: HttpTarget | None = None
        self._served: Served | None = None
        self._player: Player | None = None
        self._exchanges: list[Exchange] = []
        self._cpu_s = 0.0

    def take_bodies(self, given: tuple[Encoding, dict[int, Message]]) -> None:
        """Keep encoded requests."""
        encoding, bodies = given
        self._bodies.setdefault(encoding, {}).update(bodies)

    def open(self, served: Served) -> None:
        """Look where requests go; drop what was before."""
        self._drop()
        self._served = served
        bodies = self._bodies.get(served.encoding, {})
        self._target = HttpTarget(served.url, timeout_s=served.timeout_s, body=bodies.__getitem__)
        self._runner.run(self._target.open())

    def round(self, order: tuple[AnySchedule, float]) -> NDArray[np.float64]:
        """Send one round of the warm-up; return the latencies of what was answered."""
        schedule, start_s = order
        exchanges = self._runner.run(self._made(schedule).play(start_s))
        return np.array([e.done_s - e.due_s for e in exchanges if e.status == "ok"])

    def arm(self, schedule: AnySchedule) -> None:
        """Get ready for the window: the garbage collector interrupts none."""
        self._exchanges = []
        self._player = self._made(schedule)
        assert self._target is not None
        self._target.prepare(np.unique(schedule.samples).tolist())
        gc.collect()
        gc.freeze()
        gc.disable()

    def window(self, start_s: float) -> float:
        """Send the window; return the monotonic time of the end."""
        assert self._player is not None
        before_s = time.process_time()
        try:
            self._exchanges = self._runner.run(self._player.play(start_s))
            ended_s = time.monotonic()
        finally:
            gc.enable()
            gc.unfreeze()
        self._cpu_s = time.process_time() - before_s
        return ended_s

    def collect(self, _: None) -> Outcome:
        """Return what became of the window, and forget it."""
        some, self._exchanges, self._player = self._exchanges, [], None
        outcome = Outcome(
            place=np.array([e.place for e in some], dtype=np.int64),
            sample=np.array([e.sample for e in some], dtype=np.int64),
            due_s=np.array([e.due_s for e in some], dtype=np.float64),
            ready_s=np.array([e.ready_s for e in some], dtype=np.float64),
            sent_s=np.array([e.sent_s for e in some], dtype=np.float64),
            done_s=np.array([e.done_s for e in some], dtype=np.float64),
            status=[e.status for e in some],
            answer=[e.answer for e in some],
            cpu_s=self._cpu_s,
            cores=len(os.sched_getaffinity(0)),
        )
        self._drop()
        return outcome

    def _made(self, schedule: AnySchedule) -> Player:
        assert self._target is not None
        assert self._served is not None
        return Player(self._target, schedule, index=self._served.index, of=self._served.of)

    def _drop(self) -> None:
        if self._target is not None:
            self._runner.run(self._target.close())
            self._target = None
