"""What one cycle of attribution costs on a node with many pods, and how fast a node is simulated.

A cycle is what an exporter does every few seconds, once the readings are there: teach the power
models with a lap, share its energy out, add it up. Beside it stands the plain share of CPU time,
without idle power, intervals or totals. Algebra has one thread, as it should have in an exporter:
for matrices of this size more of them only add to the CPU time.
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
from threadpoolctl import threadpool_limits

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

_PODS = (10, 60, 250, 500)
_LAP_S = 5.0
_YOUNG = 50
"""Laps in which a model concludes anew in each, in several steps."""
_WARM_UP = 200
"""Laps until every model has seen so much that it may not take the short cut of little data."""
_CYCLES = 60
_SIMULATED_S = 600.0
_TMPFS = Path("/dev/shm")


def node_of(pods: int) -> Node:
    """Return a node of half load, shared evenly among so many pods."""
    machine = random_machine(np.random.default_rng(1))
    busy = 0.5 * machine.cores / pods
    consumers = [Consumer(name=f"pod-{n}", busy=busy) for n in range(pods)]
    return Node(machine, [Consumer(name="system", busy=0.1), *consumers], seed=1)


def laps_of(node: Node, count: int) -> list[WindowResult]:
    """Return laps of a node, read through its files, with three signals a pod."""
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
                tree.advance(_LAP_S)
                laps.append(window.lap())
    return laps


@dataclass(slots=True)
class Cycles:
    """The cost of cycles, each in milliseconds of CPU time.

    Attributes:
        young_ms: All of a cycle, of models that have hardly seen anything.
        whole_ms: All of a cycle, of settled models.
        refit_ms: The part of it that concludes the models anew, where they do.
        plain_ms: The plain share of CPU time.
    """

    young_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)
    refit_ms: list[float] = field(default_factory=list)
    plain_ms: list[float] = field(default_factory=list)


def cycles_of(laps: list[WindowResult]) -> Cycles:
    """Settle laps, and tell what the first ones and those after the warm-up cost."""
    models: dict[Kind, PowerModel] = {}
    ledger, found = Ledger(), Cycles()
    for at, lap in enumerate(laps):
        began_s = time.process_time()
        observe_window(models, lap)
        observed_s = time.process_time()
        if at >= _WARM_UP:
            for model in models.values():
                model.fit()  # here, so that it is timed apart; what follows takes it as it is
        fitted_s = time.process_time()
        ledger.add(attribute_window(lap, models, owed_j=ledger.owed_j), lap.duration_s)
        ended_s = time.process_time()
        share_of_total(lap)
        plain_s = time.process_time() - ended_s
        if at < _YOUNG:
            found.young_ms.append(1e3 * (ended_s - began_s))
        elif at >= _WARM_UP:
            found.plain_ms.append(1e3 * plain_s)
            found.whole_ms.append(1e3 * (ended_s - began_s))
            found.refit_ms.append(1e3 * (fitted_s - observed_s))
    return found


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
    table = Table(title=f"CPU time of one cycle, two kinds of device, laps of {_LAP_S:.0f} s")
    for head in ("pods", "young, ms", "settled, ms", "longest, ms", "of which refit, ms"):
        table.add_column(head)
    table.add_column("plain share, ms")
    table.add_column("settled, % of a core")
    speeds = Table(title="simulated seconds in a second, files of each included")
    for head in ("node", "seconds"):
        speeds.add_column(head)
    for pods in _PODS:
        laps = laps_of(node_of(pods), _WARM_UP + _CYCLES)
        with threadpool_limits(1):
            cost = cycles_of(laps)
        some = (cost.young_ms, cost.whole_ms, cost.refit_ms, cost.plain_ms)
        young_ms, whole_ms, refit_ms, plain_ms = map(statistics.fmean, some)
        cells = (young_ms, whole_ms, max(cost.whole_ms), refit_ms, plain_ms, whole_ms / 10 / _LAP_S)
        table.add_row(str(pods), *(f"{cell:.2f}" for cell in cells))
        speeds.add_row(f"{pods} pods", f"{speed_of(node_of(pods)):.0f}")
    play = draw("shared-gpu", 1, _SIMULATED_S)
    gpu = Node(play.machine, play.consumers, seed=1)
    speeds.add_row("an accelerator, shared three ways", f"{speed_of(gpu):.0f}")
    Console().print(table)
    Console().print(speeds)


if __name__ == "__main__":
    main()
