"""Who is told how a campaign goes, one or several, and what they all work out alike."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .design import PlannedTrial

__all__ = ["PHASES", "Observer", "Observers", "Pace", "device_power_w", "reason_names"]

PHASES = ("start", "cool down", "idle before", "warm-up", "window", "idle after", "stop")
"""Of a trial, in their order."""

_FAILED = "failed"
_REASON = re.compile(r"(?:^|; )([a-z_]+) \(")


class Observer(Protocol):
    """Who is told how a campaign goes."""

    def begin(self, title: str, total: int, done: int, energy: str) -> None:
        """The campaign starts or resumes: how many trials, how many are done, which energy."""

    def trial(self, planned: PlannedTrial, total: int) -> None:
        """A trial starts; `total` counts retries too."""

    def phase(self, name: str) -> None:
        """The running trial enters a phase."""

    def finished(self, row: Mapping[str, Any]) -> None:
        """A trial is recorded."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Observers:
    """Several observers that are told the same, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def begin(self, title: str, total: int, done: int, energy: str) -> None:
        """Pass it on."""
        for one in self._observers:
            one.begin(title, total, done, energy)

    def trial(self, planned: PlannedTrial, total: int) -> None:
        """Pass it on."""
        for one in self._observers:
            one.trial(planned, total)

    def phase(self, name: str) -> None:
        """Pass it on."""
        for one in self._observers:
            one.phase(name)

    def finished(self, row: Mapping[str, Any]) -> None:
        """Pass it on."""
        for one in self._observers:
            one.finished(row)

    def note(self, text: str) -> None:
        """Pass it on."""
        for one in self._observers:
            one.note(text)


class Pace:
    """How many trials there are, and how long the rest takes if it goes on like this.

    Args:
        clock: Monotonic time, seconds.

    Attributes:
        total: Trials of the campaign, retries that are known included.
        done: How many of them are recorded, those of earlier runs included.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s, self._here = clock(), 0
        self.total, self.done = 0, 0

    def begin(self, total: int, done: int) -> None:
        """Start to measure."""
        self._began_s, self._here = self._clock(), 0
        self.total, self.done = total, done

    def finished(self) -> float:
        """Count a trial; return how long the others take, seconds, at the mean of those here."""
        self._here += 1
        self.done += 1
        return (self.total - self.done) * (self._clock() - self._began_s) / self._here


def device_power_w(row: Mapping[str, Any]) -> float | None:
    """Return the mean power of all devices in a trial's window, idle included; `None`: unknown."""
    energy_j, window_s = row.get("device_energy_j"), row.get("window_s")
    return energy_j / window_s if energy_j is not None and window_s else None


def reason_names(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return why a trial is invalid, without the figures; each name once."""
    reasons = row["reasons"] or ""
    # What an error says may look like further reasons.
    if reasons.startswith(f"{_FAILED} ("):
        return (_FAILED,)
    return tuple(dict.fromkeys(_REASON.findall(reasons)))
