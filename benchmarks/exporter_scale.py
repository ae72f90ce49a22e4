r"""What the energy exporter costs on a node with many pods: CPU, memory, scrapes, series.

Pods are real control groups with a real process each, and folders of logs as the kubelet makes
them; energy comes from a simulated sensor that follows their work. The exporter runs as it does on
a node, and is scraped as Prometheus does. Beside it stands what a walk over `/proc` costs, which
tools without control groups do each cycle, on the same processes.

    python benchmarks/exporter_scale.py --out docs/exporter-scale.csv \
        --plot docs/images/exporter-scale.svg

It needs root and version 1 or 2 of control groups; without, it says so and ends with 2. A size
takes four minutes.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import Progress

from joulery.benchmarks.exporters.parts import cpu_s, running, show, write
from joulery.exporters.cgroup_path import pod_of_process
from joulery.profiler.cgroup import cpu_root
from joulery.profiler.host import Host
from joulery.profiler.work import parse_process_cpu_s

__all__ = ["Cost", "main"]

_PODS = (10, 100, 250, 500)
_INTERVAL_S = 5.0
_SETTLED_S = 60.0
"""A power model that has learned for so long is concluded in one step, and seldom."""
_MEASURED_S = 60.0
_SCRAPE_INTERVAL_S = 15.0
_SCRAPES = 400
_AS_IN_THE_IMAGE = """
import sys
sys.modules |= {"pyhlml": None, "furiosa_smi": None}
from joulery.cli import main
main()
"""
"""The image has no libraries of makers that a developer's environment has."""
_WORK = "while :; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; sleep 3; done"
"""What each pod does: a little, and then nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was measured with so many pods.

    Args:
        pods: How many.
        cpu_percent: Of one core, once settled: cycles, and a scrape every 15 s.
        young_cpu_percent: The same in the first minute.
        cycle_ms: CPU time of a cycle, median.
        rss_mb: Resident memory in the end.
        scrape_p50_ms: Time of a scrape as a client sees it, median.
        scrape_p99_ms: The same, 99th percentile.
        series: All series of a scrape.
        series_per_pod: The most that any pod has.
        residual_ratio: Conservation, the worst device.
        proc_walk_ms: CPU time of one walk over `/proc` that finds out the same of all processes.
    """

    pods: int
    cpu_percent: float
    young_cpu_percent: float
    cycle_ms: float
    rss_mb: float
    scrape_p50_ms: float
    scrape_p99_ms: float
    series: int
    series_per_pod: int
    residual_ratio: float
    proc_walk_ms: float


@contextmanager
def _pods(count: int, root: Path, logs: Path) -> Iterator[list[int]]:
    """Make pods with a process each; yield the processes."""
    processes: list[subprocess.Popen[bytes]] = []
    groups: list[Path] = []
    folder = root / "kubepods" / "burstable"
    try:
        for number in range(count):
            uid = str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))
            container = f"{number:064x}"
            group = folder / f"pod{uid}" / container
            group.mkdir(parents=True)
            groups += [group, group.parent]
            (logs / "pods" / f"default_pod-{number}_{uid}" / "main").mkdir(parents=True)
            log = logs / "pods" / f"default_pod-{number}_{uid}" / "main" / "0.log"
            (logs / "containers" / f"pod-{number}_default_main-{container}.log").symlink_to(log)
            process = subprocess.Popen(["sh", "-c", _WORK], start_new_session=True)
            processes.append(process)
            (group / "cgroup.procs").write_text(str(process.pid))
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
        for process in processes:
            process.wait()
        time.sleep(0.5)
        for group in [*groups, folder, folder.parent]:
            if group.is_dir():
                group.rmdir()


def _scrape(url: str) -> tuple[float, bytes]:
    """Scrape as Prometheus does; return the seconds it took, and the body."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    headers = {"Accept": accept, "Accept-Encoding": "gzip"}
    began_s = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        body: bytes = answer.read()
    return time.perf_counter() - began_s, body


def _plain(url: str) -> str:
    headers = {"Accept": "application/openmetrics-text"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return str(answer.read().decode())


def _watch(process: psutil.Process, url: str) -> float:
    """Return CPU time over time for a while, scraped every 15 s."""
    began_s, spent_s = time.monotonic(), cpu_s(process)
    while time.monotonic() - began_s < _MEASURED_S:
        _scrape(url)
        time.sleep(_SCRAPE_INTERVAL_S)
    return (cpu_s(process) - spent_s) / (time.monotonic() - began_s)


def _walk(proc: Path) -> float:
    """Return the CPU seconds of a walk over all processes: each one's CPU time and its pod."""
    began_s = time.process_time()
    totals: dict[str | None, float] = {}
    for entry in os.scandir(proc):
        if entry.name.isdigit():
            try:
                spent_s = parse_process_cpu_s((proc / entry.name / "stat").read_text())
                pod = pod_of_process(proc, int(entry.name))
            except OSError:
                continue
            totals[pod] = totals.get(pod, 0.0) + spent_s
    return time.process_time() - began_s


def _series(text: str) -> tuple[int, int, float]:
    """Return how many series there are, the most of one pod, and the worst residual."""
    per_pod: dict[str, int] = {}
    count, residual = 0, 0.0
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    for family in families:
        for sample in family.samples:
            count += 1
            uid = sample.labels.get("uid")
            if uid is not None:
                per_pod[uid] = per_pod.get(uid, 0) + 1
            if sample.name == "joulery_conservation_residual_ratio":
                residual = max(residual, sample.value)
    return count, max(per_pod.values()), residual


