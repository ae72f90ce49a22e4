"""A real Prometheus that holds what an exporter told in half an hour that is known by heart."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from joulery.campaigns.kubernetes.prometheus import Prometheus
from joulery.errors import TrialError

from ...conftest import require_program

__all__ = ["STEP_S", "Known"]

STEP_S = 15.0
_CYCLE_AGE_S = 2.0
"""A scrape shows a cycle that is so old."""
_HISTORY_S = 1800.0
_TARGET = {"job": "energy", "instance": "10.0.0.7:28480"}


@dataclass(frozen=True)
class Known:
    """The server, and when its last scrape was."""

    prometheus: Prometheus
    last_s: float

    @property
    def last_cycle_s(self) -> float:
        """Time of the newest cycle that was told of."""
        return self.last_s - _CYCLE_AGE_S


def _line(name: str, labels: dict[str, str], value: float, at_s: float) -> str:
    written = ",".join(f'{key}="{text}"' for key, text in (_TARGET | labels).items())
    return f"{name}{{{written}}} {value!r} {at_s:.3f}"


def _families(last_s: float) -> Iterator[str]:
    """Yield OpenMetrics: 2 W of a pod on its CPU and 0.5 W on memory, of a node with 10 and 3 W.

    The pod `reborn` has an exporter that began anew; `late` is told of since five minutes.
    """
    moments = [last_s - n * STEP_S for n in range(int(_HISTORY_S / STEP_S), -1, -1)]
    begin_s = moments[0] - _CYCLE_AGE_S
    energies = [("", 1.0), ("_low", 0.8), ("_high", 1.3)]
    for bound, factor in energies:
        name = f"joulery_pod_energy{bound}_joules"
        yield f"# TYPE {name} counter"
        for device, kind, power_w in (("cpu", "cpu", 2.0), ("dram", "memory", 0.5)):
            labels = {"uid": "steady", "device": device, "kind": kind, "part": "active"}
            labels["provenance"] = "apportioned"
            for at_s in moments:
                spent_s = at_s - _CYCLE_AGE_S - begin_s
                yield _line(f"{name}_total", labels, factor * power_w * spent_s, at_s)
        labels |= {"uid": "late", "device": "cpu", "kind": "cpu"}
        for at_s in moments[-int(300 / STEP_S) :]:
            yield _line(f"{name}_total", labels, at_s - begin_s, at_s)
    yield "# TYPE joulery_pod_cpu_seconds counter"
    for at_s in moments:
        spent_s = at_s - _CYCLE_AGE_S - begin_s
        yield _line("joulery_pod_cpu_seconds_total", {"uid": "steady"}, 0.4 * spent_s, at_s)
    for name, parts, powers_w in _NODE:
        yield f"# TYPE {name.removesuffix('_total')} counter"
        for more, power_w in zip(parts, powers_w, strict=True):
            for at_s in moments:
                yield _line(name, more, power_w * (at_s - _CYCLE_AGE_S - begin_s), at_s)
    yield "# TYPE joulery_node_info gauge"
    for at_s in moments:
        yield _line("joulery_node_info", {"node": "edge-a"}, 1.0, at_s)
    yield "# TYPE joulery_exporter_last_cycle_timestamp_seconds gauge"
    for at_s in moments:
        yield _line("joulery_exporter_last_cycle_timestamp_seconds", {}, at_s - _CYCLE_AGE_S, at_s)
    yield "# EOF"


_CPU = {"device": "cpu", "kind": "cpu", "provenance": "measured"}
_DRAM = {"device": "dram", "kind": "memory", "provenance": "measured"}
_NODE = [
    (
        "joulery_node_energy_joules_total",
        [_CPU | {"part": "idle"}, _DRAM | {"part": "idle"}, _CPU | {"part": "pods"}],
        [4.0, 1.0, 6.0],
    ),
    (
        "joulery_device_energy_joules_total",
        [
            _CPU | {"source": "powercap", "domain": "package-0", "summed": "true"},
            _DRAM | {"source": "powercap", "domain": "dram", "summed": "true"},
            _CPU | {"source": "powercap", "domain": "core", "summed": "false"},
        ],
        [10.0, 3.0, 7.0],
    ),
    (
        "joulery_device_watched_seconds_total",
        [{"device": "cpu", "kind": "cpu", "state": state} for state in ("attributed", "unknown")],
        [1.0, 0.0],
    ),
    ("joulery_exporter_cycles_total", [{"outcome": "ok"}], [0.2]),
]


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """Run a Prometheus that was filled from a file."""
    folder = tmp_path_factory.mktemp("prometheus")
    last_s = float(int(time.time())) - 5.0
    (folder / "told.txt").write_text("\n".join(_families(last_s)) + "\n")
    subprocess.run(
        [
            *(require_program("promtool"), "tsdb", "create-blocks-from", "openmetrics"),
            *(str(folder / "told.txt"), str(folder / "data")),
        ],
        check=True,
        capture_output=True,
    )
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                require_program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    server = Prometheus(f"http://{address}/")
    try:
        _wait(server)
        yield Known(server, last_s)
    finally:
        server.close()
        process.terminate()
        process.wait(20)


def _wait(server: Prometheus) -> None:
    until_s = time.monotonic() + 60
    while True:
        try:
            server.now("vector(1)")
        except TrialError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.1)
        else:
            return
