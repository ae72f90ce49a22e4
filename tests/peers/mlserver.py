"""MLServer as a process of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["MLServer", "serving"]

_STARTS_S = 120.0


@dataclass(frozen=True, kw_only=True)
class MLServer:
    """The running server.

    Args:
        url: Of its Open Inference Protocol.
        metrics_url: Of its metrics.
    """

    url: str
    metrics_url: str

    def scrape(self) -> str:
        """Return its metrics as it tells them."""
        with urllib.request.urlopen(self.metrics_url, timeout=60) as answer:
            return str(answer.read(), "utf-8")


@contextlib.contextmanager
def serving(python: Path, folder: Path, model: Mapping[str, Any]) -> Iterator[MLServer]:
    """Serve a model from a folder until the block ends.

    Args:
        python: Of an environment with MLServer.
        folder: Where it starts; modules that lie there can be loaded.
        model: Settings of the model.
    """
    ports = _free_ports(3)
    settings = {
        **{"host": "127.0.0.1", "debug": False, "parallel_workers": 0},
        **dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True)),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(python.with_name("mlserver")), "start", "."], cwd=folder, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{ports[0]}"
        _wait(process, f"{url}/v2/models/{model['name']}/ready", folder / "log")
        yield MLServer(url=url, metrics_url=f"http://127.0.0.1:{ports[2]}/metrics")
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(number: int) -> list[int]:
    """Return ports that are free now; MLServer takes no port 0."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until_s = time.monotonic() + _STARTS_S
    while time.monotonic() < until_s and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10):
            return
        time.sleep(0.1)
    raise AssertionError(f"MLServer does not become ready: {log.read_text()}")
