"""What a live configuration must survive: a file of a second later is right again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from joulery.campaigns.scenarios.live_config import ConfigFile, follow, parse
from joulery.errors import JouleryError, SpecError

from .onnx_models import doubling_model
from .serving import Server, ask_all, ask_x, get

_TAGGED = ["!!bool maybe", "!!timestamp foo", "!!int ''", "!!float ''", "!!int _"]


@pytest.mark.parametrize("value", _TAGGED)
def test_a_tag_that_does_not_fit_is_told(value: str) -> None:
    """Whatever YAML's own types make of a value, what is wrong with it is said in one line."""
    with pytest.raises(SpecError) as raised:
        parse(f"batch: {value}".encode(), subject="conf", is_json=False)
    assert str(raised.value).startswith("conf: found a value that its tag does not fit: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ['model: "a\\0b"', 'models: {fp32: "a\\0b"}', 'variant: "a\\nb"'])
def test_texts_are_printable(text: str) -> None:
    """No file has a name that the system refuses, and no message or metric takes two lines."""
    with pytest.raises(SpecError, match="conf, "):
        parse(text.encode(), subject="conf", is_json=False)


def test_a_file_that_is_no_yaml_is_refused_and_the_next_is_taken(tmp_path: Path) -> None:
    """The server says what is wrong, goes on, takes the next file, and ends as it should."""
    models = {
        "fp32": doubling_model(tmp_path / "twice.onnx"),
        "int8": doubling_model(tmp_path / "thrice.onnx", factor=3.0),
    }
    path = tmp_path / "conf.yaml"
    said = "{" + ", ".join(f"{name}: {file}" for name, file in models.items()) + "}"
    path.write_text(f"models: {said}\nprecision: fp32")

    def parameters() -> dict[str, Any]:
        status, told = get(server, "/v2/models/twice")
        assert status == 200
        return dict(told["parameters"])

    with Server(None, "--config", str(path)) as server:
        for value in _TAGGED[:3]:
            path.write_text(f"batch: {value}")
            while "its tag does not fit" not in parameters().get("config_error", ""):
                time.sleep(0.05)
            path.write_text(f"models: {said}\nprecision: fp32")
            while "config_error" in parameters():
                time.sleep(0.05)
        path.write_text(f"models: {said}\nprecision: int8")
        while parameters()["config_generation"] == 1:
            time.sleep(0.05)
        [answer] = asyncio.run(ask_all(server, [ask_x(1.0)]))
        assert answer.outputs["total"] == [[9]]
        assert answer.parameters["precision"] == "int8"


def test_following_survives_what_nobody_thought_of(tmp_path: Path) -> None:
    """Any failure refuses the content that it came by, and the next content is taken."""
    path = tmp_path / "conf.yaml"
    refused: list[JouleryError] = []
    taken: list[bytes] = []

    async def take(content: bytes) -> None:
        if content == b"bad":
            raise KeyError("bad")
        taken.append(content)

    async def scenario() -> None:
        file = ConfigFile(path)
        path.write_text("bad")
        following = asyncio.create_task(
            follow(file, take=take, refuse=refused.append, period_s=0.01)
        )
        while not refused:
            await asyncio.sleep(0.01)
        path.write_text("good")
        while not taken:
            await asyncio.sleep(0.01)
        following.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 10))
    [error] = refused
    assert isinstance(error, SpecError)
    assert str(error).startswith(f"configuration {path}: found KeyError: 'bad'")
