"""KServe's own REST client asks our server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from joulery.campaigns.scenarios.base import Workload

from .conftest import Service
from .peer import Peer, Raised, packed_all, unpacked


def test_health(kserve: Peer, doubler: Service) -> None:
    """The client finds the server live and ready, and only the model that it has."""
    assert kserve("health", url=doubler.url, model="twice") == [True, True, True]
    assert kserve("health", url=doubler.url, model="thrice") == [True, True, False]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_a_shipped_model_answers_as_its_runtime_does(
    kserve: Peer, forecaster: Service, traffic: Workload, binary: bool
) -> None:
    """Requests at once in either encoding have ONNX Runtime's own answers, each with its id."""
    requests = [dict(traffic.inputs(sample)) for sample in range(8)]
    answers = kserve(
        "infer",
        url=forecaster.url,
        model="mlp",
        requests=[packed_all(inputs) for inputs in requests],
        binary=binary,
        parameters={"binary_data_output": True} if binary else None,
    )
    for number, (inputs, answer) in enumerate(zip(requests, answers, strict=True)):
        assert (answer["id"], answer["model_name"]) == (str(number), "mlp")
        assert answer["binary"] is binary
        truth = forecaster.run(inputs)["forecast"]
        assert unpacked(answer["outputs"]["forecast"]).tobytes() == truth.tobytes()


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_wanted_outputs(kserve: Peer, doubler: Service, binary: bool) -> None:
    """Only the wanted output comes, in the encoding asked for."""
    inputs = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    [answer] = kserve(
        "infer",
        url=doubler.url,
        model="twice",
        requests=[packed_all(inputs)],
        outputs={"total": binary},
    )
    assert answer["outputs"].keys() == {"total"}
    assert answer["binary"] is binary
    np.testing.assert_array_equal(
        unpacked(answer["outputs"]["total"]), doubler.run(inputs)["total"]
    )


def test_every_datatype(
    kserve: Peer, echo: Service, of_each_datatype: dict[str, NDArray[Any]]
) -> None:
    """Each datatype's values, limits and all, come back as they were sent, as binary data."""
    [answer] = kserve(
        "infer",
        url=echo.url,
        model="echo",
        requests=[packed_all(of_each_datatype)],
        parameters={"binary_data_output": True},
    )
    for name, sent in of_each_datatype.items():
        assert unpacked(answer["outputs"][f"same_{name}"]).tobytes() == sent.tobytes(), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "thrice"}, "path /v2/models/thrice/infer: found no such path"),
        ({"requests": [{"x": np.zeros((1, 4), "f4")}]}, "input 'x': found shape [1, 4]"),
        ({"requests": [{"x": np.zeros((1, 3), "i8")}]}, "input 'x': found datatype INT64"),
        ({"outputs": {"w": True}}, "outputs: found 'w', expected 'y', 'total'"),
    ],
    ids=["model", "shape", "datatype", "output"],
)
def test_errors(kserve: Peer, doubler: Service, change: dict[str, Any], said: str) -> None:
    """What is wrong with a request reaches the client as its own exception, in our words."""
    asked = {"model": "twice", "requests": [{"x": np.zeros((1, 3), "f4")}]} | change
    asked["requests"] = [packed_all(inputs) for inputs in asked["requests"]]
    with pytest.raises(Raised) as raised:
        kserve("infer", url=doubler.url, **asked)
    assert raised.value.kind == "HTTPStatusError"
    assert raised.value.said.startswith(said)
