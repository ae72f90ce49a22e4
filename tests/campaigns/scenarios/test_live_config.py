"""The live configuration: what it says, and its change under requests in a real server."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from joulery.campaigns.scenarios.live_config import ConfigFile, Settings, Source, parse
from joulery.errors import JouleryError, SpecError
from joulery.profiler.oip import InferenceResponse, Message, decode_response, encode_request

from .onnx_models import doubling_model, exit_model, matrix_model
from .serving import Server, ask_all, ask_x, get, infer, posting, start

_FOREVER_S = 60.0
_DEFAULTS = Settings(path=Path(), model="mine", threads=3)


def _source(folder: Path, **changes: Any) -> Source:
    return Source(**{"defaults": _DEFAULTS, "scenario": None, "folder": folder} | changes)


def _settings(source: Source, text: str) -> Settings:
    return source.settings(text.encode(), subject="conf")


def test_what_it_says(tmp_path: Path) -> None:
    """Keys become settings, null is not said, and what is not said is the server's default."""
    source = _source(tmp_path)
    found = _settings(source, "models: {int8: a.onnx, fp32: b.onnx}\nprecision: int8\nbatch: null")
    assert found == Settings(path=tmp_path / "a.onnx", model="mine", precision="int8", threads=3)
    text = "{models: {fp32: /b.onnx}, model: my, variant: v, batch: 8, batch_wait_s: 0, threads: 2,"
    found = _settings(source, text + " exit_threshold: 1}")
    assert found == Settings(
        path=Path("/b.onnx"),
        model="my",
        precision="fp32",
        variant="v",
        batch=8,
        batch_wait_s=0.0,
        threads=2,
        exit_threshold=1.0,
    )


