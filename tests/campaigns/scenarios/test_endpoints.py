"""The endpoints beyond plain inference: ids, packed bodies, and what Triton adds."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from joulery.profiler.oip import Message, decode_response

from .serving import Server, ask_all, ask_x, get, posting, refused

_FOREVER_S = "60"
"""A wait for others that no test sits out: only a full batch or a flush ends it."""


@pytest.fixture(scope="module")
def plain(model: Path) -> Iterator[Server]:
    """Yield a server that answers one request at a time."""
    with Server(model, "--max-body-bytes", "2000") as server:
        yield server


def test_every_request_has_an_id(plain: Server) -> None:
    """A request without an id is given one, a new one each; an endless one is refused."""
    answers = asyncio.run(ask_all(plain, [ask_x(1), ask_x(1), ask_x(1, id="")]))
    ids = {answer.id for answer in answers}
    assert len(ids) == 3
    assert all(len(given or "") == 32 for given in ids)
    status, error = asyncio.run(refused(plain, ask_x(1, id="i" * 201)))
    assert (status, error) == (400, "id: found 201 characters, expected 200 at most")


def _content(**changes: Any) -> dict[str, Any]:
    data = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    return {"inputs": [data]} | changes


def _packed(content: bytes, encoding: str) -> Message:
    return Message(headers={"cOnTeNt-EnCoDiNg": encoding}, body=content)


_JSON = json.dumps(_content(outputs=[])).encode()


@pytest.mark.parametrize(
    "message",
    [
        Message(headers={}, body=_JSON),
        _packed(_JSON, "identity"),
        _packed(gzip.compress(_JSON), "GZip"),
        _packed(zlib.compress(_JSON), "deflate"),
        _packed(gzip.compress(_JSON + b" " * 1500), "gzip"),
    ],
)
def test_packed_requests(plain: Server, message: Message) -> None:
    """A body is understood plain and packed, in headers of any case; [] is all outputs."""
    [answer] = asyncio.run(ask_all(plain, [message]))
    assert answer.outputs.keys() == {"y", "total"}
    assert answer.outputs["total"] == [[12]]


@pytest.mark.parametrize(
    ("message", "status", "text"),
    [
        (_packed(b"nothing", "gzip"), 400, "body: found Error -3 while decompressing"),
        (
            _packed(gzip.compress(_JSON)[:-9], "gzip"),
            400,
            "body: found no end, expected whole gzip",
        ),
        (_packed(gzip.compress(_JSON) + b"x", "gzip"), 400, "found more data behind its end"),
        (
            _packed(gzip.compress(bytes(10**7)), "gzip"),
            413,
            "body: found Maximum request body size",
        ),
        (_packed(_JSON, "br"), 415, "found 'br', expected gzip, deflate or identity"),
        (
            Message(headers={}, body=_JSON.replace(b"FP32", b"BYTES")),
            400,
            "input 'x': found datatype 'BYTES', expected one of BOOL",
        ),
    ],
)
def test_what_cannot_be_read(plain: Server, message: Message, status: int, text: str) -> None:
    """A body that is broken, would unpack to more than is allowed, or is text, is told so."""
    found_status, error = asyncio.run(refused(plain, message))
    assert found_status == status
    assert text in error


def test_chunked_request(plain: Server) -> None:
    """A body whose length nobody announced is answered."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(_JSON), 20):
            yield _JSON[start : start + 20]

    async def ask() -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{plain.url}/v2/models/twice/infer", data=pieces()) as response,
        ):
            return response.status, await response.json()

    status, answer = asyncio.run(ask())
    assert status == 200
    assert [output["name"] for output in answer["outputs"]] == ["y", "total"]


def test_a_client_that_leaves(plain: Server) -> None:
    """A body that ends before it should costs nobody else anything, nor a word in the log."""
    port = plain.ready["port"]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = b"POST /v2/models/twice/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head + b"{")
    [answer] = asyncio.run(ask_all(plain, [ask_x(1)]))
    assert answer.outputs["total"] == [[6]]


@pytest.mark.parametrize(
    ("accepted", "rows", "encoding"),
    [
        ("gzip, deflate", 200, "gzip"),
        ("deflate", 200, "deflate"),
        ("gzip;q=0, deflate;q=0.5", 200, "deflate"),
        ("gzip", 1, None),
        ("br, identity", 200, None),
        ("", 200, None),
    ],
)
def test_packed_answers(model: Path, accepted: str, rows: int, encoding: str | None) -> None:
    """An answer is packed as the client can read it, if it is large enough to be worth it."""
    message = ask_x(1, rows=rows)
    headers = {**message.headers, "Accept-Encoding": accepted}

    async def ask(server: Server) -> tuple[dict[str, str], bytes]:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            posting(session, server, Message(headers=headers, body=message.body)) as response,
        ):
            return dict(response.headers), await response.read()

    with Server(model) as server:
        found, body = asyncio.run(ask(server))
    assert found.get("Content-Encoding") == encoding
    assert int(found["Content-Length"]) == len(body)
    if encoding is not None:
        body = gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body)
    answer = decode_response(Message(headers=found, body=body))
    np.testing.assert_array_equal(answer.outputs["y"], np.full((rows, 3), 2, np.float32))


def test_configuration_and_statistics(model: Path) -> None:
    """Triton's extensions tell the model's configuration, and count requests, runs and rows."""
    with Server(model, "--batch", "4", "--batch-wait-s", _FOREVER_S) as server:
        asyncio.run(ask_all(server, [ask_x(value) for value in range(4)]))
        asyncio.run(ask_all(server, [ask_x(1, rows=4)]))
        assert asyncio.run(refused(server, Message(headers={}, body=b"{")))[0] == 400
        _, configuration = get(server, "/v2/models/twice/config")
        found = [get(server, f"/v2/models{path}/stats") for path in ("", "/twice")]
    assert configuration["max_batch_size"] == 4
    assert configuration["dynamic_batching"] == {"max_queue_delay_microseconds": 60_000_000}
    assert configuration["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    assert [status for status, _ in found] == [200, 200]
    assert found[0] == found[1]
    [stats] = found[0][1]["model_stats"]
    assert (stats["name"], stats["version"]) == ("twice", "1")
    assert (stats["inference_count"], stats["execution_count"]) == (8, 2)
    assert stats["last_inference"] > 0
    counts = {name: entry["count"] for name, entry in stats["inference_stats"].items()}
    computed = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), 5)
    assert counts == {"success": 5, "fail": 1, "queue": 5} | computed
    assert stats["inference_stats"]["success"]["ns"] >= stats["inference_stats"]["queue"]["ns"] > 0
    [batch] = stats["batch_stats"]
    assert (batch["batch_size"], batch["compute_infer"]["count"]) == (4, 2)
