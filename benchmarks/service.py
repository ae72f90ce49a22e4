"""What our inference server costs, beside a bare aiohttp handler around the same ONNX model.

Both run as processes of their own and get the same open-loop Poisson requests. The bare handler
takes raw floats and runs the model on the event loop: no protocol, no checks, no batching.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import aiohttp
import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

import joulery.campaigns  # noqa: F401  it tells ONNX Runtime not to report, also in the bare handler
from joulery.profiler.oip import Message, encode_request

__all__ = ["main"]

_INPUTS, _HIDDEN, _OUTPUTS = 24, 64, 12
_RATE_HZ = 200.0
_REQUESTS = 1500
_BARE = f"""
import asyncio, json, sys
import numpy, onnxruntime
from aiohttp import web
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
async def answer(request):
    x = numpy.frombuffer(await request.read(), "<f4").reshape(1, {_INPUTS})
    return web.Response(body=session.run(None, {{"x": x}})[0].tobytes())
async def main():
    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({{"port": runner.addresses[0][1]}}), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server to measure: how to start it, and what to send where."""

    name: str
    command: list[str]
    path: str
    message: Message


def write_model(path: Path) -> None:
    """Write a perceptron with one hidden layer and random weights."""
    rng = np.random.default_rng(1)
    weights = {
        "a": rng.normal(size=(_INPUTS, _HIDDEN)).astype(np.float32),
        "b": rng.normal(size=(_HIDDEN, _OUTPUTS)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "a"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "b"], ["y"]),
        ],
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", _INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", _OUTPUTS])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))


async def send(url: str, message: Message, requests: int) -> list[float]:
    """Send requests at random times, whatever becomes of the others; return latencies, seconds."""
    moments_s = np.cumsum(np.random.default_rng(2).exponential(1 / _RATE_HZ, requests))
    async with aiohttp.ClientSession() as session:

        async def one(intended_s: float) -> float:
            async with session.post(url, data=message.body, headers=message.headers) as response:
                await response.read()
                response.raise_for_status()
            return time.monotonic() - intended_s

        start_s = time.monotonic() + 0.01
        tasks = []
        for moment_s in moments_s:
            await asyncio.sleep(max(0.0, start_s + moment_s - time.monotonic()))
            tasks.append(asyncio.create_task(one(start_s + moment_s)))
        return list(await asyncio.gather(*tasks))


def measure(peer: Peer) -> tuple[str, ...]:
    """Start a server, send requests, and return its row of the table."""
    began_s = time.monotonic()
    with subprocess.Popen(
        peer.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}{peer.path}"
        startup_s = time.monotonic() - began_s
        asyncio.run(send(url, peer.message, _REQUESTS // 5))
        used = psutil.Process(process.pid)
        before = used.cpu_times()
        latencies_s = asyncio.run(send(url, peer.message, _REQUESTS))
        after = used.cpu_times()
        process.terminate()
    cpu_s = after.user + after.system - before.user - before.system
    p50_s, p99_s = np.quantile(latencies_s, [0.5, 0.99])
    return (
        peer.name,
        f"{startup_s:.2f}",
        f"{1e6 * cpu_s / _REQUESTS:.0f}",
        f"{1e3 * p50_s:.2f}",
        f"{1e3 * p99_s:.2f}",
    )


def main() -> None:
    """Measure all and print a table."""
    tensor = np.ones((1, _INPUTS), dtype=np.float32)
    table = Table(title=f"{_REQUESTS} Poisson requests at {_RATE_HZ:g} Hz")
    for head in ("server", "start, s", "CPU, µs/request", "p50, ms", "p99, ms"):
        table.add_column(head)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        write_model(model)
        bare = Peer(
            name="bare aiohttp handler",
            command=[sys.executable, "-c", _BARE, str(model)],
            path="/",
            message=Message(headers={}, body=tensor.tobytes()),
        )
        ours = [sys.executable, "-m", "joulery.campaigns.scenarios.server", "--name", "m"]
        servers = [bare]
        profiled = ["--metrics-port", "0"]
        for batch, binary, more in (
            *product(("1", "8"), (True, False), ([],)),
            ("1", True, profiled),
        ):
            encoding = "binary" if binary else "JSON"
            servers.append(
                Peer(
                    name=f"joulery, batch {batch}, {encoding}{', profiled' if more else ''}",
                    command=[*ours, "--model", str(model), "--batch", batch, *more],
                    path="/v2/models/m/infer",
                    message=encode_request({"x": tensor}, binary=binary),
                )
            )
        for peer in servers:
            table.add_row(*measure(peer))
    Console().print(table)


if __name__ == "__main__":
    main()
