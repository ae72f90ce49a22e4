"""A real Prometheus that scrapes the exporters, with the rules that the chart has."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..conftest import REPOSITORY
from .cluster import eventually, program

__all__ = ["Prometheus", "Vector", "running"]

Vector = list[tuple[dict[str, str], float]]
"""Labels and value of each series."""

INTERVAL_S = 5
RULES = REPOSITORY / "exporters" / "chart" / "files" / "rules.yaml"


@dataclass(frozen=True)
class Prometheus:
    """A server that runs."""

    url: str

    def ask(self, query: str, *, time_s: float | None = None) -> Vector:
        """Return the result of an instant query."""
        return [
            (one["metric"], float(one["value"][1])) for one in self._query(query, time_s=time_s)
        ]

    def raw(self, selector: str) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """Return the samples that a range selector chooses, as they were scraped."""
        return [
            (one["metric"], [(float(t), float(v)) for t, v in one["values"]])
            for one in self._query(selector)
        ]

    def value(self, query: str, *, time_s: float | None = None) -> float:
        """Return the value of a query that has one."""
        found = self.ask(query, time_s=time_s)
        assert len(found) == 1, f"{query}: {found}"
        return found[0][1]

    def _query(self, query: str, *, time_s: float | None = None) -> Any:
        parameters = {"query": query} | ({} if time_s is None else {"time": str(time_s)})
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as refused:
            with refused:
                raise AssertionError(f"{query}: {refused.read().decode()}") from None


def _configuration(targets: Mapping[str, str], interval_s: float) -> dict[str, Any]:
    """Scrape exporters, each as its job. Debian's server knows no discovery by Kubernetes."""
    return {
        "global": {
            "scrape_interval": f"{1000 * interval_s:.0f}ms",
            "scrape_timeout": f"{800 * interval_s:.0f}ms",
            "evaluation_interval": f"{1000 * interval_s:.0f}ms",
        },
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": job, "honor_labels": True, "static_configs": [{"targets": [target]}]}
            for job, target in targets.items()
        ],
    }


@contextlib.contextmanager
def running(
    folder: Path, targets: Mapping[str, str], *, interval_s: float = INTERVAL_S
) -> Iterator[Prometheus]:
    """Run a server that keeps its data in a folder.

    Args:
        folder: For its data.
        targets: The address:port of an exporter by the job that it is scraped as.
        interval_s: From one scrape to the next.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    configuration = folder / "prometheus.yml"
    configuration.write_text(yaml.safe_dump(_configuration(targets, interval_s)))
    command = [
        program("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Prometheus(f"http://{address}")
    try:
        eventually(lambda: server.ask("vector(1)"), seconds=30, what="Prometheus starts")
        yield server
    finally:
        process.terminate()
        process.wait(20)
