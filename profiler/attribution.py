"""Who used the energy: the one formula, and the idle power it needs.

For a device over a time, `energy = idle + active`. Idle power is learned from what the device
draws at different loads; active energy is shared among consumers by their counted work. What
nobody named is `system`. The parts add up to the whole, whatever happens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .quantities import Energy, Provenance, sum_energy
from .sources.base import Kind
from .window import WindowResult

__all__ = [
    "ESTIMATED_ACTIVE_FACTOR",
    "Attribution",
    "IdleModel",
    "IdlePolicy",
    "IdlePower",
    "attribute",
    "attribute_window",
    "observe_window",
]

IdlePolicy = Literal["none", "time_share", "request", "reservation"]

ESTIMATED_ACTIVE_FACTOR = 1.5
"""A model knows what load adds less well than the whole, of which idle is a large part: for the
active part of an estimate both ends of the interval move by this factor. 95 % of the recorded
loads of five machines then lie inside."""

_NOISE_RATIO = 0.01
"""Power of one device at one load varies at least so much; few observations cannot show it."""

_NOTHING_W = 1e-6
"""Less power than that is none: a device that draws it is off."""

_SLOPE_RATIO = 10.0
"""Full load may add up to about this many times the power seen so far (one standard deviation)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePower:
    """Idle power with its 95 % interval, in watts."""

    value_w: float
    low_w: float
    high_w: float


