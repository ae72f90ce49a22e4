"""Statistics over the trials of a dataset: per configuration and load, with intervals.

Only valid trials count (`cells`). While trials are missing nothing is called the best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..datasets.store import Dataset
from .cells import ANSWER_FACTORS, GOALS, Cell, Goal, cells_of, condition_names
from .configuration import FACTORS
from .highest_rates import rates_table
from .intervals import Interval
from .units import human

__all__ = ["GOALS", "Analysis", "Cell", "Effect", "Goal", "analyse", "summary_table"]

_FACTORS: Mapping[str, str] = {name: name for name in FACTORS} | {
    "load": "offered",
    "network": "network",
    "environment": "environment",
}
"""What may differ between two cells, and where a cell has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one level of a factor does, against the reference level, all else equal.

    `ratio` is the geometric mean over `pairs` pairs of cells that differ in this factor alone;
    its bounds are the smallest and the largest ratio of a pair, not a confidence interval.
    """

    factor: str
    level: str
    reference: str
    goal: Goal
    ratio: Interval
    pairs: int


class Analysis:
    """The cells of a dataset, and questions to them.

    Attributes:
        dataset: What was analysed.
        cells: Every configuration and load that has a trial.
        partial: As `About.partial`.
    """

    def __init__(self, dataset: Dataset, cells: tuple[Cell, ...]) -> None:
        self.dataset = dataset
        self.cells = cells
        self.partial = dataset.about.partial

    @cached_property
    def scenarios(self) -> tuple[str, ...]:
        """Names of the scenarios, in the order of the dataset's figures."""
        known = [figure["scenario"] for figure in self.dataset.about.figures]
        return tuple(dict.fromkeys([*known, *(cell.scenario for cell in self.cells)]))

    def headline(self, scenario: str) -> dict[str, Any]:
        """Return the headline figure of a scenario, as in `About.figures`."""
        return next(f for f in self.dataset.about.figures if f["scenario"] == scenario)

    def quality_name(self, scenario: str) -> str:
        """Return the headline's short name: its title up to the first comma."""
        return str(self.headline(scenario)["title"]).partition(",")[0]

    def loads(self, scenario: str) -> tuple[str, ...]:
        """Return the loads of a scenario, the lightest first; conditions as asked for."""
        cells = {c.load: c for c in self.cells if c.scenario == scenario}
        offered = list(dict.fromkeys(c.offered for c in cells.values()))
        spec = self.dataset.about.spec
        networks, environments = (
            [None, *condition_names(spec, "network")],
            [None, *condition_names(spec, "environment")],
        )

        def place(load: str) -> tuple[float, int, int, int]:
            cell = cells[load]
            return (
                cell.rate_hz,
                offered.index(cell.offered),
                _place(cell.network, networks),
                _place(cell.environment, environments),
            )

        return tuple(sorted(cells, key=place))

    def of(self, scenario: str, load: str | None = None) -> list[Cell]:
        """Return the cells of a scenario that have a valid trial, cheapest first, by load."""
        loads = self.loads(scenario)
        found = [
            cell
            for cell in self.cells
            if cell.scenario == scenario and cell.valid and load in (None, cell.load)
        ]
        return sorted(
            found,
            key=lambda cell: (
                loads.index(cell.load),
                cell.energy.value if cell.energy else math.inf,
                cell.label,
            ),
        )

    @property
    def objective(self) -> str | None:
        """The objective for latency in words, for instance `p95 ≤ 20 ms`; `None` without one."""
        slo = self.dataset.about.spec.get("slo")
        return slo and f"p{100 * slo['percentile']:g} ≤ {1e3 * slo['latency_s']:g} ms"

    def best(self, scenario: str, load: str, goal: Goal) -> Cell | None:
        """Return the best cell of one load, `None` while trials are missing or nothing is known.

        Cells that keep the objective come before all others. Among equals, as all batch sizes of
        a model are in quality, it is the fastest of those that cannot be told from the cheapest.
        """
        ranked = self._ranked(scenario, load, goal)
        return ranked[0] if ranked and not self.partial else None

    def rivals(self, scenario: str, load: str, goal: Goal) -> list[Cell]:
        """Return the cells that cannot be told apart from the best one.

        Cells that answer as the best one does have its quality, and are no rivals in it.
        """
        ranked = self._ranked(scenario, load, goal)
        if not ranked:
            return []
        winner = ranked[0].value(goal)
        return [
            cell
            for cell in ranked[1:]
            if winner
            and (value := cell.value(goal))
            and value.may_equal(winner)
            and not (goal == "quality" and value == winner)
        ]

    def keeping(self, scenario: str, load: str) -> list[Cell]:
        """Return the cells of a load that keep the objective; all where none is known to."""
        cells = self.of(scenario, load)
        return [cell for cell in cells if cell.objective == "kept"] or cells

    def _ranked(self, scenario: str, load: str, goal: Goal) -> list[Cell]:
        sign = self.sign(scenario, goal)
        known = [
            (sign * value.value, cell)
            for cell in self.keeping(scenario, load)
            if (value := cell.value(goal)) is not None
        ]
        ranked = [cell for _, cell in sorted(known, key=lambda pair: pair[0])]
        equals = [cell for cell in ranked if cell.value(goal) == ranked[0].value(goal)]
        cheapest = equals[0].energy if equals else None
        near = [c for c in equals if c.energy and cheapest and c.energy.may_equal(cheapest)]
        first = min(near, key=_p95_s, default=None)
        return ranked if first is None else [first, *(c for c in ranked if c is not first)]

    def sign(self, scenario: str, goal: Goal) -> int:
        """Return 1 when less is better, else -1."""
        higher = goal == "quality" and self.headline(scenario)["better"] == "higher"
        return -1 if higher else 1

    def effects(self, scenario: str) -> list[Effect]:
        """Return the effect of each level of each factor on each goal, where pairs exist."""
        parts = self.dataset.about.spec.get("scenarios", [])
        asked: dict[str, Any] = next(
            (part["factors"] for part in parts if part["scenario"] == scenario), {}
        )
        return [
            effect
            for factor in _FACTORS
            for goal in GOALS
            if goal != "quality" or factor in ANSWER_FACTORS
            for effect in _effects(self.of(scenario), factor, goal, asked.get(factor, ()))
        ]


