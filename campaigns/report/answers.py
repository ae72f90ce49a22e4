"""What a campaign answers, in plain words."""

from __future__ import annotations

from typing import Any

from ..analysis import Analysis
from ..cells import GOALS, Cell
from ..units import human

__all__ = ["answer", "best_rows"]


def answer(analysis: Analysis, scenario: str) -> str:
    """Return one sentence or two on the heaviest load: the cheapest, and the best answers."""
    if analysis.partial:
        return f"Not answered yet: {analysis.partial}."
    load = analysis.loads(scenario)[-1]
    cheap, good = (analysis.best(scenario, load, goal) for goal in ("energy", "quality"))
    if cheap is None or good is None:
        return f"Not answered: under {load} no configuration has a valid trial."
    if cheap is good:
        return f"Under {load}, {_named(analysis, cheap)} is cheapest and answers best."
    text = f"Under {load}, the cheapest is {_named(analysis, cheap)}."
    text += f" The best answers come from {_named(analysis, good)}"
    if cheap.energy and good.energy and cheap.energy.value > 0:
        text += f", for {good.energy.value / cheap.energy.value:.2g} times the energy"
    return text + "."


def _named(analysis: Analysis, cell: Cell) -> str:
    p95 = cell.latency.get("p95")
    figures = [
        f"{human(cell.energy.value if cell.energy else None, 'J')} per inference",
        f"p95 {human(p95.value if p95 else None, 's')}",
    ]
    if cell.quality:
        title = analysis.headline(cell.scenario)["title"]
        figures.append(f"{title} {human(cell.quality.value)}")
    return f"{cell.label} ({', '.join(figures)})"


def best_rows(analysis: Analysis, scenario: str) -> list[dict[str, Any]]:
    """Return a row per load and goal: the best cell, and how many others may be as good."""
    return [
        {
            "load": load,
            "goal": title,
            "key": goal,
            "cell": cell,
            "rivals": [rival.label for rival in analysis.rivals(scenario, load, goal)],
        }
        for load in analysis.loads(scenario)
        for goal, title in GOALS.items()
        if (cell := analysis.best(scenario, load, goal)) is not None
    ]
