"""Real inference servers for tests, and how to talk to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from joulery.profiler.oip import InferenceResponse, Message, decode_response, encode_request

__all__ = ["COMMAND", "Server", "ask_all", "ask_x", "get", "infer", "posting", "refused", "start"]

_MODULE = "joulery.campaigns.scenarios.server"
COMMAND = (sys.executable, "-m", _MODULE, "--name", "twice")


class Server:
    """A running server and how to talk to it.

    Args:
        model: Its ONNX file; `None`: the options say what it serves.
        options: Further options.
        name: Of the model in URLs; `None`: it is not said.
        environ: Further variables of its environment.

    Attributes:
        ready: What it said when it was ready.
        complaints: What it wrote to standard error, once it has ended.
    """

    def __init__(
        self,
        model: Path | None,
        *options: str,
        name: str | None = "twice",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        named = () if name is None else ("--name", name)
        served = () if model is None else ("--model", str(model))
        self.name = name
        self.complaints = ""
        self._is_configured = "--config" in options
        self.process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, *named, *served, *options],
            env=os.environ | (environ or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        self.ready = json.loads(line)
        assert self.ready["ready"] is True
        self.url = f"http://127.0.0.1:{self.ready['port']}"

    def __enter__(self) -> Server:
        """Return the running server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it: it must exit 0, and say nothing more unless it was configured by a file."""
        self.process.terminate()
        said, self.complaints = self.process.communicate()
        assert (self.process.returncode, said) == (0, "")
        assert "Traceback" not in self.complaints
        if not self._is_configured:
            assert self.complaints == ""


@contextlib.asynccontextmanager
async def posting(
    session: aiohttp.ClientSession, server: Server, message: Message, name: str | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send a request, and give the response."""
    url = f"{server.url}/v2/models/{name or server.name}/infer"
    async with session.post(url, data=message.body, headers=message.headers) as response:
        yield response


async def infer(
    session: aiohttp.ClientSession, server: Server, message: Message, name: str | None = None
) -> InferenceResponse:
    """Return the answer to a request that must be answered."""
    async with posting(session, server, message, name) as response:
        body = await response.read()
        assert response.status == 200, body
        return decode_response(Message(headers=dict(response.headers), body=body))


async def refused(server: Server, message: Message) -> tuple[int, str]:
    """Return status and text of a request that is not answered."""
    async with (
        aiohttp.ClientSession() as session,
        posting(session, server, message) as response,
    ):
        answer = await response.json()
        assert answer.keys() == {"error"}
        return response.status, answer["error"]


async def ask_all(
    server: Server, messages: list[Message], name: str | None = None
) -> list[InferenceResponse]:
    """Return the answers to requests that are sent at once."""
    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(
            *(infer(session, server, message, name) for message in messages)
        )


def get(server: Server, path: str, method: str = "GET") -> tuple[int, Any]:
    """Return status and JSON of a path."""

    async def ask() -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, server.url + path) as response,
        ):
            return response.status, await response.json() if method != "HEAD" else None

    return asyncio.run(ask())


def ask_x(value: float, rows: int = 1, **options: Any) -> Message:
    """Return a request of one input `x`, FP32 of shape (rows, 3), all of one value."""
    return encode_request({"x": np.full((rows, 3), value, dtype=np.float32)}, **options)


def start(*options: str) -> tuple[int, str, list[str]]:
    """Run a server that cannot start; return its exit code, and what it said and complained of."""
    ended = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr.splitlines()