class IdleModel:
    """Learns the idle power of one device, or of several taken together.

    Recursive least squares of power on utilisation, weighted by duration, with a broad prior on
    the slope: without any spread in load the intercept stays uncertain instead of wrong. Feed it
    times of at least 20 updates of the sensor, idle ones among them.
    """

    def __init__(self) -> None:
        # Sums of w, wu, wu², wp, wup, wp²: all that least squares needs to remember.
        self._moments: NDArray[np.float64] = np.zeros(6)
        self._count = 0
        self._lowest_w = math.inf
        self._highest_w = 0.0

    def observe(self, *, power_w: float, utilisation_ratio: float, duration_s: float) -> None:
        """Learn from one time.

        Args:
            power_w: Mean power, 0 or more.
            utilisation_ratio: Mean utilisation of the device, 0 to 1.
            duration_s: How long.

        Raises:
            ValueError: When a figure is out of its range.
        """
        finite = all(map(math.isfinite, (power_w, utilisation_ratio, duration_s)))
        if not finite or power_w < 0 or not 0 <= utilisation_ratio <= 1 or duration_s <= 0:
            raise ValueError(
                "power must be 0 or more, utilisation within [0, 1], duration positive; found "
                f"{power_w} W, {utilisation_ratio}, {duration_s} s"
            )
        u, p = utilisation_ratio, power_w
        self._moments += duration_s * np.array([1.0, u, u * u, p, u * p, p * p])
        self._count += 1
        self._lowest_w, self._highest_w = min(self._lowest_w, p), max(self._highest_w, p)

    @property
    def observations(self) -> int:
        """How many times were observed."""
        return self._count

    def power(self) -> IdlePower | None:
        """Return the idle power, never below 0 nor above the lowest observed; `None` untaught."""
        if self._count == 0:
            return None
        if self._highest_w < _NOTHING_W:
            return IdlePower(value_w=0.0, low_w=0.0, high_w=0.0)
        w, wu, wuu, wp, wup, wpp = self._moments
        normal, right = np.array([[w, wu], [wu, wuu]]), np.array([wp, wup])
        # Noise per second of observation; the mean duration turns a mean power's noise into it.
        floor = (_NOISE_RATIO * self._highest_w) ** 2 * (w / self._count)
        noise = floor
        prior = np.diag([0.0, 1 / (_SLOPE_RATIO * self._highest_w) ** 2])
        for _ in range(2):  # the noise decides how much the prior counts, and the fit the noise
            fit = np.linalg.solve(normal / noise + prior, right / noise)
            left = wpp - 2 * fit @ right + fit @ normal @ fit
            noise = max(floor, left / max(1, self._count - 2))
        half_w = 1.96 * math.sqrt(np.linalg.inv(normal / noise + prior)[0, 0])

        def clamped(power_w: float) -> float:
            return min(max(0.0, power_w), self._lowest_w)

        # The lowest observed power was drawn under some load, but it was measured with noise.
        high_w = min(float(fit[0]) + half_w, self._lowest_w * (1 + 1.96 * _NOISE_RATIO))
        value_w = clamped(float(fit[0]))
        return IdlePower(
            value_w=value_w, low_w=clamped(float(fit[0]) - half_w), high_w=max(value_w, high_w)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """A whole energy and its parts: `idle`, `system` and `parts` add up to `total`.

    Args:
        total: The device's energy.
        idle: Energy it would have drawn without load, so far as the idle policy gave it to nobody.
        system: Active energy of work that nobody named.
        parts: Energy of each named consumer.
    """

    total: Energy
    idle: Energy
    system: Energy
    parts: Mapping[str, Energy]


def attribute(
    energy: Energy,
    *,
    duration_s: float,
    idle: IdleModel,
    work_s: Mapping[str, float],
    busy_s: float,
    resolution_s: float = 0.01,
    idle_policy: IdlePolicy = "none",
    shares: Mapping[str, float] | None = None,
) -> Attribution:
    """Share the energy of one device, or of devices that do the same work, among consumers.

    Args:
        energy: The energy of the time.
        duration_s: How long it was.
        idle: The idle power, taught with at least one observation.
        work_s: Work of each named consumer: CPU seconds, or busy seconds of another device.
        busy_s: Work of all, named or not, in the same unit. Where the named ones exceed it (the
            kernel counts the two apart), their sum counts.
        resolution_s: Smallest step of `busy_s`.
        idle_policy: Who bears the idle energy: "none" of the consumers; "time_share" by work,
            `system` included; "request" by `shares`, in full; "reservation" by `shares` as
            fractions of the device, what is not reserved staying idle.
        shares: For the last two policies, a weight for each name of `work_s`.

    Raises:
        ValueError: When a figure is out of its range or the idle model was taught nothing.
    """
    _check(duration_s, work_s, busy_s)
    power = idle.power()
    if power is None:
        raise ValueError("the idle model needs at least one observation")
    idle_j = min(power.value_w * duration_s, energy.value_j)
    named_s = math.fsum(work_s.values())
    whole_s = max(busy_s, named_s)
    work = {name: spent_s / whole_s if whole_s > 0 else 0.0 for name, spent_s in work_s.items()}
    idle_share = _idle_shares(idle_policy, work, shares or {})
    # The node's rest is rounded to a tick at both ends.
    noise = min(1.0, 2 * resolution_s / whole_s) if whole_s > 0 else 1.0

    margin = _Margin(energy, idle_j, power, duration_s)
    kept = max(0.0, 1.0 - math.fsum(idle_share.values()))
    system_idle = kept if idle_policy == "time_share" else 0.0
    named = min(1.0, math.fsum(work.values()))
    return Attribution(
        total=energy,
        idle=margin.part(kept - system_idle, 0.0, 0.0),
        system=margin.part(system_idle, 1.0 - named, named * noise),
        parts={
            name: margin.part(idle_share[name], share, share * noise)
            for name, share in work.items()
        },
    )


def _check(duration_s: float, work_s: Mapping[str, float], busy_s: float) -> None:
    figures = (duration_s, busy_s, *work_s.values())
    if not all(map(math.isfinite, figures)) or min(figures) < 0 or duration_s == 0:
        raise ValueError(f"durations and work must be finite and not negative, found {figures}")


def _idle_shares(
    policy: IdlePolicy, work: Mapping[str, float], shares: Mapping[str, float]
) -> dict[str, float]:
    """Return the fraction of idle energy that each consumer bears; they sum to 1 at most."""
    if policy == "none":
        return dict.fromkeys(work, 0.0)
    if policy == "time_share":
        return dict(work)
    if shares.keys() != work.keys() or any(not 0 <= share < math.inf for share in shares.values()):
        raise ValueError(f"idle policy {policy!r} needs a share, 0 or more, for each consumer")
    asked = math.fsum(shares.values())
    if policy == "request":
        return {name: share / asked if asked > 0 else 0.0 for name, share in shares.items()}
    if asked > 1 + 1e-9:
        raise ValueError(f"more than the whole device is reserved: {asked}")
    return dict(shares)


@dataclass(frozen=True, slots=True)
class _Margin:
    """Gives each part its interval.

    Three errors meet in a part. The device's energy: for a sensor an amount of joules that could
    belong to any part; for an estimate a factor common to all parts, wider for the active one.
    The idle power, from the regression. The counted work, from its resolution.
    """

    energy: Energy
    idle_j: float
    idle: IdlePower
    duration_s: float

    def part(self, idle_share: float, work_share: float, work_noise: float) -> Energy:
        """Return a share of idle and of active energy, the latter known to `work_noise`."""
        active_j = self.energy.value_j - self.idle_j
        value_j = idle_share * self.idle_j + work_share * active_j
        # What idle takes, active lacks: a part that bears both in one share does not feel it.
        swing = abs(idle_share - work_share)
        idle_low_j = max(0.0, self.idle_j - self.idle.low_w * self.duration_s)
        idle_high_j = max(0.0, self.idle.high_w * self.duration_s - self.idle_j)
        down, up = (
            (idle_high_j, idle_low_j) if work_share > idle_share else (idle_low_j, idle_high_j)
        )
        work_j = work_noise * active_j
        low_j, high_j = self._device(idle_share, work_share)
        low_j = max(0.0, value_j - math.hypot(low_j, swing * down, work_j))
        high_j = value_j + math.hypot(high_j, swing * up, work_j)
        return Energy(
            value_j=value_j,
            low_j=low_j,
            high_j=min(high_j, max(self.energy.high_j, value_j)),
            provenance=_apportioned(self.energy.provenance),
        )

    def _device(self, idle_share: float, work_share: float) -> tuple[float, float]:
        """Return how far the device's own error moves a part, down and up, in joules."""
        whole = self.energy
        if whole.provenance is not Provenance.ESTIMATED or whole.value_j == 0:
            share = max(idle_share, work_share)
            return share * (whole.value_j - whole.low_j), share * (whole.high_j - whole.value_j)
        idle_j = idle_share * self.idle_j
        active_j = work_share * (whole.value_j - self.idle_j)
        low, high = whole.low_j / whole.value_j, whole.high_j / whole.value_j
        wide = ESTIMATED_ACTIVE_FACTOR
        return (
            idle_j * (1 - low) + active_j * (1 - low / wide),
            idle_j * (high - 1) + active_j * (high * wide - 1),
        )


def _apportioned(provenance: Provenance) -> Provenance:
    """Return what a share of such a whole is: an estimate's share remains an estimate."""
    estimated = provenance is Provenance.ESTIMATED
    return Provenance.ESTIMATED if estimated else Provenance.APPORTIONED


def observe_window(
    models: dict[Kind, IdleModel], window: WindowResult, *, loaded: bool = False
) -> None:
    """Teach the idle model of each kind of device with one window; gaps teach nothing.

    Args:
        models: By kind; a kind not yet there is added.
        window: The window.
        loaded: Accelerators worked in it. Their load is not counted, so such a window teaches
            nothing about their idle power.
    """
    for kind, energy in window.kinds.items():
        accelerator = kind is Kind.GPU
        if energy is None or window.duration_s <= 0 or (accelerator and loaded):
            continue
        models.setdefault(kind, IdleModel()).observe(
            power_w=energy.value_j / window.duration_s,
            utilisation_ratio=0.0 if accelerator else window.utilisation_ratio,
            duration_s=window.duration_s,
        )


def attribute_window(
    window: WindowResult,
    idle: Mapping[Kind, IdleModel],
    *,
    owner: str | None = None,
    idle_policy: IdlePolicy = "none",
    shares: Mapping[str, float] | None = None,
) -> Attribution | None:
    """Share a window's energy among its consumers, each kind of device by its own work.

    CPU, memory and platform are shared by CPU seconds. A GPU is taken as exclusive: its active
    energy belongs to `owner`, or to `system` when there is none.

    Args:
        window: The window.
        idle: The idle model of each kind in the window, see `observe_window`.
        owner: The consumer that has the GPUs to itself.
        idle_policy: See `attribute`.
        shares: See `attribute`.

    Returns:
        The shares of all kinds together; `None` when the energy of a kind is not known, or when
        nothing was learned of its idle power.

    Raises:
        ValueError: See `attribute`.
    """
    several: list[Attribution] = []
    for kind, energy in window.kinds.items():
        model = idle.get(kind)
        if energy is None or model is None:
            return None
        work_s, busy_s = window.work_s, window.busy_s
        if kind is Kind.GPU:
            work_s = {name: window.duration_s * (name == owner) for name in work_s}
            busy_s = window.duration_s
        several.append(
            attribute(
                energy,
                duration_s=window.duration_s,
                idle=model,
                work_s=work_s,
                busy_s=busy_s,
                # Possession is known exactly; only CPU work is counted in ticks.
                resolution_s=0.0 if kind is Kind.GPU else window.resolution_s,
                idle_policy=idle_policy,
                shares=shares,
            )
        )
    return _together(several, tuple(window.work_s)) if several else None


def _together(several: Sequence[Attribution], names: Sequence[str]) -> Attribution:
    def total(parts: Sequence[Energy]) -> Energy:
        whole = sum_energy(parts, errors="common")
        assert whole is not None  # no part is missing
        return whole

    return Attribution(
        total=total([one.total for one in several]),
        idle=total([one.idle for one in several]),
        system=total([one.system for one in several]),
        parts={name: total([one.parts[name] for one in several]) for name in names},
    )
