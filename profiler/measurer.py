"""The one meter behind all measurements of a process: when it runs, and what it has learned.

`measure` is what people call. Here is what its measurements share: sources, a meter that runs
while one of them is open, and idle power, learned from all the time in which it runs.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack

from .attribution import Attribution, attribute_window, observe_window
from .host import Host
from .meter import EnergyMeter, Window
from .power_model import PowerModel
from .sources import Discovery, Kind, Source, discover
from .track import STEADY_UPDATES
from .window import WindowResult
from .work import NodeCpu, ProcessGroup

__all__ = ["THIS_PROCESS", "Measurer", "shared"]

THIS_PROCESS = "this process"
"""The name under which an `Attribution` has the share of this process and its children."""

_TEACHES_S = 0.2
"""Shorter times say little of the power at their load: CPU load is counted in ticks of 10 ms."""

_REST_RATIO = 0.05
"""A process that uses less than this share of one CPU rests."""


class Measurer:
    """Keeps one meter for many measurements, and learns idle power while it runs.

    Args:
        sources: What to read; whatever this machine has, if not given.
        host: Where procfs is, and the clock.
        interval_s: Time between two samples while a measurement is open; `None`: only its edges.
    """

    def __init__(
        self,
        sources: Sequence[Source] | None = None,
        *,
        host: Host | None = None,
        interval_s: float | None = 0.1,
    ) -> None:
        self.host = host or Host()
        self._found = (
            Discovery(sources=tuple(sources), statuses=()) if sources is not None else None
        )
        self._interval_s = interval_s
        self._models: dict[Kind, PowerModel] = {}
        self._lock = threading.Lock()
        self._running = ExitStack()
        self._meter: EnergyMeter | None = None
        self._learning: Window | None = None
        self._learned_s = 0.0
        self._users = 0

    def found(self) -> Discovery:
        """Return what can be read here; the first call looks, which may take a second."""
        with self._lock:
            return self._look()

    def close(self) -> None:
        """Stop the meter's thread, even if measurements are open."""
        with self._lock:
            self._running.close()
            self._meter = self._learning = None

    def begin(self, name: str) -> Window:
        """Open a window, on a meter that is started if none runs.

        Raises:
            JouleryError: When the node's work cannot be read.
            OSError: Likewise.
        """
        with self._lock:
            meter = self._meter or self._start()
            self._users += 1
        try:
            return meter.window(name).__enter__()
        except BaseException:
            self._leave()
            raise

    def end(self, window: Window) -> WindowResult:
        """Close a window; the meter stops when it was the last.

        Raises:
            JouleryError: When the node's work cannot be read.
            OSError: Likewise.
        """
        try:
            window.__exit__()
            with self._lock:
                self._learn()
        finally:
            self._leave()
        return window.result

    def share(self, window: WindowResult) -> Attribution | None:
        """Share a window's energy with this process; `None` while too little is learned."""
        with self._lock:
            return attribute_window(window, self._models, owner=self._owner(window))

    def _look(self) -> Discovery:
        if self._found is None:
            self._found = discover(self.host)
        return self._found

    def _start(self) -> EnergyMeter:
        meter = EnergyMeter(
            self._look().sources,
            clock=self.host.clock,
            interval_s=self._interval_s,
            work=NodeCpu(self.host),
        )
        with ExitStack() as started:
            started.enter_context(meter)
            group = ProcessGroup(os.getpid(), self.host)
            started.enter_context(meter.consumers({THIS_PROCESS: group.cpu_s}))
            self._learning = meter.window("learning").__enter__()
            self._running = started.pop_all()
        self._meter, self._learned_s = meter, self.host.clock()
        return meter

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._meter = self._learning = None
                self._running.close()

    def _learn(self) -> None:
        """Learn from the time since the last lesson, once that is long enough to say something.

        So each moment teaches once, however many measurements it belongs to.
        """
        now_s = self.host.clock()
        updates_s = (d.update_s for s in self._look().sources for d in s.domains if d.summed)
        steady_s = max(_TEACHES_S, STEADY_UPDATES * max(updates_s, default=0.0))
        if self._learning is None or now_s - self._learned_s < steady_s:
            return
        lesson, self._learned_s = self._learning.lap(), now_s
        # Who gives a GPU work uses the CPU for it; who rests there rests here.
        worked = lesson.work_s[THIS_PROCESS] >= _REST_RATIO * lesson.duration_s
        observe_window(self._models, lesson, loaded=worked and self._owner(lesson) is not None)

    def _owner(self, window: WindowResult) -> str | None:
        return THIS_PROCESS if Kind.GPU in window.kinds and _has_cuda(self.host) else None


def _has_cuda(host: Host) -> bool:
    """Tell whether this process has loaded CUDA; without it no work of its own is on a GPU."""
    return "libcuda.so" in (host.proc / "self/maps").read_text()


_shared = Measurer()


def _forget() -> None:
    """Give a forked child a measurer of its own: the parent's thread and locks are not here."""
    global _shared
    _shared = Measurer()


def shared() -> Measurer:
    """Return the measurer of this process."""
    return _shared


os.register_at_fork(after_in_child=_forget)
atexit.register(lambda: _shared.close())
