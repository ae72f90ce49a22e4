"""Run an ONNX model for many requests at once, as Triton's dynamic batcher does.

Requests that wait together are joined on axis 0, answered in one model run on one worker thread,
and split again. The model itself is elsewhere (`model`), and so are HTTP (`endpoints`) and the
protocol (`oip`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from ...errors import TrialError
from .base import Tensors
from .model import Model
from .statistics import Run, Statistics

__all__ = ["Batcher", "Overloaded", "Served"]


class Overloaded(TrialError):
    """The queue is full, or has been for too long; the request was not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Answers to one request, and how many requests and rows the same model run answered."""

    outputs: Tensors
    batch: int
    rows: int


@dataclass(slots=True)
class _Waiting:
    """A request in the queue; only requests of one `form` can be joined."""

    inputs: Tensors
    rows: int
    form: tuple[tuple[int, ...], ...]
    since_ns: int
    answer: asyncio.Future[Served]


class Batcher:
    """Joins requests into batches and runs them one batch at a time, on a thread of its own.

    A batch starts when the model is free and either `batch` rows wait or the oldest request has
    waited `wait_s`, or half of `deadline_s` where that is less: who waits for others to come shall
    not be refused for it. A request of more rows than `batch` runs alone; none is ever split.

    Args:
        model: The model.
        batch: Most rows of one batch.
        wait_s: Longest time a request waits for others, in seconds.
        queue_limit: Most requests that may wait.
        deadline_s: Longest time that a request may wait before its run, in seconds; `None`: any.
        constants: What each run is given beside the requests' inputs.
        statistics: Told of every run.
    """

    def __init__(
        self,
        model: Model,
        *,
        batch: int,
        wait_s: float,
        queue_limit: int,
        deadline_s: float | None = None,
        constants: Mapping[str, NDArray[np.generic]],
        statistics: Statistics,
    ) -> None:
        self._model = model
        self._batch = batch
        self._wait_ns = int(1e9 * wait_s) if batch > 1 else 0
        self._constants = dict(constants)
        self._statistics = statistics
        self._queue_limit = queue_limit
        self._deadline_ns = None if deadline_s is None else int(1e9 * deadline_s)
        if self._deadline_ns is not None:
            self._wait_ns = min(self._wait_ns, self._deadline_ns // 2)
        self._queue: deque[_Waiting] = deque()
        self._rows = 0
        self._running = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    async def submit(self, inputs: Tensors) -> Served:
        """Answer one request.

        Raises:
            ProtocolError: When the inputs do not fit the model.
            Overloaded: When too many requests wait already, or it waited past the deadline.
            TrialError: When the model fails.
        """
        rows = self._model.rows(inputs)
        if len(self._queue) >= self._queue_limit:
            raise Overloaded(
                "queue",
                found=f"{len(self._queue)} requests waiting",
                expected=f"fewer than {self._queue_limit}",
                remedy="try again later, or send less",
            )
        waiting = _Waiting(
            inputs=inputs,
            rows=rows,
            # In the model's order: clients give their inputs in any.
            form=tuple(inputs[spec.name].shape[1:] for spec in self._model.inputs),
            since_ns=time.monotonic_ns(),
            answer=self._loop.create_future(),
        )
        self._queue.append(waiting)
        self._rows += rows
        self._idle.clear()
        self._start()
        return await waiting.answer

    def flush(self) -> None:
        """Let nobody wait for others any more, now or later: the server is stopping."""
        self._wait_ns = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._start()

    async def drain(self) -> None:
        """Answer all who wait, at once, and end; nothing may be submitted any more."""
        self.flush()
        await self._idle.wait()
        self.close()

    def close(self) -> None:
        """End the worker thread after what it runs now; nothing may be submitted any more."""
        self._jobs.put(None)
        self._thread.join()

    def _start(self) -> None:
        """Start a batch if one is due, or see that it starts when it will be."""
        self._refuse_late()
        if self._running or not self._queue:
            if not self._running:
                self._idle.set()
            return
        left_ns = self._queue[0].since_ns + self._wait_ns - time.monotonic_ns()
        if self._rows >= self._batch or left_ns <= 0:
            self._running = True
            self._jobs.put(self._take())
        elif self._timer is None:
            self._timer = self._loop.call_later(left_ns / 1e9, self._ring)

    def _refuse_late(self) -> None:
        """Refuse those that waited too long: an answer would cost others, and be for nobody."""
        if self._deadline_ns is None:
            return
        oldest_ns = time.monotonic_ns() - self._deadline_ns
        while self._queue and self._queue[0].since_ns < oldest_ns:
            late = self._queue.popleft()
            self._rows -= late.rows
            if not late.answer.done():
                late.answer.set_exception(
                    Overloaded(
                        "request",
                        found=f"a wait of more than {self._deadline_ns / 1e9:g} s",
                        expected="less before its model run",
                        remedy="send less, or allow a later deadline",
                    )
                )

    def _ring(self) -> None:
        self._timer = None
        self._start()

    def _take(self) -> list[_Waiting]:
        """Take the next batch from the queue: neighbours of one form."""
        taken = [self._queue.popleft()]
        rows = taken[0].rows
        while self._queue:
            following = self._queue[0]
            if rows + following.rows > self._batch or following.form != taken[0].form:
                break
            taken.append(self._queue.popleft())
            rows += following.rows
        self._rows -= rows
        return taken

    def _work(self) -> None:
        """The worker thread: the runtime lets the event loop go on while it computes."""
        while (group := self._jobs.get()) is not None:
            answers: tuple[list[Served], Run] | TrialError
            try:
                answers = self._answer(group)
            except TrialError as error:
                answers = error
            except MemoryError:
                answers = TrialError("model run", found="too little memory")
            self._loop.call_soon_threadsafe(self._done, group, answers)
            # Not held until the next batch comes.
            del group, answers

    def _answer(self, group: list[_Waiting]) -> tuple[list[Served], Run]:
        began_ns = time.monotonic_ns()
        inputs: Tensors = group[0].inputs
        if len(group) > 1:
            inputs = {
                name: np.concatenate([waiting.inputs[name] for waiting in group]) for name in inputs
            }
        joined_ns = time.monotonic_ns()
        outputs = self._model.run({**inputs, **self._constants} if self._constants else inputs)
        ran_ns = time.monotonic_ns()
        answers = _split(outputs, group)
        run = Run(
            rows=sum(waiting.rows for waiting in group),
            requests=len(group),
            waited_ns=sum(began_ns - waiting.since_ns for waiting in group),
            input_ns=joined_ns - began_ns,
            infer_ns=ran_ns - joined_ns,
            output_ns=time.monotonic_ns() - ran_ns,
        )
        return answers, run

    def _done(self, group: list[_Waiting], answers: tuple[list[Served], Run] | TrialError) -> None:
        self._running = False
        self._start()
        if not isinstance(answers, TrialError):
            self._statistics.ran(answers[1])
        for index, waiting in enumerate(group):
            if waiting.answer.done():  # the client went away
                continue
            if isinstance(answers, TrialError):
                waiting.answer.set_exception(answers)
            else:
                waiting.answer.set_result(answers[0][index])


def _split(outputs: Mapping[str, NDArray[np.generic]], group: list[_Waiting]) -> list[Served]:
    """Give each request its own rows."""
    rows = sum(waiting.rows for waiting in group)
    if len(group) == 1:
        return [Served(outputs=outputs, batch=1, rows=rows)]
    if any(len(tensor) != rows for tensor in outputs.values()):
        raise TrialError(
            "model run",
            found=f"leading axes of {[len(tensor) for tensor in outputs.values()]}",
            expected=f"{rows}, the rows that were asked",
        )
    answers: list[Served] = []
    start = 0
    for waiting in group:
        part = slice(start, start := start + waiting.rows)
        own = {name: tensor[part] for name, tensor in outputs.items()}
        answers.append(Served(outputs=own, batch=len(group), rows=rows))
    return answers
