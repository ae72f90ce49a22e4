"""The service exporter as a process of its own, and small servers around it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
from anyio.from_thread import BlockingPortal, start_blocking_portal
from prometheus_client.parser import text_string_to_metric_families

from joulery.exporters.services.addresses import is_of_a_pod

from ..conftest import absent
from .process import PATIENCE_S, Running
from .services.api_server import ApiServer

__all__ = ["COMMAND", "Serving", "exporter", "own_address", "pages", "run_api_server"]

COMMAND = [sys.executable, "-m", "joulery.cli", "exporter", "services"]

Series = Mapping[str, float]


@dataclass
class Serving(Running):
    """An exporter that runs, and whoever scrapes it and sends to it."""

    receiver: str = ""

    def text(self) -> str:
        """Return what it serves now."""
        status, _, body = self.get("/metrics")
        assert status == 200, self.log
        return body.decode()

    def series(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a name that have these labels, by the values of the others."""
        return {
            tuple(value for label, value in sample.labels.items() if label not in labels): (
                sample.value
            )
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return the only sample of a name that has these labels; `None` if there is none."""
        found = self.series(name, **labels)
        assert len(found) <= 1, found
        return next(iter(found.values()), None)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        until_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < until_s, self.text()
            time.sleep(0.1)

    def post(self, path: str, content: Any, *, to: str = "") -> tuple[int, Any]:
        """Send JSON to its receiver; return status and answer."""
        request = urllib.request.Request(
            (to or self.receiver) + path,
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)


@contextmanager
def exporter(
    *arguments: str, otlp_listen: str = "127.0.0.1:0", **environment: str
) -> Iterator[Serving]:
    """Run the exporter until the block is left; it must end well."""
    command = [*COMMAND, "--listen", "127.0.0.1:0", "--otlp-listen", otlp_listen, "--interval", "3"]
    process = subprocess.Popen(
        [*command, *arguments], env=os.environ | environment, stderr=subprocess.PIPE, text=True
    )
    running = Serving(process)
    assert process.stderr is not None
    try:
        while not (running.url and running.receiver):
            line = process.stderr.readline()
            assert line, running.log
            running.log.append(line)
            if found := re.search(r"serving (https?://[^/\s]+)/metrics", line):
                running.url = found[1]
            elif found := re.search(r"receiving at (http://[^/\s]+)", line):
                running.receiver = found[1]
        yield running
        process.send_signal(signal.SIGTERM)
        running.log += process.stderr.read().splitlines()
        assert process.wait(PATIENCE_S) == 0, running.log
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


Page = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def pages(found: Mapping[str, bytes | None], address: str = "127.0.0.1") -> Iterator[str]:
    """Serve these texts for Prometheus by path, `None` without an end; yield the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = found.get(self.path, b"")
            self.send_response(200 if self.path in found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            if body is not None:
                self.wfile.write(body)
                return
            with contextlib.suppress(ConnectionError):
                while True:
                    self.wfile.write(b"# endless\n" * 1000)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{address}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def own_address() -> str:
    """Return an address of this machine that a pod could have."""
    every = (one.address for found in psutil.net_if_addrs().values() for one in found)
    address = next((one for one in every if "." in one and is_of_a_pod(one)), None)
    if address is None:
        absent("this machine has no address but that of its loopback interface")
    return address


@contextmanager
def run_api_server(server: ApiServer) -> Iterator[BlockingPortal]:
    """Serve pods from a thread; yield what calls the server's coroutines there."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server.serving()):
        yield portal
