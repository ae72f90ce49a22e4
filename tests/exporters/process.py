"""An exporter that runs as a process of its own, and whoever scrapes it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["COMMAND", "PATIENCE_S", "Running", "exporter"]

PATIENCE_S = 60.0
COMMAND = [sys.executable, "-m", "joulery.cli", "exporter", "energy"]


@dataclass
class Running:
    """An exporter that runs, and what it has written so far."""

    process: subprocess.Popen[str]
    url: str = ""
    log: list[str] = field(default_factory=list)

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Ask for a page; return status, headers and body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, dict(refused.headers), refused.read()

    def wait_ready(self) -> None:
        """Wait until there is something to scrape."""
        until_s = time.monotonic() + PATIENCE_S
        while self.get("/readyz")[0] != 200:
            assert time.monotonic() < until_s, self.log
            time.sleep(0.1)


@contextmanager
def exporter(*arguments: str, **environment: str) -> Iterator[Running]:
    """Run the exporter of this very machine until the block is left; it must end well."""
    command = [*COMMAND, "--listen", "127.0.0.1:0", "--interval", "2", *arguments]
    process = subprocess.Popen(
        command, env=os.environ | environment, stderr=subprocess.PIPE, text=True
    )
    running = Running(process)
    assert process.stderr is not None
    try:
        while not running.url:
            line = process.stderr.readline()
            assert line, running.log
            running.log.append(line)
            found = re.search(r"serving (https?://[^/\s]+)/metrics", line)
            running.url = found[1] if found else ""
        yield running
        process.send_signal(signal.SIGTERM)
        running.log += process.stderr.read().splitlines()
        assert process.wait(PATIENCE_S) == 0, running.log
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
