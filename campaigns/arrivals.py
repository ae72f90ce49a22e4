"""Arrival times of each kind of open load, drawn ahead from one random stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import SpecError
from .loads import BurstyLoad, DiurnalLoad, SteadyLoad, TraceLoad
from .traces import TraceCut

__all__ = ["OpenLoad", "draw_arrivals", "poisson_arrivals"]

OpenLoad = SteadyLoad | BurstyLoad | DiurnalLoad | TraceLoad


def draw_arrivals(
    load: OpenLoad, *, duration_s: float, rng: np.random.Generator, stride: int = 1
) -> NDArray[np.float64]:
    """Return when requests arrive, from the start of a stretch, ascending, in seconds.

    Args:
        load: The process.
        duration_s: Length of the stretch.
        rng: Source of randomness.
        stride: Each so-many-th arrival is kept.

    Raises:
        SpecError: When the load replays a trace that nobody read.
    """
    if isinstance(load, SteadyLoad):
        rate_hz = load.rate_hz / stride
        if load.arrival == "poisson":
            return poisson_arrivals(rate_hz, duration_s=duration_s, rng=rng)
        return np.arange(int(np.floor(rate_hz * duration_s))) / rate_hz
    if isinstance(load, BurstyLoad):
        arrivals_s = _bursts(load, duration_s, rng)
    elif isinstance(load, DiurnalLoad):
        arrivals_s = _days(load, duration_s, rng)
    else:
        if load.cut is None:
            raise SpecError(f"trace {load.path}", found="a trace that was not read")
        arrivals_s = _replayed(load.cut, duration_s, rng)
    return arrivals_s[::stride]


def poisson_arrivals(
    rate_hz: float, *, duration_s: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the arrivals of a Poisson process: given their number, they are uniform."""
    number = int(rng.poisson(rate_hz * duration_s))
    return np.sort(rng.uniform(0.0, duration_s, number))


def _bursts(load: BurstyLoad, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Begin in either state with the share of time it has: the process has no beginning."""
    lengths_s = (load.quiet_s, load.burst_s)
    state = int(rng.random() < load.burst_s / (load.quiet_s + load.burst_s))
    starts_s, lasts_s, rates_hz = [], [], []
    now_s = 0.0
    while now_s < duration_s:
        stay_s = min(float(rng.exponential(lengths_s[state])), duration_s - now_s)
        starts_s.append(now_s)
        lasts_s.append(stay_s)
        rates_hz.append((load.quiet_rate_hz, load.burst_rate_hz)[state])
        # The last stay ends with the stretch, whatever rounding says.
        now_s = now_s + stay_s if stay_s < duration_s - now_s else duration_s
        state = 1 - state
    numbers = rng.poisson(np.multiply(rates_hz, lasts_s))
    return _spread(np.array(starts_s), np.array(lasts_s), numbers, rng)


def _days(load: DiurnalLoad, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Thin a Poisson process of the highest rate (Lewis and Shedler 1979)."""
    peak_hz = load.rate_hz * load.peak_to_mean
    offered_s = poisson_arrivals(peak_hz, duration_s=duration_s, rng=rng)
    share = 1 + (load.peak_to_mean - 1) * np.sin(2 * np.pi * offered_s / load.period_s)
    kept: NDArray[np.float64] = offered_s[rng.random(len(offered_s)) * load.peak_to_mean < share]
    return kept


def _replayed(cut: TraceCut, duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Replay arrivals at their times, and spread what is known per interval evenly over it."""
    if cut.form == "rates":
        numbers = rng.poisson(cut.requests)
    else:
        numbers = np.floor(cut.requests).astype(np.int64)
        numbers += rng.random(len(numbers)) < cut.requests - numbers
    if cut.form == "arrivals":
        # The first of several stands in its place, the others anywhere up to the next arrival.
        gaps_s = np.diff(np.append(cut.edges_s, duration_s))
        more_s = _spread(cut.edges_s, gaps_s, np.maximum(numbers - 1, 0), rng)
        arrivals_s = np.sort(np.concatenate([cut.edges_s[numbers > 0], more_s]))
    else:
        arrivals_s = _spread(cut.edges_s[:-1], np.diff(cut.edges_s), numbers, rng)
    return arrivals_s[: int(np.searchsorted(arrivals_s, duration_s))]


def _spread(
    starts_s: NDArray[np.float64],
    lasts_s: NDArray[np.float64],
    numbers: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return so many times in each interval, uniform in it, ascending."""
    places = rng.random(int(numbers.sum())) * np.repeat(lasts_s, numbers)
    return np.sort(np.repeat(starts_s, numbers) + places)
