"""The one place that subtracts cumulative readings and sums power over time.

Sources hand over what they read; `CounterDiff` and `PowerSum` turn two readings into an energy,
or into a gap that says why there is none. No reading and no clock happens here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

__all__ = ["CounterDiff", "Delta", "Gap", "GapReason", "Meterable", "PowerSum"]


PROVING_UPDATES = 20
"""A counter that must move and did not in this many of its updates was never seen to count."""


class GapReason(StrEnum):
    """Why the energy between two samples is not known."""

    BASELINE = "baseline"
    """The first reading, or the first after a failure: there is nothing to compare it with."""
    RESET = "reset"
    """The counter fell and a wrap does not explain it (driver reload, reboot of the device)."""
    IMPLAUSIBLE = "implausible"
    """More energy than the device can draw in that time."""
    STUCK = "stuck"
    """The counter has not moved for so long that it is not counting."""
    TOO_LONG = "too_long"
    """So long between samples that the reading is ambiguous (suspend, starved sampler)."""
    CLOCK = "clock"
    """The clock stepped back."""
    FAILED = "failed"
    """The source could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The energy that passed between two samples.

    Args:
        start_s: Clock at the earlier sample.
        end_s: Clock at the later sample.
        energy_j: Energy between them, 0 or more.
        spread_j: For summed power, the half-range of what the energy could be given that power
            was only known at both ends; 0 for a counter.
    """

    start_s: float
    end_s: float
    energy_j: float
    spread_j: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time whose energy is not known, and why; `start_s == end_s` hides no energy."""

    start_s: float
    end_s: float
    reason: GapReason


_DISBELIEF = {GapReason.RESET, GapReason.IMPLAUSIBLE}


class Meterable(Protocol):
    """Turns the successive readings of one domain into energies or gaps."""

    def update(self, reading: float, t_s: float) -> Delta | Gap:
        """Return what happened since the previous call."""

    def miss(self, t_s: float) -> Gap:
        """Say that the reading at `t_s` failed; the next one starts afresh."""


@dataclass(slots=True, kw_only=True)
class CounterDiff:
    """Differences of one cumulative energy counter.

    Args:
        max_power_w: More than the device can ever draw; what needs more is not believed.
        modulus_j: The counter wraps to 0 here; `None` if it never does.
        margin: Factor on `max_power_w`, for the jitter between reading and clock.
        update_s: Time between two updates of the counter. It moves in lumps, so a difference
            may hold the energy of one update more than the clock says.
        resolution_j: Smallest step of the counter.
        stuck_s: A counter that stays the same for this long is stuck; `None`: it may rest.

    Raises:
        ValueError: When a bound is not positive.
    """

    max_power_w: float
    modulus_j: float | None = None
    margin: float = 1.1
    update_s: float = 0.0
    resolution_j: float = 0.0
    stuck_s: float | None = None
    _last_t_s: float | None = field(default=None, init=False)
    _last_j: float | None = field(default=None, init=False)
    _moved_s: float = field(default=0.0, init=False)
    _counting: bool = field(default=False, init=False)
    """It has been seen to move since the baseline."""
    _stuck: bool = field(default=False, init=False)
    _trusted: tuple[float, float] | None = field(default=None, init=False)
    """Clock and reading before one that was not believed, until the counter counts again."""

    def __post_init__(self) -> None:
        bounds = (self.max_power_w, self.margin, 1.0 if self.modulus_j is None else self.modulus_j)
        if not all(math.isfinite(bound) and bound > 0 for bound in bounds):
            raise ValueError(f"power, margin and modulus must be positive, found {bounds}")

    @property
    def longest_s(self) -> float:
        """Longest time between samples in which the counter can wrap at most once."""
        if self.modulus_j is None:
            return math.inf
        return self.modulus_j / (self.max_power_w * self.margin) - self.update_s

    def update(self, reading: float, t_s: float) -> Delta | Gap:
        """Return the energy since the previous reading, or why it is not known.

        Args:
            reading: The counter, in joules.
            t_s: The clock at the reading, in seconds.
        """
        before_s, before_j = self._last_t_s, self._last_j
        if not self._possible(reading):
            return self._lose(t_s, GapReason.IMPLAUSIBLE)
        if before_s is None or before_j is None:
            return self._begin(reading, t_s)
        if t_s == before_s:
            # Two looks at one instant: the baseline stays, so what moved counts with the next.
            return Delta(start_s=t_s, end_s=t_s, energy_j=0.0)
        self._last_t_s, self._last_j = t_s, reading
        if t_s < before_s:
            self._restart(t_s)
            self._trusted = None
            return Gap(start_s=t_s, end_s=before_s, reason=GapReason.CLOCK)
        energy_j, reason = self._judge(reading - before_j, t_s - before_s)
        if reading == before_j:
            reason = reason or self._rest(reading, t_s)
        else:
            reason = self._move(reading, t_s, (before_s, before_j), reason)
        if reason is not None:
            return Gap(start_s=before_s, end_s=t_s, reason=reason)
        return Delta(start_s=before_s, end_s=t_s, energy_j=energy_j)

    def miss(self, t_s: float) -> Gap:
        """Say that the reading at `t_s` failed; the next one is a new baseline."""
        return self._lose(t_s, GapReason.FAILED)

    def _possible(self, reading: float) -> bool:
        """Tell whether this can be the counter's value at all."""
        top_j = math.inf if self.modulus_j is None else self.modulus_j + self.resolution_j
        return math.isfinite(reading) and 0 <= reading <= top_j

    def _restart(self, t_s: float) -> None:
        self._moved_s, self._counting, self._stuck = t_s, False, False

    def _lose(self, t_s: float, reason: GapReason) -> Gap:
        before_s, before_j = self._last_t_s, self._last_j
        if self._trusted is None and before_s is not None and before_j is not None:
            self._trusted = (before_s, before_j)
        start_s = t_s if before_s is None else min(before_s, t_s)
        self._last_t_s, self._last_j = t_s, None
        return Gap(start_s=start_s, end_s=t_s, reason=reason)

    def _begin(self, reading: float, t_s: float) -> Gap:
        """Take a baseline; what was read before a loss stays in mind if this does not follow it."""
        start_s = t_s if self._last_t_s is None else min(self._last_t_s, t_s)
        if self._trusted is not None:
            trusted_s, trusted_j = self._trusted
            _, reason = self._judge(reading - trusted_j, t_s - trusted_s)
            if t_s <= trusted_s or reason not in _DISBELIEF:
                self._trusted = None
        self._last_t_s, self._last_j = t_s, reading
        self._restart(t_s)
        return Gap(start_s=start_s, end_s=t_s, reason=GapReason.BASELINE)

    def _rest(self, reading: float, t_s: float) -> GapReason | None:
        """Say why a reading that did not change is no rest; `None` when it is one."""
        if self._trusted is not None:  # it jumped, and does not count since: a mere value
            fell = reading < self._trusted[1]
            return GapReason.RESET if fell else GapReason.IMPLAUSIBLE
        if self.stuck_s is None:
            return None
        # What was never seen to count gets less patience: it may be a value without meaning.
        proof_s = min(self.stuck_s, PROVING_UPDATES * self.update_s)
        self._stuck = t_s - self._moved_s >= (self.stuck_s if self._counting else proof_s)
        return GapReason.STUCK if self._stuck else None

    def _move(
        self, reading: float, t_s: float, before: tuple[float, float], reason: GapReason | None
    ) -> GapReason | None:
        """Say why a step is no energy, given what is wrong with it alone; `None` when it is."""
        if self._trusted is not None:
            trusted_s, trusted_j = self._trusted
            if self._judge(reading - trusted_j, t_s - trusted_s)[1] is None:
                # Back where it was: what was read in between was not this counter.
                self._trusted = None
                self._restart(t_s)
                return reason or GapReason.IMPLAUSIBLE
        if reason in _DISBELIEF:
            self._trusted = self._trusted or before
            self._restart(t_s)
            return reason
        # The step that ends a rest holds energy of times already given up.
        reason = reason or (GapReason.STUCK if self._stuck else None)
        self._moved_s, self._counting, self._stuck, self._trusted = t_s, True, False, None
        return reason

    def _judge(self, step_j: float, elapsed_s: float) -> tuple[float, GapReason | None]:
        limit_j = self.max_power_w * (elapsed_s + self.update_s) * self.margin + self.resolution_j
        if self.modulus_j is not None and elapsed_s >= self.longest_s:
            return 0.0, GapReason.TOO_LONG
        if step_j < 0:
            if self.modulus_j is None or step_j + self.modulus_j > limit_j:
                return 0.0, GapReason.RESET
            # A reading may stand one step above the modulus; a wrap is no less than nothing.
            step_j = max(0.0, step_j + self.modulus_j)
        if step_j > limit_j:
            return 0.0, GapReason.IMPLAUSIBLE
        return step_j, None


