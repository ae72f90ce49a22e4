"""The command that serves a user's own detector, and its change while it runs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray

from joulery.profiler.oip import Message, decode_response, encode_request

from .detector_models import bright_detector, telling_detector
from .detector_outputs import FRAME, THINGS, yolov8

_COMMAND = [sys.executable, "-c", "from joulery.cli import main; main()", "serve"]
_SAID = "{classes: {person: [person], vehicle: [2, truck]}}"


class _Service:
    """A running service, and what it says."""

    def __init__(self, port: int, model: str) -> None:
        self._url = f"http://127.0.0.1:{port}/v2/models/{model}"

    def found(self, frames: NDArray[np.uint8]) -> Any:
        """Return its answer to some frames."""
        message = encode_request({"frame": frames}, binary=True)
        status, headers, body = self._ask("POST", "/infer", message.body, dict(message.headers))
        assert status == 200, body
        return decode_response(Message(headers=headers, body=body)).outputs

    def changed(self, **said: Any) -> tuple[int, Any]:
        """Return status and answer of a change."""
        status, _, body = self._ask("PATCH", "/config", json.dumps(said).encode())
        return status, json.loads(body)

    def told(self) -> Any:
        """Return its metadata."""
        return json.loads(self._ask("GET", "")[2])

    def _ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        async def ask() -> tuple[int, dict[str, str], bytes]:
            async with (
                aiohttp.ClientSession() as session,
                session.request(
                    method, self._url + path, data=body, headers=headers or {}
                ) as answer,
            ):
                return answer.status, dict(answer.headers), await answer.read()

        return asyncio.run(ask())


@contextmanager
def _served(model: str, *arguments: object) -> Iterator[_Service]:
    """Run the command until the block ends."""
    command = [*_COMMAND, "video_analytics", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        ready = json.loads(process.stdout.readline())
        try:
            yield _Service(ready["port"], model)
        finally:
            process.stdin.close()
            assert process.wait(30) == 0


def _scores(outputs: Any) -> list[float]:
    return [round(float(score), 3) for score in outputs["scores"][0] if score > 0]


def test_an_own_detector_is_served_and_changes_by_request(tmp_path: Path) -> None:
    """It answers as shipped ones do; a score threshold, and a shipped model, take over live."""
    path = telling_detector(tmp_path / "yolo_mine.onnx", yolov8())
    with _served("yolo_mine", "--detector", path, "--detector-said", _SAID) as service:
        outputs = service.found(np.stack([FRAME, FRAME]))
        assert outputs["boxes"].shape == (2, 100, 4)
        for row in range(2):
            np.testing.assert_allclose(
                outputs["boxes"][row, :2], [box for box, _, _ in THINGS[:2]], atol=0.01
            )
            assert outputs["classes"][row, :2].tolist() == [0, 1]
        assert _scores(outputs) == [0.9, 0.8]
        status, told = service.changed(score_threshold=0.85)
        assert (status, told["score_threshold"]) == (200, 0.85)
        assert _scores(service.found(FRAME[None])) == [0.9]
        assert service.changed(score_threshold=0.005)[0] == 200
        assert _scores(service.found(FRAME[None])) == [0.9, 0.8, 0.01]
        for said, reason in (
            ({"score_threshold": 1.5}, "found 1.5, expected a score of 0 to 1"),
            ({"resolution": 0.5}, "found no input 'resolution'"),
            ({"detector": {}}, "files are named where the server starts"),
            ({"precision": "int8"}, "found 'yolo_mine', expected one of detector_s"),
        ):
            status, told = service.changed(**said)
            assert status == 400
            assert reason in told["error"]
        status, told = service.changed(model="detector_s", score_threshold=0.3, max_exit=1)
        assert (status, told["max_exit"]) == (200, 1)
        outputs = service.found(FRAME[None])
        assert outputs["boxes"].shape == (1, 32, 4)
        assert set(outputs) >= {"exit", "confidence"}


def test_a_configuration_names_an_own_detector(tmp_path: Path) -> None:
    """What the file says of a detector changes with it, without a restart."""
    bright_detector(tmp_path / "lamp.onnx", batch="N")
    config = tmp_path / "config.yaml"
    text = "model: lamp\nmodels: {fp32: lamp.onnx}\nbatch: 4\ndetector: {classes: {%s: [0]}}\n"
    config.write_text(text % "person", encoding="utf-8")
    frame = np.zeros((1, 256, 256, 3), dtype=np.uint8)
    frame[0, 100:104, 60:64, 0] = 255
    with _served("lamp", "--config", config) as service:
        outputs = service.found(frame)
        assert [round(x) for x in outputs["boxes"][0, 0].tolist()] == [54, 86, 70, 118]
        assert (_scores(outputs)[0], outputs["classes"][0, 0]) == (1.0, 0)
        config.write_text(text % "vehicle", encoding="utf-8")
        deadline_s = time.monotonic() + 30
        while service.told()["parameters"]["config_generation"] < 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert service.found(frame)["classes"][0, 0] == 1


def test_a_threshold_is_for_detectors() -> None:
    """A model that finds nothing has no score threshold."""
    command = [*_COMMAND, "traffic_prediction", "--model", "mlp", "--score-threshold", "0.5"]
    ended = subprocess.run([*command, "--port", "0"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "found no detections in its answers" in " ".join(ended.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("video_analytics", "--detector", "none.onnx"), "none.onnx: found no such file"),
        (("video_analytics", "--detector", "{}"), "yolo.onnx, classes: found 80 classes without"),
        (
            ("video_analytics", "--detector", "{}", "--detector-said", "{clases: {}}"),
            "found key 'clases', expected layout, classes, size_px, mean, std, logits, most_iou; "
            "did you mean 'classes'?",
        ),
        (
            ("video_analytics", "--detector", "{}", "--detector-said", "{size_px: [0, 1]}"),
            "size_px: found [0, 1], expected width and height",
        ),
        (
            ("video_analytics", "--detector", "{}", "--detector-said", "{classes: {car: [1]}}"),
            "expected numbers or names of its classes",
        ),
        (("video_analytics", "--detector", "{}", "--detector-said", "["), "expected YAML"),
        (("video_analytics", "--detector-said", "{}"), "--detector-said alone"),
        (("video_analytics", "--detector", "{}", "--config", "x"), "--config and --detector"),
        (("video_analytics", "--detector", "{}", "--model", "detector_s"), "which ships already"),
        (("sensor_fusion", "--detector", "{}"), "only detectors of `video_analytics`"),
        (("video_analytics", "--model", "detector_s", "--score-threshold", "2"), "found 2"),
    ],
)
def test_a_wrong_command(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """It says what is wrong in one message, and ends with 2."""
    path = telling_detector(tmp_path / "yolo.onnx", yolov8())
    given = [str(path) if one == "{}" and arguments[at - 1] == "--detector" else one
             for at, one in enumerate(arguments)]  # fmt: skip
    ended = subprocess.run(
        [*_COMMAND, *given, "--port", "0"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert said in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
