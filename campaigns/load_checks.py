"""Whether loads can be judged by what they send, and held by what sends them."""

from __future__ import annotations

import math

from ..errors import SpecError
from ..profiler.latency import requests_needed
from .crossing import once
from .loads import DiurnalLoad
from .spec import CampaignSpec

__all__ = ["check_generator", "check_loads"]

_MOST_REQUESTS = 5_000_000
"""The generator holds every request of a stretch in memory."""
_SURE = 3.0
"""Standard deviations: one window in a thousand has fewer requests."""
_SAME_PERIODS = 1e-6
"""A quotient of two decimal numbers may miss the whole number meant by a hair."""


def check_loads(spec: CampaignSpec, subject: str) -> None:
    """Refuse loads that stand twice, that are too light to judge, or too heavy to hold.

    Raises:
        SpecError: With the load and the remedy.
    """
    once([str(load) for load in spec.loads], subject, "loads")
    if spec.search is not None:
        # All configurations have the same draws: too few once are too few for all of them.
        spread = _SURE if spec.search.arrival == "poisson" else 0.0
        _check_rate(spec, spec.search.lowest_hz, subject, "search.lowest_hz", spread=spread)
        _check_rate(spec, spec.search.highest_hz, subject, "search.highest_hz")
    for index, load in enumerate(spec.loads):
        place = f"loads[{index}]" + (".rate_hz" if "rate_hz" in type(load).model_fields else "")
        if isinstance(load, DiurnalLoad):
            _check_periods(load, spec.trial.window_s, subject, f"loads[{index}].period_s")
        if load.rate_hz is not None:
            _check_rate(spec, load.rate_hz, subject, place)
        # Else as many requests come as answers allow, or the trace is not at hand.


def _roomy(needed: int, spread: float) -> float:
    """Return a mean number of requests that gives enough, with some to spare."""
    return 1.1 * max(1.2 * needed, (spread / 2 + math.sqrt(spread**2 / 4 + needed)) ** 2)


def check_generator(spec: CampaignSpec, subject: str, cpus: int) -> None:
    """Refuse more generator processes than there are CPUs beside the service's."""
    most = max(1, cpus - 1)
    if spec.generator.processes > most:
        raise SpecError(
            subject,
            place="generator.processes",
            found=f"{spec.generator.processes} on {cpus} CPUs",
            expected=f"at most {most}, one CPU each beside the service's",
            remedy="lower it, or measure on a machine with more CPUs",
        )


def _check_periods(load: DiurnalLoad, window_s: float, subject: str, place: str) -> None:
    """Refuse a window that ends within a period: its mean rate would not be the load's."""
    periods = window_s / load.period_s
    if round(periods) < 1 or abs(periods - round(periods)) > _SAME_PERIODS:
        whole = max(1, round(periods))
        raise SpecError(
            subject,
            place=place,
            found=f"{periods:g} periods in the window of {window_s:g} s",
            expected="a whole number of them",
            remedy=f"set trial.window_s to {whole * load.period_s:g}, "
            f"or period_s to {window_s / whole:g}",
        )


def _check_rate(
    spec: CampaignSpec, rate_hz: float, subject: str, place: str, *, spread: float = 0.0
) -> None:
    """Refuse a rate that gives too few requests for the objective, or more than can be held.

    Args:
        spec: The campaign.
        rate_hz: Requests a second.
        subject: The specification's file.
        place: Where the rate stands in it.
        spread: Standard deviations of a Poisson number that the number may be below its mean.
    """
    needed = requests_needed(spec.slo.percentile)
    longest_s = max(spec.trial.window_s, spec.trial.warmup_max_s)
    expected = rate_hz * spec.trial.window_s
    fewest = expected - spread * math.sqrt(expected)
    if fewest < needed:
        raise SpecError(
            subject,
            place=place,
            found=f"{expected:g} requests in a window"
            + (f", {fewest:.0f} by bad luck" if spread else ""),
            expected=f"at least {needed}, for an interval of the "
            f"{100 * spec.slo.percentile:g}th percentile",
            remedy=f"set trial.window_s to {_roomy(needed, spread) / rate_hz:.2g} or more, "
            "or lower slo.percentile",
        )
    if rate_hz * longest_s > _MOST_REQUESTS:
        raise SpecError(
            subject,
            place=place,
            found=f"{rate_hz * longest_s:g} requests in {longest_s:g} s",
            expected=f"at most {_MOST_REQUESTS:,} in a window or warm-up",
            remedy="lower the rate, trial.window_s or trial.warmup_max_s",
        )
