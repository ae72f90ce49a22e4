"""What one sample of `EnergyMeter` costs, beside codecarbon's periodic measurement.

The idle watt that a meter adds is its samples per second times this cost. Eight powercap domains
(four sockets and their memory) are simulated on tmpfs; a real counter costs a register read more.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from codecarbon import OfflineEmissionsTracker
from rich.console import Console
from rich.table import Table

from joulery.profiler.host import Host
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.simulator.load import Consumer
from joulery.profiler.simulator.machine import Machine
from joulery.profiler.simulator.node import Node
from joulery.profiler.simulator.tree import NodeTree
from joulery.profiler.sources import discover
from joulery.profiler.sources.powercap import Powercap
from joulery.profiler.work import NodeCpu

__all__ = ["main"]

_ROUNDS = 5
_SAMPLES = 100
_RATE_HZ = 10
_SPACED = 50
_TMPFS = Path("/dev/shm")


def cpu_us(sample: Callable[[], object]) -> list[float]:
    """Return the CPU time of one call in microseconds, for several rounds of many calls."""
    rounds = []
    for _ in range(_ROUNDS):
        began_s = time.process_time()
        for _ in range(_SAMPLES):
            sample()
        rounds.append(1e6 * (time.process_time() - began_s) / _SAMPLES)
    return rounds


def spaced_percent(sample: Callable[[], object]) -> float:
    """Return what ten calls a second take of one core, in percent: caches are cold at each."""
    began_s, spent_s = time.monotonic(), time.process_time()
    for _ in range(_SPACED):
        time.sleep(1 / _RATE_HZ)
        sample()
    spent_s, passed_s = time.process_time() - spent_s, time.monotonic() - began_s
    return 100 * spent_s / passed_s


def main() -> None:
    """Measure all and print a table."""
    table = Table(title=f"CPU time of one sample ({_ROUNDS} rounds of {_SAMPLES})")
    spaced = f"{_RATE_HZ} a second, % of a core"
    for head in ("meter", "sources", "median, µs", "worst round, µs", spaced):
        table.add_column(head)

    def add(name: str, sources: str, sample: Callable[[], object]) -> None:
        rounds, percent = cpu_us(sample), spaced_percent(sample)
        median, worst = f"{statistics.median(rounds):.0f}", f"{max(rounds):.0f}"
        table.add_row(name, sources, median, worst, f"{percent:.2f}")

    tracker = OfflineEmissionsTracker(
        country_iso_code="FRA",
        save_to_file=False,
        log_level="critical",
        measure_power_secs=3600,
        allow_multiple_runs=True,
    )
    tracker.start()
    # Not public, but exactly what its scheduler calls; flush() would add the bookkeeping of a run.
    add("codecarbon", "its own, of this machine", tracker._measure_power_and_energy)
    tracker.stop()
    found = discover(Host())
    meter = EnergyMeter(found.sources, clock=time.monotonic, interval_s=None)
    with meter:
        names = ", ".join(source.name for source in found.sources)
        add("joulery", f"{names}, of this machine", meter.sample)
    folder = _TMPFS if os.access(_TMPFS, os.W_OK) else None
    node = Node(Machine(sockets=4), [Consumer(name="a", busy=1.0)], seed=0)
    with tempfile.TemporaryDirectory(dir=folder) as root, NodeTree(Path(root), node) as tree:
        source, work = Powercap(tree.host.sys), NodeCpu(Host(proc=tree.host.proc))
        meter = EnergyMeter([source], clock=time.monotonic, interval_s=None, work=work)
        with meter:
            add("joulery", f"powercap, {len(source.domains)} domains", meter.sample)
    Console().print(table)


if __name__ == "__main__":
    main()
