"""A small inference server: one ONNX model over the Open Inference Protocol v2 (REST).

It exists to be measured: it starts in half a second, adds little to a model run, and imports only
NumPy, ONNX Runtime and aiohttp. Run it as `python -m joulery.campaigns.scenarios.server --help`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from aiohttp import web

from ... import __version__
from ...errors import JouleryError, SpecError, TrialError
from ...profiler.oip import (
    InferenceResponse,
    Message,
    ProtocolError,
    decode_request,
    encode_response,
)
from .batching import Batcher, Model, Overloaded, TensorSpec, listed

__all__ = ["main"]

_STOP_S = 30.0
"""How long requests in flight may still take when the server is asked to stop, in seconds."""

_Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]


class _Service:
    """The endpoints of one model."""

    def __init__(self, model: Model, batcher: Batcher, *, name: str, version: str) -> None:
        self._model = model
        self._batcher = batcher
        self._name = name
        self._version = version
        self._routes: dict[str, tuple[str, _Handler]] = {
            "/v2": (
                "GET",
                _fixed(
                    {
                        "name": "joulery",
                        "version": __version__,
                        "extensions": ["binary_tensor_data"],
                    }
                ),
            ),
            "/v2/health/live": ("GET", _fixed({"live": True})),
            "/v2/health/ready": ("GET", _fixed({"ready": True})),
        }
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
            self._routes[path] = ("GET", _fixed(self._metadata()))
            self._routes[f"{path}/ready"] = ("GET", _fixed({"name": name, "ready": True}))
            self._routes[f"{path}/infer"] = ("POST", self._infer)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer any request; whatever goes wrong is told as the protocol says."""
        route = self._routes.get(request.path)
        if route is None:
            expected = ", ".join(self._routes)
            return _error(404, f"path {request.path}: found no such path, expected {expected}")
        method, handler = route
        if request.method != method and (request.method, method) != ("HEAD", "GET"):
            return _error(
                405,
                f"path {request.path}: found method {request.method}, expected {method}",
                {"Allow": method},
            )
        try:
            return await handler(request)
        except ProtocolError as error:
            return _error(400, str(error))
        except Overloaded as error:
            return _error(503, str(error), {"Retry-After": "1"})
        except TrialError as error:
            return _error(500, str(error))
        except web.HTTPRequestEntityTooLarge as error:
            return _error(413, f"body: found {error.text}")

    async def _infer(self, request: web.BaseRequest) -> web.Response:
        asked = decode_request(Message(headers=request.headers, body=await request.read()))
        names = [spec.name for spec in self._model.outputs]
        unknown = asked.outputs.keys() - set(names)
        if unknown:
            raise ProtocolError("outputs", found=listed(sorted(unknown)), expected=listed(names))
        served = await self._batcher.submit(asked.inputs)
        response = InferenceResponse(
            model_name=self._name,
            model_version=self._version,
            id=asked.id,
            parameters={"batch": served.batch},
            outputs={name: served.outputs[name] for name in asked.outputs or names},
        )
        try:
            message = encode_response(response, binary={n for n in names if asked.wants_binary(n)})
        except ProtocolError as error:  # the model's doing, not the client's
            return _error(500, str(error))
        return web.Response(body=message.body, headers=message.headers)

    def _metadata(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "versions": [self._version],
            "platform": "onnxruntime_onnx",
            "inputs": [_described(spec) for spec in self._model.inputs],
            "outputs": [_described(spec) for spec in self._model.outputs],
        }


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _fixed(content: Mapping[str, Any]) -> _Handler:
    body = json.dumps(content).encode()

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return answer


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = json.dumps({"error": text}).encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


async def _serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM, SIGINT or the end of the parent; then answer what is in flight."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _watch_parent(loop, stop)
    model = Model(options.model, options.threads)
    if options.batch > 1 and not model.batches:
        raise SpecError(
            f"model {options.model}",
            found="a leading axis of fixed length",
            expected="one of any length, to answer in batches",
            remedy="--batch 1 serves it",
        )
    batcher = Batcher(
        model, batch=options.batch, wait_s=options.batch_wait_s, queue_limit=options.queue_limit
    )
    service = _Service(model, batcher, name=options.name, version=options.version)

    def build(*arguments: Any) -> web.BaseRequest:
        message, payload, protocol, writer, task = arguments
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=options.max_body_bytes
        )

    server = web.Server(service.handle, request_factory=build, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=_STOP_S)
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        raise SpecError(
            f"address {options.host}:{options.port}",
            found=error.strerror or str(error),
            expected="a free one; port 0 takes any",
        ) from error
    # What lives now lives to the end: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    print(json.dumps({"ready": True, "port": runner.addresses[0][1]}), flush=True)
    await stop.wait()
    # It stops already: another signal has nothing to say, and would meet a loop that is closing.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    batcher.flush()
    await runner.cleanup()
    batcher.close()


def _watch_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop when standard input ends, if it is a pipe: its writer is the parent, however it died."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # started without standard input
        return
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return

    def readable() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, readable)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="joulery.campaigns.scenarios.server",
        description="Serve one ONNX model over the Open Inference Protocol v2 (REST).",
        epilog="It ends with SIGTERM, or with its standard input when that is a pipe.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="the ONNX file")
    parser.add_argument("--name", required=True, help="the model's name in URLs")
    parser.add_argument("--version", default="1", help="the model's version in URLs")
    parser.add_argument("--batch", type=_at_least(1), default=1, help="most rows of one run")
    parser.add_argument(
        "--batch-wait-s", type=_seconds, default=0.005, help="longest wait for others of a batch"
    )
    parser.add_argument("--threads", type=_at_least(1), default=1, help="threads of one run")
    parser.add_argument("--queue-limit", type=_at_least(1), default=1024, help="most that wait")
    parser.add_argument(
        "--max-body-bytes", type=_at_least(1), default=16 * 2**20, help="largest request body"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_at_least(0, 65535), default=0, help="port; 0: any")
    return parser.parse_args(arguments)


def _at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            expected = f"{least} or more" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"found {value}, expected {expected}")
        return value

    return integer


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 60:
        raise argparse.ArgumentTypeError(f"found {text}, expected 0 to 60 seconds")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run the server; return the exit code: 0 after a graceful stop, 2 for a user's mistake."""
    try:
        asyncio.run(_serve(_options(arguments)))
    except JouleryError as error:
        if os.environ.get("JOULERY_DEBUG"):
            raise
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
