"""Our server over OpenVINO: the same answers by another execution provider, and said to be."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joulery.campaigns.scenarios import scenario
from joulery.campaigns.scenarios.model import Model
from joulery.profiler.oip import Message, decode_response, encode_request
from joulery.tests.conftest import REPOSITORY

from .environments import environment

_CLOSE = 1e-3
"""Of the largest answer: it sums in another order, and may compute in less than FP32."""


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment with ONNX Runtime built for OpenVINO."""
    return environment("openvino")


def _command(python: Path, model: Path, provider: str) -> list[str]:
    server = [str(python), "-m", "joulery.campaigns.scenarios.server", "--provider", provider]
    return [*server, "--model", str(model), "--name", "asked", "--port", "0"]


def _environ() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY / ".venv" / "checkout")}


@contextmanager
def _served(python: Path, model: Path, provider: str) -> Iterator[int]:
    process = subprocess.Popen(
        _command(python, model, provider),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environ(),
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"]
        process.stdin.close()


def _get(port: int, path: str) -> Any:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    link.request("GET", path)
    with link.getresponse() as answer:
        found = json.loads(answer.read())
    link.close()
    return found


def _asked(port: int, message: Message) -> Any:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    link.request("POST", "/v2/models/asked/infer", message.body, dict(message.headers))
    with link.getresponse() as answer:
        assert answer.status == 200
        found = decode_response(Message(headers=dict(answer.getheaders()), body=answer.read()))
    link.close()
    return found.outputs


@pytest.mark.parametrize(("name", "precision"), [("mlp", "fp32"), ("mlp", "int8")])
def test_another_provider_gives_the_same_answers(python: Path, name: str, precision: str) -> None:
    """What OpenVINO answers is what the CPU provider does, and metadata name it."""
    workload = scenario("traffic_prediction").prepare(None, Path())
    path = workload.model_path(name, precision)
    inputs = workload.inputs(5)
    expected = Model(path, 1).run(inputs)
    with _served(python, path, "openvino-cpu") as port:
        parameters = _get(port, "/v2/models/asked")["parameters"]
        assert parameters["provider"] == "openvino-cpu"
        answers = _asked(port, encode_request(inputs))
    assert answers.keys() == expected.keys()
    for output, answer in expected.items():
        wanted = answer.astype(np.float64)
        near = _CLOSE * float(np.abs(wanted).max())
        np.testing.assert_allclose(answers[output].astype(np.float64), wanted, atol=near)


def test_a_device_that_is_not_there(python: Path) -> None:
    """The server does not fall back in silence: one message, exit 2."""
    workload = scenario("traffic_prediction").prepare(None, Path())
    path = workload.model_path("mlp", "fp32")
    found = subprocess.run(
        _command(python, path, "openvino-npu"),
        capture_output=True,
        text=True,
        check=False,
        env=_environ(),
        stdin=subprocess.DEVNULL,
    )
    assert found.returncode == 2
    assert "model" in found.stderr
    assert "Traceback" not in found.stderr
