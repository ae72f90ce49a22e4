"""What a network does to bytes, as plain figures; nothing here sends any.

A direction is named as the client sees it: `up` carries requests, `down` carries answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import SpecError

__all__ = ["PERFECT", "Change", "Conditions", "Link"]

_LONGEST_S = 60.0
"""Nothing that answers requests is further away than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of a network path.

    Args:
        delay_s: Propagation one way, seconds: no byte arrives sooner.
        jitter_s: What comes on top of it, seconds: exponentially distributed, so that this is both
            its mean and its standard deviation. ITU-T Y.1540 also counts variation from the
            shortest delay on.
        rate_bps: Payload bits per second, for all connections together; `None`: no limit.
        loss_ratio: Share of segments that are lost on the way.
        outages: Begin and end of each time in which nothing leaves the link, seconds from the
            conditions' start, in order.

    Raises:
        SpecError: When a figure is none that a link can have.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    rate_bps: float | None = None
    loss_ratio: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Check every figure."""
        for name in ("delay_s", "jitter_s"):
            value = getattr(self, name)
            if not 0 <= value <= _LONGEST_S:
                raise _refuse(name, value, f"seconds from 0 to {_LONGEST_S:g}")
        if self.rate_bps is not None and not (self.rate_bps > 0 and math.isfinite(self.rate_bps)):
            raise _refuse("rate_bps", self.rate_bps, "bits per second > 0, or none for no limit")
        if not 0 <= self.loss_ratio < 1:
            raise _refuse("loss_ratio", self.loss_ratio, "a share from 0 to below 1")
        before_s = 0.0
        for begin_s, end_s in self.outages:
            if not (before_s <= begin_s < end_s and math.isfinite(end_s)):
                raise _refuse(
                    "outages", (begin_s, end_s), "pairs of begin and end, seconds, one after other"
                )
            before_s = end_s

    @property
    def mean_delay_s(self) -> float:
        """Mean time from one end to the other without a queue, seconds."""
        return self.delay_s + self.jitter_s


PERFECT = Link()
"""A direction that does nothing to bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From a time on, the path has other figures.

    Args:
        time_s: When, seconds from the conditions' start.
        up: The figures from then on; its outages are those of the conditions.
        down: The same for answers.
    """

    time_s: float
    up: Link
    down: Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Both directions of a path, and how they change with time.

    Args:
        name: Short name, for rows and reports.
        up: What requests meet.
        down: What answers meet.
        changes: Later figures, in order of time; the last ones stay.
        origin: Where the figures come from.
        device: The network device of this machine on which the kernel makes them; `None`: the
            link emulator does.

    Raises:
        SpecError: When changes are out of order, or have outages of their own.
    """

    name: str
    up: Link = PERFECT
    down: Link = PERFECT
    changes: tuple[Change, ...] = ()
    origin: str = ""
    device: str | None = None

    def __post_init__(self) -> None:
        """Check that time only goes forward."""
        before_s = 0.0
        for change in self.changes:
            if not (change.time_s > before_s and math.isfinite(change.time_s)):
                raise SpecError(
                    f"network conditions {self.name}",
                    place=f"change at {change.time_s:g} s",
                    found=f"it follows {before_s:g} s",
                    expected="times > 0 that ascend",
                )
            if change.up.outages or change.down.outages:
                raise SpecError(
                    f"network conditions {self.name}",
                    place=f"change at {change.time_s:g} s",
                    found="outages",
                    expected="outages of the conditions as a whole: up.outages, down.outages",
                )
            before_s = change.time_s

    def timeline(self, direction: str) -> Iterator[tuple[float, Link]]:
        """Yield one direction's figures and when they begin, seconds, from 0 on.

        Args:
            direction: `up` or `down`.
        """
        yield 0.0, getattr(self, direction)
        for change in self.changes:
            yield change.time_s, getattr(change, direction)


def _refuse(name: str, found: object, expected: str) -> SpecError:
    return SpecError("network link", place=name, found=str(found), expected=expected)
