"""Which trial comes next: the plan in its order, less what needs no measuring, then retries.

Pure, and the same for a campaign that was resumed: what is decided follows from the rows alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .design import Plan, PlannedTrial
from .loads import SteadyLoad
from .search import RateSearch, next_rate_hz, probe_of
from .spec import CampaignSpec
from .stopping import is_settled

__all__ = ["is_retried", "pending"]

Row = Mapping[str, Any]
_BY_LOAD = ("scenario", "configuration", "network", "environment", "load")
_BY_SEARCH = ("scenario", "configuration", "network", "environment", "block")


def pending(
    spec: CampaignSpec, plan: Plan, rows_now: Callable[[], Mapping[int, Row]]
) -> Iterator[PlannedTrial]:
    """Yield what is not measured, one trial at a time, as the rows stand when it is asked for.

    A cell that has settled is passed over, and so is a search that has ended. A retry takes the
    next free number; its origin follows from the order of the invalid trials, so that a resumed
    campaign gives every retry the number it had.

    Args:
        spec: The campaign.
        plan: Its trials.
        rows_now: The rows of the finished trials by number.
    """
    rows = rows_now()
    follows = spec.search is not None or spec.stopping is not None
    for planned in plan.trials:
        ready = None if planned.number in rows else _ready(planned, spec, rows.values())
        if ready is not None:
            yield ready
            rows = rows_now() if follows else rows
    rows = rows_now()
    by_number = {planned.number: planned for planned in plan.trials}
    origin, highest = 0, len(by_number)
    while origin < highest:
        origin += 1
        row = rows.get(origin)
        if row is None or not is_retried(row, spec):
            continue
        highest += 1
        by_number[highest] = dataclasses.replace(
            by_number[origin], number=highest, attempt=row["attempt"] + 1
        )
        if highest not in rows:
            yield by_number[highest]
            rows = rows_now()


def is_retried(row: Row, spec: CampaignSpec) -> bool:
    """Whether a trial is tried again.

    Where only requests were too few, the schedule of another try would be the same; a search goes
    on with what it has found.
    """
    reasons = row["reasons"] or ""
    only_few = reasons.startswith("too_few_requests") and ";" not in reasons
    tries_left = row["attempt"] <= spec.limits.retries
    return row["verdict"] != "valid" and tries_left and not only_few and spec.search is None


def _ready(planned: PlannedTrial, spec: CampaignSpec, rows: Iterable[Row]) -> PlannedTrial | None:
    """Return a trial with the load that it is to have; `None`: it is not needed."""
    if isinstance(planned.load, RateSearch):
        probes = [probe_of(row, spec.slo.percentile) for row in _alike(planned, rows, _BY_SEARCH)]
        rate_hz = next_rate_hz(planned.load, probes)
        if rate_hz is None:
            return None
        load = SteadyLoad(arrival=planned.load.arrival, rate_hz=rate_hz)
        return dataclasses.replace(planned, load=load)
    if spec.stopping is None:
        return planned
    values = [
        row[spec.stopping.figure]
        for row in _alike(planned, rows, _BY_LOAD)
        if row["verdict"] == "valid" and row["block"] < planned.block
    ]
    known = [value for value in values if value is not None]
    return None if is_settled(known, spec.stopping) else planned


def _alike(planned: PlannedTrial, rows: Iterable[Row], columns: tuple[str, ...]) -> list[Row]:
    """Return the first attempts of a cell, in order.

    Retries are left out: they come at the end, and must not change what was decided before.
    """
    wanted = {
        "scenario": planned.configuration.scenario,
        "configuration": str(planned.configuration),
        "block": planned.block,
        **planned.under,
    }
    found = [
        row
        for row in rows
        if row["attempt"] == 1 and all(row.get(name) == wanted[name] for name in columns)
    ]
    return sorted(found, key=lambda row: int(row["trial"]))
