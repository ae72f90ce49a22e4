"""The load generator: processes of its own that send on schedule and never wait for each other.

Latency counts from the moment a request became due, so a late send is part of it. How late each
request was sent is recorded too: a trial whose generator could not keep up is not valid.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..errors import TrialError
from ..profiler.oip import encode_request
from .answers import Answers, gather
from .generator_worker import Encoding, Served, serve
from .scenarios.base import Workload
from .schedule import AnySchedule

__all__ = ["Answers", "LoadGenerator", "LoadPlan", "Warmup"]

_LEAD_S = 0.03
"""Between announcing a start and the start: time for the meter to open its window."""
_ROUND_LEAD_S = 0.002
_STEADY_FLOOR_S = 0.0003
"""Medians closer than this agree: it is what a scheduler's tick does to a short answer."""


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
        timeout_s: An answer later than this after its request was ready to be sent failed.
    """

    url: str
    workload: str
    binary: bool = True
    warmup: tuple[AnySchedule, ...]
    warmup_max_s: float
    window: AnySchedule
    steady_ratio: float
    timeout_s: float

    @property
    def encoding(self) -> Encoding:
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


class LoadGenerator:
    """The generator's processes, seen from the campaign. Use it as a context manager.

    Args:
        processes: How many share the requests.
    """

    def __init__(self, *, processes: int = 1) -> None:
        self._given: dict[Encoding, set[int]] = {}
        self._start_s = 0.0
        self._is_gone = False
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(processes)]
        self._pipes = [ours for ours, _ in pipes]
        self._processes = [
            context.Process(
                target=serve, args=(theirs,), daemon=True, name=f"joulery-generator-{index}"
            )
            for index, (_, theirs) in enumerate(pipes)
        ]

    def __enter__(self) -> Self:
        """Start the processes and wait until they listen."""
        # Ctrl-C is the campaign's to handle; a process inherits the mask from its first moment.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for process in self._processes:
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._receive()
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(("stop", None))
        for process in self._processes:
            process.join(1.0)
            process.kill()
            process.join()

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes, for metering."""
        return tuple(process.pid for process in self._processes if process.pid is not None)

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
            self._ask("bodies", *[(plan.encoding, bodies)] * len(self._pipes))
            given |= missing

    def begin(self, plan: LoadPlan) -> Warmup:
        """Warm up, and return shortly before the measured window begins.

        Raises:
            TrialError: When the generator failed.
        """
        of = len(self._pipes)
        served = [
            Served(
                url=plan.url,
                encoding=plan.encoding,
                timeout_s=plan.timeout_s,
                index=index,
                of=of,
            )
            for index in range(of)
        ]
        self._ask("open", *served)
        medians_s: list[float] = []
        steady = False
        latest_s = time.monotonic() + plan.warmup_max_s
        for schedule in plan.warmup:
            if time.monotonic() >= latest_s:
                break
            start_s = time.monotonic() + _ROUND_LEAD_S
            rounds = self._ask("round", *[(schedule.part(i, of), start_s) for i in range(of)])
            latency_s = np.concatenate(rounds)
            medians_s.append(float(np.median(latency_s)) if len(latency_s) else float("nan"))
            steady = _agree(medians_s, plan.steady_ratio)
            if steady:
                break
        self._ask("arm", *[plan.window.part(index, of) for index in range(of)])
        self._start_s = time.monotonic() + _LEAD_S
        self._send("window", *[self._start_s] * of)
        return Warmup(medians_s=tuple(medians_s), steady=steady, start_s=self._start_s)

    def finish(self) -> float:
        """Wait for the last answer of the window; return the monotonic time, seconds."""
        return float(max(self._receive()))

    def collect(self) -> Answers:
        """Return the answers, decoded now, so that decoding takes no time from the window."""
        return gather(self._ask("collect", *[None] * len(self._pipes)), start_s=self._start_s)

    @property
    def alive(self) -> bool:
        """Whether every process still runs."""
        return not self._is_gone and all(process.is_alive() for process in self._processes)

    def _ask(self, verb: str, *arguments: object) -> list[Any]:
        self._send(verb, *arguments)
        return self._receive()

    def _send(self, verb: str, *arguments: object) -> None:
        """Give each process its argument."""
        for pipe, argument in zip(self._pipes, arguments, strict=True):
            try:
                pipe.send((verb, argument))
            except OSError:
                raise self._gone() from None

    def _receive(self) -> list[Any]:
        """Return one answer of each process; all are read before one is judged."""
        try:
            answers = [pipe.recv() for pipe in self._pipes]
        except (EOFError, OSError):
            raise self._gone() from None
        for kind, value in answers:
            if kind == "error":
                raise TrialError("load generator", found=value)
        return [value for _, value in answers]

    def _gone(self) -> TrialError:
        """Remember that a process ended: its pipe closes before the kernel says so."""
        self._is_gone = True
        return TrialError(
            "load generator",
            found="its process ended",
            expected="a process that runs as long as the campaign",
            remedy="see whether memory ran out; --resume goes on with the campaign",
        )


def _agree(medians_s: list[float], ratio: float) -> bool:
    """Return whether the last two rounds agree; a round without an answer agrees with nothing."""
    if len(medians_s) < 2:
        return False
    before_s, after_s = medians_s[-2:]
    return abs(after_s - before_s) <= max(ratio * before_s, _STEADY_FLOOR_S)
