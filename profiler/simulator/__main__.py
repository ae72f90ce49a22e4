"""`python -m joulery.profiler.simulator DIR`: a simulated node in a folder, until interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from ...errors import JouleryError
from .live import TRUTH, LiveNode
from .node import Node
from .scenarios import SCENARIOS
from .tree import NodeTree


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m joulery.profiler.simulator",
        description="Show a simulated node's /sys and /proc in a folder, until interrupted "
        "(Ctrl-C); then say what each of its consumers really drew.",
        epilog="scenarios: " + "; ".join(f"{one.name} ({one.about})" for one in SCENARIOS),
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="a new or an empty folder")
    parser.add_argument("--scenario", default="steady", help="what happens (default: steady)")
    parser.add_argument("--seed", type=int, default=0, help="of everything chance decides")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds in a second")
    return parser.parse_args()


def _show(tree: NodeTree) -> None:
    host = tree.host
    print(f"sysfs  {host.sys}", f"procfs {host.proc}", sep="\n")
    print(f"groups {tree.group('NAME')}", flush=True)


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
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    arguments = _arguments()
    try:
        live = LiveNode(
            folder=arguments.folder,
            scenario=arguments.scenario,
            seed=arguments.seed,
            speed=arguments.speed,
        )
    except JouleryError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    _report(live.run(stop, started=_show), arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
