r"""What the service exporter costs on a node with many AI services, beside Prometheus itself.

Services are real HTTP servers, with a port each, that tell what servers of eight kinds told once
(the recorded scrapes of the tests). The exporter runs as it does on a node; Prometheus scrapes the
same services as often, in the same run. Then services push OTLP as fast as they are answered.

    python benchmarks/service_exporter.py --out docs/service-exporter.csv

Without Prometheus it says so and ends with 2. It takes six minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import re
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import yaml
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from rich.console import Console
from rich.progress import Progress

from joulery.benchmarks.exporters.parts import cpu_s, running, show, write

__all__ = ["Cost", "main"]

_SERVICES = (10, 50, 100)
_INTERVAL_S = 10.0
_SETTLED_S = 30.0
_MEASURED_S = 60.0
_PUSHED_S = 15.0
_SERIES = 50
_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SCRAPES = Path(__file__).resolve().parents[1] / "tests" / "exporters" / "dialects" / "scrapes"
_NAMES = re.compile(rb'\b(?:model|model_name|name|ModelName|deployment|application)="')
_JOULERY = "from joulery.cli import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was measured with so many services.

    Args:
        services: How many.
        cpu_percent: Of one core, with a scrape of each service every 10 s, and one of its own.
        rss_mb: Resident memory in the end.
        series: That it serves.
        prometheus_cpu_percent: Of one core, for Prometheus that scrapes the same as often.
        prometheus_rss_mb: Its resident memory.
        points_per_cpu_s: OTLP data points that it takes in a second of its CPU.
        points_per_s: The same by the clock, its sender beside it on the same machine.
    """

    services: int
    cpu_percent: float
    rss_mb: float
    series: int
    prometheus_cpu_percent: float
    prometheus_rss_mb: float
    points_per_cpu_s: int
    points_per_s: int


