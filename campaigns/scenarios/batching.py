"""Run an ONNX model for many requests at once, as Triton's dynamic batcher does.

Requests that wait together are joined on axis 0, answered in one model run on one worker thread,
and split again. HTTP is elsewhere (`server`), and so is the protocol (`oip`).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...errors import SpecError, TrialError
from ...profiler.oip import DATATYPES, ProtocolError, datatype_of
from .base import Tensors

__all__ = ["Batcher", "Model", "Overloaded", "Served", "TensorSpec", "listed"]


_ONNX_DATATYPES = {f"tensor({name.lower()})": name for name in DATATYPES} | {
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


class Overloaded(TrialError):
    """The queue is full; the request was not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model; -1 in `shape` is an axis of any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Answers to one request, and how many requests the same model run answered."""

    outputs: Tensors
    batch: int


class Model:
    """An ONNX model, loaded.

    Args:
        path: The ONNX file.
        threads: Threads of one model run.

    Raises:
        SpecError: When the file is missing, is no ONNX model, or has tensors that the protocol
            cannot carry or that lack a leading axis for batches.
    """

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Threads that spin between runs take energy that no request asked for.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not path.is_file():
            raise SpecError(f"model {path}", found="no such file", expected="an ONNX file")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's errors share no other base
            raise SpecError(
                f"model {path}", found=_one_line(error), expected="an ONNX file that can be loaded"
            ) from error
        self.inputs = tuple(_spec(node, path) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node, path) for node in self._session.get_outputs())
        self._specs = {spec.name: spec for spec in self.inputs}
        self._names = [spec.name for spec in self.outputs]

    @property
    def batches(self) -> bool:
        """Whether the leading axis of every tensor may have any length."""
        return all(spec.shape[0] == -1 for spec in (*self.inputs, *self.outputs))

    def rows(self, inputs: Tensors) -> int:
        """Check a request's inputs and return the length of their common leading axis.

        Raises:
            ProtocolError: When an input is unknown, missing, or of the wrong datatype or shape.
        """
        if inputs.keys() != self._specs.keys():
            raise ProtocolError(
                "inputs", found=listed(inputs.keys()), expected=listed(self._specs.keys())
            )
        lengths: set[int] = set()
        for name, spec in self._specs.items():
            tensor = inputs[name]
            if DATATYPES[spec.datatype] != tensor.dtype:
                raise ProtocolError(
                    f"input {name!r}",
                    found=f"datatype {datatype_of(tensor.dtype)}",
                    expected=spec.datatype,
                )
            if not _fits(tensor.shape, spec.shape):
                raise ProtocolError(
                    f"input {name!r}",
                    found=f"shape {list(tensor.shape)}",
                    expected=f"{list(spec.shape)}, where -1 is any length of 1 or more",
                )
            lengths.add(tensor.shape[0])
        if len(lengths) != 1:
            raise ProtocolError(
                "inputs", found=f"leading axes of {sorted(lengths)}", expected="one length for all"
            )
        return lengths.pop()

    def run(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """Run the model once.

        Raises:
            TrialError: When the runtime fails, with its reason.
        """
        try:
            answers = self._session.run(self._names, inputs)
        except Exception as error:  # the runtime's errors share no other base
            raise TrialError("model run", found=_one_line(error)) from error
        return dict(zip(self._names, answers, strict=True))


@dataclass(slots=True)
class _Waiting:
    """A request in the queue; only requests of one `form` can be joined."""

    inputs: Tensors
    rows: int
    form: tuple[tuple[int, ...], ...]
    since_s: float
    answer: asyncio.Future[Served]


class Batcher:
    """Joins requests into batches and runs them one batch at a time, on a thread of its own.

    A batch starts when the model is free and either `batch` rows wait or the oldest request has
    waited `wait_s`. A request of more rows than `batch` runs alone; none is ever split.

    Args:
        model: The model.
        batch: Most rows of one batch.
        wait_s: Longest time a request waits for others, in seconds.
        queue_limit: Most requests that may wait.
    """

    def __init__(self, model: Model, *, batch: int, wait_s: float, queue_limit: int) -> None:
        self._model = model
        self._batch = batch
        self._wait_s = wait_s if batch > 1 else 0.0
        self._queue_limit = queue_limit
        self._queue: deque[_Waiting] = deque()
        self._rows = 0
        self._running = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    async def submit(self, inputs: Tensors) -> Served:
        """Answer one request.

        Raises:
            ProtocolError: When the inputs do not fit the model.
            Overloaded: When too many requests wait already.
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
            form=tuple(tensor.shape[1:] for tensor in inputs.values()),
            since_s=self._loop.time(),
            answer=self._loop.create_future(),
        )
        self._queue.append(waiting)
        self._rows += rows
        self._start()
        return await waiting.answer

    def flush(self) -> None:
        """Let nobody wait for others any more, now or later: the server is stopping."""
        self._wait_s = 0.0
        self._start()

    def close(self) -> None:
        """End the worker thread after what it runs now; nothing may be submitted any more."""
        self._jobs.put(None)
        self._thread.join()

    def _start(self) -> None:
        """Start a batch if one is due, or see that it starts when it will be."""
        if self._running or not self._queue:
            return
        due_s = self._queue[0].since_s + self._wait_s
        if self._rows >= self._batch or self._loop.time() >= due_s:
            self._running = True
            self._jobs.put(self._take())
        elif self._timer is None:
            self._timer = self._loop.call_at(due_s, self._ring)

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
            answers: list[Served] | TrialError
            try:
                answers = self._answer(group)
            except TrialError as error:
                answers = error
            self._loop.call_soon_threadsafe(self._done, group, answers)

    def _answer(self, group: list[_Waiting]) -> list[Served]:
        if len(group) == 1:
            return [Served(outputs=self._model.run(group[0].inputs), batch=1)]
        names = group[0].inputs
        outputs = self._model.run(
            {name: np.concatenate([waiting.inputs[name] for waiting in group]) for name in names}
        )
        answers: list[Served] = []
        start = 0
        for waiting in group:
            part = slice(start, start := start + waiting.rows)
            answers.append(
                Served(
                    outputs={name: tensor[part] for name, tensor in outputs.items()},
                    batch=len(group),
                )
            )
        if any(len(tensor) != start for tensor in outputs.values()):
            raise TrialError(
                "model run",
                found=f"leading axes of {[len(tensor) for tensor in outputs.values()]}",
                expected=f"{start}, the rows that were asked",
            )
        return answers

    def _done(self, group: list[_Waiting], answers: list[Served] | TrialError) -> None:
        self._running = False
        self._start()
        for index, waiting in enumerate(group):
            if waiting.answer.done():  # the client went away
                continue
            if isinstance(answers, TrialError):
                waiting.answer.set_exception(answers)
            else:
                waiting.answer.set_result(answers[index])


def _spec(node: Any, path: Path) -> TensorSpec:
    datatype = _ONNX_DATATYPES.get(node.type)
    if datatype is None or not node.shape:
        raise SpecError(
            f"model {path}",
            place=f"tensor {node.name!r}",
            found=f"{node.type} of shape {node.shape}",
            expected=f"a tensor with a leading axis, of {', '.join(DATATYPES)}",
        )
    shape = tuple(axis if isinstance(axis, int) else -1 for axis in node.shape)
    return TensorSpec(name=node.name, datatype=datatype, shape=shape)


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        found == size if size >= 0 else found > 0 for found, size in zip(shape, wanted, strict=True)
    )


def listed(names: Iterable[str]) -> str:
    """Return names for people: `'x', 'y'`."""
    return ", ".join(map(repr, names)) or "none"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
