"""The command that serves a scenario: its models, and their change while it runs."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from joulery.campaigns.scenarios import scenario
from joulery.campaigns.scenarios.base import Tensors
from joulery.campaigns.scenarios.batching import Batcher, Overloaded
from joulery.campaigns.scenarios.model import Model
from joulery.campaigns.scenarios.statistics import Statistics
from joulery.profiler.oip import Message, decode_response, encode_request
from joulery.tests.campaigns.scenarios.onnx_models import doubling_model

_COMMAND = [sys.executable, "-c", "from joulery.cli import main; main()", "serve"]


@contextmanager
def _served(*arguments: str) -> Iterator[int]:
    """Run the command until the block ends; gives its port."""
    process = subprocess.Popen(
        [*_COMMAND, *arguments, "--port", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        ready = json.loads(process.stdout.readline())
        try:
            yield ready["port"]
        finally:
            process.stdin.close()
            assert process.wait(30) == 0


def _asked(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    link.request(method, path, body, dict(headers or {}))
    with link.getresponse() as answer:
        found = answer.status, dict(answer.getheaders()), answer.read()
    link.close()
    return found


def _changed(port: int, model: str, **said: Any) -> tuple[int, Any]:
    path = f"/v2/models/{model}/config"
    status, _, body = _asked(port, "PATCH", path, json.dumps(said).encode())
    return status, json.loads(body)


def test_a_scenario_s_model_is_served_and_changes_by_request() -> None:
    """What a PATCH says holds from the next request on; what is wrong changes nothing."""
    workload = scenario("traffic_prediction").prepare(None, Path())
    message = encode_request(workload.inputs(0), binary=True)
    with _served("traffic_prediction", "--model", "mlp", "--batch", "4") as port:

        def forecast() -> Any:
            path = "/v2/models/mlp/infer"
            status, headers, body = _asked(port, "POST", path, message.body, message.headers)
            assert status == 200
            return decode_response(Message(headers=headers, body=body)).outputs["forecast"]

        floats = forecast()
        status, told = _changed(port, "mlp", precision="int8", batch=2)
        assert (status, told["precision"], told["batch"]) == (200, "int8", 2)
        assert told["config_generation"] == 2
        assert not np.array_equal(forecast(), floats)
        for said, reason in (
            ({"batch": 0}, "batch: found 0"),
            ({"modle": "mlp"}, "did you mean 'model"),
            ({"precision": "fp8"}, "found 'fp8', expected one of fp32, int8"),
            ({"models": {"fp32": "x.onnx"}}, "files are named where the server starts"),
            ({"max_exit": 1}, "found no input 'max_exit'"),
            ({"provider": "gpu"}, "found 'gpu', expected one of cpu"),
        ):
            status, told = _changed(port, "mlp", **said)
            assert status == 400
            assert reason in told["error"]
        status, told = _changed(port, "mlp")
        assert (status, told["config_generation"], told["precision"]) == (200, 2, "int8")


def test_files_are_not_changed_by_request(tmp_path: Path) -> None:
    """Where the server was given files, a request cannot name another."""
    path = doubling_model(tmp_path / "model.onnx")
    config = tmp_path / "config.yaml"
    config.write_text(f"models: {{fp32: {path}}}\n", encoding="utf-8")
    server = [sys.executable, "-m", "joulery.campaigns.scenarios.server"]
    process = subprocess.Popen(
        [*server, "--config", str(config), "--name", "twice"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        status, told = _changed(port, "twice", precision="int8")
        assert status == 400
        assert "files are served here" in told["error"]
        process.terminate()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("traffic_prediction",), "found neither --config nor --model"),
        (("trafic", "--model", "mlp"), "did you mean 'traffic_prediction'"),
        (("traffic_prediction", "--model", "mpl"), "found 'mpl', expected one of"),
        (("traffic_prediction", "--model", "mlp", "--provider", "cuda"), "put onnxruntime-gpu"),
        (("traffic_prediction", "--model", "mlp", "--max-exit", "2"), "no input 'max_exit'"),
        (("traffic_prediction", "--config", "none.yaml"), "none.yaml"),
    ],
)
def test_a_wrong_command(arguments: tuple[str, ...], said: str) -> None:
    """It says what is wrong in one message, and ends with 2."""
    found = subprocess.run(
        [*_COMMAND, *arguments, "--port", "0"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert said in " ".join(found.stderr.split())
    assert "Traceback" not in found.stderr


class _Held(Model):
    """A model whose runs last until they are let go."""

    go = threading.Event()

    def run(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        self.go.wait()
        return super().run(inputs)


def _batcher(model: Model, **options: Any) -> Batcher:
    usual: dict[str, Any] = {"batch": 2, "wait_s": 60.0, "queue_limit": 10, "constants": {}}
    return Batcher(model, **usual | options, statistics=Statistics())


_ONE = {"x": np.ones((1, 3), np.float32)}


def test_a_request_that_waits_past_the_deadline_is_refused(tmp_path: Path) -> None:
    """Not answered late, and those that come after it are answered."""

    async def ask() -> None:
        model = _Held(doubling_model(tmp_path / "model.onnx"), 1)
        batcher = _batcher(model, deadline_s=0.05)
        running = [asyncio.create_task(batcher.submit(_ONE)) for _ in range(2)]
        late = asyncio.create_task(batcher.submit(_ONE))
        await asyncio.sleep(0.1)
        model.go.set()
        with pytest.raises(Overloaded, match=r"more than 0\.05 s"):
            await late
        answers = await asyncio.gather(*running, batcher.submit(_ONE), batcher.submit(_ONE))
        assert [answer.batch for answer in answers] == [2, 2, 2, 2]
        await batcher.drain()

    asyncio.run(ask())


def test_who_waits_for_others_is_not_refused_for_it(tmp_path: Path) -> None:
    """Where the wait for others exceeds the deadline, lone requests are answered before it."""

    async def ask() -> None:
        model = Model(doubling_model(tmp_path / "model.onnx"), 1)
        batcher = _batcher(model, batch=8, wait_s=0.5, deadline_s=0.2)
        for _ in range(3):
            began_s = time.monotonic()
            answer = await batcher.submit(_ONE)
            assert answer.batch == 1
            assert 0.05 < time.monotonic() - began_s < 0.5
        await batcher.drain()

    asyncio.run(ask())
