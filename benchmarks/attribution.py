"""What one cycle of attribution costs on a node with many pods, and how fast a node is simulated.

A cycle is what an exporter does between two scrapes, once the readings are there: teach the power
models with a lap, share its energy out, add it up. Beside it stands the plain share of CPU time,
without idle power, intervals or totals.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from joulery.campaigns.validation.formulas import share_of_total
from joulery.profiler.attribution import attribute_window, observe_window
from joulery.profiler.ledger import Ledger
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.power_model import PowerModel
from joulery.profiler.simulator.load import Consumer
from joulery.profiler.simulator.machine import random_machine
from joulery.profiler.simulator.node import Node
from joulery.profiler.simulator.scenarios import draw
from joulery.profiler.simulator.tree import NodeTree
from joulery.profiler.sources import Kind
from joulery.profiler.sources.powercap import Powercap
from joulery.profiler.usage import Usage
from joulery.profiler.window import WindowResult
from joulery.profiler.work import NodeCpu

__all__ = ["main"]

_PODS = (10, 60, 250)
_WARM_UP = 60
"""Laps; a young model concludes anew in each."""
_CYCLES = 120
_SIMULATED_S = 600.0
_TMPFS = Path("/dev/shm")


def node_of(pods: int) -> Node:
    """Return a node of half load, shared evenly among so many pods."""
    machine = random_machine(np.random.default_rng(1))
    busy = 0.5 * machine.cores / pods
    consumers = [Consumer(name=f"pod-{n}", busy=busy) for n in range(pods)]
    return Node(machine, [Consumer(name="system", busy=0.1), *consumers], seed=1)


def laps_of(node: Node, count: int) -> list[WindowResult]:
    """Return laps of a second of a node, read through its files, with three signals a pod."""
    folder = _TMPFS if os.access(_TMPFS, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=folder) as root, NodeTree(Path(root), node) as tree:

        def reader(at: int) -> Callable[[], Usage]:
            def read() -> Usage:
                counts = (node.cycles[at], node.instructions[at], node.misses[at])
                return Usage(cpu_s=float(node.cpu_s[at]), signals=tuple(map(float, counts)))

            return read

        readers = {one.name: reader(at) for at, one in enumerate(node.consumers) if at > 0}
        source, work = Powercap(tree.host.sys), NodeCpu(tree.host)
        meter = EnergyMeter([source], clock=tree.clock, interval_s=None, work=work)
        laps = []
        with meter, meter.consumers(readers), meter.window("w") as window:
            for _ in range(count):
                tree.advance(1.0)
                laps.append(window.lap())
    return laps


@dataclass(slots=True)
class Cycles:
    """The cost of cycles, each in milliseconds.

    Attributes:
        whole_ms: All of a cycle.
        refit_ms: The part of it that concludes the models anew, where they do.
        plain_ms: The plain share of CPU time.
    """

    whole_ms: list[float] = field(default_factory=list)
    refit_ms: list[float] = field(default_factory=list)
    plain_ms: list[float] = field(default_factory=list)


def cycles_of(laps: list[WindowResult]) -> Cycles:
    """Settle laps, and tell what those after the warm-up cost."""
    models: dict[Kind, PowerModel] = {}
    ledger, found = Ledger(), Cycles()
    for lap in laps:
        began_s = time.process_time()
        observe_window(models, lap)
        observed_s = time.process_time()
        for model in models.values():
            model.fit()  # here, so that it is timed apart; what follows takes it as it is
        fitted_s = time.process_time()
        ledger.add(attribute_window(lap, models, owed_j=ledger.owed_j), lap.duration_s)
        ended_s = time.process_time()
        share_of_total(lap)
        found.plain_ms.append(1e3 * (time.process_time() - ended_s))
        found.whole_ms.append(1e3 * (ended_s - began_s))
        found.refit_ms.append(1e3 * (fitted_s - observed_s))
    return Cycles(*(costs[_WARM_UP:] for costs in (found.whole_ms, found.refit_ms, found.plain_ms)))


def speed_of(node: Node) -> float:
    """Return how many seconds of a node, files included, are simulated in one."""
    folder = _TMPFS if os.access(_TMPFS, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=folder) as root, NodeTree(Path(root), node) as tree:
        began_s = time.perf_counter()
        while node.now_s < _SIMULATED_S:
            tree.advance(1.0)
        return node.now_s / (time.perf_counter() - began_s)


def main() -> None:
    """Measure both and print two tables."""
    table = Table(title=f"CPU time of one cycle, two kinds of device ({_CYCLES} cycles of 1 s)")
    for head in ("pods", "mean, ms", "median, ms", "of which refit, ms", "plain share, ms"):
        table.add_column(head)
    table.add_column("once a second, % of a core")
    speeds = Table(title="simulated seconds in a second, files of each included")
    for head in ("node", "seconds"):
        speeds.add_column(head)
    for pods in _PODS:
        cost = cycles_of(laps_of(node_of(pods), _WARM_UP + _CYCLES))
        means = [statistics.fmean(some) for some in (cost.whole_ms, cost.refit_ms, cost.plain_ms)]
        median_ms = statistics.median(cost.whole_ms)
        cells = (means[0], median_ms, means[1], means[2], means[0] / 10)
        table.add_row(str(pods), *(f"{cell:.2f}" for cell in cells))
        speeds.add_row(f"{pods} pods", f"{speed_of(node_of(pods)):.0f}")
    play = draw("shared-gpu", 1, _SIMULATED_S)
    gpu = Node(play.machine, play.consumers, seed=1)
    speeds.add_row("an accelerator, shared three ways", f"{speed_of(gpu):.0f}")
    Console().print(table)
    Console().print(speeds)


if __name__ == "__main__":
    main()
