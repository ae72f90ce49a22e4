"""When each request is to be sent and what it asks, computed before the load begins.

The random streams depend on the campaign's seed, the scenario, the load and the repeat, and not on
the configuration: every configuration of a block answers the same requests at the same times.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .spec import Load

__all__ = ["Schedule", "make_schedule", "stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Requests of one stretch of load.

    Args:
        intended_s: Shape (requests,): intended send times from the start, ascending, seconds.
        samples: Shape (requests,): which sample each request carries.
    """

    intended_s: NDArray[np.float64]
    samples: NDArray[np.int64]


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a random stream that follows from a seed and names, and from nothing else."""
    words = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
    return np.random.default_rng([seed, *words])


def make_schedule(
    load: Load, *, duration_s: float, samples: int, rng: np.random.Generator
) -> Schedule:
    """Return the requests of a load.

    Samples are drawn without replacement until all were asked, then anew.

    Args:
        load: Arrival process and rate.
        duration_s: Length of the stretch in seconds.
        samples: Number of distinct samples there are.
        rng: Source of randomness.
    """
    if load.arrival == "poisson":
        # Given their number, the arrivals of a Poisson process are uniform in the stretch.
        number = int(rng.poisson(load.rate_hz * duration_s))
        intended_s = np.sort(rng.uniform(0.0, duration_s, number))
    else:
        number = int(np.floor(load.rate_hz * duration_s))
        intended_s = np.arange(number) / load.rate_hz
    rounds = -(-number // samples)
    drawn = [rng.permutation(samples) for _ in range(rounds)]
    order = np.concatenate(drawn)[:number] if drawn else np.empty(0, dtype=np.int64)
    return Schedule(intended_s=intended_s, samples=order.astype(np.int64))
