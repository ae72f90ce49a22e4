"""When each request is to be sent and what it asks, computed before the load begins.

The random streams depend on the campaign's seed, the scenario, the load and the repeat, and not on
the configuration: every configuration of a block answers the same requests at the same times, or,
in a closed loop, the same requests after the same thoughts.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from .arrivals import OpenLoad, draw_arrivals
from .loads import (
    ClosedLoad,
    Load,
    MultiStreamLoad,
    OfflineLoad,
    SingleStreamLoad,
    SteadyLoad,
)

__all__ = [
    "AnySchedule",
    "ClosedSchedule",
    "Schedule",
    "make_schedule",
    "stream",
    "warmup_load",
]

_MOST_TURNS = 100_000
_ASKED_IN_TURN = 8192
"""A closed loop asks at least so many samples before it begins again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Requests of one stretch of open load.

    Args:
        intended_s: Shape (requests,): intended send times from the start, ascending, seconds.
        samples: Shape (requests,): which sample each request carries.
    """

    intended_s: NDArray[np.float64]
    samples: NDArray[np.int64]

    def part(self, index: int, of: int) -> Schedule:
        """Return each so-many-th request, for one of several senders."""
        return Schedule(intended_s=self.intended_s[index::of], samples=self.samples[index::of])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedSchedule:
    """Users of one stretch of closed load, and what they will ask.

    Args:
        duration_s: Nothing becomes due later than this after the start.
        first_s: Shape (users,): when each user begins, from the start, seconds.
        think_s: Shape (users, turns): from an answer to the next request, again from the first
            turn on when all are used up.
        samples: What is asked, in the order of asking, and again from the beginning.
        per_query: Requests that are sent together.
        number: How many requests there are in all, each due at the start; `None`: as many as the
            users ask in the duration.
    """

    duration_s: float
    first_s: NDArray[np.float64]
    think_s: NDArray[np.float64]
    samples: NDArray[np.int64]
    per_query: int = 1
    number: int | None = None

    def part(self, index: int, of: int) -> ClosedSchedule:
        """Return each so-many-th user and sample, for one of several senders."""
        first_s = self.first_s[index::of]
        asking = min(of, len(self.first_s))
        number = self.number
        if number is not None:
            number = len(range(index, number, asking)) if index < asking else 0
        return replace(
            self,
            first_s=first_s,
            think_s=self.think_s[index::of],
            samples=self.samples[index::asking] if index < asking else self.samples[:0],
            number=number,
        )


AnySchedule = Schedule | ClosedSchedule


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a random stream that follows from a seed and names, and from nothing else."""
    words = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
    return np.random.default_rng([seed, *words])


@overload
def make_schedule(
    load: OpenLoad,
    *,
    duration_s: float,
    samples: int,
    rng: np.random.Generator,
    stride: int | None = None,
) -> Schedule: ...


@overload
def make_schedule(
    load: Load,
    *,
    duration_s: float,
    samples: int,
    rng: np.random.Generator,
    stride: int | None = None,
) -> AnySchedule: ...


def make_schedule(
    load: Load,
    *,
    duration_s: float,
    samples: int,
    rng: np.random.Generator,
    stride: int | None = None,
) -> AnySchedule:
    """Return the requests of a load.

    Samples are drawn without replacement until all were asked, then anew; or, as frames of a video,
    taken in their order from some place on, each `stride`-th one: the others are not sent.

    Args:
        load: Arrival process and rate, or users.
        duration_s: Length of the stretch in seconds.
        samples: Number of distinct samples there are.
        rng: Source of randomness.
        stride: Of samples that follow each other; `None`: they are drawn.
    """
    if isinstance(load, OpenLoad):
        intended_s = draw_arrivals(load, duration_s=duration_s, rng=rng, stride=stride or 1)
        order = _order(len(intended_s), samples, rng, stride)
        return Schedule(intended_s=intended_s, samples=order)
    number = load.samples if isinstance(load, OfflineLoad) else None
    per_query = load.samples_per_query if isinstance(load, MultiStreamLoad) else 1
    first_s, think_s = _thoughts(_users(load), duration_s, rng)
    # Whole rounds, so that what begins again asks no sample twice before all were asked.
    asked = samples * -(-_ASKED_IN_TURN // samples) if number is None else number
    return ClosedSchedule(
        duration_s=duration_s,
        first_s=first_s,
        think_s=think_s,
        samples=_order(asked, samples, rng, stride),
        per_query=per_query,
        number=number,
    )


def warmup_load(load: Load) -> Load:
    """Return the load of warm-up rounds, which must be alike to be compared.

    What is not stationary is warmed up by its mean rate, and what is asked all at once by as many
    users as there are requests in flight.
    """
    if isinstance(load, OfflineLoad):
        return _users(load)
    if not load.is_stationary and load.rate_hz is not None:
        return SteadyLoad(rate_hz=load.rate_hz)
    return load


def _users(load: ClosedLoad | SingleStreamLoad | MultiStreamLoad | OfflineLoad) -> ClosedLoad:
    """Return who asks: MLPerf's scenarios are users who do not think."""
    if isinstance(load, ClosedLoad):
        return load
    number = load.in_flight if isinstance(load, OfflineLoad) else 1
    return ClosedLoad(arrival="closed", users=number)


def _order(
    number: int, samples: int, rng: np.random.Generator, stride: int | None
) -> NDArray[np.int64]:
    if stride is not None:
        places = rng.integers(samples) + stride * np.arange(number)
        return places.astype(np.int64) % samples
    rounds = -(-number // samples)
    drawn = [rng.permutation(samples) for _ in range(rounds)]
    order = np.concatenate(drawn)[:number] if drawn else np.empty(0, dtype=np.int64)
    return order.astype(np.int64)


def _thoughts(
    load: ClosedLoad, duration_s: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return when each user begins and how long each thinks before each later request."""
    mean_s = load.think_time_s
    if not mean_s:
        return np.zeros(load.users), np.zeros((load.users, 1))
    if load.think_time == "constant":
        # Users that began together would stay together.
        return rng.uniform(0.0, mean_s, load.users), np.full((load.users, 1), mean_s)
    turns = min(int(2 * duration_s / mean_s) + 64, max(64, _MOST_TURNS // load.users))
    drawn = rng.exponential(mean_s, (load.users, turns + 1))
    return drawn[:, 0], drawn[:, 1:]
