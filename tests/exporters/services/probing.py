"""What tests of the probe share: a clock that hurries, servers that answer as they like."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from joulery.exporters.dialects.reading import Reading
from joulery.exporters.metrics import Metric
from joulery.exporters.service_metrics import PROBE_REQUESTS
from joulery.exporters.services.golden import GoldenSet, write_golden
from joulery.exporters.services.judging import Judge
from joulery.exporters.services.probe import Prober
from joulery.exporters.services.target import Pod, Target
from joulery.profiler.oip import (
    BINARY_EXTENSION,
    InferenceRequest,
    InferenceResponse,
    Message,
    decode_request,
    encode_response,
)

POD = Pod(namespace="n", name="a", uid="1", addresses=("127.0.0.1",))


class Ticks:
    """A clock that moves a little each time it is read: turns come without anybody waiting."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        self.now_s += 0.001
        return self.now_s


def prober(golden: GoldenSet, **options: Any) -> Prober:
    """Return one that asks as fast as a test can stand."""
    options = {"rate_hz": 2000.0, "most_hz": 1e6, "timeout_s": 30.0} | options
    return Prober({golden.name: golden}, clock=Ticks(), **options)


def values(reading: Reading, metric: Metric) -> dict[tuple[str, ...], Any]:
    """Return the values of a metric by its labels."""
    return {one.labels: one.value for one in reading.told if one.metric == metric}


async def probe_until(some: Prober, is_done: Callable[[], bool]) -> None:
    """Run a prober until something holds."""
    stop = asyncio.Event()
    running = asyncio.ensure_future(some.run(stop))
    async with asyncio.timeout(100):
        while not is_done() and not running.done():
            await asyncio.sleep(0.01)
    stop.set()
    await running


def asked(some: Prober, pod: Pod = POD, outcome: str = "ok") -> float:
    """Return how many requests to a pod had an outcome."""
    reading = some.readings().get(pod)
    found = {} if reading is None else values(reading, PROBE_REQUESTS)
    return float(sum(value for labels, value in found.items() if labels[-1] == outcome))


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def binary_metadata(_: web.Request) -> web.StreamResponse:
    """Say, as a server does of itself, that it takes binary tensors."""
    return web.json_response({"name": "s", "version": "1", "extensions": [BINARY_EXTENSION]})


@contextlib.asynccontextmanager
async def answering(
    handler: Answering, metadata: Answering = binary_metadata
) -> AsyncIterator[str]:
    """Run a server that answers all requests in its own way; yield its URL."""
    app = web.Application()
    app.router.add_get("/{path:(.*/)?}v2", metadata)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def parity_set(folder: Path, exit_output: str = "") -> GoldenSet:
    """Return a golden set that asks which numbers are odd."""
    return write_golden(
        folder / "parity.json",
        inputs={"x": np.arange(10, dtype=np.int64)},
        judge=Judge(output="odd", rule="equal"),
        labels=np.arange(10) % 2,
        exit_output=exit_output,
    )


async def asked_of(request: web.Request) -> InferenceRequest:
    """Return what a request asks."""
    return decode_request(Message(headers=request.headers, body=await request.read()))


def odd(asked: InferenceRequest, outputs: Sequence[str] = (), **parameters: Any) -> web.Response:
    """Return the right answer, in the encoding asked for."""
    number = asked.inputs["x"]
    response = InferenceResponse(
        outputs={"odd": number % 2} | dict.fromkeys(outputs, number),
        model_name="m",
        id=asked.id,
        parameters=parameters,
    )
    message = encode_response(response, binary={"odd"} if asked.binary_output else set())
    return web.Response(body=message.body, headers=message.headers)


async def probed(
    golden: GoldenSet,
    handler: Answering,
    *,
    metadata: Answering = binary_metadata,
    until: str = "ok",
    **options: Any,
) -> Prober:
    """Probe a server until it had a request per sample with an outcome."""
    async with answering(handler, metadata) as url:
        some = prober(golden, **options)
        some.update([Target(pod=POD, golden=golden.name, infer_url=url, model="m/1")])
        await probe_until(some, lambda: asked(some, outcome=until) >= len(golden))
    return some