async def _serve(count: int) -> None:
    """Serve so many services, each another recorded scrape; print their ports.

    No two have a model's name in common: what the exporter remembers of one helps it with no other.
    """
    bodies = [path.read_bytes() for path in sorted(_SCRAPES.glob("*.txt"))]
    ports = []
    for number in range(count):
        app = web.Application()
        body = _NAMES.sub(rb"\g<0>%d-" % number, bodies[number % len(bodies)])
        # The recorded OpenMetrics scrape ends with its mark.
        kind = "application/openmetrics-text" if body.endswith(b"# EOF\n") else "text/plain"

        async def answer(_: web.Request, body: bytes = body, kind: str = kind) -> web.Response:
            return web.Response(body=body, headers={"Content-Type": f"{kind}; version=1.0.0"})

        app.router.add_get("/metrics", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(str(runner.addresses[0][1]))
    print("ports", *ports, flush=True)
    await asyncio.Event().wait()


@contextmanager
def _prometheus(ports: list[str], folder: Path) -> Iterator[psutil.Process]:
    """Run a Prometheus that scrapes the same services as often."""
    targets = [f"127.0.0.1:{port}" for port in ports]
    scrape = {"job_name": "services", "static_configs": [{"targets": targets}]}
    every = {"scrape_interval": f"{_INTERVAL_S:g}s"}
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump({"global": every, "scrape_configs": [scrape]}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address={address}"]
    with running(command, "ready to receive web requests") as (process, _):
        yield process


def _message(number: int, turn: int) -> bytes:
    """Return what a service pushes: a request's duration by 50 kinds of request."""
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    name = resource.resource.attributes.add()
    name.key, name.value.string_value = "service.name", f"service-{number}"
    metric = resource.scope_metrics.add().metrics.add()
    metric.name, metric.unit = "joulery.inference.duration", "s"
    metric.histogram.aggregation_temporality = 2
    for series in range(_SERIES):
        point = metric.histogram.data_points.add()
        point.start_time_unix_nano = 1
        point.time_unix_nano = time.time_ns()
        point.explicit_bounds.extend(_BOUNDS)
        point.bucket_counts.extend([turn] * (len(_BOUNDS) + 1))
        point.count, point.sum = turn * (len(_BOUNDS) + 1), turn * 1.0
        attribute = point.attributes.add()
        attribute.key, attribute.value.string_value = "model", f"model-{series}"
    return bytes(message.SerializeToString())


def _push(url: str, process: psutil.Process) -> tuple[int, int]:
    """Push for a while; return points per CPU second of the receiver, and per second."""
    address = urlsplit(url).netloc
    link = http.client.HTTPConnection(address)
    headers = {"Content-Type": "application/x-protobuf"}
    points, turn = 0, 0
    began_s, spent_s = time.monotonic(), cpu_s(process)
    while time.monotonic() - began_s < _PUSHED_S:
        turn += 1
        link.request("POST", "/v1/metrics", _message(0, turn), headers)
        with link.getresponse() as answer:
            text = answer.read()
            if answer.status != 200 or text:
                raise SystemExit(f"the receiver answered {answer.status}: {text!r}")
        points += _SERIES
    used_s, passed_s = cpu_s(process) - spent_s, time.monotonic() - began_s
    link.close()
    return round(points / used_s), round(points / passed_s)


def measure(services: int, progress: Progress) -> Cost:
    """Measure one size."""
    task = progress.add_task(f"{services} services", total=3)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        serve = [sys.executable, __file__, "--serve", str(services)]
        _, lines = stack.enter_context(running(serve, "ports"))
        ports = lines[-1].split()[1:]
        targets = [
            {"name": f"service-{number}", "url": f"http://127.0.0.1:{port}/metrics"}
            for number, port in enumerate(ports)
        ]
        (folder / "targets.yaml").write_text(yaml.safe_dump({"targets": targets}))
        command = [sys.executable, "-c", _JOULERY, "exporter", "services"]
        command += ["--targets", str(folder / "targets.yaml"), "--interval", f"{_INTERVAL_S:g}"]
        command += ["--listen", "127.0.0.1:0", "--otlp-listen", "127.0.0.1:0"]
        process, lines = stack.enter_context(running(command, "receiving at"))
        urls = {words[-1] for words in map(str.split, lines) if words[-1].startswith("http")}
        receiver = lines[-1].split()[-1]
        [shown] = urls - {receiver}
        prometheus = stack.enter_context(_prometheus(ports, folder))
        time.sleep(_SETTLED_S)
        progress.advance(task)
        began_s = time.monotonic()
        spent_s = [cpu_s(process), cpu_s(prometheus)]
        while time.monotonic() - began_s < _MEASURED_S:
            time.sleep(_INTERVAL_S)
            with urllib.request.urlopen(shown) as answer:
                text = answer.read().decode()
        passed_s = time.monotonic() - began_s
        now_s = [cpu_s(process), cpu_s(prometheus)]
        percent = [100 * (now - then) / passed_s for now, then in zip(now_s, spent_s, strict=True)]
        told = [line for line in text.splitlines() if line.startswith("joulery_target_up{")]
        up = sum(float(line.split()[-1]) == 1 for line in told)
        if up < services:
            raise SystemExit(f"{services} services are there, and {up} were scraped")
        rss_mb = process.memory_info().rss / 1e6
        progress.advance(task)
        per_cpu_s, per_s = _push(receiver, process)
        progress.advance(task)
        return Cost(
            services=services,
            cpu_percent=round(percent[0], 2),
            rss_mb=round(rss_mb, 1),
            series=sum(not line.startswith("#") for line in text.splitlines()),
            prometheus_cpu_percent=round(percent[1], 2),
            prometheus_rss_mb=round(prometheus.memory_info().rss / 1e6, 1),
            points_per_cpu_s=per_cpu_s,
            points_per_s=per_s,
        )


def main() -> int:
    """Measure, print a table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", default=",".join(map(str, _SERVICES)), help="by commas")
    parser.add_argument("--out", type=Path, help="a CSV file to write")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(_serve(arguments.serve))
        return 0
    if shutil.which("prometheus") is None:
        print("this compares with Prometheus, and there is none here", file=sys.stderr)
        return 2
    console = Console()
    with Progress(console=console) as progress:
        costs = [measure(int(count), progress) for count in arguments.services.split(",")]
    rows = [asdict(cost) for cost in costs]
    show(rows, f"service exporter, scrapes every {_INTERVAL_S:g} s", console)
    if arguments.out is not None:
        write(rows, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
