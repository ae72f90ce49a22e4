"""What a campaign answers, in plain words."""

from __future__ import annotations

from typing import Any

from ..analysis import Analysis
from ..cells import GOALS, Cell
from ..units import human

__all__ = ["answer", "best_rows"]


def answer(analysis: Analysis, scenario: str) -> str:
    """Return a few sentences on the heaviest load: the cheapest, and the best answers."""
    if analysis.partial:
        return f"Not answered yet: {analysis.partial}."
    load = analysis.loads(scenario)[-1]
    cheap, good = (analysis.best(scenario, load, goal) for goal in ("energy", "quality"))
    if cheap is None or good is None:
        return f"Not answered: under {load} no configuration has a valid trial."
    figure = analysis.quality_name(scenario)
    which = _which(analysis, scenario, load)
    if cheap is good:
        return f"{which}, {cheap.label} is cheapest and answers best ({_figures(cheap, figure)})."
    text = f"{which}, the cheapest is {cheap.label} ({_figures(cheap, figure)})."
    times = ""
    if cheap.energy and good.energy and cheap.energy.value > 0:
        times = f", for {good.energy.value / cheap.energy.value:.2g} times that energy"
        if good.energy.may_equal(cheap.energy):
            times = ", for about the same energy"
    if cheap in analysis.rivals(scenario, load, "quality"):
        return (
            f"{text} Its answers cannot be told apart from the best ones, those of {good.label}"
            f" ({_figures(good, figure)}){times}."
        )
    return f"{text} The best answers come from {good.label} ({_figures(good, figure)}){times}."


def _which(analysis: Analysis, scenario: str, load: str) -> str:
    """Return which configurations are compared, by what the objective makes of them."""
    states = [cell.objective for cell in analysis.of(scenario, load)]
    kept = states.count("kept")
    if analysis.objective is None:
        return f"Under {load}"
    if kept == len(states):
        return f"Under {load} every configuration keeps {analysis.objective}. Of all"
    if not kept:
        return f"Under {load} no configuration is shown to keep {analysis.objective}. Of all"
    return f"Under {load}, of the {kept} of {len(states)} that keep {analysis.objective}"


def _figures(cell: Cell, figure: str) -> str:
    p95 = cell.latency.get("p95")
    parts = [
        f"{human(cell.energy.value if cell.energy else None, 'J')} above idle per inference",
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
