"""The open-loop load generator: a process of its own that sends on schedule and never waits.

Latency counts from the intended send time, so a late send is part of it. How late each request was
sent is recorded too: a trial whose generator could not keep up is not valid.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import selectors
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Self

import aiohttp
import numpy as np
from numpy.typing import NDArray

from ..errors import TrialError
from ..profiler.oip import (
    InferenceResponse,
    Message,
    ProtocolError,
    decode_response,
    encode_request,
)
from .scenarios.base import Workload
from .schedule import Schedule

__all__ = ["Answers", "LoadGenerator", "LoadPlan", "Warmup"]

_LEAD_S = 0.03
"""Between announcing a start and the start: time for the meter to open its window."""
_IN_FLIGHT = 900
"""`select` takes 1,024 descriptors; past this, requests wait, and their send lag shows it."""
_PATIENCE_S = 60.0
_STEADY_FLOOR_S = 0.0003
"""Medians closer than this agree: it is what a scheduler's tick does to a short answer."""

_Encoding = tuple[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """Everything the generator needs for one trial.

    Args:
        url: Where to send inference requests.
        workload: Name of the workload whose samples are asked.
        binary: Whether tensors are sent, and wanted back, as binary data, else as JSON.
        warmup: Rounds of load until two in a row agree.
        warmup_max_s: After this no further round begins.
        window: The measured requests.
        steady_ratio: Two rounds agree when their median latencies differ by less, relative.
        timeout_s: An answer later than this after its intended time failed.
    """

    url: str
    workload: str
    binary: bool = True
    warmup: tuple[Schedule, ...]
    warmup_max_s: float
    window: Schedule
    steady_ratio: float
    timeout_s: float

    @property
    def encoding(self) -> _Encoding:
        """What makes an encoded request another one: workload, and whether it is binary."""
        return self.workload, self.binary


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """What the warm-up saw.

    Args:
        medians_s: Median latency of each round, seconds.
        steady: Whether the last two rounds agree.
        start_s: Monotonic time at which the measured window begins, seconds.
    """

    medians_s: tuple[float, ...]
    steady: bool
    start_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back in the window, request by request.

    Args:
        sent_s: Shape (requests,): actual send times from the window's start, seconds.
        done_s: Shape (requests,): when the answer was complete; NaN where there is none.
        status: `ok`, or what went wrong, per request.
        outputs: Output tensors of the answered requests, in request order along axis 0.
        batch_served: Shape (requests,): requests answered in the same model run, 0 if unknown.
    """

    sent_s: NDArray[np.float64]
    done_s: NDArray[np.float64]
    status: tuple[str, ...]
    outputs: Mapping[str, NDArray[np.generic]]
    batch_served: NDArray[np.int64]


class LoadGenerator:
    """The generator's process, seen from the campaign. Use it as a context manager."""

    def __init__(self) -> None:
        self._given: dict[_Encoding, set[int]] = {}
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs,), daemon=True, name="joulery-generator"
        )

    def __enter__(self) -> Self:
        """Start the process and wait until it listens."""
        # Ctrl-C is the campaign's to handle; the process inherits the mask from its first moment.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._receive()
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._pipe.send(("stop", None))
        self._process.join(1.0)
        self._process.kill()
        self._process.join()

    @property
    def pid(self) -> int:
        """The process, for metering."""
        assert self._process.pid is not None
        return self._process.pid

    def prepare(self, plan: LoadPlan, workload: Workload) -> None:
        """Give the generator the requests it does not have yet, encoded ahead of the load."""
        asked = np.unique(np.concatenate([s.samples for s in (*plan.warmup, plan.window)]))
        given = self._given.setdefault(plan.encoding, set())
        missing = set(map(int, asked)) - given
        if missing:
            bodies = {
                sample: encode_request(workload.inputs(sample), binary=plan.binary)
                for sample in missing
            }
            self._ask("bodies", (plan.encoding, bodies))
            given |= missing

    def begin(self, plan: LoadPlan) -> Warmup:
        """Warm up, and return shortly before the measured window begins.

        Raises:
            TrialError: When the generator failed.
        """
        answer: Warmup = self._ask("plan", plan)
        return answer

    def finish(self) -> float:
        """Wait for the last answer of the window; return the monotonic time, seconds."""
        answer: float = self._receive()
        return answer

    def collect(self) -> Answers:
        """Return the answers, decoded now, so that decoding takes no time from the window."""
        answer: Answers = self._ask("collect", None)
        return answer

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.is_alive()

    def _ask(self, verb: str, argument: object) -> Any:
        try:
            self._pipe.send((verb, argument))
        except OSError:
            raise _ended() from None
        return self._receive()

    def _receive(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            raise _ended() from None
        if kind == "error":
            raise TrialError("load generator", found=value)
        return value


def _ended() -> TrialError:
    return TrialError(
        "load generator",
        found="its process ended",
        expected="a process that runs as long as the campaign",
        remedy="see whether memory ran out; --resume goes on with the campaign",
    )


def _serve(pipe: Connection) -> None:
    """The process: take verbs from the pipe until it closes."""
    # epoll rounds a timeout up to a millisecond; select does not, and a send should not be late.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    worker = _Worker(pipe)
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        pipe.send(("ready", None))
        while True:
            verb, argument = pipe.recv()
            if verb == "stop":
                break
            try:
                if verb == "bodies":
                    worker.bodies.setdefault(argument[0], {}).update(argument[1])
                    pipe.send(("done", None))
                elif verb == "plan":
                    loop.run_until_complete(worker.run(argument))
                elif verb == "collect":
                    pipe.send(("answers", worker.collect()))
            except (aiohttp.ClientError, OSError, ValueError) as error:
                pipe.send(("error", f"{type(error).__name__}: {error}"))


@dataclass(slots=True)
class _Exchange:
    """One request on its way: times are monotonic seconds."""

    intended_s: float
    sent_s: float = float("nan")
    done_s: float = float("nan")
    status: str = "unsent"
    raw: Message | None = None


class _Worker:
    """Sends one plan after the other."""

    def __init__(self, pipe: Connection) -> None:
        self.bodies: dict[_Encoding, dict[int, Message]] = {}
        self._pipe = pipe
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._start_s = 0.0
        self._exchanges: list[_Exchange] = []

    async def run(self, plan: LoadPlan) -> None:
        """Warm up, announce the window, send it, and say when the last answer came."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_PATIENCE_S)
        # A server that compresses spends time on what nobody asks for.
        headers = {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            medians_s: list[float] = []
            steady = False
            latest_s = time.monotonic() + plan.warmup_max_s
            for schedule in plan.warmup:
                if time.monotonic() >= latest_s:
                    break
                done = await self._send(session, plan, schedule, time.monotonic() + 0.001)
                medians_s.append(_median_latency_s(done))
                steady = _agree(medians_s, plan.steady_ratio)
                if steady:
                    break
            with _uncollected():
                self._start_s = time.monotonic() + _LEAD_S
                warm = Warmup(medians_s=tuple(medians_s), steady=steady, start_s=self._start_s)
                self._pipe.send(("warm", warm))
                self._exchanges = await self._send(session, plan, plan.window, self._start_s)
                self._pipe.send(("finished", time.monotonic()))

    def collect(self) -> Answers:
        """Decode the answers of the last window."""
        decoded = _alike([_decode(exchange) for exchange in self._exchanges], self._exchanges)
        answered = [answer for answer in decoded if answer is not None]
        names = answered[0].outputs if answered else {}
        return Answers(
            sent_s=np.array([e.sent_s for e in self._exchanges]) - self._start_s,
            done_s=np.array([e.done_s for e in self._exchanges]) - self._start_s,
            status=tuple(exchange.status for exchange in self._exchanges),
            outputs={
                name: np.concatenate([answer.outputs[name] for answer in answered])
                for name in names
            },
            batch_served=np.array([_batch(answer) for answer in decoded], dtype=np.int64),
        )

    async def _send(
        self,
        session: aiohttp.ClientSession,
        plan: LoadPlan,
        schedule: Schedule,
        start_s: float,
    ) -> list[_Exchange]:
        """Send each request at its time, whatever became of the others; wait for all answers."""
        exchanges = [_Exchange(intended_s=start_s + float(t)) for t in schedule.intended_s]
        tasks = []
        for exchange, sample in zip(exchanges, schedule.samples, strict=True):
            delay_s = exchange.intended_s - time.monotonic()
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            body = self.bodies[plan.encoding][int(sample)]
            tasks.append(asyncio.create_task(self._exchange(session, plan, body, exchange)))
        await asyncio.gather(*tasks)
        return exchanges

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        plan: LoadPlan,
        message: Message,
        exchange: _Exchange,
    ) -> None:
        loop = asyncio.get_running_loop()
        late_s = time.monotonic() - exchange.intended_s
        try:
            async with asyncio.timeout_at(loop.time() + plan.timeout_s - late_s), self._slots:
                exchange.sent_s = time.monotonic()
                async with session.post(
                    plan.url, data=message.body, headers=message.headers
                ) as response:
                    body = await response.read()
                    exchange.done_s = time.monotonic()
                    if response.status == 200:
                        exchange.status = "ok"
                        exchange.raw = Message(headers=dict(response.headers), body=body)
                    else:
                        exchange.status = f"HTTP {response.status}"
        except TimeoutError:
            exchange.status = "timeout"
        except aiohttp.ClientError as error:
            exchange.status = type(error).__name__


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Let the garbage collector interrupt no window; what it skipped, it sees afterwards."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _decode(exchange: _Exchange) -> InferenceResponse | None:
    """Decode an answer; one that breaks the protocol is no answer."""
    if exchange.raw is None:
        return None
    try:
        return decode_response(exchange.raw)
    except ProtocolError as error:
        exchange.status = f"malformed answer: {error}"
        return None


def _alike(
    decoded: list[InferenceResponse | None], exchanges: list[_Exchange]
) -> list[InferenceResponse | None]:
    """Leave out answers with other outputs than the first has: they cannot be put together."""
    forms = [
        None if one is None else {name: tensor.shape[1:] for name, tensor in one.outputs.items()}
        for one in decoded
    ]
    first = next((form for form in forms if form is not None), None)
    for index, form in enumerate(forms):
        if form is not None and form != first:
            exchanges[index].status = "malformed answer: other outputs than the first"
            decoded[index] = None
    return decoded


def _batch(answer: InferenceResponse | None) -> int:
    """Return how many requests the same model run answered, where the server says so."""
    told = None if answer is None else answer.parameters.get("batch")
    return told if type(told) is int and 0 < told < 2**31 else 0


def _median_latency_s(exchanges: list[_Exchange]) -> float:
    answered = [e.done_s - e.intended_s for e in exchanges if e.status == "ok"]
    return float(np.median(answered)) if answered else float("nan")


def _agree(medians_s: list[float], ratio: float) -> bool:
    """Return whether the last two rounds agree; a round without an answer agrees with nothing."""
    if len(medians_s) < 2:
        return False
    before_s, after_s = medians_s[-2:]
    return abs(after_s - before_s) <= max(ratio * before_s, _STEADY_FLOOR_S)
