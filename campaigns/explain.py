"""What a campaign will do, told before anything runs: factors, cells, order and duration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from .campaign import Campaign
from .configuration import FACTORS
from .search import steps

__all__ = ["Duration", "duration", "explained", "hms"]

_STARTUP_S = 1.5
"""A service takes about so long to start and to stop."""
_LEAST_ROUNDS = 2
"""Of warm-up: one has to agree with another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How long a campaign takes, in seconds: steady at once, or never."""

    least_s: float
    most_s: float

    def __str__(self) -> str:
        """Return it for people."""
        return f"{hms(self.least_s)} to {hms(self.most_s)}"


def hms(seconds: float) -> str:
    """Return a duration for people, for instance `1 h 05 min` or `40 s`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def duration(campaign: Campaign) -> Duration:
    """Return how long the planned trials take; retries of invalid ones come on top."""
    times, trials = campaign.spec.trial, len(campaign.plan.trials)
    always_s = _STARTUP_S + 2 * times.idle_s + times.window_s
    warm_s = (_LEAST_ROUNDS * times.warmup_round_s, times.warmup_max_s)
    return Duration(
        least_s=trials * (always_s + min(warm_s)), most_s=trials * (always_s + warm_s[1])
    )


def explained(campaign: Campaign, *, trials: int) -> Group:
    """Return what a campaign will do, for a terminal.

    Args:
        campaign: Read and planned.
        trials: How many of the trials to list.
    """
    plan = campaign.plan
    parts: list[Text | Table] = [
        Text.assemble((campaign.title, "bold")),
        Text(_sum(campaign)),
        *(Text(line) for line in _waits(campaign)),
        _factors(campaign),
        *(Text(line, style="yellow") for line in _left_out(campaign)),
        _order(campaign, trials),
    ]
    if trials < len(plan.trials):
        parts.append(Text(f"and {len(plan.trials) - trials} more; --trials lists them", "dim"))
    return Group(*parts)


def _sum(campaign: Campaign) -> str:
    """Return how many trials there are and how long they take."""
    plan, spec = campaign.plan, campaign.spec
    cells = f"{len({trial.cell for trial in plan.trials})} cells x {spec.repeats} blocks"
    trials = f"{len(plan.trials)} trials, {duration(campaign)}"
    if spec.search is not None:
        return f"{cells} x {steps(spec.search)} steps of a search = at most {trials}"
    again = f"and up to {spec.limits.retries} more of each that is invalid"
    if spec.stopping is not None:
        return f"{cells} = at most {trials}, {again}; fewer where a cell settles"
    return f"{cells} = {trials}, {again}"


def _waits(campaign: Campaign) -> Iterator[str]:
    """Yield what may come on top: how long the machine takes to cool down, nobody knows before."""
    most_s = campaign.spec.trial.cool_down_max_s
    if most_s and any(not (one.endpoint or one.kubernetes) for one in campaign.spec.scenarios):
        yield (
            f"Before each trial up to {hms(most_s)} more, while a sensor of temperature or power "
            "says that the machine is still warm."
        )


def _factors(campaign: Campaign) -> Table:
    """Return how often each level of each factor is measured."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("scenario", "factor", "levels, and in how many trials"):
        table.add_column(name)
    for scenario in campaign.scenarios:
        own = [one for one in campaign.plan.trials if one.configuration.scenario == scenario]
        columns = {name: [getattr(one.configuration, name) for one in own] for name in FACTORS}
        columns |= {
            name: [one.under[name] for one in own] for name in ("load", "network", "environment")
        }
        written = {
            **{name: getattr(campaign.part(scenario).factors, name) for name in FACTORS},
            "load": [str(load) for load in campaign.spec.loads],
            "network": [network.name for network in campaign.networks],
            "environment": [one.name for one in campaign.spec.environments],
        }
        shown, constant = scenario, []
        for name, levels in columns.items():
            counts = Counter(level for level in levels if level is not None)
            ordered = dict.fromkeys(one for one in [*written[name], *counts] if one in counts)
            if len(counts) > 1:
                text = ", ".join(f"{level} ({counts[level]})" for level in ordered)
                table.add_row(shown, name, text)
                shown = ""
            constant += [f"{name} {level}" for level in ordered if len(counts) == 1]
        if constant:
            table.add_row(shown, "in all", ", ".join(constant))
    return table


def _left_out(campaign: Campaign) -> Iterator[str]:
    for entry in campaign.plan.excluded:
        yield f"left out: {entry.scenario} {entry.levels}: {entry.reason}"


def _order(campaign: Campaign, trials: int) -> Table:
    """Return the first trials in their order."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    under = ["load", "network", *(["environment"] if campaign.spec.environments else [])]
    for name in ("trial", "block", "scenario", "configuration", *under):
        table.add_column(name, justify="right" if name in ("trial", "block") else "left")
    for one in campaign.plan.trials[:trials]:
        configuration = one.configuration
        table.add_row(
            str(one.number),
            str(one.block),
            configuration.scenario,
            str(configuration),
            *(one.under[name] or "" for name in under),
        )
    return table