def test_shipped_models() -> None:
    """With a scenario, model and precision name what ships with the project."""
    source = _source(Path(), scenario="traffic_prediction")
    found = _settings(source, "model: mlp\nprecision: int8")
    assert (found.model, found.precision) == ("mlp", "int8")
    assert found.path.is_file()
    for text, said in (
        ("model: mlp", "precision of mlp: found ''"),
        ("model: mpl\nprecision: int8", "model: found 'mpl', expected one of"),
        ("precision: int8", "conf, model: found nothing, expected a model of traffic_prediction"),
    ):
        with pytest.raises(SpecError) as raised:
            _settings(source, text)
        assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "conf: found None, expected keys with values"),
        ("[1]", "conf: found [1], expected keys with values"),
        ("a: [", "conf: found while parsing"),
        ("batches: 2", "conf: found key 'batches', expected model, models, "),
        ("batches: 2", "did you mean 'batch'?"),
        ("batch: 0", "conf, batch: found 0, expected an integer from 1 to"),
        ("batch: 2.0", "conf, batch: found 2.0"),
        ("batch: true", "conf, batch: found True"),
        ("batch: 0x1" + "0" * 6000, "conf, batch: found an integer of thousands of digits"),
        ("batch_wait_s: .nan", "conf, batch_wait_s: found nan, expected 0 to 60 seconds"),
        ("threads: 5000", "conf, threads: found 5000, expected an integer from 1 to 1024"),
        ("exit_threshold: -1", "conf, exit_threshold: found -1, expected a number of 0 or more"),
        ("precision: 8", "conf, precision: found 8, expected a text"),
        ("models: a.onnx", "conf, models: found 'a.onnx', expected ONNX files by precision"),
        ("models: {8: a.onnx}", "conf, models: found {8: 'a.onnx'}"),
        ("batch: 1", "conf, models: found nothing, expected ONNX files"),
        ("models: {a: a, b: b}", "conf, precision: found nothing, expected one of models: a, b"),
        ("models: {a: a}\nprecision: c", "conf, precision: found c, expected one of models: a"),
    ],
)
def test_what_is_wrong(text: str, said: str) -> None:
    """Whatever is wrong with a configuration is said in one line, with its place."""
    with pytest.raises(SpecError) as raised:
        _settings(_source(Path()), text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
_NAMES = st.sampled_from(["model", "models", "precision", "batch", "threads", "exit_threshold"])


@given(st.dictionaries(_NAMES | st.text(max_size=5), _VALUES).map(json.dumps) | st.text())
def test_no_text_does_harm(text: str) -> None:
    """Any text is either settings that can be, or refused with a reason; nothing else is raised."""
    for is_json in (False, True):
        try:
            found = _source(Path()).settings(
                text.encode(errors="surrogatepass"), subject="conf", is_json=is_json
            )
        except JouleryError as error:
            found = None
            said = str(error)
        assert said.startswith("conf") if found is None else found.batch >= 1


def test_aliases_are_not_unfolded() -> None:
    """A small file whose aliases would fill the memory is refused at once."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    with pytest.raises(SpecError, match="conf: found key 'a0'"):
        parse("\n".join(lines).encode(), subject="conf", is_json=False)
    nested = "batch: " + "[" * 5000
    with pytest.raises(SpecError, match="conf: found"):
        parse(nested.encode(), subject="conf", is_json=False)


def test_a_file_is_told_when_it_changes(tmp_path: Path) -> None:
    """Content is told once, and so is what keeps it from being read."""
    path = tmp_path / "conf.yaml"
    file = ConfigFile(path)
    with pytest.raises(SpecError, match=r"conf\.yaml: found No such file"):
        file.changed()
    assert file.changed() is None
    path.write_text("batch: 1")
    assert file.changed() == b"batch: 1"
    path.touch()
    assert file.changed() is None
    path.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(SpecError, match="found more than 1048576 bytes"):
        file.changed()
    path.write_text("batch: 1")
    assert file.changed() == b"batch: 1"


class Mounted:
    """A configuration as a ConfigMap is mounted: a file through a link that is swapped."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self._folder, self._count = folder, 0
        self.path = folder / "config.yaml"
        self.write(**config)
        self.path.symlink_to(Path("..data") / "config.yaml")

    def write(self, **config: Any) -> None:
        """Bring other content, all at once."""
        self.bring(yaml.safe_dump(config))

    def bring(self, text: str) -> None:
        """Bring a text."""
        self._count += 1
        folder = self._folder / f"..{self._count}"
        folder.mkdir()
        (folder / "config.yaml").write_text(text)
        link = self._folder / "..next"
        link.symlink_to(folder.name)
        link.replace(self._folder / "..data")


def _parameters(server: Server, name: str | None = None) -> dict[str, Any]:
    status, found = get(server, f"/v2/models/{name or server.name}")
    assert status == 200
    parameters: dict[str, Any] = found["parameters"]
    return parameters


def _await(server: Server, name: str | None = None, **wanted: Any) -> dict[str, Any]:
    """Wait until the metadata say what is wanted; the test's own time limit ends it otherwise."""
    while True:
        found = _parameters(server, name)
        if all(found.get(key) == value for key, value in wanted.items()):
            return found
        time.sleep(0.05)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    """Return two models by precision: one doubles and one trebles."""
    folder = tmp_path / "models"
    folder.mkdir()
    return {
        "fp32": str(doubling_model(folder / "twice.onnx")),
        "int8": str(doubling_model(folder / "thrice.onnx", factor=3.0)),
    }


def _config(folder: Path) -> Path:
    made = folder / "config"
    made.mkdir()
    return made


def test_a_change_fails_no_request(tmp_path: Path, models: dict[str, str]) -> None:
    """Models, batch and threads change again and again under load: every request is answered."""
    mounted = Mounted(_config(tmp_path), models=models, precision="fp32", batch=1)

    async def ask(server: Server, stop: asyncio.Event) -> list[float]:
        async with aiohttp.ClientSession() as session:
            found = []
            while not stop.is_set():
                answer = await infer(session, server, ask_x(1.0))
                found.append(float(answer.outputs["y"].flat[0]))
                # What a response says of itself is of the model that made it.
                assert answer.parameters["precision"] == {2.0: "fp32", 3.0: "int8"}[found[-1]]
            return found

    async def load(server: Server) -> list[list[float]]:
        stop = asyncio.Event()
        asking = [asyncio.create_task(ask(server, stop)) for _ in range(4)]
        for number in range(2, 6):
            precision = "int8" if number % 2 == 0 else "fp32"
            mounted.write(models=models, precision=precision, batch=number, threads=1 + number % 2)
            until: dict[str, Any] = {"config_generation": number, "precision": precision}
            await asyncio.to_thread(functools.partial(_await, server, **until, batch=number))
        stop.set()
        return await asyncio.gather(*asking)

    with Server(None, "--config", str(mounted.path)) as server:
        answers = asyncio.run(load(server))
    assert {value for some in answers for value in some} == {2.0, 3.0}
    for some in answers:
        changes = sum(left != right for left, right in itertools.pairwise(some))
        assert changes <= 4  # no request is answered by a model that is gone
    assert server.complaints.count('"config_generation"') == 5


def test_who_waits_is_answered_by_the_old(tmp_path: Path, models: dict[str, str]) -> None:
    """A request that waits for others to come is answered at once when its model goes."""
    config = {"models": models, "batch": 8, "batch_wait_s": _FOREVER_S}
    mounted = Mounted(_config(tmp_path), **config, precision="fp32")

    async def ask(server: Server) -> tuple[int, dict[str, str], bytes]:
        async with (
            aiohttp.ClientSession() as session,
            posting(session, server, ask_x(1.0)) as response,
        ):
            return response.status, dict(response.headers), await response.read()

    async def scenario(server: Server) -> tuple[int, InferenceResponse]:
        asking = [asyncio.create_task(ask(server)) for _ in range(2)]
        # One has no room in the queue, so the other one is in it.
        [full], [waiting] = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        mounted.write(**config, precision="int8")
        _, headers, body = await waiting
        return full.result()[0], decode_response(Message(headers=headers, body=body))

    options = ("--config", str(mounted.path), "--queue-limit", "1")
    with Server(None, *options) as server:
        status, answer = asyncio.run(scenario(server))
        assert (status, answer.parameters["batch"]) == (503, 1)
        assert answer.outputs["total"] == [[6]]
        assert _await(server, config_generation=2)["precision"] == "int8"


def test_what_is_refused_changes_nothing(tmp_path: Path, models: dict[str, str]) -> None:
    """A wrong configuration is told in one line and in the metadata; the one before goes on."""
    other = matrix_model(tmp_path / "other.onnx")
    fixed = doubling_model(tmp_path / "fixed.onnx", rows=1)
    good = {"models": models, "precision": "fp32", "batch": 2}
    mounted = Mounted(_config(tmp_path), **good)
    wrong = [
        (good | {"batch": 0}, "config.yaml, batch: found 0"),
        (good | {"models": {"fp32": "none.onnx"}}, "none.onnx: found no such file"),
        (good | {"models": {"fp32": str(other)}}, "found other inputs or outputs than the model"),
        (good | {"models": {"fp32": str(fixed)}}, "found a leading axis of fixed length"),
        (good | {"exit_threshold": 0.5}, "found no input 'exit_threshold'"),
    ]
    with Server(None, "--config", str(mounted.path)) as server:
        for config, said in wrong:
            mounted.write(**config)
            while said not in _parameters(server).get("config_error", ""):
                time.sleep(0.05)
            assert _parameters(server)["config_generation"] == 1
            [answer] = asyncio.run(ask_all(server, [ask_x(1.0)]))
            assert answer.outputs["total"] == [[6]]
        mounted.write(**good)
        _await(server, config_error=None, config_generation=1)
        mounted.write(**good | {"precision": "int8"})
        _await(server, config_error=None, config_generation=2)
    lines = server.complaints.splitlines()
    assert len(lines) == 2 + len(wrong)
    for line, (_, said) in zip(lines[1:], wrong, strict=False):
        assert line.startswith("refused, all stays as it is: ")
        assert said in line


def test_a_file_that_goes_and_comes(tmp_path: Path, models: dict[str, str]) -> None:
    """A configuration that vanishes is told and changes nothing; the next one counts."""
    path = tmp_path / "conf.json"
    path.write_text(json.dumps({"models": models, "precision": "fp32"}))
    with Server(None, "--config", str(path)) as server:
        path.unlink()
        while "No such file" not in _parameters(server).get("config_error", ""):
            time.sleep(0.05)
        path.write_text(json.dumps({"models": models, "precision": "int8"}))
        _await(server, config_error=None, config_generation=2, precision="int8")


def test_names_follow_the_configuration(tmp_path: Path) -> None:
    """Without a name the URL has the model's; when that changes, both names are answered."""
    mounted = Mounted(_config(tmp_path), model="mlp", precision="fp32")
    message = encode_request({"history": np.ones((1, 289, 2), np.float32)})
    options = ("--scenario", "traffic_prediction", "--config", str(mounted.path))
    with Server(None, *options, name=None) as server:
        [answer] = asyncio.run(ask_all(server, [message], "mlp"))
        assert (answer.model_name, set(answer.outputs)) == ("mlp", {"forecast"})
        assert get(server, "/v2/models/rocket")[0] == 404
        mounted.write(model="rocket", precision="int8")
        _await(server, "mlp", config_generation=2, precision="int8")
        for name in ("mlp", "rocket"):
            [answer] = asyncio.run(ask_all(server, [message], name))
            assert answer.model_name == "rocket"
            assert get(server, f"/v2/models/{name}/ready")[0] == 200


@pytest.mark.parametrize("shape", [(), (1,)])
def test_exits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """The server feeds the threshold, which changes while it runs, and tells each answer's exit."""
    model = exit_model(tmp_path / "exits.onnx", threshold_shape=shape)
    config = {"models": {"fp32": str(model)}, "batch": 3, "batch_wait_s": 0.02}
    mounted = Mounted(_config(tmp_path), **config, exit_threshold=0.5)
    rows = np.repeat(np.array([[0.4], [0.6]], np.float32), 3, axis=1)
    messages = [encode_request({"x": part}) for part in (rows[:1], rows[1:], rows)]
    with Server(None, "--config", str(mounted.path)) as server:
        _, metadata = get(server, "/v2/models/twice")
        assert [spec["name"] for spec in metadata["inputs"]] == ["x"]
        assert metadata["parameters"]["exit_threshold"] == 0.5
        late, early, both = asyncio.run(ask_all(server, messages))
        assert [a.parameters["exit"] for a in (late, early, both)] == ["1", "0", "mixed"]
        assert [a.outputs["y"].tolist() for a in (late, early, both)] == [[200], [100], [200, 100]]
        assert both.outputs["exit"].tolist() == [1, 0]
        mounted.write(**config, exit_threshold=0.3)
        _await(server, exit_threshold=0.3, config_generation=2)
        answers = asyncio.run(ask_all(server, messages))
        assert [answer.parameters["exit"] for answer in answers] == ["0", "0", "0"]
        mounted.write(**config)
        _await(server, exit_threshold=None, config_generation=3)
        answers = asyncio.run(ask_all(server, messages))
        assert [answer.parameters["exit"] for answer in answers] == ["1", "1", "1"]


def test_a_wrong_start(tmp_path: Path, models: dict[str, str]) -> None:
    """A server whose first configuration is wrong does not start: one line, exit 2."""
    path = tmp_path / "conf.yaml"
    for content, said in (
        (None, "conf.yaml: found No such file or directory"),
        ({"models": models}, "precision: found nothing, expected one of models: fp32, int8"),
        ({"models": models, "precision": "int8", "modle": "x"}, "did you mean 'model"),
    ):
        if content is not None:
            path.write_text(yaml.safe_dump(content))
        code, out, [line] = start("--config", str(path))
        assert (code, out) == (2, "")
        assert said in line
    code, _, [line] = start("--config", str(path), "--model", models["fp32"])
    assert (code, "not allowed with argument" in line) == (2, True)
