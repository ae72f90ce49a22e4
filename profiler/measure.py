"""`measure()`: the energy of any stretch of code, and this process's share of it.

All measurements of a process share one meter, which runs while one of them is open. What cannot
be measured is said to be unknown, with the reason; the measured code never fails because of it.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast, overload

from .attribution import Attribution
from .counter import GapReason
from .host import Host
from .measurer import THIS_PROCESS, Measurer, shared
from .meter import Window
from .quantities import Energy
from .sources import Source, SourceState
from .window import WindowResult

__all__ = ["Measure", "measure"]

_FORKED = "the process was forked meanwhile, and only its parent measures"

_Function = TypeVar("_Function", bound=Callable[..., Any])
_log = logging.getLogger(__name__)


class Measure:
    """One measurement: a context manager, an async one, or a decorator; see `measure`.

    Its figures are there once it is over; asking earlier raises `RuntimeError`. One that is over
    may be entered again, and then has the new figures.
    """

    def __init__(
        self,
        name: str | None,
        measurer: Measurer | None,
        report: Callable[[Measure], None] | None = None,
    ) -> None:
        self.name = name or "measure"
        self._named, self._given, self._report = name, measurer, report
        # Not the shared one for good: a process forked later has another.
        self._measurer = measurer or shared()
        self._opened: Window | None = None
        self._pid: int | None = None
        self._began_s = self._ended_s = 0.0
        self._over = False
        self._window: WindowResult | None = None
        self._shares: Attribution | None = None
        self._broken: str | None = None

    @property
    def energy(self) -> Energy | None:
        """Energy of the whole machine; `None` when a part of it is not known, see `reason`."""
        self._done()
        return None if self._window is None else self._window.energy

    @property
    def active(self) -> Energy | None:
        """What this process and its children added to idle; `None` when it cannot be told."""
        shares = self.attribution
        return None if shares is None else shares.parts[THIS_PROCESS]

    @property
    def attribution(self) -> Attribution | None:
        """The whole energy as idle, this process's and the rest of the system's."""
        self._done()
        return self._shares

    @property
    def reason(self) -> str | None:
        """Why the energy is not known; `None` when it is."""
        self._done()
        if self._window is None:
            return self._broken
        return None if self._window.energy is not None else self._missing(self._window)

    @property
    def duration_s(self) -> float:
        """How long it took, in seconds."""
        self._done()
        return self._ended_s - self._began_s if self._window is None else self._window.duration_s

    @property
    def cpu_s(self) -> float | None:
        """CPU seconds of this process and its children; `None` when nothing was measured."""
        self._done()
        return None if self._window is None else self._window.work_s[THIS_PROCESS]

    @property
    def domains(self) -> Mapping[str, Energy | None]:
        """Energy of each domain by `source:domain`, those that are not summed included."""
        self._done()
        entries = {} if self._window is None else self._window.domains
        return {key: entry.energy for key, entry in entries.items()}

    @property
    def gaps(self) -> Mapping[str, Mapping[GapReason, int]]:
        """For each domain that has gaps, how many for each reason."""
        self._done()
        entries = {} if self._window is None else self._window.domains
        return {key: entry.gaps for key, entry in entries.items() if entry.gaps}

    @property
    def window(self) -> WindowResult | None:
        """Everything that was read; `None` when nothing could be."""
        self._done()
        return self._window

    def __str__(self) -> str:
        """One line: energy, interval, provenance, duration, and this process's share."""
        if not self._over:
            return f"{self.name}: not measured yet"
        whole = f"energy unknown ({self.reason})" if self.energy is None else _text(self.energy)
        line = f"{self.name}: {whole} in {_seconds(self.duration_s)}"
        if self.energy is not None:
            why = self._broken or "idle power is not learned yet: measure a moment of rest first"
            share = f"unknown ({why})" if self.active is None else _text(self.active)
            line += f"; this process {share}"
        cpu_s = self.cpu_s
        return line if cpu_s is None else f"{line}, {_seconds(cpu_s)} of CPU"

    def __enter__(self) -> Measure:
        if self._pid is not None:
            raise RuntimeError(f"the measurement {self.name!r} is already under way")
        self._window = self._shares = self._broken = self._opened = None
        self._over, self._pid = False, os.getpid()
        self._measurer = self._given or shared()
        self._began_s = self._measurer.host.clock()
        try:
            self._opened = self._measurer.begin(self.name)
        except Exception as error:  # noqa: BLE001 - measured code does not fail for its measuring
            self._broken = f"{type(error).__name__}: {error}"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._finish()
        finally:
            self._pid, self._over = None, True
        if self._report is None:
            _log.info("%s", self)
        else:
            self._report(self)

    async def __aenter__(self) -> Measure:
        import asyncio  # only here: it is slow to import

        # To look for sources may take a second: not on the event loop.
        await asyncio.to_thread((self._given or shared()).found)
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def __call__(self, function: _Function) -> _Function:
        """Return the function so that each call is measured and reported."""
        name = self._named or function.__qualname__
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{name} is a generator; measure the loop over it, with 'with'")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                async with Measure(name, self._given, self._report):
                    return await function(*args, **kwargs)

            return cast("_Function", awaited)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with Measure(name, self._given, self._report):
                return function(*args, **kwargs)

        return cast("_Function", called)

    def _finish(self) -> None:
        self._ended_s = self._measurer.host.clock()
        if self._opened is None:
            return
        if self._pid != os.getpid():
            self._broken = _FORKED  # and the meter's lock may be held by a thread that is not here
            return
        try:
            self._window = self._measurer.end(self._opened)
            self._shares = self._measurer.share(self._window)
        except Exception as error:  # noqa: BLE001 - see __enter__
            self._broken = f"{type(error).__name__}: {error}"

    def _done(self) -> None:
        if not self._over:
            raise RuntimeError(f"the measurement {self.name!r} is not over yet")

    def _missing(self, window: WindowResult) -> str:
        """Return why the energy of a window is not known."""
        summed = {key: entry for key, entry in window.domains.items() if entry.summed}
        if summed:
            return ", ".join(
                f"{key}: {' and '.join(entry.gaps) or 'not read'}"
                for key, entry in summed.items()
                if entry.energy is None
            )
        refused = [
            f"{status.what}; {status.remedy}"
            for status in self._measurer.found().statuses
            if status.state in (SourceState.FORBIDDEN, SourceState.FAILED)
        ]
        return "; ".join(["no energy source can be read here", *refused])


