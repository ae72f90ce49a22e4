"""MLPerf's LoadGen in its Server scenario: a Poisson load, sent over the client that ours uses.

LoadGen decides when, and hands requests to an event loop in a thread of their own; so what differs
from our generator is the generator. Prints latencies, delays and CPU time as JSON: the latencies
that LoadGen counts, and the part of each that lies between the sending and the answer, as the loop
saw it. The rest is the hand-over between LoadGen's thread and the loop's, both ways.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import mlperf_loadgen

from joulery.campaigns.exchange import Exchange
from joulery.campaigns.http_client import HttpTarget, precise_loop
from joulery.profiler.oip import Message

__all__ = ["main"]

_SAMPLE = re.compile(r'"issue_start_ns":(\d+),"complete_ns":(\d+)')
_PATIENCE_S = 30.0


def _settings(rate_hz: float, requests: int) -> Any:
    settings = mlperf_loadgen.TestSettings()
    settings.scenario = mlperf_loadgen.TestScenario.Server
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.server_target_qps = rate_hz
    settings.server_target_latency_ns = int(1e9)
    settings.min_query_count = settings.max_query_count = requests
    settings.min_duration_ms = 0
    return settings


class _Service:
    """The system under test, as LoadGen sees it."""

    def __init__(self, url: str, bodies: list[Message]) -> None:
        self._loop = precise_loop()
        self._target = HttpTarget(url, timeout_s=_PATIENCE_S, body=bodies.__getitem__)
        self._target.on_over = self._over
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._target.open(), self._loop).result()
        self.failed = 0
        self.exchanged_s: list[float] = []

    def issue(self, samples: list[Any]) -> None:
        """Take what LoadGen sends now."""
        for sample in samples:
            now_s = time.monotonic()
            exchange = Exchange(place=sample.id, sample=sample.index, due_s=now_s, ready_s=now_s)
            self._loop.call_soon_threadsafe(self._target.send, exchange)

    def _over(self, exchange: Exchange) -> None:
        self.failed += exchange.status != "ok"
        self.exchanged_s.append(exchange.done_s - exchange.sent_s)
        response = mlperf_loadgen.QuerySampleResponse(exchange.place, 0, 0)
        mlperf_loadgen.QuerySamplesComplete([response])


def main() -> None:
    """Run one test."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="messages, pickled")
    parser.add_argument("--rate-hz", type=float, required=True)
    parser.add_argument("--requests", type=int, required=True)
    arguments = parser.parse_args()
    bodies: list[Message] = pickle.loads(arguments.bodies.read_bytes())  # our own, a moment ago
    service = _Service(arguments.url, bodies)
    sut = mlperf_loadgen.ConstructSUT(service.issue, lambda: None)
    qsl = mlperf_loadgen.ConstructQSL(len(bodies), len(bodies), lambda _: None, lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        log = mlperf_loadgen.LogSettings()
        log.log_output.outdir = folder
        log.log_output.copy_summary_to_stdout = False
        log.enable_trace = True
        settings = _settings(arguments.rate_hz, arguments.requests)
        before_s = time.process_time()
        mlperf_loadgen.StartTestWithLogSettings(sut, qsl, settings, log)
        spent_s = time.process_time() - before_s
        told = _SAMPLE.findall((Path(folder) / "mlperf_log_trace.json").read_text())
    mlperf_loadgen.DestroySUT(sut)
    mlperf_loadgen.DestroyQSL(qsl)
    print(
        json.dumps(
            {
                "lag_s": [int(lag) / 1e9 for lag, _ in told],
                "latency_s": [int(latency) / 1e9 for _, latency in told],
                "exchanged_s": service.exchanged_s,
                "failed": service.failed,
                "cpu_s": spent_s,
            }
        )
    )


if __name__ == "__main__":
    main()
