"""Who used the energy: the one formula.

For a device over a time, `energy = idle + active`. Idle power is learned from what the device
draws at different loads (`power_model`); active energy is shared among consumers by their counted
work, each second of work weighed by what was learned of its consumer. What nobody named is
`system`. The parts add up to the whole, whatever happens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .margins import ESTIMATED_ACTIVE_FACTOR, Margin, split_work
from .parts import Parts
from .power_model import LINE, PLAIN, PROCESSOR, PowerModel, Prior
from .quantities import Energy, Provenance, sum_energy, weakest
from .sources.base import Kind
from .window import WindowResult

__all__ = [
    "ESTIMATED_ACTIVE_FACTOR",
    "Attribution",
    "IdlePolicy",
    "attribute",
    "attribute_window",
    "observe_window",
]

IdlePolicy = Literal["none", "time_share", "request", "reservation"]

_OWED_S = 10.0
"""So long an idle energy may be owed; what is more was no noise."""

_ACCELERATORS = (Kind.GPU, Kind.NPU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """A whole energy and its parts: `idle`, `system` and `parts` add up to `total`.

    Args:
        total: The device's energy.
        idle: Energy it would have drawn without load, so far as the idle policy gave it to nobody.
        system: Active energy of work that nobody named.
        parts: Energy of each named consumer.
        random_j: For idle, system and each consumer in the parts' order, how much of the
            interval's half-width is chance that the next time does not share.
        edge_j: The same for the total: what one time misses at its edges the next one has.
        owed_j: Idle energy that this time was too short of; the next one should bear it.
    """

    total: Energy
    idle: Energy
    system: Energy
    parts: Mapping[str, Energy]
    random_j: tuple[float, ...] = field(repr=False)
    edge_j: float = field(default=0.0, repr=False)
    owed_j: float = field(default=0.0, repr=False)


def attribute(
    energy: Energy,
    *,
    duration_s: float,
    model: PowerModel,
    work_s: Mapping[str, float],
    busy_s: float,
    resolution_s: float = 0.01,
    edge_j: float = 0.0,
    signals: Mapping[str, tuple[float, ...]] | None = None,
    owed_j: float = 0.0,
    idle_policy: IdlePolicy = "none",
    shares: Mapping[str, float] | None = None,
) -> Attribution:
    """Share the energy of one device, or of devices that do the same work, among consumers.

    Args:
        energy: The energy of the time.
        duration_s: How long it was.
        model: What was learned of the device, from at least one observation.
        work_s: Work of each named consumer: CPU seconds, or busy seconds of another device.
        busy_s: Work of all, named or not, in the same unit. Where the named ones exceed it (the
            kernel counts the two apart), their sum counts.
        resolution_s: Smallest step of `busy_s`.
        edge_j: How much of the energy's half-width comes from the edges of the time: what one
            time misses there the next one has.
        signals: What was counted of consumers beside their work, see `PowerModel`.
        owed_j: Idle energy that earlier times were too short of, so that noise evens out.
        idle_policy: Who bears the idle energy: "none" of the consumers; "time_share" by work,
            `system` included; "request" by `shares`, in full; "reservation" by `shares` as
            fractions of the device, what is not reserved staying idle.
        shares: For the last two policies, a weight for each name of `work_s`.

    Raises:
        ValueError: When a figure is out of its range or the model was taught nothing.
    """
    _check(duration_s, work_s, busy_s)
    fit = model.fit()
    if fit is None:
        raise ValueError("the power model needs at least one observation")
    named_s = math.fsum(work_s.values())
    whole_s = max(busy_s, named_s)
    split = split_work(fit, work_s, whole_s - named_s, signals or {})
    idle_share = _idle_shares(idle_policy, work_s, whole_s, shares or {})
    kept = max(0.0, 1.0 - math.fsum(idle_share.values()))
    system_idle = kept if idle_policy == "time_share" else 0.0
    # Without work nobody is active: what is left above the idle power stays idle.
    still = 1.0 if whole_s == 0 else 0.0
    due_j = fit.idle.value_w * duration_s + owed_j
    margin = Margin(
        energy=energy,
        idle_j=min(due_j, energy.value_j),
        duration_s=duration_s,
        edge_j=edge_j,
        work_noise=min(1.0, 2 * resolution_s / whole_s) if whole_s > 0 else 0.0,
        split=split,
    )
    bounds = margin.parts(
        np.array([kept - system_idle, system_idle, *idle_share.values()]),
        np.append(still, split.shares),
    )
    return Attribution(
        total=energy,
        idle=bounds.energy(0),
        system=bounds.energy(1),
        parts=bounds.parts(2, tuple(work_s)),
        random_j=tuple(bounds.random_j.tolist()),
        edge_j=edge_j,
        owed_j=min(max(0.0, due_j - energy.value_j), fit.idle.value_w * _OWED_S),
    )


def _check(duration_s: float, work_s: Mapping[str, float], busy_s: float) -> None:
    figures = (duration_s, busy_s, *work_s.values())
    if not all(map(math.isfinite, figures)) or min(figures) < 0 or duration_s == 0:
        raise ValueError(f"durations and work must be finite and not negative, found {figures}")


def _idle_shares(
    policy: IdlePolicy, work_s: Mapping[str, float], whole_s: float, shares: Mapping[str, float]
) -> dict[str, float]:
    """Return the fraction of idle energy that each consumer bears; they sum to 1 at most."""
    if policy == "none":
        return dict.fromkeys(work_s, 0.0)
    if policy == "time_share":
        return {name: s / whole_s if whole_s > 0 else 0.0 for name, s in work_s.items()}
    if shares.keys() != work_s.keys() or any(not 0 <= s < math.inf for s in shares.values()):
        raise ValueError(f"idle policy {policy!r} needs a share, 0 or more, for each consumer")
    asked = math.fsum(shares.values())
    if policy == "request":
        return {name: shares[name] / asked if asked > 0 else 0.0 for name in work_s}
    if asked > 1 + 1e-9:
        raise ValueError(f"more than the whole device is reserved: {asked}")
    return {name: shares[name] for name in work_s}


@dataclass(frozen=True, slots=True)
class _Work:
    """Who worked on the devices of one kind."""

    named_s: Mapping[str, float]
    busy_s: float
    capacity: float
    devices: int
    resolution_s: float
    counted: bool


def _work(window: WindowResult, kind: Kind, owner: str | None) -> _Work:
    """Return the work on one kind of device; an accelerator nobody counts belongs to `owner`."""
    devices = sum(entry.summed and entry.kind is kind for entry in window.domains.values())
    if kind not in _ACCELERATORS:
        return _Work(window.work_s, window.busy_s, window.cpus, devices, window.resolution_s, True)
    counted = {name: usage.work_s(kind) for name, usage in window.usage.items()}
    if kind in window.accelerators_s or any(s is not None for s in counted.values()):
        named = {name: 0.0 if s is None else s for name, s in counted.items()}
        busy_s = window.accelerators_s.get(kind, math.fsum(named.values()))
        return _Work(named, busy_s, devices, devices, 0.0, True)
    # Possession is known exactly; only CPU work is counted in ticks.
    held = {name: devices * window.duration_s * (name == owner) for name in counted}
    return _Work(held, devices * window.duration_s, devices, devices, 0.0, False)


def _prior(kind: Kind, provenance: Provenance) -> Prior:
    if provenance is Provenance.ESTIMATED:
        return LINE
    return PROCESSOR if kind in (Kind.CPU, Kind.PLATFORM) else PLAIN


def observe_window(
    models: dict[Kind, PowerModel],
    window: WindowResult,
    *,
    loaded: bool = False,
    refit_s: float = 10.0,
) -> None:
    """Teach the power model of each kind of device with one window; gaps teach nothing.

    Args:
        models: By kind; a kind not yet there is added.
        window: The window.
        loaded: Accelerators worked in it. Where their load is not counted, such a window teaches
            nothing about their idle power.
        refit_s: Of a model that is added, see `PowerModel`.
    """
    for kind, energy in window.kinds.items():
        work = _work(window, kind, None)
        if energy is None or window.duration_s <= 0 or (loaded and not work.counted):
            continue
        signals = window.signals if kind not in _ACCELERATORS else {}
        if kind not in models:
            models[kind] = PowerModel(
                work.capacity,
                devices=work.devices,
                prior=_prior(kind, energy.provenance),
                refit_s=refit_s,
            )
        models[kind].observe(
            power_w=energy.value_j / window.duration_s,
            duration_s=window.duration_s,
            work_s=work.named_s,
            busy_s=work.busy_s if work.counted else 0.0,
            signals=signals,
        )


def attribute_window(
    window: WindowResult,
    models: Mapping[Kind, PowerModel],
    *,
    owner: str | None = None,
    owed_j: dict[Kind, float] | None = None,
    idle_policy: IdlePolicy = "none",
    shares: Mapping[str, float] | None = None,
) -> Attribution | None:
    """Share a window's energy among its consumers, each kind of device by its own work.

    CPU, memory and platform are shared by CPU seconds, accelerators by their busy seconds. Where
    nobody counts those, an accelerator is exclusive: its active energy belongs to `owner`, or to
    `system` when there is none.

    Args:
        window: The window.
        models: The power model of each kind in the window, see `observe_window`.
        owner: The consumer that has the uncounted accelerators to itself.
        owed_j: See `attribute`; for laps that follow one another, kept up to date here.
        idle_policy: See `attribute`.
        shares: See `attribute`.

    Returns:
        The shares of all kinds together; `None` when the energy of a kind is not known, or when
        nothing was learned of its idle power.

    Raises:
        ValueError: See `attribute`.
    """
    several: list[Attribution] = []
    owed = {} if owed_j is None else owed_j
    for kind, energy in window.kinds.items():
        model = models.get(kind)
        if energy is None or model is None:
            return None
        work = _work(window, kind, owner)
        several.append(
            attribute(
                energy,
                duration_s=window.duration_s,
                model=model,
                work_s=work.named_s,
                busy_s=work.busy_s,
                resolution_s=work.resolution_s,
                edge_j=window.edge_j(kind),
                signals=None if kind in _ACCELERATORS else window.signals,
                owed_j=owed.get(kind, 0.0),
                idle_policy=idle_policy,
                shares=shares,
            )
        )
        owed[kind] = several[-1].owed_j
    if len(several) == 1:
        return several[0]
    return _together(several) if several else None


def _together(several: Sequence[Attribution]) -> Attribution:
    """Add the kinds of device up; each had a regression of its own, so their errors differ."""

    def total(parts: Sequence[Energy]) -> Energy:
        estimated = weakest(part.provenance for part in parts) is Provenance.ESTIMATED
        whole = sum_energy(parts, errors="common" if estimated else "independent")
        assert whole is not None  # no part is missing
        return whole

    whole = sum_energy([one.total for one in several], errors="common")
    assert whole is not None
    return Attribution(
        total=whole,
        idle=total([one.idle for one in several]),
        system=total([one.system for one in several]),
        parts=_added([Parts.of(one.parts) for one in several]),
        random_j=tuple(np.sqrt(np.square([one.random_j for one in several]).sum(axis=0)).tolist()),
        edge_j=math.fsum(one.edge_j for one in several),
    )


def _added(several: Sequence[Parts]) -> Parts:
    """Add the parts of the same names up, as `_together` does."""
    value_j = np.sum([one.value_j for one in several], axis=0)
    below_j = np.array([one.value_j - one.low_j for one in several])
    above_j = np.array([one.high_j - one.value_j for one in several])
    ranks = np.max([one.ranks for one in several], axis=0)
    common = ranks == Parts.rank(Provenance.ESTIMATED)

    def combined_j(halves_j: NDArray[np.float64]) -> NDArray[np.float64]:
        alone = np.sqrt((halves_j**2).sum(axis=0))
        half_j: NDArray[np.float64] = np.where(common, halves_j.sum(axis=0), alone)
        return half_j

    return Parts(
        names=several[0].names,
        value_j=value_j,
        low_j=value_j - combined_j(below_j),
        high_j=value_j + combined_j(above_j),
        ranks=ranks,
    )
