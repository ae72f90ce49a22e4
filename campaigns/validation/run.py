"""The grid: every scenario on many nodes, on as many processors as there are."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from ...profiler.simulator.scenarios import SCENARIOS, draw
from .formulas import FORMULAS
from .watch import Times, Watched, watch

__all__ = ["Grid", "Validation", "validate"]

_MEMORY_FOLDER = Path("/dev/shm")

_CLAIMS = {formula.name: str(formula.claim) for formula in FORMULAS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is validated.

    Args:
        scenarios: Names, in the order of the report.
        seeds: Each draws a machine and its consumers for every scenario.
        times: How long each node is watched.
    """

    scenarios: tuple[str, ...] = tuple(one.name for one in SCENARIOS)
    seeds: tuple[int, ...] = tuple(range(20))
    times: Times = field(default_factory=Times)

    @property
    def nodes(self) -> list[tuple[str, int]]:
        """Every node: scenario and seed."""
        return [(scenario, seed) for scenario in self.scenarios for seed in self.seeds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What came out.

    Attributes:
        grid: What was validated.
        scores: A row per node, formula, consumer and window; see `watch.Score`.
        nodes: A row per node: its machine, conservation, gaps, idle power.
    """

    grid: Grid
    scores: pd.DataFrame
    nodes: pd.DataFrame


def validate(
    grid: Grid, *, workers: int | None = None, progress: Callable[[str], None] = lambda _: None
) -> Validation:
    """Watch every node of a grid.

    The same grid gives the same figures, however many workers there are.

    Args:
        grid: What to validate.
        workers: Processes; one per processor if not given, and 1 stays in this process.
        progress: Told the scenario of each node that is done.
    """
    count = workers or len(os.sched_getaffinity(0))
    found: dict[tuple[str, int], Watched] = {}
    for node, watched in _each(grid, count):
        found[node] = watched
        progress(node[0])
    scores, nodes = [], []
    for scenario, seed in grid.nodes:
        watched = found[scenario, seed]
        play = draw(scenario, seed, grid.times.duration_s)
        for score in watched.scores:
            row = {"scenario": scenario, "seed": seed, "claim": _CLAIMS[score.formula]}
            scores.append(row | asdict(score))
        facts = {name: value for name, value in asdict(watched).items() if name != "scores"}
        nodes.append(
            {"scenario": scenario, "seed": seed, "consumers": len(play.consumers)}
            | facts
            | {f"machine_{name}": value for name, value in asdict(play.machine).items()}
        )
    return Validation(grid=grid, scores=pd.DataFrame(scores), nodes=pd.DataFrame(nodes))


def _each(grid: Grid, workers: int) -> Iterator[tuple[tuple[str, int], Watched]]:
    if workers == 1:
        for node in grid.nodes:
            yield node, _watch(node, grid.times)
        return
    # A fresh interpreter for each worker: a fork would copy locks that threads hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = {pool.submit(_watch, node, grid.times): node for node in grid.nodes}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _watch(node: tuple[str, int], times: Times) -> Watched:
    scenario, seed = node
    folder = _MEMORY_FOLDER if os.access(_MEMORY_FOLDER, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="joulery-node-", dir=folder) as root:
        return watch(
            draw(scenario, seed, times.duration_s), seed=seed, root=Path(root), times=times
        )
