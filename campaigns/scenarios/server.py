"""A small inference server: one ONNX model over the Open Inference Protocol v2 (REST).

It exists to be measured: it starts in half a second, adds little to a model run, and imports only
NumPy, ONNX Runtime and aiohttp; what profiles it and what reads YAML come only where asked for.
Run it as `python -m joulery.campaigns.scenarios.server --help`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn

from aiohttp import web

from ...errors import JouleryError, SpecError
from .endpoints import BEGAN_S, Endpoints
from .exits import THRESHOLD
from .hosting import Host
from .knobs import KNOBS, RESOLUTION, SCORE_THRESHOLD
from .live_config import ConfigFile, Settings, Source, follow
from .provider_names import PROVIDER_NAMES
from .telemetry import profiles

__all__ = ["main"]

_STOP_S = 30.0
"""How long requests in flight may still take when the server is asked to stop, in seconds."""


async def _serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM, SIGINT or the end of the parent; then answer what is in flight.

    After SIGTERM alone, requests that still come are answered for `drain_s`.
    """
    loop = asyncio.get_running_loop()
    leave, stop = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, leave.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    _watch_parent(loop, stop)
    host = Host(
        queue_limit=options.queue_limit,
        deadline_s=options.deadline_s,
        prediction=options.prediction,
        profile=profiles(os.environ, options.metrics_port),
    )
    async with _configured(host, options) as source:
        endpoints = Endpoints(
            host,
            changed=source.changed,
            name=options.name,
            version=options.version,
            most_bytes=options.max_body_bytes,
        )
        runner = await _listening(endpoints, options)
        # What lives now lives to the end: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        ready: dict[str, Any] = {"ready": True, "port": runner.addresses[0][1]}
        profiler = host.current.profiler
        if profiler is not None and profiler.url is not None:
            ready["metrics"] = profiler.url
        print(json.dumps(ready), flush=True)
        await _first(leave, stop)
        endpoints.leaving = True
        # Whoever sends requests here, such as a Service, may learn a little late that it leaves.
        await _first(stop, timeout_s=options.drain_s)
        # It stops already: another signal has nothing to say, and would meet a closing loop.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
    host.flush()
    await runner.cleanup()
    await host.close()


async def _first(*events: asyncio.Event, timeout_s: float | None = None) -> None:
    """Wait for the first of some events, or for the end of some time."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


@contextlib.asynccontextmanager
async def _configured(host: Host, options: argparse.Namespace) -> AsyncIterator[Source]:
    """Load the model, and change it as the configuration changes, if there is one."""
    defaults = Settings(
        path=options.model or Path(),
        model=options.name or "",
        precision=options.precision,
        variant=options.variant,
        batch=options.batch,
        batch_wait_s=options.batch_wait_s,
        threads=options.threads,
        exit_threshold=options.exit_threshold,
        max_exit=options.max_exit,
        resolution=options.resolution,
        score_threshold=options.score_threshold,
        provider=options.provider,
        detector=options.detector,
    )
    folder = Path() if options.config is None else options.config.parent
    source = Source(defaults=defaults, scenario=options.scenario, folder=folder)
    if options.config is None:
        await host.change(defaults)
        yield source
        return
    file = ConfigFile(options.config)

    async def take(content: bytes) -> None:
        settings = await asyncio.to_thread(
            source.settings, content, subject=file.subject, is_json=file.is_json
        )
        if await host.change(settings):
            said = json.dumps(host.parameters())
            print(f"{file.subject}: {settings.model} {said}", file=sys.stderr, flush=True)

    content = file.changed()
    assert content is not None, "a file that has not been looked at has changed"
    await take(content)
    following = asyncio.create_task(follow(file, take=take, refuse=host.refuse))
    try:
        yield source
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def _listening(endpoints: Endpoints, options: argparse.Namespace) -> web.ServerRunner:
    """Return a running HTTP server."""
    loop = asyncio.get_running_loop()

    def build(*arguments: Any) -> web.BaseRequest:
        message, payload, protocol, writer, task = arguments
        request = web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=options.max_body_bytes
        )
        request[BEGAN_S] = time.monotonic()
        return request

    server = web.Server(
        endpoints.handle, request_factory=build, access_log=None, auto_decompress=False
    )
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
    return runner


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


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that tells defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, ""):
            return action.help
        return super()._get_help_string(action)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="joulery.campaigns.scenarios.server",
        description="Serve one ONNX model over the Open Inference Protocol v2 (REST).",
        epilog="It ends with SIGTERM, or with its standard input when that is a pipe. Metrics go "
        "where OTEL_METRICS_EXPORTER and the other usual variables say, answers where "
        "JOULERY_ANSWERS_URL does; by default nowhere.",
        formatter_class=_Help,
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="the ONNX file")
    what.add_argument(
        "--config",
        type=Path,
        help="what to serve, YAML or JSON; its changes need no restart",
    )
    add("--scenario", help="whose models the configuration, or a change of it, may name")
    add("--name", help="the model's name in URLs; without it, the configured one")
    add("--version", default="1", help="the model's version in URLs")
    add("--precision", default="", help="what the model computes in, for metrics")
    add("--variant", default="", help="which form of the model it is, for metrics")
    add("--batch", type=_at_least(1), default=1, help="most rows of one run")
    add(
        "--batch-wait-s",
        type=_seconds,
        default=0.005,
        help="longest wait for others of a batch; half of --deadline-s at most",
    )
    add("--threads", type=_at_least(1), default=1, help="threads of one run")
    add("--exit-threshold", type=_between(THRESHOLD), help="confidence that lets a row leave early")
    add("--max-exit", type=_at_least(1), help="last exit of an early-exit model, from 1")
    add("--resolution", type=_between(RESOLUTION), help="share of a frame that a detector looks at")
    add("--score-threshold", type=_between(SCORE_THRESHOLD), help="least score of a detection")
    add(
        "--detector",
        metavar="JSON",
        type=_mapping,
        help="the model is your own detector, and this is what its file does not tell: {} or more",
    )
    add("--provider", default="cpu", help="what runs the model: " + ", ".join(PROVIDER_NAMES))
    add("--prediction", metavar="OUTPUT", help="the output of one value that is the answer")
    add("--queue-limit", type=_at_least(1), default=1024, help="most that wait")
    add("--deadline-s", type=_seconds, help="longest wait before a run; without it, any")
    add("--drain-s", type=_seconds, default=0.0, help="how long to go on after SIGTERM, not ready")
    add("--max-body-bytes", type=_at_least(1), default=16 * 2**20, help="largest request body")
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=_at_least(0, 65535), default=0, help="port; 0: any")
    add("--metrics-port", type=_at_least(0, 65535), help="port for Prometheus; 0: any")
    options = parser.parse_args(arguments)
    if options.model is not None and options.name is None:
        parser.error("the following arguments are required with --model: --name")
    return options


def _at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            expected = f"{least} or more" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"found {value}, expected {expected}")
        return value

    return integer


def _mapping(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"found {error}, expected JSON") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"found {text}, expected keys with values")
    return found


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 60:
        raise argparse.ArgumentTypeError(f"found {text}, expected 0 to 60 seconds")
    return value


def _between(name: str) -> Callable[[str], float]:
    knob = KNOBS[name]

    def number(text: str) -> float:
        value = float(text)
        if not knob.least <= value <= knob.most:
            expected = f"a number from {knob.least:g} to {knob.most:g}"
            raise argparse.ArgumentTypeError(f"found {text}, expected {expected}")
        return value

    return number


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
