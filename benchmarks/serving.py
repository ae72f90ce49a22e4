"""Our inference server beside MLServer: the same ONNX model, the same requests, in the same run.

Each runs as a process of its own on the last CPU, without profiling, and the client on the others.
The servers take turns. Median latency is that of one client that waits for each answer; throughput
is that of 32 that do. MLServer answers JSON; ours answers the same JSON, and binary tensors too.

    python benchmarks/serving.py --out docs/serving.csv

It installs MLServer into an environment of its own; where that fails it says so and ends with 2.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
import psutil
from rich.console import Console

from joulery.benchmarks.exporters.parts import cpu_s, show, write
from joulery.campaigns.executor import split_cores
from joulery.campaigns.scenarios import scenario
from joulery.profiler.oip import Message, encode_request
from joulery.tests.peers.environments import environment
from joulery.tests.peers.mlserver import serving

__all__ = ["main"]

_MODEL = "mlp"
_ROUNDS = 5
_ALONE = 400
_TOGETHER_S = 4.0
_CLIENTS = 32
_RUNTIME = Path(__file__).resolve().parents[1] / "tests" / "peers" / "inside" / "serve_onnx.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A server that runs, and what it is asked.

    Args:
        name: For people.
        url: That inference requests go to.
        message: The request.
        process: The server.
    """

    name: str
    url: str
    message: Message
    process: psutil.Process


@contextmanager
def _ours(model: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-m", "joulery.campaigns.scenarios.server", *options]
    command += ["--model", str(model), "--name", _MODEL]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        port = json.loads(process.stdout.readline())["port"]
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        process.stdin.close()


@contextmanager
def _mlserver(python: Path, model: Path, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    shutil.copy(_RUNTIME, folder)
    settings = {
        "name": _MODEL,
        "implementation": "serve_onnx.OnnxModel",
        "parameters": {"uri": str(model)},
    }
    before = set(psutil.Process().children())
    with serving(python, folder, settings) as server:
        [process] = set(psutil.Process().children()) - before
        yield server.url, process


async def _ask(session: aiohttp.ClientSession, one: Contender) -> None:
    async with session.post(one.url, data=one.message.body, headers=one.message.headers) as answer:
        body = await answer.read()
        if answer.status != 200:
            raise SystemExit(f"{one.name} answered {answer.status}: {body[:200]!r}")


async def _measure(one: Contender) -> tuple[list[float], float, float]:
    """Return latencies alone, answers a second of many, and CPU time of one of those, seconds."""
    async with aiohttp.ClientSession() as session:
        for _ in range(50):
            await _ask(session, one)
        latencies_s = []
        for _ in range(_ALONE):
            began_s = time.perf_counter()
            await _ask(session, one)
            latencies_s.append(time.perf_counter() - began_s)
        began_s, spent_s = time.monotonic(), cpu_s(one.process)
        answered = 0

        async def again() -> None:
            nonlocal answered
            while time.monotonic() - began_s < _TOGETHER_S:
                await _ask(session, one)
                answered += 1

        await asyncio.gather(*(again() for _ in range(_CLIENTS)))
        passed_s, used_s = time.monotonic() - began_s, cpu_s(one.process) - spent_s
    return latencies_s, answered / passed_s, used_s / answered


def _told(name: str, rounds: list[tuple[list[float], float, float]]) -> dict[str, object]:
    alone = np.concatenate([latencies for latencies, _, _ in rounds])
    return {
        "server": name,
        "p50_ms": round(1e3 * float(np.median(alone)), 3),
        "p99_ms": round(1e3 * float(np.quantile(alone, 0.99)), 3),
        "answers_per_s": round(float(np.median([rate for _, rate, _ in rounds]))),
        "cpu_us_per_answer": round(1e6 * float(np.median([used for _, _, used in rounds]))),
    }


def main() -> int:
    """Measure, print a table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="a CSV file to write")
    arguments = parser.parse_args()
    try:
        python = environment("mlserver")
    except BaseException as error:  # noqa: BLE001 - pytest's skip, where there is no test to skip
        print(f"this compares with MLServer: {error}", file=sys.stderr)
        return 2
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        workload = scenario("traffic_prediction").prepare(None, Path(name))
        path = workload.model_path(_MODEL, "fp32")
        inputs = workload.inputs(0)
        words, binary = (encode_request(inputs, binary=each) for each in (False, True))
        cores = split_cores(1, os.sched_getaffinity(0))
        with (
            _ours(path) as (ours, process),
            _ours(path, "--batch=32", "--batch-wait-s=0.001") as (batched, batching),
            _mlserver(python, path, Path(name)) as (theirs, peer),
        ):
            infer = f"/v2/models/{_MODEL}/infer"
            contenders = [
                Contender(name="MLServer, JSON", url=theirs + infer, message=words, process=peer),
                Contender(name="ours, JSON", url=ours + infer, message=words, process=process),
                Contender(name="ours, binary", url=ours + infer, message=binary, process=process),
                Contender(
                    name="ours, binary, batches",
                    url=batched + infer,
                    message=binary,
                    process=batching,
                ),
            ]
            for one in contenders:
                for pid in (one.process, *one.process.children(recursive=True)):
                    pid.cpu_affinity(list(cores.service))
            os.sched_setaffinity(0, cores.others)
            found: dict[str, list[tuple[list[float], float, float]]] = {}
            with console.status("servers take turns"):
                for _ in range(_ROUNDS):
                    for one in contenders:
                        found.setdefault(one.name, []).append(asyncio.run(_measure(one)))
    rows = [_told(name, rounds) for name, rounds in found.items()]
    show(rows, "one model, one CPU", console)
    if arguments.out is not None:
        write(rows, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
