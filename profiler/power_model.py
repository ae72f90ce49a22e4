"""What a device draws without load, and how unlike its consumers' work is: learned as it runs.

A Bayesian regression of power on work. Power is idle power, plus a concave curve of all work
(waking up costs, frequency falls), plus what each consumer's second of work draws more or less
than the common one: a random effect per consumer, whose size is learned as well (a mixed model,
Henderson 1975; evidence after MacKay 1992). Where nothing tells consumers apart they stay alike,
and the interval says so. Nothing is read and nothing shared out here; `attribution` does that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .mean_range import MeanRange
from .moments import BASE, Curve, Moments
from .power_fit import (
    GONE,
    LINE,
    PLAIN,
    PROCESSOR,
    SYSTEM,
    Fit,
    IdlePower,
    Prior,
    Regression,
    blank,
    regress,
)

__all__ = ["LINE", "PLAIN", "PROCESSOR", "SYSTEM", "Fit", "IdlePower", "PowerModel", "Prior"]

_Floats = NDArray[np.float64]

BLOCK_S = 30.0
"""Noise within a block is of seconds, between blocks of minutes (warmth, drift): they differ."""

WARMTH_S = 40.0
"""Silicon leaks more when warm, and its temperature follows power with about this lag."""

_NOTHING_W = 1e-6
"""Less power than that is none: a device that draws it is off."""

_SETTLED = 50
"""After so many observations one step from the last fit is enough."""

_FIRST_STEPS = 4


@dataclass(slots=True)
class _Block:
    """The block under way: its moments, and the sums that make its mean."""

    moments: Moments
    row: _Floats
    power: float = 0.0


class PowerModel:
    """Learns one device, or several of a kind taken together, from times with known energy.

    Feed it times of at least 20 updates of the sensor, some of them at little load: what was never
    seen near idle leaves the idle power uncertain.

    Args:
        capacity: Work the device can do in a second: logical CPUs, or 1 for an accelerator.
        devices: How many are taken together. Each has a curve of its own, and nobody tells which
            of them a consumer works on.
        prior: What is believed of such a device before anything was seen.
        memory_s: Observations count less with age: by 1/e after so long.
        refit_s: What was learned is concluded anew after so much observed time.

    Raises:
        ValueError: When capacity or memory are not positive.
    """

    def __init__(
        self,
        capacity: float,
        *,
        devices: int = 1,
        prior: Prior = PROCESSOR,
        memory_s: float = 1800.0,
        refit_s: float = 10.0,
    ) -> None:
        if not (capacity > 0 and memory_s > 0):
            raise ValueError(
                f"capacity and memory must be positive, found {capacity} and {memory_s} s"
            )
        self.capacity, self.memory_s, self.refit_s = capacity, memory_s, refit_s
        self._devices, self._prior = devices, prior
        self.signals = 0
        self._columns = {SYSTEM: BASE}
        width = BASE + 1
        self._within, self._between = Moments.empty(width), Moments.empty(width)
        self._block = _Block(Moments.empty(width), np.zeros(width))
        self._signal_sums: _Floats = np.zeros(1)  # of each signal, and of the work that has any
        self._count = 0
        self._range, self._loads = MeanRange(memory_s), MeanRange(memory_s)
        self._curve = Curve(capacity)
        self._regression: Regression | None = None
        self._fit: Fit | None = None
        self._warmth_w: float | None = None
        self._new_s = 0.0
        self._observed_s = 0.0
        self._seen_s: dict[str, float] = {}

    @property
    def observations(self) -> int:
        """How many times were observed."""
        return self._count

    def observe(
        self,
        *,
        power_w: float,
        duration_s: float,
        work_s: Mapping[str, float],
        busy_s: float,
        signals: Mapping[str, tuple[float, ...]] | None = None,
    ) -> None:
        """Learn from one time.

        Args:
            power_w: Mean power, 0 or more.
            duration_s: How long.
            work_s: Work of each named consumer, as `attribute` takes it.
            busy_s: Work of all, named or not, in the same unit.
            signals: For consumers that have them, what was counted in that time: cycles,
                instructions, cache misses, the same ones for all.

        Raises:
            ValueError: When a figure is out of its range.
        """
        figures = (power_w, duration_s, busy_s, *work_s.values())
        if not all(map(math.isfinite, figures)) or min(figures) < 0 or duration_s == 0:
            raise ValueError(f"power, work and duration must be 0 or more, found {figures}")
        if not {SYSTEM, GONE}.isdisjoint(work_s):
            raise ValueError("a consumer needs a name of its own, found an empty one")
        self._admit([name for name, s in work_s.items() if s > 0 and name not in self._columns])
        self._forget_the_gone(work_s, duration_s)
        self._admit_signals(signals or {})
        row = self._row(duration_s, work_s, busy_s, signals or {})
        self._decay(math.exp(-duration_s / self.memory_s))
        weight = min(duration_s, BLOCK_S)
        block = self._block
        block.moments.add(row, power_w, weight)
        block.row += weight * row
        block.power += weight * power_w
        if block.moments.weight >= BLOCK_S * (1 - 1e-9):
            self._within, self._between = self._folded()
            self._block = _Block(Moments.empty(len(row)), np.zeros(len(row)))
        self._count += 1
        self._warm(power_w, duration_s)
        self._range.add(power_w, duration_s)
        whole_s = max(busy_s, math.fsum(work_s.values()))
        self._loads.add(whole_s / duration_s / self.capacity, duration_s)
        self._new_s += duration_s

    def forget(self, *names: str) -> None:
        """Forget consumers: what they did stays known as work of some that are gone."""
        known = {name for name in names if name in self._columns} - {SYSTEM, GONE}
        if not known:
            return
        if GONE not in self._columns:
            self._admit([GONE])
        into = self._columns[GONE]
        columns = sorted(self._columns[name] for name in known)
        for moments in (self._within, self._between, self._block.moments):
            moments.merge(columns, into)
        row = self._block.row
        row[into] += row[columns].sum()
        self._block.row = np.delete(row, columns)
        # Columns stand in the order of the names, so that those that are left close ranks.
        left = [name for name in self._columns if name not in known]
        first = self._columns[SYSTEM]
        self._columns = {name: at for at, name in enumerate(left, start=first)}
        for name in known:
            self._seen_s.pop(name, None)
        self._fit = None

    def fit(self) -> Fit | None:
        """Return what was learned so far; `None` untaught."""
        if self._count == 0:
            return None
        young = self._count <= _SETTLED
        if self._fit is None or young or self._new_s >= self.refit_s:
            self._new_s = 0.0
            if self._range.highest < _NOTHING_W:
                return blank(self._columns, self.signals)
            steps = _FIRST_STEPS if young or self._regression is None else 1
            columns, typical = self._columns, self._typical()
            moments = self._folded()
            if self.signals:
                turned = self._seen_from(typical)
                moments = (moments[0].seen_by(BASE, turned), moments[1].seen_by(BASE, turned))
                columns = {name: at - 1 for name, at in columns.items()}
            self._regression, covariance = regress(
                *moments,
                prior=self._prior,
                curve=self._curve,
                signals=self.signals,
                lowest_w=self._range.lowest,
                highest_w=self._range.highest,
                block_s=BLOCK_S,
                observations=self._count,
                start=self._regression,
                steps=steps,
            )
            self._curve = self._regression.curve
            self._fit = self._regression.fit(
                covariance,
                columns,
                self.signals,
                typical,
                self._range.lowest,
                self._range.highest,
                self._loads.lowest,
                self._devices,
            )
        return self._fit

    def _forget_the_gone(self, work_s: Mapping[str, float], duration_s: float) -> None:
        """Forget who has not been heard of for two memories, told off or not."""
        self._observed_s += duration_s
        self._seen_s |= dict.fromkeys(work_s, self._observed_s)
        limit_s = self._observed_s - 2 * self.memory_s
        gone = [name for name, seen_s in self._seen_s.items() if seen_s < limit_s]
        for name in gone:
            del self._seen_s[name]
        self.forget(*gone)

    def _warm(self, power_w: float, duration_s: float) -> None:
        if self._warmth_w is None:
            self._warmth_w = power_w
        self._warmth_w += (power_w - self._warmth_w) * (1 - math.exp(-duration_s / WARMTH_S))

    def _admit(self, names: Sequence[str]) -> None:
        if not names:
            return
        self._columns |= {name: at for at, name in enumerate(names, start=len(self._block.row))}
        for moments in (self._within, self._between, self._block.moments):
            moments.grow(len(names))
        self._block.row = np.pad(self._block.row, (0, len(names)))

    def _admit_signals(self, signals: Mapping[str, tuple[float, ...]]) -> None:
        """Make room for signals when the first ones come: their counts, and the work that has any.

        So far all work counts as having none.
        """
        most = max(map(len, signals.values()), default=0)
        if self.signals == 0 and most:
            self.signals = most
            number = self.signals + 1
            for moments in (self._within, self._between, self._block.moments):
                moments.insert(BASE, number)
            self._block.row = np.insert(self._block.row, [BASE] * number, 0.0)
            self._columns = {name: at + number for name, at in self._columns.items()}
            self._signal_sums = np.zeros(number)
            self._fit = None
        for name, counts in signals.items():
            if len(counts) != self.signals:
                raise ValueError(f"{name} has {len(counts)} signals, expected {self.signals}")

    def _typical(self) -> _Floats:
        """Return each signal per unit of work; infinite for one that nobody had so far."""
        *sums, work_s = self._signal_sums
        return np.array([total / work_s if total > 0 else math.inf for total in sums])

    def _seen_from(self, typical: _Floats) -> _Floats:
        """Return what turns the signals' regressors into those of the fit: over the typical."""
        return np.column_stack((np.diag(1 / typical), -np.ones(len(typical))))

    def _row(
        self,
        duration_s: float,
        work_s: Mapping[str, float],
        busy_s: float,
        signals: Mapping[str, tuple[float, ...]],
    ) -> _Floats:
        """Return the regressors of one time."""
        named_s = math.fsum(work_s.values())
        unit = duration_s * self.capacity
        load = max(busy_s, named_s) / unit
        row = np.zeros(len(self._block.row))
        row[:BASE] = self._curve.regressors(load)
        row[BASE - 1] = self._warmth_w if self._warmth_w is not None else 0.0
        # A consumer moves the power as steeply as the curve is where the device works.
        steepness = self._curve.steepness(load)
        row[self._columns[SYSTEM]] = steepness * max(0.0, busy_s - named_s) / unit
        # Who has never worked has no column, and moves nothing.
        worked = [name for name in work_s if name in self._columns]
        at = [self._columns[name] for name in worked]
        row[at] = np.array([work_s[name] for name in worked]) * (steepness / unit)
        if signals:
            each = [(*counts, work_s.get(name, 0.0)) for name, counts in signals.items()]
            had = np.array(each).sum(axis=0)
            row[BASE : BASE + len(had)] = steepness * had / unit
            self._signal_sums += had
        return row

    def _decay(self, keep: float) -> None:
        self._within.scale(keep)
        self._between.scale(keep)

    def _folded(self) -> tuple[Moments, Moments]:
        """Return the moments within blocks and of blocks' means, the one under way included."""
        block = self._block
        weight = block.moments.weight
        if weight == 0:
            return self._within, self._between
        mean, power = block.row / weight, block.power / weight
        within, between = self._within.plus(block.moments), self._between.copy()
        within.add(mean, power, -weight, -1.0)
        # A block counts as one mean, a part of a block as a part.
        between.add(mean, power, weight / BLOCK_S, 1 / BLOCK_S)
        return within, between
