"""What one sample of `EnergyMeter` costs, beside codecarbon's periodic measurement.

The idle watt that a meter adds is its samples per second times this cost.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from codecarbon import OfflineEmissionsTracker
from rich.console import Console
from rich.table import Table

from joulery.profiler.host import Host
from joulery.profiler.meter import EnergyMeter
from joulery.profiler.sources import discover

__all__ = ["main"]

_ROUNDS = 5
_SAMPLES = 100


def cpu_us(sample: Callable[[], object]) -> list[float]:
    """Return the CPU time of one call in microseconds, for several rounds of many calls."""
    rounds = []
    for _ in range(_ROUNDS):
        began_s = time.process_time()
        for _ in range(_SAMPLES):
            sample()
        rounds.append(1e6 * (time.process_time() - began_s) / _SAMPLES)
    return rounds


def main() -> None:
    """Measure both and print a table."""
    found = discover(Host())
    meter = EnergyMeter(found.sources, clock=time.monotonic, interval_s=None)
    tracker = OfflineEmissionsTracker(
        country_iso_code="FRA",
        save_to_file=False,
        log_level="critical",
        measure_power_secs=3600,
        allow_multiple_runs=True,
    )
    tracker.start()
    # Not public, but exactly what its scheduler calls; flush() would add the bookkeeping of a run.
    peer = cpu_us(tracker._measure_power_and_energy)
    tracker.stop()
    with meter:
        ours = cpu_us(meter.sample)
    table = Table(title=f"CPU time of one sample ({_ROUNDS} rounds of {_SAMPLES})")
    for head in ("meter", "sources", "median, µs", "worst round, µs"):
        table.add_column(head)
    names = ", ".join(source.name for source in found.sources)
    for name, sources, rounds in (("joulery", names, ours), ("codecarbon", "its own", peer)):
        table.add_row(name, sources, f"{statistics.median(rounds):.0f}", f"{max(rounds):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
