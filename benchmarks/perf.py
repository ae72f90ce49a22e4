"""What one reading of a consumer's perf events costs, beside its control group's CPU time.

Per consumer: one group of events per CPU, read together, against one read of the group's own file.
The kernel's cost of switching counters between groups comes on top and is not measured here.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from joulery.errors import SourceError
from joulery.profiler.cgroup import CgroupCpu, own_group
from joulery.profiler.host import Host
from joulery.profiler.perf import Event, Scope, available, count_group, perf_root

__all__ = ["main"]

_ROUNDS = 7
_READINGS = 5000


def wall_us(read: Callable[[], object]) -> list[float]:
    """Return the time of one call in microseconds, for several rounds of many calls."""
    rounds = []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        for _ in range(_READINGS):
            read()
        rounds.append(1e6 * (time.perf_counter() - began_s) / _READINGS)
    return rounds


def main() -> int:
    """Measure both and print a table; return the exit code."""
    host = Host()
    try:
        allowed = available(host)[Scope.GROUP]
        events = [event for event, refusal in allowed.items() if refusal is None]
        with CgroupCpu(own_group(host)) as cpu:
            rows = [("CPU time of the group", "1 file", wall_us(cpu.cpu_s))]
        for chosen in filter(None, (events[-1:], events if len(events) > 1 else [])):
            with count_group(perf_root(host), chosen, host) as counter:
                what = f"{len(chosen)} of {len(Event)} events: {', '.join(chosen)}"
                rows.append((what, f"{os.cpu_count()} CPUs", wall_us(counter.read)))
    except SourceError as error:
        print(f"cannot be measured here: {error}", file=sys.stderr)
        return 1
    table = Table(title=f"one reading of one consumer ({_ROUNDS} rounds of {_READINGS})")
    for head in ("reading", "reads", "median, µs", "worst round, µs"):
        table.add_column(head)
    for what, reads, rounds in rows:
        table.add_row(what, reads, f"{statistics.median(rounds):.2f}", f"{max(rounds):.2f}")
    Console().print(table)
    for event, refusal in allowed.items():
        if refusal is not None:
            print(f"{event}: {refusal}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