def _place(name: str | None, known: Sequence[str | None]) -> int:
    """Return where a name stands in what was asked for; what was not comes last."""
    return known.index(name) if name in known else len(known)


def _p95_s(cell: Cell) -> float:
    found = cell.latency.get("p95")
    return math.inf if found is None else found.value


def analyse(dataset: Dataset) -> Analysis:
    """Return the statistics of a dataset."""
    bare = Analysis(dataset, tuple(cells_of(dataset)))
    front = [
        cell
        for scenario in bare.scenarios
        for load in bare.loads(scenario)
        for cell in _front(bare, scenario, load)
    ]
    return Analysis(
        dataset,
        tuple(replace(cell, front=any(cell is other for other in front)) for cell in bare.cells),
    )


def _front(analysis: Analysis, scenario: str, load: str) -> list[Cell]:
    """Return the cells that no other cell equals or beats in every goal."""
    points: list[tuple[Cell, NDArray[np.float64]]] = []
    for cell in analysis.of(scenario, load):
        values = [cell.value(goal) for goal in GOALS]
        if all(values):
            signed = [
                analysis.sign(scenario, goal) * value.value
                for goal, value in zip(GOALS, values, strict=True)
                if value
            ]
            points.append((cell, np.array(signed)))
    return [
        cell
        for cell, mine in points
        if not any(np.all(other <= mine) and np.any(other < mine) for _, other in points)
    ]


def _effects(
    cells: Iterable[Cell], factor: str, goal: Goal, order: Sequence[object]
) -> Iterator[Effect]:
    """Yield the effect of each level against the first in `order`, or the first there is."""
    values: dict[str, dict[tuple[Any, ...], float]] = {str(level): {} for level in order}
    for cell in cells:
        value = cell.value(goal)
        if value is not None and value.value > 0:
            rest = tuple(getattr(cell, of) for name, of in _FACTORS.items() if name != factor)
            values.setdefault(str(getattr(cell, _FACTORS[factor])), {})[rest] = value.value
    measured = [level for level, found in values.items() if found]
    for level in measured[1:]:
        shared = values[level].keys() & values[measured[0]].keys()
        if not shared:
            continue
        logs = sorted(math.log(values[level][at] / values[measured[0]][at]) for at in shared)
        yield Effect(
            factor=factor,
            level=level,
            reference=measured[0],
            goal=goal,
            ratio=Interval(
                value=math.exp(math.fsum(logs) / len(logs)),
                low=math.exp(logs[0]),
                high=math.exp(logs[-1]),
            ),
            pairs=len(shared),
        )


def summary_table(dataset: Dataset) -> Table:
    """Return what a campaign answers, for a terminal.

    That are the best configurations by energy, latency and quality, or the highest rates that it
    searched.
    """
    if dataset.about.spec.get("search"):
        bare = Analysis(dataset, ())
        return rates_table(dataset, bare.objective, bare.partial)
    analysis = analyse(dataset)
    table = Table(
        title="Best configurations" if not analysis.partial else f"PARTIAL: {analysis.partial}",
        title_justify="left",
        caption=analysis.objective and f"of those that keep {analysis.objective}, where any does",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    # On a narrow screen words may be broken up: never a number.
    for column in ("", "configuration"):
        table.add_column(column)
    for column in ("energy", "p95", "quality"):
        table.add_column(column, justify="right", no_wrap=True)
    for scenario in analysis.scenarios:
        for load in analysis.loads(scenario):
            figure = analysis.headline(scenario)["name"]
            table.add_row(load, f"[bold]{scenario}[/bold]", "", "", figure, style="cyan")
            for goal, title in GOALS.items():
                table.add_row(title.lower(), *_summary(analysis, scenario, load, goal))
            table.add_section()
    return table


def _summary(analysis: Analysis, scenario: str, load: str, goal: Goal) -> tuple[str, ...]:
    cell = analysis.best(scenario, load, goal)
    if cell is None:
        return ("not yet known" if analysis.partial else "no valid trial", "–", "–", "–")
    p95 = cell.latency.get("p95")
    return (
        cell.label,
        human(cell.energy.value if cell.energy else None, "J"),
        human(p95.value if p95 else None, "s"),
        human(cell.quality.value) if cell.quality else "–",
    )
