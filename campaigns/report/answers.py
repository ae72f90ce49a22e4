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
    figure = analysis.quality_name(scenario)
    if cheap is good:
        return (
            f"Under {load}, {cheap.label} is cheapest and answers best ({_figures(cheap, figure)})."
        )
    text = f"Under {load}, the cheapest is {cheap.label} ({_figures(cheap, figure)})."
    times = ""
    if cheap.energy and good.energy and cheap.energy.value > 0:
        times = f", for {good.energy.value / cheap.energy.value:.2g} times the energy"
    if cheap in analysis.rivals(scenario, load, "quality"):
        return (
            f"{text} Its answers cannot be told apart from the best ones, those of {good.label}"
            f" ({_figures(good, figure)}){times}."
        )
    return f"{text} The best answers come from {good.label} ({_figures(good, figure)}){times}."


def _figures(cell: Cell, figure: str) -> str:
    p95 = cell.latency.get("p95")
    parts = [
        f"{human(cell.energy.value if cell.energy else None, 'J')} per inference",
        f"p95 {human(p95.value if p95 else None, 's')}",
    ]
    if cell.quality:
        parts.append(f"{figure} {human(cell.quality.value)}")
    return ", ".join(parts)


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