def measure(pods: int, progress: Progress) -> Cost:
    """Measure one size."""
    task = progress.add_task(f"{pods} pods", total=5)
    root = cpu_root(Host())
    top = root / f"joulery-bench-{os.getpid()}"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        logs, groups = folder / "log", folder / "cgroup"
        (logs / "pods").mkdir(parents=True)
        (logs / "containers").mkdir()
        top.mkdir()
        stack.callback(top.rmdir)
        if (top / "cgroup.controllers").exists():
            groups.symlink_to(top)
        else:
            groups.mkdir()
            (groups / "cpuacct").symlink_to(top)
        stack.enter_context(_pods(pods, top, logs))
        python = sys.executable
        mirror = ["-m", "joulery.profiler.simulator", str(folder / "node"), "--mirror", str(groups)]
        stack.enter_context(running([python, *mirror], "sysfs"))
        arguments = {
            "--sysfs": folder / "node/sys",
            "--cgroupfs": groups,
            "--pod-logs": logs / "pods",
            "--container-logs": logs / "containers",
            "--listen": "127.0.0.1:0",
            "--interval": _INTERVAL_S,
        }
        command = [python, "-c", _AS_IN_THE_IMAGE, "exporter", "energy"]
        command += [str(word) for pair in arguments.items() for word in pair]
        process, lines = stack.enter_context(running(command, "serving"))
        url = lines[-1].split("serving ")[1].strip()
        progress.advance(task)
        time.sleep(1.5 * _INTERVAL_S)  # until there is something to scrape
        young = _watch(process, url)
        progress.advance(task)
        time.sleep(_SETTLED_S)
        progress.advance(task)
        settled = _watch(process, url)
        progress.advance(task)
        times_s, cycles_s = [], []
        for number in range(_SCRAPES):
            times_s.append(_scrape(url)[0])
            time.sleep(0.05)
            if number % 20 == 0:
                cycles_s.append(_cycle_s(url))
        series, per_pod, residual = _series(_plain(url))
        walks_s = [_walk(Path("/proc")) for _ in range(10)]
        cuts = statistics.quantiles(times_s, n=100)
        progress.advance(task)
        return Cost(
            pods=pods,
            cpu_percent=round(100 * settled, 3),
            young_cpu_percent=round(100 * young, 3),
            cycle_ms=round(1e3 * statistics.median(cycles_s), 2),
            rss_mb=round(process.memory_info().rss / 1e6, 1),
            scrape_p50_ms=round(1e3 * cuts[49], 2),
            scrape_p99_ms=round(1e3 * cuts[98], 2),
            series=series,
            series_per_pod=per_pod,
            residual_ratio=residual,
            proc_walk_ms=round(1e3 * statistics.median(walks_s), 2),
        )


def _plot(costs: Sequence[Cost], path: Path) -> None:
    """Draw the costs over the number of pods."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "joulery", "font.size": 9, "axes.grid": True}
    from matplotlib import pyplot

    pods = [cost.pods for cost in costs]
    figure, panels = pyplot.subplots(1, 4, figsize=(12, 3), layout="constrained")
    panels[0].plot(pods, [cost.young_cpu_percent for cost in costs], "o:", label="first minute")
    panels[0].plot(pods, [cost.cpu_percent for cost in costs], "o-", label="settled")
    panels[0].set_title("CPU, % of a core")
    panels[1].plot(pods, [cost.rss_mb for cost in costs], "o-", label="resident")
    panels[1].set_title("memory, MB")
    panels[2].plot(pods, [cost.scrape_p99_ms for cost in costs], "o:", label="99th percentile")
    panels[2].plot(pods, [cost.scrape_p50_ms for cost in costs], "o-", label="median")
    panels[2].set_title("a scrape, ms")
    panels[3].plot(pods, [cost.proc_walk_ms for cost in costs], "o:", label="a walk over /proc")
    panels[3].plot(pods, [cost.cycle_ms for cost in costs], "o-", label="a whole cycle")
    panels[3].set_title("CPU time of a cycle, ms")
    for panel in panels:
        panel.set_xlabel("pods")
        panel.set_ylim(bottom=0)
        panel.legend()
    figure.savefig(path, metadata={"Date": None})


def _cycle_s(url: str) -> float:
    """Return the CPU time of the last cycle, as the exporter tells it."""
    name = "joulery_exporter_cycle_cpu_seconds "
    return next(float(t[len(name) :]) for t in _plain(url).splitlines() if t.startswith(name))


def main() -> int:
    """Measure, print a table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pods", default=",".join(map(str, _PODS)), help="sizes, by commas")
    parser.add_argument("--out", type=Path, help="a CSV file to write")
    parser.add_argument("--plot", type=Path, help="an SVG file to draw")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not os.access(cpu_root(Host()), os.W_OK):
        print("this needs root, and control groups that may be written to", file=sys.stderr)
        return 2
    console = Console()
    with Progress(console=console) as progress:
        costs = [measure(int(pods), progress) for pods in arguments.pods.split(",")]
    rows = [asdict(cost) for cost in costs]
    show(rows, f"energy exporter, cycles of {_INTERVAL_S:g} s", console)
    if arguments.out is not None:
        write(rows, arguments.out)
    if arguments.plot is not None:
        _plot(costs, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
