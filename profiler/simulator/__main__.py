"""`python -m joulery.profiler.simulator DIR`: a simulated node in a folder, until interrupted.

With `--mirror CGROUPFS` only its energy counters are simulated, and they follow the real work of
this machine's pods: see `mirror`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ...errors import JouleryError, SpecError
from .live import TRUTH, LiveNode
from .mirror import LINES, LiveMirror
from .node import Node
from .scenarios import SCENARIOS
from .tree import NodeTree

_PLAYED = ("scenario", "speed")
_MIRRORED = ("spread", "max_energy_uj", "line_s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m joulery.profiler.simulator",
        description="Show a simulated node's /sys and /proc in a folder, until interrupted "
        "(Ctrl-C); then say what each of its consumers really drew.",
        epilog="scenarios: " + "; ".join(f"{one.name} ({one.about})" for one in SCENARIOS),
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="a new or an empty folder")
    parser.add_argument("--scenario", help="what happens (default: steady)")
    parser.add_argument("--seed", type=int, help="of everything chance decides (default: 0)")
    parser.add_argument("--speed", type=float, help="simulated seconds in a second (default: 1)")
    mirror = parser.add_argument_group(
        "mirror",
        "Simulate the energy counters alone: they follow the work of this machine's real pods, "
        f"and what each pod drew is written to DIR/{LINES} as it goes.",
    )
    mirror.add_argument(
        "--mirror",
        metavar="CGROUPFS",
        dest="cgroupfs",
        type=Path,
        help="where control groups are mounted: /sys/fs/cgroup",
    )
    mirror.add_argument(
        "--spread",
        type=float,
        help="how unlike a CPU second of one pod is to another's (standard deviation of its "
        "power; 0: all alike; default: 0.03)",
    )
    mirror.add_argument(
        "--max-energy-uj",
        metavar="N",
        type=int,
        help="where the package's counter wraps; memory's wraps at a quarter of it",
    )
    mirror.add_argument(
        "--line-s", type=float, help="seconds between two lines of truth (default: 1)"
    )
    return parser.parse_args()


def _chosen(given: dict[str, Any]) -> LiveNode | LiveMirror:
    """Return what the options ask for.

    Raises:
        SpecError: An option is wrong, or means nothing beside the others.
    """
    is_mirror = "cgroupfs" in given
    for name in _PLAYED if is_mirror else _MIRRORED:
        if name in given:
            raise SpecError(
                f"--{name.replace('_', '-')}",
                found="it beside --mirror" if is_mirror else "it without --mirror",
                remedy="what happens is what this machine's pods do"
                if is_mirror
                else "it is an option of the mirror",
            )
    return LiveMirror(**given) if is_mirror else LiveNode(**given)


def _show(tree: NodeTree) -> None:
    host = tree.host
    print(f"sysfs  {host.sys}", f"procfs {host.proc}", sep="\n")
    print(f"groups {tree.group('NAME')}", flush=True)


def _show_mirror(tree: NodeTree) -> None:
    print(f"sysfs  {tree.host.sys}", f"truth  {tree.root / LINES}", sep="\n", flush=True)


def _wait(cgroupfs: Path) -> None:
    print(
        f"no kubepods in {cgroupfs} yet: pods are followed as soon as there are any; until then "
        "all work is the system's",
        file=sys.stderr,
        flush=True,
    )


def _go_first() -> None:
    """Run before ordinary work: a sensor is not late because its machine is busy."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError as error:
        print(
            f"on a busy machine counters may be late: no real-time priority ({error.strerror}); "
            "run as root",
            file=sys.stderr,
            flush=True,
        )


def set_on_signal(stop: threading.Event, *numbers: signal.Signals) -> None:
    """Let these signals set an event that the main thread may be waiting for.

    A handler interrupts the main thread wherever it is, also inside `wait` with the event's lock
    in its hands, and would wait for that lock for ever: another thread has to set it.
    """
    for number in numbers:
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())


def _report(node: Node, folder: Path) -> None:
    print(f"\n{node.now_s:.1f} s simulated; what was really drawn, in joules:")
    for domain in node.domains:
        whole_j, idle_j = node.truth.total_j(domain), node.truth.idle_j[domain]
        print(f"  {domain:<12}{whole_j:>12.1f}, of which idle {idle_j:.1f}")
    for at, one in enumerate(node.consumers):
        active_j = sum(float(node.truth.active_j[domain][at]) for domain in node.domains)
        if node.cpu_s[at] > 0:
            print(f"  {one.name:<12}{active_j:>12.1f} in {node.cpu_s[at]:.1f} s of {one.device}")
    print(f"also in {folder / TRUTH}")


def _main() -> int:
    stop = threading.Event()
    set_on_signal(stop, signal.SIGINT, signal.SIGTERM)
    given = vars(_arguments())
    try:
        live = _chosen(given)
        if isinstance(live, LiveMirror):
            _go_first()
            node: Node = live.run(stop, started=_show_mirror, waits=_wait)
        else:
            node = live.run(stop, started=_show)
    except JouleryError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    _report(node, given["folder"])
    return 0


if __name__ == "__main__":
    sys.exit(_main())