@dataclass(slots=True, kw_only=True)
class PowerSum:
    """Energy from power readings: the trapezium between two of them.

    Args:
        max_power_w: More than the device can ever draw.
        margin: Factor on `max_power_w`.
        longest_s: Two readings further apart say nothing about the time between them.
    """

    max_power_w: float
    margin: float = 1.1
    longest_s: float = 5.0
    _last_t_s: float | None = field(default=None, init=False)
    _last_w: float | None = field(default=None, init=False)

    def update(self, reading: float, t_s: float) -> Delta | Gap:
        """Return the energy since the previous reading, or why it is not known.

        Args:
            reading: The power, in watts.
            t_s: The clock at the reading, in seconds.
        """
        before_s, before_w = self._last_t_s, self._last_w
        believable = 0 <= reading <= self.max_power_w * self.margin
        self._last_t_s, self._last_w = t_s, reading if believable else None
        start_s = t_s if before_s is None else min(before_s, t_s)
        if before_s is not None and t_s < before_s:
            return Gap(start_s=t_s, end_s=before_s, reason=GapReason.CLOCK)
        if not believable:
            return Gap(start_s=start_s, end_s=t_s, reason=GapReason.IMPLAUSIBLE)
        if before_w is None:
            return Gap(start_s=start_s, end_s=t_s, reason=GapReason.BASELINE)
        elapsed_s = t_s - start_s
        if elapsed_s > self.longest_s:
            return Gap(start_s=start_s, end_s=t_s, reason=GapReason.TOO_LONG)
        return Delta(
            start_s=start_s,
            end_s=t_s,
            energy_j=(before_w + reading) / 2 * elapsed_s,
            spread_j=abs(reading - before_w) / 2 * elapsed_s,
        )

    def miss(self, t_s: float) -> Gap:
        """Say that the reading at `t_s` failed; the next one is a new baseline."""
        start_s = t_s if self._last_t_s is None else min(self._last_t_s, t_s)
        self._last_t_s, self._last_w = t_s, None
        return Gap(start_s=start_s, end_s=t_s, reason=GapReason.FAILED)
