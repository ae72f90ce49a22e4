"""Waiting before a trial until the machine is as cool as at first, or cools down no more.

Warm silicon leaks, and a fan that still runs draws power: who comes after a heavy trial would pay
for it. Temperature tells when that is over; without a sensor of it, measured power does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["CoolDown", "Gauge", "Power", "Temperature"]

History = Sequence[tuple[float, float]]
"""What a gauge said so far: seconds, and the value."""

_TREND_S = 2.0
_FALLING_C_PER_S = 0.25
"""What falls more slowly is at rest; sensors tell whole degrees, so that one step of them within
the seconds looked at is a fall."""

_AGREE_RATIO = 0.05
"""Two powers agree when they differ by less, relative."""


class Gauge(Protocol):
    """Something that falls as a machine comes to rest."""

    @property
    def name(self) -> str:
        """What it is of: each name has a reference of its own."""

    @property
    def period_s(self) -> float:
        """Time to wait between two readings, seconds."""

    def read(self) -> float | None:
        """Return the value; `None` when it is not known."""

    def is_near(self, value: float, reference: float) -> bool:
        """Tell whether a value is as low as that of the first trial."""

    def is_settled(self, history: History) -> bool:
        """Tell whether the value falls no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """A temperature: settled when its trend is.

    Args:
        name: What it is of.
        read: Returns it, °C.
        tolerance_c: How far above that of the first trial it may stay, °C.
    """

    name: str
    read: Callable[[], float | None]
    tolerance_c: float
    period_s: float = 0.25

    def is_near(self, value: float, reference: float) -> bool:
        return value <= reference + self.tolerance_c

    def is_settled(self, history: History) -> bool:
        recent = [(t_s, value) for t_s, value in history if t_s >= history[-1][0] - _TREND_S]
        if len(recent) == len(history) or len(recent) < 3:
            return False  # not yet looked at for so long, or looked at too seldom
        return statistics.linear_regression(*zip(*recent, strict=True)).slope > -_FALLING_C_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """A measured power: settled when two readings in a row agree.

    Args:
        read: Takes its time, and returns the mean power meanwhile, watts.
    """

    read: Callable[[], float | None]
    name: str = "power"
    period_s: float = 0.0

    def is_near(self, value: float, reference: float) -> bool:
        return value <= reference * (1 + _AGREE_RATIO)

    def is_settled(self, history: History) -> bool:
        if len(history) < 2:
            return False
        (_, before), (_, now) = history[-2:]
        return abs(now - before) <= _AGREE_RATIO * before


class CoolDown:
    """Waits, and remembers how cool the machine was before the first trial.

    Args:
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._references: dict[str, float] = {}

    def wait(self, gauges: Iterable[Gauge], *, max_s: float) -> float | None:
        """Wait until every gauge is near its reference or settled.

        Args:
            gauges: What is looked at, one after the other.
            max_s: The longest that is waited for all of them together, seconds; 0: not at all.

        Returns:
            The seconds it took; `None` when no gauge could tell anything.
        """
        began_s = self._clock()
        told = [self._settle(gauge, began_s + max_s) for gauge in gauges if max_s > 0]
        return self._clock() - began_s if any(told) else None

    def _settle(self, gauge: Gauge, until_s: float) -> bool:
        """Wait for one gauge; tell whether it said anything."""
        history: list[tuple[float, float]] = []
        while (value := gauge.read()) is not None:
            history.append((self._clock(), value))
            reference = self._references.get(gauge.name)
            near = reference is not None and gauge.is_near(value, reference)
            if near or gauge.is_settled(history) or history[-1][0] >= until_s:
                self._references.setdefault(gauge.name, value)
                break
            self._sleep(gauge.period_s)
        return bool(history)
