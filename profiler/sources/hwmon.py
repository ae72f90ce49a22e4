"""Sensor chips behind hwmon: energy counters, power, and volts times amperes of a rail.

Kernel document: Documentation/hwmon/sysfs-interface.rst. What a channel measures stands in
`hwmon_chips`; what nobody described is reported, never summed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ...errors import SourceError, SourceFailed, SourceForbidden, SourceUnavailable
from ..quantities import Provenance
from .base import Domain, Kind, Reading
from .hwmon_channels import Channel, find_channels, find_chips
from .hwmon_chips import Scope

__all__ = ["Hwmon", "choose"]

RESOLUTION_J = 61e-6
"""The coarsest common unit of energy counters, 2**-14 J."""

STUCK_S = 0.25
"""A processor that is powered moves its counter in this time, however idle."""

LIMIT_FACTOR = 2.0
"""Short peaks pass a power limit, and the limit can be raised while we measure."""

_MAX_POWER_W = {
    Kind.CPU: 1500.0,
    Kind.DRAM: 500.0,
    Kind.GPU: 3000.0,
    Kind.NPU: 3000.0,
    Kind.PLATFORM: 20_000.0,
}
"""For channels without a limit: well above any such device."""

_LONGEST_UPDATE_S = 60.0


def choose(channels: Iterable[Channel]) -> set[Channel]:
    """Return the channels that are summed: one set without overlap.

    A board's input alone, if there is one; else the members of every chip, or its spares where it
    has none; else a meter of the whole machine. Of several inputs or meters nobody knows how they
    overlap, so that none of them is taken.
    """
    by_scope: dict[Scope, list[Channel]] = {scope: [] for scope in Scope}
    for channel in channels:
        by_scope[channel.rule.scope].append(channel)
    board, meter = by_scope[Scope.BOARD], by_scope[Scope.METER]
    if len(board) == 1:
        return set(board)
    members = set(by_scope[Scope.MEMBER])
    served = {channel.chip for channel in members}
    members |= {spare for spare in by_scope[Scope.SPARE] if spare.chip not in served}
    return members or (set(meter) if len(meter) == 1 else set())


class Hwmon:
    """Every hwmon channel with energy or power, one non-overlapping set of them summed.

    Args:
        sys: Root of sysfs.

    Raises:
        SourceUnavailable: No chip measures energy or power.
        SourceForbidden: Chips do, and this user may read none of them.
        SourceFailed: None answers with a number.

    Attributes:
        dropped: Channels that are not read, each with the reason.
    """

    name = "hwmon"

    def __init__(self, sys: Path) -> None:
        channels: list[Channel] = []
        errors: list[SourceError] = []
        self.dropped: dict[str, str] = {}
        for chip in find_chips(sys):
            for channel in find_channels(chip):
                if channel.rule.scope is Scope.UNREAD:
                    pattern = re.sub(r"\d+", "*", channel.label)
                    self.dropped[f"{chip.name}/{pattern}"] = channel.rule.note
                    continue
                try:
                    channel.read()
                except (SourceUnavailable, SourceForbidden) as error:
                    self.dropped[f"{chip.name}/{channel.label}"] = str(error)
                    errors.append(error)
                    continue
                except SourceFailed as error:  # it is there: a gap in the sum, not a smaller sum
                    errors.append(error)
                channels.append(channel)
        failed = sum(isinstance(error, SourceFailed) for error in errors)
        if len(channels) == failed:
            raise _nothing(sys, errors)
        self._channels = tuple(channels)
        self.domains = _domains(self._channels)

    def sample(self) -> tuple[Reading, ...]:
        """Read every channel once; see `Source`."""
        readings: list[Reading] = []
        errors: list[SourceError] = []
        for domain, channel in zip(self.domains, self._channels, strict=True):
            try:
                readings.append(Reading(domain, channel.read()))
            except SourceError as error:
                errors.append(error)
        if not readings:
            raise errors[0]
        return tuple(readings)


def _nothing(sys: Path, errors: list[SourceError]) -> SourceError:
    """Return why nothing can be read: what is forbidden can be changed, so it is said first."""
    for kind in (SourceForbidden, SourceFailed, SourceUnavailable):
        for error in errors:
            if isinstance(error, kind):
                return error
    return SourceUnavailable(
        f"hwmon {sys / 'class/hwmon'}", found="no sensor of energy or power among the chips"
    )


def _domains(channels: tuple[Channel, ...]) -> tuple[Domain, ...]:
    summed = choose(channels)
    addresses: dict[str, set[str]] = {}
    for channel in channels:
        addresses.setdefault(channel.chip.name, set()).add(channel.chip.address)
    many = {name for name, some in addresses.items() if len(some) > 1}
    chips = [
        f"{c.chip.name}-{c.chip.address}" if c.chip.name in many else c.chip.name for c in channels
    ]
    plain = [f"{chip}/{channel.label}" for chip, channel in zip(chips, channels, strict=True)]
    repeated = {name for name, times in Counter(plain).items() if times > 1}
    return tuple(
        _domain(
            channel,
            f"{name}-{channel.key}" if name in repeated else name,
            summed=channel in summed,
        )
        for name, channel in zip(plain, channels, strict=True)
    )


def _domain(channel: Channel, name: str, *, summed: bool) -> Domain:
    rule, counter = channel.rule, channel.form == "counter"
    if channel.key.startswith("power") and channel.fact(f"{channel.key}_is_battery"):
        summed = False  # what a battery gives is not what the machine draws
    low_ratio, high_ratio = _accuracy(channel)
    notes = (
        rule.note,
        f"{channel.chip.address} {' x '.join(path.name for path in channel.files)}",
    )
    return Domain(
        name=name,
        kind=rule.kind,
        form=channel.form,
        provenance=Provenance.MEASURED if counter else Provenance.INTEGRATED,
        max_power_w=_max_power_w(channel),
        summed=summed,
        resolution_j=RESOLUTION_J if counter else 0.0,
        update_s=_update_s(channel),
        stuck_s=STUCK_S if counter and not rule.may_rest else None,
        low_ratio=low_ratio,
        high_ratio=high_ratio,
        note=", ".join(filter(None, notes)),
    )


def _max_power_w(channel: Channel) -> float:
    """Return a bound from the chip's own limits, in microwatts, else one for the kind."""
    number = re.sub(r"\D", "", channel.key)
    if channel.key.startswith("in"):
        return _MAX_POWER_W[channel.rule.kind]
    for limit in ("rated_max", "cap_max"):
        limit_uw = channel.fact(f"power{number}_{limit}")
        if limit_uw:
            return LIMIT_FACTOR * limit_uw / 1e6
    return _MAX_POWER_W[channel.rule.kind]


def _update_s(channel: Channel) -> float:
    """Return how old a value may be: the averaging time or the chip's own, in milliseconds."""
    names = ["update_interval"]
    if channel.files[0].name.endswith("_average") and not channel.chip.name.endswith("occ"):
        names.insert(0, f"{channel.key}_average_interval")  # the occ's is in microseconds
    for name in names:
        milliseconds = channel.fact(name)
        if milliseconds is not None and 0 < milliseconds <= 1e3 * _LONGEST_UPDATE_S:
            return milliseconds / 1e3
    return channel.rule.update_s


def _accuracy(channel: Channel) -> tuple[float, float]:
    """Return the interval of a meter that states its accuracy, as in "95.0%"."""
    stated = re.fullmatch(r"(\d+(?:\.\d+)?)%?", channel.text(f"{channel.key}_accuracy"))
    ratio = float(stated[1]) / 100 if stated else 1.0
    return (ratio, 2 - ratio) if 0 < ratio <= 1 else (1.0, 1.0)
