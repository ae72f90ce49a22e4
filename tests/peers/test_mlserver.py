"""Our clients ask MLServer, which serves models of scikit-learn and ONNX."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from joulery.campaigns.generator import LoadGenerator, LoadPlan
from joulery.campaigns.scenarios.base import Workload
from joulery.campaigns.schedule import Schedule
from joulery.datasets.store import load
from joulery.profiler.oip import (
    InferenceResponse,
    Message,
    Tensors,
    decode_response,
    encode_request,
)

from ..campaigns.command import joulery
from .conftest import Service
from .digits import Digits


def _ask(digits: Digits, requests: list[Message]) -> list[tuple[int, Message]]:
    """Send all requests at once."""

    async def one(session: aiohttp.ClientSession, message: Message) -> tuple[int, Message]:
        url = f"{digits.server.url}/v2/models/digits/infer"
        async with session.post(url, data=message.body, headers=message.headers) as response:
            body = await response.read()
            return response.status, Message(headers=dict(response.headers), body=body)

    async def ask() -> list[tuple[int, Message]]:
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(*(one(session, message) for message in requests))

    return asyncio.run(ask())


def _inputs(digits: Digits, *rows: int) -> Tensors:
    return {"image": digits.images[list(rows)]}


def _answered(digits: Digits, requests: list[Message]) -> list[InferenceResponse]:
    answers = _ask(digits, requests)
    assert [status for status, _ in answers] == [200] * len(requests), answers[0][1].body
    return [decode_response(message) for _, message in answers]


def test_our_codec(digits: Digits) -> None:
    """What we encode as JSON is answered as scikit-learn answers, by id, output and shape."""
    requests = [
        encode_request(_inputs(digits, row), binary=False, id=str(row), outputs=["predict"])
        for row in range(20)
    ]
    for row, answer in enumerate(_answered(digits, requests)):
        assert (answer.id, answer.model_name, answer.model_version) == (str(row), "digits", "v1")
        assert answer.outputs.keys() == {"predict"}
        np.testing.assert_array_equal(answer.outputs["predict"].ravel(), digits.answers[[row]])


def test_several_rows_and_outputs(digits: Digits) -> None:
    """A batch of rows comes back as such, with class and probabilities side by side."""
    message = encode_request(
        _inputs(digits, *range(10)), binary=False, outputs=["predict", "predict_proba"]
    )
    [answer] = _answered(digits, [message])
    assert answer.outputs["predict_proba"].shape == (10, 10)
    classes: Any = answer.outputs["predict_proba"].argmax(axis=1)
    np.testing.assert_array_equal(classes, digits.answers[:10])
    np.testing.assert_array_equal(answer.outputs["predict"].ravel(), digits.answers[:10])


def test_our_load_generator(foreign_forecaster: Service, traffic: Workload) -> None:
    """Under open-loop load each request has ONNX Runtime's answer, and no batch is made up."""
    samples = np.arange(60)
    plan = LoadPlan(
        url=f"{foreign_forecaster.url}/v2/models/mlp/infer",
        workload="traffic",
        binary=False,
        warmup=(),
        warmup_max_s=0.0,
        window=Schedule(intended_s=samples / 100, samples=samples),
        steady_ratio=1.0,
        timeout_s=60.0,
    )
    with LoadGenerator() as generator:
        generator.prepare(plan, traffic)
        generator.begin(plan)
        generator.finish()
        answers = generator.collect()
    assert set(answers.status) == {"ok"}
    assert set(answers.batch_served) == {0}
    for sample, answer in zip(samples.tolist(), answers.outputs["forecast"], strict=True):
        truth = foreign_forecaster.run(dict(traffic.inputs(sample)))["forecast"]
        assert answer.tobytes() == truth[0].tobytes()


_CAMPAIGN = """\
name: foreign
scenarios:
  - scenario: traffic_prediction
    endpoint: {{url: "{url}"{more}}}
    factors: {{model: [mlp]}}
loads: [{{arrival: constant, rate_hz: 40}}]
repeats: 1
trial: {{idle_s: 0.1, warmup_round_s: 0.2, warmup_max_s: 0.4, window_s: 1}}
slo: {{latency_s: 1, percentile: 0.5}}
limits: {{send_lag_p99_s: 5, steady_ratio: 50, subwindow_cv_ratio: 50, retries: 0}}
"""


def test_a_campaign_on_its_endpoint(
    foreign_forecaster: Service, traffic: Workload, tmp_path: Path
) -> None:
    """A campaign asks it as it asks a service of ours; of its energy nothing is made up."""
    (tmp_path / "foreign.yaml").write_text(_CAMPAIGN.format(url=foreign_forecaster.url, more=""))
    joulery("run", tmp_path / "foreign.yaml", "--out", tmp_path / "out", "--plain")
    dataset = load(tmp_path / "out")
    [(_, trial)] = dataset.trials.iterrows()
    assert (trial["verdict"], trial["requests_answered"]) == ("valid", 40)
    assert trial["latency_p50_s"] > 0
    samples = dataset.requests("traffic_prediction")["sample"].to_numpy()
    answers = [foreign_forecaster.run(dict(traffic.inputs(int(one)))) for one in samples]
    forecast = np.concatenate([answer["forecast"] for answer in answers])
    offline = traffic.assess(samples, {"forecast": forecast}).figures["mase_h12"]
    assert trial["quality_value"] == pytest.approx(offline, rel=1e-9)
    unknown = ["service_energy_j", "inference_energy_j", "device_energy_j", "service_cpu_s"]
    assert trial[unknown].isna().all()


def test_a_campaign_that_insists_on_binary_tensors(
    foreign_forecaster: Service, tmp_path: Path
) -> None:
    """Where the specification says so they are sent, and that nothing is answered is recorded."""
    spec = _CAMPAIGN.format(url=foreign_forecaster.url, more=", binary: true")
    (tmp_path / "foreign.yaml").write_text(spec)
    joulery("run", tmp_path / "foreign.yaml", "--out", tmp_path / "out", "--plain", code=1)
    [(_, trial)] = load(tmp_path / "out").trials.iterrows()
    assert (trial["verdict"], trial["requests_answered"]) == ("invalid", 0)
    assert "requests_failed (40 of 40)" in trial["reasons"]


def test_what_it_does_not_speak(digits: Digits) -> None:
    """Over HTTP it does not know binary tensors, and says so: a client has to ask before."""
    [(status, _)] = _ask(digits, [encode_request(_inputs(digits, 0), binary=True)])
    assert status != 200

    async def extensions() -> list[str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{digits.server.url}/v2") as answer,
        ):
            return list((await answer.json())["extensions"])

    assert "binary_tensor_data" not in asyncio.run(extensions())