def _prefix(value: float, unit: str) -> tuple[float, str]:
    """Return the factor and the name of the unit in which a value reads well."""
    prefixes = ((1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
    # 999.6 m would be rounded to 1000 m.
    factor, prefix = next(((f, p) for f, p in prefixes if value >= 0.9995 * f), (1.0, ""))
    return factor, prefix + unit


def _digits(value: float, like: float) -> str:
    """Return a number with the decimals that three digits of another need."""
    # The exponent after rounding: 0.9996 is printed as 1.00.
    exponent = int(f"{like:.2e}".partition("e")[2])
    return f"{value:.{min(4, max(0, 2 - exponent))}f}"


def _seconds(value_s: float) -> str:
    factor, unit = _prefix(value_s, "s")
    return f"{_digits(value_s / factor, value_s / factor)} {unit}"


def _text(energy: Energy) -> str:
    """Return an energy and, in the same unit, its interval."""
    # Next to a wide interval a small value is small.
    like_j = max(energy.value_j, energy.high_j / 30)
    factor, unit = _prefix(like_j, "J")
    value = _digits(energy.value_j / factor, like_j / factor)
    low, high = (_digits(j / factor, energy.high_j / factor) for j in (energy.low_j, energy.high_j))
    return f"{value} {unit} ({low}–{high}, {energy.provenance})"


@overload
def measure(name: _Function, /) -> _Function: ...
@overload
def measure(
    name: str | None = None,
    *,
    sources: Sequence[Source] | None = None,
    clock: Callable[[], float] | None = None,
    interval_s: float | None = 0.1,
    report: Callable[[Measure], None] | None = None,
) -> Measure: ...
def measure(
    name: _Function | str | None = None,
    *,
    sources: Sequence[Source] | None = None,
    clock: Callable[[], float] | None = None,
    interval_s: float | None = 0.1,
    report: Callable[[Measure], None] | None = None,
) -> _Function | Measure:
    """Measure the energy of some code.

        with measure("answer") as m:
            ...
        print(m)

    Measurements may nest and overlap, in threads and tasks; `async with` and decorating a
    function, plain or async, do the same. `m.energy` is that of the whole machine meanwhile;
    `m.active` is what this process added to idle. Idle power is learned from every measurement
    that lasts: measure a moment of rest first, and shares become narrow.

    Args:
        name: For people; of a decorated function, its own.
        sources: What to read instead of what this machine has.
        clock: Monotonic seconds, for tests.
        interval_s: Time between two samples; `None`: only at the edges.
        report: Gets each measurement when it is over; a logger gets it (level INFO) otherwise.
    """
    measurer = None
    if sources is not None or clock is not None or interval_s != 0.1:
        host = Host() if clock is None else Host(clock=clock)
        measurer = Measurer(sources, host=host, interval_s=interval_s)
    if name is None or isinstance(name, str):
        return Measure(name, measurer, report)
    return Measure(None, measurer, report)(name)
