"""The load generator against real servers: on schedule, whatever the server does."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from joulery.campaigns.configuration import Configuration
from joulery.campaigns.executor import split_cores, start_service
from joulery.campaigns.generator import Answers, LoadGenerator, LoadPlan, Warmup
from joulery.campaigns.loads import ClosedLoad, SteadyLoad
from joulery.campaigns.schedule import Schedule, make_schedule, stream
from joulery.errors import TrialError
from joulery.profiler.oip import (
    HEADER_LENGTH,
    InferenceRequest,
    InferenceResponse,
    Message,
    decode_request,
    encode_response,
)

from .tiny import SIZE, TinyWorkload

CONFIGURATION = Configuration(scenario="tiny", model="double", precision="fp32", batch=4, threads=1)
STALL_S = 0.4

STALLING_SERVER = f"""
import asyncio, sys, time
from aiohttp import web
began = []
async def infer(request):
    body = await request.read()
    began.append(time.monotonic())
    if len(began) > 60 and began[-1] - began[60] < {STALL_S} and len(began) > 1:
        time.sleep(max(0, began[60] + {STALL_S} - time.monotonic()))
    return web.json_response({{"model_name": "s", "outputs": []}})
async def main():
    app = web.Application()
    app.router.add_post("/infer", infer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def generator() -> Iterator[LoadGenerator]:
    """A running generator."""
    with LoadGenerator() as running:
        yield running


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> TinyWorkload:
    """The tiny workload."""
    return TinyWorkload(tmp_path_factory.mktemp("tiny"))


def _plan(url: str, *, rate_hz: float, duration_s: float, timeout_s: float = 3.0) -> LoadPlan:
    load = SteadyLoad(rate_hz=rate_hz)
    rng = stream(1, "test")
    warmup = tuple(make_schedule(load, duration_s=0.1, samples=SIZE, rng=rng) for _ in range(10))
    window = make_schedule(load, duration_s=duration_s, samples=SIZE, rng=rng)
    return LoadPlan(
        url=url,
        workload="tiny",
        warmup=warmup,
        warmup_max_s=2.0,
        window=window,
        steady_ratio=0.5,
        timeout_s=timeout_s,
    )


def _send(
    generator: LoadGenerator, workload: TinyWorkload, plan: LoadPlan
) -> tuple[Warmup, Answers]:
    generator.prepare(plan, workload)
    warm = generator.begin(plan)
    generator.finish()
    return warm, generator.collect()


def test_every_answer_belongs_to_its_own_request(
    generator: LoadGenerator, workload: TinyWorkload
) -> None:
    """Under concurrency and batching, each request gets the answer to what it asked."""
    with start_service(
        workload.model_path("double", "fp32"),
        CONFIGURATION,
        batch_wait_s=0.01,
        startup_max_s=30.0,
        cores=split_cores(1, [0]),
    ) as service:
        plan = _plan(service.url, rate_hz=300.0, duration_s=0.5)
        warm, answers = _send(generator, workload, plan)
    assert set(answers.status) == {"ok"}
    assert np.array_equal(answers.outputs["y"][:, 0], 2.0 * answers.asked.samples)
    assert answers.batch_served.max() > 1
    assert len(warm.medians_s) >= 2
    assert np.all(answers.sent_s >= answers.asked.intended_s - 1e-6)
    assert np.all(answers.done_s > answers.sent_s)


def test_a_stalling_server_is_charged_for_every_request_it_delays(
    generator: LoadGenerator, workload: TinyWorkload
) -> None:
    """While the server stalls, requests are still sent on time and their wait is latency."""
    with subprocess.Popen(
        [sys.executable, "-c", STALLING_SERVER], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        rate_hz = 150.0
        plan = _plan(f"http://127.0.0.1:{port}/infer", rate_hz=rate_hz, duration_s=1.5)
        _, answers = _send(generator, workload, plan)
        server.kill()
    latency_s = answers.done_s - answers.asked.intended_s
    assert set(answers.status) == {"ok"}
    # A closed loop would have sent one request into the stall, and reported one slow answer.
    waited = int((latency_s > STALL_S / 4).sum())
    assert waited >= 0.4 * rate_hz * STALL_S
    assert np.quantile(answers.sent_s - answers.asked.intended_s, 0.9) < STALL_S / 4


class _Recorded(ThreadingHTTPServer):
    """Doubles like the tiny model, and keeps the headers of all requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Doubling)
        self.headers: list[dict[str, str]] = []

    def answer(self, asked: InferenceRequest) -> InferenceResponse:
        """Return what is answered to one request."""
        return InferenceResponse(outputs={"y": 2 * asked.inputs["x"]}, model_name="double")


class _Doubling(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, _Recorded)
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.headers.append(headers)
        body = self.rfile.read(int(headers["content-length"]))
        asked = decode_request(Message(headers=headers, body=body))
        answer = self.server.answer(asked)
        binary = set(answer.outputs) if asked.binary_output else set()
        message = encode_response(answer, binary=binary)
        self.send_response(200)
        for name, value in message.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(message.body)))
        self.end_headers()
        self.wfile.write(message.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _recording(kind: type[_Recorded] = _Recorded) -> Iterator[tuple[_Recorded, str]]:
    server = kind()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}/infer"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_encodings(generator: LoadGenerator, workload: TinyWorkload) -> None:
    """Requests go as binary data or as JSON, by turns too; no compressed answer is asked for."""
    for binary in (True, False, True):
        with _recording() as (server, url):
            plan = _plan(url, rate_hz=100.0, duration_s=0.2)
            plan = dataclasses.replace(plan, binary=binary)
            _, answers = _send(generator, workload, plan)
        assert set(answers.status) == {"ok"}
        assert np.array_equal(answers.outputs["y"][:, 0], 2.0 * answers.asked.samples)
        assert {HEADER_LENGTH.lower() in headers for headers in server.headers} == {binary}
        assert {headers["accept-encoding"] for headers in server.headers} == {"identity"}


class _Changing(_Recorded):
    """Gives every third request another output, and tells odd sizes of batches."""

    def answer(self, asked: InferenceRequest) -> InferenceResponse:
        number = float(asked.inputs["x"][0, 0])
        return InferenceResponse(
            outputs={"z" if number % 3 == 2 else "y": 2 * asked.inputs["x"]},
            model_name="double",
            parameters={"batch": "two" if number % 2 else 3},
        )


def test_answers_that_are_unlike(generator: LoadGenerator, workload: TinyWorkload) -> None:
    """What others answer is taken as it is: what cannot be put together is no answer."""
    with _recording(_Changing) as (_, url):
        schedule = Schedule(intended_s=np.arange(30) / 300, samples=np.arange(30))
        plan = _plan(url, rate_hz=100.0, duration_s=0.1)
        plan = dataclasses.replace(plan, window=schedule)
        _, answers = _send(generator, workload, plan)
    bad = np.arange(30) % 3 == 2
    assert {answers.status[index] for index in np.flatnonzero(~bad)} == {"ok"}
    assert all("other outputs" in answers.status[index] for index in np.flatnonzero(bad))
    assert np.array_equal(answers.outputs["y"][:, 0], 2.0 * np.arange(30)[~bad])
    told = np.where(np.arange(30) % 2, 0, 3)
    assert np.array_equal(answers.batch_served, np.where(bad, 0, told))


def test_a_server_that_is_not_there_fails_each_request(
    generator: LoadGenerator, workload: TinyWorkload
) -> None:
    """Nothing listens: every request is kept, with what went wrong, and nothing raises."""
    warm, answers = _send(
        generator, workload, _plan("http://127.0.0.1:9/x", rate_hz=50.0, duration_s=0.2)
    )
    assert not warm.steady
    assert len(answers.status) > 0
    assert all("Connect" in status for status in answers.status)
    assert np.isnan(answers.done_s).all()


def test_a_slow_answer_is_a_timeout(generator: LoadGenerator, workload: TinyWorkload) -> None:
    """An answer later than the limit after its intended time has failed."""
    with subprocess.Popen(
        [sys.executable, "-c", STALLING_SERVER], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        plan = _plan(f"http://127.0.0.1:{port}/infer", rate_hz=150.0, duration_s=1.0, timeout_s=0.1)
        _, answers = _send(generator, workload, plan)
        server.kill()
    assert "timeout" in answers.status
    latency_s = (answers.done_s - answers.asked.intended_s)[np.array(answers.status) == "ok"]
    assert latency_s.max() < 0.15


def test_several_processes_send_one_schedule(workload: TinyWorkload) -> None:
    """Their shares make up the schedule: each request once, at its time, with its own answer."""
    with LoadGenerator(processes=3) as several, _recording() as (server, url):
        assert len(set(several.pids)) == 3
        plan = _plan(url, rate_hz=200.0, duration_s=0.5)
        warm, answers = _send(several, workload, plan)
        # And all users of a closed loop, with numbers of their own.
        users = ClosedLoad(arrival="closed", users=4, think_time_s=0.01)
        closed = make_schedule(users, duration_s=0.3, samples=SIZE, rng=stream(1))
        _, later = _send(several, workload, dataclasses.replace(plan, window=closed))
    assert isinstance(plan.window, Schedule)
    assert np.allclose(answers.asked.intended_s, plan.window.intended_s)
    assert np.array_equal(answers.asked.samples, plan.window.samples)
    assert len(warm.medians_s) >= 2
    for one in (answers, later):
        assert set(one.status) == {"ok"}
        assert np.array_equal(one.outputs["y"][:, 0], 2.0 * one.asked.samples)
        assert np.all(np.diff(one.asked.intended_s) >= 0)
        assert np.allclose(one.lag_s, one.sent_s - one.asked.intended_s)
        assert len(one.cpu_s) == 3
        assert min(one.cpu_s) > 0
    assert len(server.headers) >= len(answers.status) + len(later.status)


def test_the_busiest_process_decides() -> None:
    """One process at its limit is a generator at its limit; so are many that share one core."""
    asked = Schedule(intended_s=np.zeros(0), samples=np.zeros(0, dtype=np.int64))
    none = np.zeros(0)
    some = Answers(
        asked=asked,
        sent_s=none,
        lag_s=none,
        done_s=none,
        status=(),
        outputs={},
        batch_served=np.zeros(0, dtype=np.int64),
        cpu_s=(1.0, 9.0),
        cores=8,
    )
    assert some.busiest_ratio(10.0) == 0.9
    assert dataclasses.replace(some, cores=1).busiest_ratio(10.0) == 1.0


def test_a_process_that_ends_is_told(workload: TinyWorkload) -> None:
    """When one of the processes dies the trial fails with a word, and nothing hangs."""
    with LoadGenerator(processes=2) as several, _recording() as (_, url):
        os.kill(several.pids[1], signal.SIGKILL)
        with pytest.raises(TrialError, match="its process ended"):
            _send(several, workload, _plan(url, rate_hz=50.0, duration_s=0.2))
        assert not several.alive


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The service's own last words are in the error, and no process stays behind."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    began_s = time.monotonic()
    with (
        pytest.raises(TrialError, match=r"broken\.onnx"),
        start_service(
            broken,
            CONFIGURATION,
            batch_wait_s=0.01,
            startup_max_s=30.0,
            cores=split_cores(1, [0]),
        ),
    ):
        pass
    assert time.monotonic() - began_s < 20.0


def test_cores_are_split_between_service_and_generator() -> None:
    """The service gets its threads' CPUs, the rest go to the measurers, at least one each."""
    assert split_cores(1, [0, 1]).service == (1,)
    assert split_cores(1, [0, 1]).others == (0,)
    assert split_cores(8, [0, 1, 2, 3]).others == (0,)
    assert split_cores(2, [0, 1, 2, 3]).service == (2, 3)
    assert split_cores(1, [5]).service == split_cores(1, [5]).others == (5,)
