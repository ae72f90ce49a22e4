"""The load generator: how exactly, how fast, what a stall is charged, and beside MLPerf's LoadGen.

Servers run as processes of their own on the last CPU, the generator on the others. LoadGen sends
in its Server scenario, over the same client, to the same service, in turns with ours.

    python benchmarks/load.py --out docs/load.csv

Who is late on a machine that others use is the machine: there, `chrt --fifo 10` before it tells of
the generator. The load of the machine and that priority stand with the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

from joulery.benchmarks.exporters.parts import figure, show_rows, write
from joulery.campaigns.configuration import Configuration
from joulery.campaigns.exchange import FunctionTarget
from joulery.campaigns.executor import split_cores, start_service
from joulery.campaigns.generator import Answers, LoadGenerator, LoadPlan
from joulery.campaigns.http_client import precise_loop
from joulery.campaigns.loads import ClosedLoad, Load, SteadyLoad
from joulery.campaigns.play import Player
from joulery.campaigns.scenarios import scenario
from joulery.campaigns.scenarios.base import Workload
from joulery.campaigns.schedule import make_schedule, stream
from joulery.profiler.oip import encode_request

__all__ = ["main"]

_SCENARIO, _MODEL = "traffic_prediction", "ridge"
_SAMPLES = 200
_RATE_HZ, _ROUNDS, _ROUND_S = 200.0, 3, 5.0
_STALL_S, _STALL_RATE_HZ, _STALL_WINDOW_S = 1.0, 100.0, 10.0

Row = dict[str, object]


@contextmanager
def _trivial(core: int, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "joulery.benchmarks.loads.trivial_server", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        port = json.loads(process.stdout.readline())["port"]
        os.sched_setaffinity(process.pid, {core})
        yield f"http://127.0.0.1:{port}/infer"
        process.stdin.close()


def _send(
    generator: LoadGenerator, workload: Workload, url: str, load: Load, duration_s: float, seed: int
) -> Answers:
    window = make_schedule(load, duration_s=duration_s, samples=_SAMPLES, rng=stream(seed))
    plan = LoadPlan(
        url=url,
        workload=_SCENARIO,
        warmup=(),
        warmup_max_s=0.0,
        window=window,
        steady_ratio=1.0,
        timeout_s=30.0,
    )
    generator.prepare(plan, workload)
    generator.begin(plan)
    generator.finish()
    return generator.collect()


def _exactness(generator: LoadGenerator, workload: Workload, url: str) -> Iterator[Row]:
    """How far the rate that was sent is from the rate that was asked for."""
    for rate_hz, most in ((200.0, 0.001), (5000.0, 0.01)):
        load = SteadyLoad(arrival="constant", rate_hz=rate_hz)
        sent_s = np.sort(_send(generator, workload, url, load, 5.0, 1).sent_s)
        places = np.arange(len(sent_s))
        # The slope of all sends; how late single ones are is told as lag.
        error = abs(1 / float(np.polyfit(places, sent_s, 1)[0]) / rate_hz - 1)
        name = f"rate error at {rate_hz:g}/s"
        yield figure(name, 100 * error, "%", f"<= {100 * most:g}", met=error <= most)
        lag_s = sent_s - places / rate_hz
        yield figure(f"send lag p50 at {rate_hz:g}/s", 1e6 * float(np.median(lag_s)), "us")
        yield figure(f"send lag p99 at {rate_hz:g}/s", 1e6 * float(np.quantile(lag_s, 0.99)), "us")
        yield figure(f"send lag, longest, at {rate_hz:g}/s", 1e6 * float(lag_s.max()), "us")


def _speed(generator: LoadGenerator, workload: Workload, url: str, name: str) -> Row:
    """Requests for each second of CPU time that the generator spends on them."""
    answers = _send(generator, workload, url, ClosedLoad(arrival="closed", users=32), 3.0, 2)
    each = len(answers.status) / sum(answers.cpu_s)
    return figure(f"HTTP, {name}", each, "requests/s/core", ">= 8000", met=each >= 8000)


def _in_process() -> Iterator[Row]:
    """The same without a network: a function is the service."""
    loads: dict[str, Load] = {
        "open loop": SteadyLoad(rate_hz=30_000.0),
        "closed loop": ClosedLoad(arrival="closed", users=32),
    }
    for name, load in loads.items():
        schedule = make_schedule(load, duration_s=2.0, samples=_SAMPLES, rng=stream(3))
        with asyncio.Runner(loop_factory=precise_loop) as runner:
            player = Player(FunctionTarget(lambda _: None), schedule)
            before_s = time.process_time()
            requests = len(runner.run(player.play(time.monotonic())))
            each = requests / (time.process_time() - before_s)
        yield figure(f"in process, {name}", each, "requests/s/core", ">= 20000", met=each >= 20_000)


def _stall(generator: LoadGenerator, workload: Workload, core: int) -> Iterator[Row]:
    """What a stall of 1 s in 10 s is charged: each request that comes due in it, its rest."""
    load = SteadyLoad(arrival="constant", rate_hz=_STALL_RATE_HZ)
    stall_at = int(4 * _STALL_RATE_HZ)
    with _trivial(core, f"--stall-at={stall_at}", f"--stall-s={_STALL_S}") as url:
        answers = _send(generator, workload, url, load, _STALL_WINDOW_S, 1)
    latency_s = answers.done_s - answers.asked.intended_s
    usual_s = float(np.median(latency_s))
    delayed_s = _STALL_S - np.arange(int(_STALL_S * _STALL_RATE_HZ)) / _STALL_RATE_HZ
    known_s = np.zeros(len(latency_s))
    known_s[: len(delayed_s)] = delayed_s
    known_s += usual_s
    for name, found, known in (
        ("mean", np.mean(latency_s), np.mean(known_s)),
        ("p99", np.quantile(latency_s, 0.99), np.quantile(known_s, 0.99)),
    ):
        error = abs(float(found / known) - 1)
        yield figure(f"stall of 1 s, {name}", 1e3 * float(found), "ms")
        yield figure(
            f"stall of 1 s, {name}, from the analysis", 100 * error, "%", "<= 2", met=error <= 0.02
        )


def _loadgen(url: str, bodies: Path) -> dict[str, NDArray[np.float64]]:
    command = [sys.executable, "-m", "joulery.benchmarks.loads.loadgen", f"--url={url}"]
    command += [f"--bodies={bodies}", f"--rate-hz={_RATE_HZ:g}"]
    command += [f"--requests={int(_RATE_HZ * _ROUND_S)}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    if told["failed"]:
        raise SystemExit(f"{told['failed']} requests of LoadGen failed")
    parts = ("lag_s", "latency_s", "exchanged_s", "cpu_s")
    return {part: np.atleast_1d(told[part]) for part in parts}


def _beside_loadgen(generator: LoadGenerator, workload: Workload, url: str) -> Iterator[Row]:
    """The same Poisson load from both, in turns: are the latencies of one distribution?

    Told twice: as each generator counts, and from the sending to the answer alone. Where only the
    first differ, it is the generators that do.
    """
    found: dict[str, list[dict[str, NDArray[np.float64]]]] = {"ours": [], "LoadGen": []}
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies"
        messages = [encode_request(workload.inputs(at), binary=True) for at in range(_SAMPLES)]
        bodies.write_bytes(pickle.dumps(messages))
        for turn in range(_ROUNDS):
            load = SteadyLoad(rate_hz=_RATE_HZ)
            answers = _send(generator, workload, url, load, _ROUND_S, 10 + turn)
            found["ours"].append(
                {
                    "lag_s": answers.lag_s,
                    "latency_s": answers.done_s - answers.asked.intended_s,
                    "exchanged_s": answers.done_s - answers.sent_s,
                    "cpu_s": np.array(answers.cpu_s),
                }
            )
            found["LoadGen"].append(_loadgen(url, bodies))
    seen = {
        name: {part: np.hstack([one[part] for one in rounds]) for part in rounds[0]}
        for name, rounds in found.items()
    }
    for name, parts in seen.items():
        for part, words in (("latency_s", "latency"), ("exchanged_s", "from sending to answer")):
            for quantile in (0.5, 0.99):
                value_ms = 1e3 * float(np.quantile(parts[part], quantile))
                yield figure(f"{name}, {words}, p{100 * quantile:g}", value_ms, "ms")
        for quantile in (0.5, 0.99):
            value_us = 1e6 * float(np.quantile(parts["lag_s"], quantile))
            yield figure(f"{name}, send lag, p{100 * quantile:g}", value_us, "us")
        each_us = 1e6 * float(parts["cpu_s"].sum()) / len(parts["latency_s"])
        yield figure(f"{name}, CPU time", each_us, "us/request")
    for part, words in (("latency_s", "latencies"), ("exchanged_s", "from sending to answer")):
        kolmogorov = stats.ks_2samp(seen["ours"][part], seen["LoadGen"][part])
        yield figure(f"{words}, of both, Kolmogorov-Smirnov D", float(kolmogorov.statistic), "1")
        yield figure(f"{words}, of both, Kolmogorov-Smirnov p", float(kolmogorov.pvalue), "1")
        apart = [
            float(stats.ks_2samp(one[part], other[part]).statistic)
            for one, other in combinations(found["ours"], 2)
        ]
        yield figure(f"{words}, of two rounds of ours, the same D", float(np.median(apart)), "1")


def _measure(cores: tuple[int, ...], others: tuple[int, ...]) -> Iterator[Row]:
    yield figure("machine, load average before", os.getloadavg()[0], "1")
    yield figure("machine, real-time priority", os.sched_getparam(0).sched_priority, "1")
    os.sched_setaffinity(0, others)
    workload = scenario(_SCENARIO).prepare(None, Path(tempfile.gettempdir()))
    with LoadGenerator() as generator:
        with _trivial(cores[-1]) as url:
            yield from _exactness(generator, workload, url)
            yield _speed(generator, workload, url, "one process")
            if len(others) > 1:
                with LoadGenerator(processes=2) as two:
                    yield _speed(two, workload, url, "two processes")
        yield from _in_process()
        yield from _stall(generator, workload, cores[-1])
        if importlib.util.find_spec("mlperf_loadgen") is None:
            print("the comparison with LoadGen needs mlcommons-loadgen", file=sys.stderr)
            return
        with start_service(
            workload.model_path(_MODEL, "fp32"),
            Configuration(scenario=_SCENARIO, model=_MODEL, precision="fp32", batch=1, threads=1),
            batch_wait_s=0.001,
            startup_max_s=60.0,
            cores=split_cores(1, {*cores, *others}),
        ) as service:
            yield from _beside_loadgen(generator, workload, service.url)


def main() -> int:
    """Measure, print a table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="a CSV file to write")
    arguments = parser.parse_args()
    cores = split_cores(1, os.sched_getaffinity(0))
    rows = list(_measure(cores.service, cores.others))
    show_rows(rows, "the load generator", Console())
    if arguments.out is not None:
        write(rows, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
