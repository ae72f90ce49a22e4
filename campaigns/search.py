"""The highest rate at which a configuration keeps the objective, found by halving.

Pure: what was probed in, what to probe next out. Each block of a campaign searches anew, so that
the blocks tell how far the answer can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Probe", "RateSearch", "bracket", "next_rate_hz", "probe_of", "silent_reasons", "steps"]

_NOT_THE_SERVICES = frozenset(
    (
        *("send_lag", "generator_saturated", "link_late", "counter_gap", "idle_drift"),
        *("throttled", "neighbours", "clock_step"),
    )
)
"""Verdicts that say nothing of whether the service kept up."""


_Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class RateSearch(BaseModel):
    """A search for the highest rate at which the objective for latency is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    arrival: Literal["poisson", "constant"] = Field(
        default="poisson", description="Arrival process: independent users, or a fixed beat."
    )
    lowest_hz: _Rate = Field(description="Below this rate nothing is probed.")
    highest_hz: _Rate = Field(description="Nor above this.")
    resolution_ratio: Annotated[float, Field(ge=0.01, le=1, allow_inf_nan=False)] = Field(
        default=0.1,
        description="The search ends when a rate that is kept and one that is not are so close, "
        "relative.",
    )
    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=1,
        description="Probes of a search that tell nothing and are made again; after those, the "
        "search goes on below a rate at which nothing can be told.",
    )

    @property
    def rate_hz(self) -> None:
        """Not known before the search."""

    def __str__(self) -> str:
        """Return it for people, for instance `poisson 20 to 200 Hz`."""
        return f"{self.arrival} {self.lowest_hz:g} to {self.highest_hz:g} Hz"

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.highest_hz <= self.lowest_hz * (1 + self.resolution_ratio):
            raise ValueError("highest_hz above lowest_hz by more than resolution_ratio")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A trial of a search.

    Args:
        rate_hz: The rate that was offered.
        kept: Whether the service kept the objective; `None`: the trial does not tell.
    """

    rate_hz: float
    kept: bool | None


def steps(search: RateSearch) -> int:
    """Return how many probes narrow the range down to the resolution, retries included."""
    halvings = math.log2(
        math.log(search.highest_hz / search.lowest_hz) / math.log1p(search.resolution_ratio)
    )
    return max(1, math.ceil(halvings)) + search.retries


def bracket(probes: Iterable[Probe]) -> tuple[float | None, float | None]:
    """Return the highest rate that was kept, and the lowest that was not; `None`: there is none.

    Where a higher rate was kept after a lower one was not, the lower one counts: a service that
    fails at a rate does not keep it.
    """
    probes = tuple(probes)
    failed_hz = min((one.rate_hz for one in probes if one.kept is False), default=None)
    below_hz = math.inf if failed_hz is None else failed_hz
    kept = [one.rate_hz for one in probes if one.kept and one.rate_hz < below_hz]
    return max(kept, default=None), failed_hz


def next_rate_hz(search: RateSearch, probes: Iterable[Probe]) -> float | None:
    """Return the rate to offer next: halfway on a scale of ratios; `None`: the search has ended.

    Args:
        search: The range.
        probes: What was found so far of this configuration in this block.
    """
    probes = tuple(probes)
    if len(probes) >= steps(search):
        return None
    kept_hz, failed_hz = bracket(probes)
    low_hz = search.lowest_hz if kept_hz is None else kept_hz
    high_hz = search.highest_hz if failed_hz is None else failed_hz
    # Where the generator cannot say, such as beyond its own speed, a lower rate may.
    dark = [one.rate_hz for one in probes if one.kept is None][search.retries :]
    high_hz = min([high_hz, *(rate_hz for rate_hz in dark if rate_hz > low_hz)])
    if high_hz / low_hz <= 1 + search.resolution_ratio:
        return None
    return _rounded(math.sqrt(low_hz * high_hz))


def _rounded(rate_hz: float) -> float:
    """Return a rate that reads well and is as good: four digits."""
    return float(f"{rate_hz:.4g}")


def probe_of(row: Mapping[str, Any], percentile: float) -> Probe:
    """Return what a trial's row tells of its rate.

    Kept: the share of requests that were answered in time is no less than the objective's. A trial
    that is invalid for what generator, counter or machine did tells nothing, nor does one that
    could not be carried out; one that did not become steady, or failed requests, did not keep up.

    Args:
        row: Of the trials' table.
        percentile: Share of requests that the objective asks for.
    """
    share = row["within_slo_ratio"]
    kept = None if share is None else not row["reasons"] and share >= percentile
    return Probe(rate_hz=row["rate_hz"], kept=None if silent_reasons(row) else kept)


def silent_reasons(row: Mapping[str, Any]) -> list[str]:
    """Return for which of its reasons a trial tells nothing of its rate, with their figures.

    Too few answers tell nothing where nothing else is wrong: too few requests were drawn.
    """
    reasons = (row["reasons"] or "").split("; ")
    if len(reasons) == 1 and reasons[0].startswith("too_few_requests"):
        return reasons
    return [reason for reason in reasons if reason.partition(" ")[0] in _NOT_THE_SERVICES]
