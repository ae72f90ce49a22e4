"""Triton's own HTTP client asks our server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import joulery
from joulery.campaigns.scenarios.base import Workload

from .conftest import Service
from .peer import Peer, Raised, packed_all, unpacked


def _x(values: Any) -> dict[str, NDArray[Any]]:
    return {"x": np.asarray(values, dtype=np.float32)}


def _assert_same(answer: dict[str, Any], truth: dict[str, NDArray[Any]]) -> None:
    """Compare every output bit for bit."""
    assert answer["outputs"].keys() == truth.keys()
    for name, expected in truth.items():
        found = unpacked(answer["outputs"][name])
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes(), name


def test_health(triton: Peer, doubler: Service) -> None:
    """The client finds the server live and ready, and only the model that it has."""
    assert triton("health", url=doubler.address, model="twice") == [True, True, True]
    assert triton("health", url=doubler.address, model="twice", version="1") == [True, True, True]
    assert triton("health", url=doubler.address, model="thrice") == [True, True, False]
    assert triton("health", url=doubler.address, model="twice", version="9") == [True, True, False]


def test_metadata(triton: Peer, doubler: Service) -> None:
    """Server and model say what they are, in the words that the client knows."""
    server, model = triton("metadata", url=doubler.address, model="twice")
    assert (server["name"], server["version"]) == ("joulery", joulery.__version__)
    assert "binary_tensor_data" in server["extensions"]
    assert (model["name"], model["versions"]) == ("twice", ["1"])
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert [output["name"] for output in model["outputs"]] == ["y", "total"]


def test_configuration(triton: Peer, doubler: Service) -> None:
    """The client finds the model's configuration, tensors without the axis of batches."""
    found = triton("configuration", url=doubler.address, model="twice")
    assert (found["name"], found["backend"], found["max_batch_size"]) == ("twice", "onnxruntime", 1)
    assert found["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    assert [output["dims"] for output in found["output"]] == [[3], [1]]


def test_statistics(triton: Peer, doubler: Service) -> None:
    """Requests, rows and failures are counted where the client looks for them."""

    def counted() -> tuple[int, int, int]:
        found = triton("statistics", url=doubler.address, model="twice")
        ended = found["inference_stats"]
        return found["inference_count"], ended["success"]["count"], ended["fail"]["count"]

    rows, good, bad = counted()
    for values in ([[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]):
        triton("infer", url=doubler.address, model="twice", inputs=packed_all(_x(values)))
    with pytest.raises(Raised):
        triton("infer", url=doubler.address, model="twice", inputs=packed_all(_x([[1, 2, 3, 4]])))
    assert counted() == (rows + 3, good + 2, bad + 1)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_a_shipped_model_answers_as_its_runtime_does(
    triton: Peer, forecaster: Service, traffic: Workload, binary: bool
) -> None:
    """Real samples in either encoding have the answers of ONNX Runtime itself, bit for bit."""
    for sample in (0, traffic.size // 2, traffic.size - 1):
        inputs = dict(traffic.inputs(sample))
        answer = triton(
            "infer",
            url=forecaster.address,
            model="mlp",
            inputs=packed_all(inputs),
            binary=binary,
            outputs={"forecast": binary},
        )
        assert answer["binary"] == {"forecast": binary}
        _assert_same(answer, forecaster.run(inputs))


def test_every_datatype_as_binary_data(
    triton: Peer, echo: Service, of_each_datatype: dict[str, NDArray[Any]]
) -> None:
    """Each datatype's values, limits and all, come back as they were sent."""
    answer = triton(
        "infer", url=echo.address, model="echo", inputs=packed_all(of_each_datatype), binary=True
    )
    assert set(answer["binary"].values()) == {True}
    _assert_same(answer, {f"same_{name}": tensor for name, tensor in of_each_datatype.items()})


def test_a_mixture_of_encodings(triton: Peer, doubler: Service) -> None:
    """Only the wanted outputs come, each in the encoding asked for, whatever the input's was."""
    inputs = _x([[1, 2, 3], [4, 5, 6]])
    truth = doubler.run(inputs)
    for wanted in ({"total": True}, {"y": False, "total": True}, {"total": False, "y": False}):
        for binary in (True, False):
            answer = triton(
                "infer",
                url=doubler.address,
                model="twice",
                inputs=packed_all(inputs),
                binary=binary,
                outputs=wanted,
            )
            assert answer["binary"] == wanted
            _assert_same(answer, {name: truth[name] for name in wanted})


def test_what_json_cannot_say(triton: Peer, doubler: Service) -> None:
    """NaN and infinity go both ways as binary data."""
    inputs = _x([[np.nan, np.inf, -np.inf]])
    answer = triton("infer", url=doubler.address, model="twice", inputs=packed_all(inputs))
    np.testing.assert_array_equal(unpacked(answer["outputs"]["y"]), 2 * inputs["x"])


def test_identity_of_an_answer(triton: Peer, doubler: Service) -> None:
    """An answer repeats the request's id and names the model; parameters disturb nothing."""
    answer = triton(
        "infer",
        url=doubler.address,
        model="twice",
        inputs=packed_all(_x([[1, 2, 3]])),
        model_version="1",
        request_id="żółw-7",
        sequence_id=3,
        sequence_start=True,
        priority=1,
        timeout=1000,
        parameters={"mine": "yes"},
        headers={"X-Mine": "yes"},
        query_params={"mine": "yes"},
    )
    assert answer["id"] == "żółw-7"
    assert (answer["model_name"], answer["model_version"]) == ("twice", "1")


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(triton: Peer, doubler: Service, algorithm: str, binary: bool) -> None:
    """A compressed request is understood, and its answer comes compressed if that was asked for."""
    inputs = _x(np.zeros((2000, 3)))
    for response in (None, algorithm):
        answer = triton(
            "infer",
            url=doubler.address,
            model="twice",
            inputs=packed_all(inputs),
            binary=binary,
            outputs={"y": binary},
            request_compression_algorithm=algorithm,
            response_compression_algorithm=response,
        )
        _assert_same(answer, {"y": doubler.run(inputs)["y"]})
        # Where the caller does not say, the client's HTTP library accepts what it knows.
        assert response is None or answer["encoding"] == response


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "thrice"}, "[404] path /v2/models/thrice/infer: found no such path"),
        ({"model_version": "9"}, "[404] path /v2/models/twice/versions/9/infer: found no such"),
        (
            {"inputs": {"x": np.zeros((1, 4), "f4")}},
            "[400] input 'x': found shape [1, 4], expected",
        ),
        (
            {"inputs": {"x": np.zeros((1, 3), "f8")}},
            "[400] input 'x': found datatype FP64, expected",
        ),
        ({"inputs": {"z": np.zeros((1, 3), "f4")}}, "[400] inputs: found 'z', expected 'x'"),
        ({"outputs": {"w": True}}, "[400] outputs: found 'w', expected 'y', 'total'"),
        ({"inputs": {"x": np.broadcast_to(np.zeros(1, "f4"), (2**21, 3))}}, "[413] body: found"),
    ],
    ids=["model", "version", "shape", "datatype", "input", "output", "size"],
)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_errors(
    triton: Peer, doubler: Service, change: dict[str, Any], said: str, compression: str | None
) -> None:
    """What is wrong with a request reaches the client as its own exception, in our words."""
    asked = {"model": "twice", "inputs": {"x": np.zeros((1, 3), "f4")}} | change
    asked["inputs"] = packed_all(asked["inputs"])
    if compression:
        asked["response_compression_algorithm"] = compression
    with pytest.raises(Raised) as raised:
        triton("infer", url=doubler.address, **asked)
    assert raised.value.kind == "InferenceServerException"
    assert raised.value.said.startswith(said)


def test_what_is_not_offered(triton: Peer, doubler: Service) -> None:
    """A tensor of text is refused in a sentence, and the server goes on."""
    text = {"datatype": "BYTES", "shape": [1, 1], "data": ["a"]}
    with pytest.raises(Raised, match="BYTES"):
        triton("infer", url=doubler.address, model="twice", inputs={"x": text}, binary=False)
    assert triton("health", url=doubler.address, model="twice") == [True, True, True]


@pytest.mark.parametrize("function", ["infer_in_flight", "infer_with_asyncio"])
def test_several_in_flight(
    triton: Peer, forecaster: Service, traffic: Workload, function: str
) -> None:
    """Requests that are on their way together each get their own answer."""
    requests = [dict(traffic.inputs(sample)) for sample in range(16)]
    answers = triton(
        function,
        url=forecaster.address,
        model="mlp",
        requests=[packed_all(inputs) for inputs in requests],
    )
    for inputs, answer in zip(requests, answers, strict=True):
        _assert_same(answer, forecaster.run(inputs))
    if function == "infer_in_flight":
        assert [answer["id"] for answer in answers] == [str(number) for number in range(16)]
