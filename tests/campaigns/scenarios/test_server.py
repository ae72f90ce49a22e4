"""The inference server: a real process, a real model, real HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from joulery.profiler.oip import (
    HEADER_LENGTH,
    InferenceResponse,
    Message,
    decode_response,
    encode_request,
)

from .onnx_models import doubling_model, matrix_model, ordered_model
from .serving import COMMAND, Server, ask_all, ask_x, get, posting, refused, start

_FOREVER_S = "60"
"""A wait for others that no test sits out: only a full batch or a flush ends it."""


@pytest.fixture(scope="module")
def plain(model: Path) -> Iterator[Server]:
    """Yield a server that answers one request at a time."""
    with Server(model, "--version", "3", "--max-body-bytes", "2000") as server:
        yield server


@pytest.mark.parametrize("path", ["/v2/models/twice", "/v2/models/twice/versions/3"])
def test_model_metadata(plain: Server, path: str) -> None:
    """The model's metadata name its tensors, with and without a version."""
    assert get(plain, path) == (
        200,
        {
            "name": "twice",
            "versions": ["3"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
            "outputs": [
                {"name": "y", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "total", "datatype": "FP32", "shape": [-1, 1]},
            ],
            "parameters": {
                "batch": 1,
                "batch_wait_s": 0.005,
                "threads": 1,
                "provider": "cpu",
                "config_generation": 1,
            },
        },
    )
    assert get(plain, f"{path}/ready") == (200, {"name": "twice", "ready": True})


def test_health_and_server_metadata(plain: Server) -> None:
    """The server is live and ready, and announces the extensions that it has."""
    assert get(plain, "/v2/health/live") == (200, {"live": True})
    assert get(plain, "/v2/health/ready") == (200, {"ready": True})
    assert get(plain, "/v2/health/ready", "HEAD") == (200, None)
    status, answer = get(plain, "/v2")
    assert status == 200
    extensions = ["binary_tensor_data", "model_configuration", "statistics"]
    assert answer["extensions"] == extensions


@pytest.mark.parametrize("binary", [True, False])
def test_inference(plain: Server, binary: bool) -> None:
    """A request is answered in the encoding it asks for, with its id and its batch."""
    message = ask_x(2.5, rows=2, binary=binary, id="a7")
    [answer] = asyncio.run(ask_all(plain, [message]))
    assert (answer.model_name, answer.model_version, answer.id) == ("twice", "3", "a7")
    assert answer.parameters == {"batch": 1}
    np.testing.assert_array_equal(answer.outputs["y"], np.full((2, 3), 5, np.float32))
    np.testing.assert_array_equal(answer.outputs["total"], np.full((2, 1), 15, np.float32))


def test_a_response_says_what_answered(model: Path) -> None:
    """Precision and variant are told with each answer, and the model where the URL has no word."""
    with Server(model, "--precision", "int8", "--variant", "pruned") as server:
        [answer] = asyncio.run(ask_all(server, [ask_x(1)]))
    assert answer.parameters == {"batch": 1, "precision": "int8", "variant": "pruned"}


def test_a_response_says_which_model_answered(tmp_path: Path, model: Path) -> None:
    """A name in the URL that stays hides the configured model: it is told beside it."""
    path = tmp_path / "conf.json"
    path.write_text(json.dumps({"model": "mine", "models": {"fp32": str(model)}}))
    with Server(None, "--config", str(path)) as server:
        [answer] = asyncio.run(ask_all(server, [ask_x(1)]))
    assert answer.model_name == "twice"
    assert answer.parameters == {"batch": 1, "model": "mine", "precision": "fp32"}


def test_mixed_encodings(plain: Server) -> None:
    """Only the wanted outputs come, each in the encoding asked for."""
    content = {
        "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [[1, 2, 3]]}],
        "outputs": [{"name": "total", "parameters": {"binary_data": True}}],
    }

    async def ask() -> tuple[dict[str, str], bytes]:
        message = Message(headers={}, body=json.dumps(content).encode())
        async with (
            aiohttp.ClientSession() as session,
            posting(session, plain, message) as response,
        ):
            return dict(response.headers), await response.read()

    headers, body = asyncio.run(ask())
    head = json.loads(body[: int(headers[HEADER_LENGTH])])
    assert head["outputs"] == [
        {
            "name": "total",
            "shape": [1, 1],
            "datatype": "FP32",
            "parameters": {"binary_data_size": 4},
        }
    ]
    assert np.frombuffer(body[-4:], "<f4") == [12]


def _named(name: str, tensor: Any, **options: Any) -> Message:
    return encode_request({name: tensor}, **options)


@pytest.mark.parametrize(
    ("message", "status", "text"),
    [
        (Message(headers={}, body=b"{"), 400, "request body: found"),
        (_named("z", np.zeros((1, 3), "f4")), 400, "inputs: found 'z', expected 'x'"),
        (_named("x", np.zeros((1, 3))), 400, "input 'x': found datatype FP64, expected FP32"),
        (_named("x", np.zeros((1, 4), "f4")), 400, "input 'x': found shape [1, 4], expected [-1, "),
        (_named("x", np.zeros(3, "f4")), 400, "input 'x': found shape [3]"),
        (_named("x", np.zeros((0, 3), "f4")), 400, "input 'x': found shape [0, 3]"),
        (ask_x(1, outputs=["w"]), 400, "outputs: found 'w', expected 'y', 'total'"),
        (ask_x(1, rows=1000), 413, "body: found"),
    ],
)
def test_client_errors(plain: Server, message: Message, status: int, text: str) -> None:
    """A request that cannot be answered is told why, in JSON."""
    found_status, error = asyncio.run(refused(plain, message))
    assert found_status == status
    assert text in error


def test_unknown_paths(plain: Server) -> None:
    """Another model, another version and another method are refused, not failed."""
    assert get(plain, "/v2/models/thrice")[0] == 404
    assert get(plain, "/v2/models/twice/versions/4")[0] == 404
    status, answer = get(plain, "/v2/models/twice/infer")
    assert (status, "found method GET, expected POST" in answer["error"]) == (405, True)


def test_full_batch_shares_one_run(model: Path) -> None:
    """Requests that wait together share one model run, and each gets its own answer."""
    values = [1.0, 20.0, 300.0, 4000.0]
    with Server(model, "--batch", "4", "--batch-wait-s", _FOREVER_S) as server:
        answers = asyncio.run(ask_all(server, [ask_x(value, id=str(value)) for value in values]))
    for value, answer in zip(values, answers, strict=True):
        assert answer.id == str(value)
        assert answer.parameters == {"batch": 4}
        np.testing.assert_array_equal(answer.outputs["y"], np.full((1, 3), 2 * value))


def test_requests_of_several_rows(model: Path) -> None:
    """A batch counts rows, splits answers at the right row, and never splits a request."""
    with Server(model, "--batch", "4", "--batch-wait-s", _FOREVER_S) as server:
        pair = asyncio.run(ask_all(server, [ask_x(1, rows=3), ask_x(2, rows=1)]))
        [large] = asyncio.run(ask_all(server, [ask_x(3, rows=9)]))
    assert [answer.parameters["batch"] for answer in (*pair, large)] == [2, 2, 1]
    for value, answer in zip((1, 2, 3), (*pair, large), strict=True):
        np.testing.assert_array_equal(np.unique(answer.outputs["y"]), [2 * value])
    assert [len(answer.outputs["total"]) for answer in (*pair, large)] == [3, 1, 9]


def test_lone_request_is_answered_after_the_wait(model: Path) -> None:
    """A request that nobody joins is answered all the same, alone."""
    with Server(model, "--batch", "8", "--batch-wait-s", "0.02") as server:
        [answer] = asyncio.run(ask_all(server, [ask_x(1)]))
    assert answer.parameters == {"batch": 1}


def test_different_forms_are_not_joined_and_failures_stay_apart(tmp_path: Path) -> None:
    """A request the model fails on is told so, its neighbour of another shape is answered."""
    model = matrix_model(tmp_path / "matrix.onnx")

    async def ask(server: Server) -> tuple[tuple[int, str], list[InferenceResponse]]:
        return await asyncio.gather(
            refused(server, encode_request({"x": np.ones((1, 5), np.float32)})),
            ask_all(server, [ask_x(1)]),
        )

    with Server(model, "--batch", "2", "--batch-wait-s", "0.02") as server:
        (status, error), [answer] = asyncio.run(ask(server))
    assert status == 500
    assert error.startswith("model run: found")
    assert answer.parameters == {"batch": 1}


def test_full_queue_then_sigterm(model: Path) -> None:
    """A full queue refuses politely; SIGTERM answers those who wait, and the server exits 0."""

    async def ask(server: Server, value: float) -> tuple[int, dict[str, str], bytes]:
        async with (
            aiohttp.ClientSession() as session,
            posting(session, server, ask_x(value)) as response,
        ):
            return response.status, dict(response.headers), await response.read()

    async def scenario(server: Server) -> list[tuple[int, dict[str, str], bytes]]:
        tasks = [asyncio.create_task(ask(server, value)) for value in (1, 2, 3)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        server.process.send_signal(signal.SIGTERM)
        return [await task for task in tasks]

    options = ("--batch", "9", "--batch-wait-s", _FOREVER_S, "--queue-limit", "2")
    with Server(model, *options) as server:
        answers = asyncio.run(scenario(server))
    [refused] = [answer for answer in answers if answer[0] != 200]
    assert (refused[0], refused[1]["Retry-After"]) == (503, "1")
    assert b"queue: found 2 requests waiting, expected fewer than 2" in refused[2]
    for value, (status, headers, body) in zip((1, 2, 3), answers, strict=True):
        if status == 200:
            answer = decode_response(Message(headers=headers, body=body))
            assert answer.parameters == {"batch": 2}
            assert answer.outputs["total"] == [[6 * value]]


def test_answers_do_not_depend_on_the_batch(model: Path, plain: Server) -> None:
    """Twelve requests in batches and one by one have the same answers."""
    messages = [ask_x(value) for value in np.linspace(-7, 7, 12)]
    with Server(model, "--batch", "4", "--batch-wait-s", "0.02") as server:
        together = asyncio.run(ask_all(server, messages))
    alone = asyncio.run(ask_all(plain, messages))
    for left, right in zip(together, alone, strict=True):
        np.testing.assert_array_equal(left.outputs["y"], right.outputs["y"])


def test_ends_with_its_parent(model: Path) -> None:
    """A server whose parent is killed ends too, since its standard input does."""
    parent = f"""
import subprocess, sys, time
command = {[*COMMAND, "--model", str(model)]!r}
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), end="", flush=True)
time.sleep(1000)
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        socket.create_connection(("127.0.0.1", port)).close()
        process.kill()
    while _listens(port):  # the time limit of the test ends a server that stays
        time.sleep(0.02)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:  # refused, or reset while it closes
        return False
    return True


def test_bad_models(tmp_path: Path) -> None:
    """A model that is missing, no model, or cannot be batched is told in one line, exit 2."""
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"not a model")
    fixed = doubling_model(tmp_path / "fixed.onnx", rows=1)
    for path, text in (
        (tmp_path / "none.onnx", "found no such file, expected an ONNX file"),
        (tmp_path, "found no such file"),
        (garbage, "expected an ONNX file that can be loaded"),
        (fixed, "found a leading axis of fixed length"),
    ):
        code, said, [line] = start("--model", str(path), "--batch", "2")
        assert (code, said) == (2, "")
        assert line.startswith(f"model {path}: found")
        assert text in line


def test_bad_options(model: Path) -> None:
    """A wrong option or a taken port is told in one line, exit 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options, text in (
            (("--batch", "0"), "argument --batch: found 0, expected 1 or more"),
            (("--batch-wait-s", "nan"), "found nan, expected 0 to 60 seconds"),
            (("--threads", "many"), "argument --threads: invalid integer value: 'many'"),
            (("--port", str(taken.getsockname()[1])), "expected a free one; port 0 takes any"),
            (("--port", "70000"), "argument --port: found 70000, expected 0 to 65535"),
            (("--host", "256.1.1.1"), "address 256.1.1.1:0"),
        ):
            code, said, [line] = start("--model", str(model), *options)
            assert (code, said) == (2, "")
            assert text in line


def test_imports_little() -> None:
    """The server loads nothing that would make every service of a campaign start slowly."""
    code = "import joulery.campaigns.scenarios.server, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"codecarbon", "onnx", "pandas", "pyarrow", "pydantic", "rich", "scipy", "sklearn"}
    assert heavy.isdisjoint(loaded)


def test_the_order_of_inputs_does_not_matter(tmp_path: Path) -> None:
    """Requests that give their inputs in another order are joined by name, or not at all."""
    model = ordered_model(tmp_path / "ordered.onnx")
    narrow, wide = np.ones((1, 2), np.float32), np.full((1, 5), 7, np.float32)
    one = encode_request({"a": narrow, "b": wide})
    # Its first input has the shape of the other's first, and its second likewise.
    other = encode_request({"b": narrow, "a": wide})
    with Server(model, "--batch", "2", "--batch-wait-s", "0.02") as server:
        first, second, third = asyncio.run(ask_all(server, [one, other, one]))
    np.testing.assert_array_equal(first.outputs["y"], narrow)
    np.testing.assert_array_equal(second.outputs["y"], wide)
    np.testing.assert_array_equal(third.outputs["y"], narrow)
