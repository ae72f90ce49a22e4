"""The grid: every scenario on many nodes, on as many processors as there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
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
    folder = _MEMORY_FOLDER if os.access(_MEMORY_FOLDER, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="joulery-nodes-", dir=folder) as root:
        watch_one = partial(_watch, root=Path(root), times=grid.times)
        if workers == 1:
            yield from ((node, watch_one(node)) for node in grid.nodes)
        else:
            yield from _spread(grid.nodes, watch_one, workers)


def _spread(
    nodes: list[tuple[str, int]], watch_one: Callable[[tuple[str, int]], Watched], workers: int
) -> Iterator[tuple[tuple[str, int], Watched]]:
    # A fresh interpreter for each worker: a fork would copy locks that threads hold.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    others = set(multiprocessing.active_children())
    # Ctrl-C goes to every process of a terminal. Workers inherit that it is blocked: it is for us
    # to end them, or each would print a traceback.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    waiting = {pool.submit(watch_one, node): node for node in nodes}
    own = set(multiprocessing.active_children()) - others
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BaseException:
        for worker in own:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _watch(node: tuple[str, int], *, root: Path, times: Times) -> Watched:
    scenario, seed = node
    with tempfile.TemporaryDirectory(prefix=f"{scenario}-{seed}-", dir=root) as folder:
        play = draw(scenario, seed, times.duration_s)
        return watch(play, seed=seed, root=Path(folder), times=times)
