"""The protocol codec: what goes in comes out, and what is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray

from joulery.profiler.oip import (
    DATATYPES,
    HEADER_LENGTH,
    InferenceResponse,
    Message,
    ProtocolError,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    takes_binary,
)

Tensors = dict[str, NDArray[np.generic]]

_NAMES = st.text(min_size=1, max_size=8)
_PARAMETERS = st.dictionaries(
    st.sampled_from(["batch", "priority", "tag"]),
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
)


@st.composite
def _tensors(draw: st.DrawFn, *, finite: bool) -> Tensors:
    def tensor() -> st.SearchStrategy[NDArray[np.generic]]:
        dtype = draw(st.sampled_from(sorted(DATATYPES.values(), key=str)))
        elements = nps.from_dtype(dtype)
        if finite and dtype.kind == "f":
            elements = nps.from_dtype(dtype, allow_nan=False, allow_infinity=False)
        shapes = nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
        return nps.arrays(dtype, shapes, elements=elements)

    return {name: draw(tensor()) for name in draw(st.sets(_NAMES, min_size=1, max_size=3))}


def _same(left: Any, right: Tensors) -> None:
    assert list(left) == list(right)
    for name, tensor in right.items():
        assert left[name].dtype == tensor.dtype
        np.testing.assert_array_equal(left[name], tensor)


@given(inputs=_tensors(finite=False), id=st.none() | st.text(max_size=5), parameters=_PARAMETERS)
def test_binary_request_round_trip(inputs: Tensors, id: str | None, parameters: Any) -> None:  # noqa: A002  the protocol's own word
    """Any tensors, NaN included, survive a binary request, with id and parameters."""
    request = decode_request(encode_request(inputs, id=id, parameters=parameters))
    _same(request.inputs, inputs)
    assert request.id == id
    assert request.parameters == parameters
    assert request.wants_binary("any output")


@given(inputs=_tensors(finite=True), parameters=_PARAMETERS)
def test_json_request_round_trip(inputs: Tensors, parameters: Any) -> None:
    """Any finite tensors survive a JSON request to the last bit."""
    message = encode_request(inputs, binary=False, parameters=parameters, outputs=["y"])
    assert HEADER_LENGTH not in message.headers
    request = decode_request(message)
    _same(request.inputs, inputs)
    assert request.parameters == parameters
    assert list(request.outputs) == ["y"]
    assert not request.wants_binary("y")


@given(outputs=_tensors(finite=True), data=st.data(), parameters=_PARAMETERS)
def test_response_round_trip(outputs: Tensors, data: st.DataObject, parameters: Any) -> None:
    """A response survives whichever of its outputs are binary."""
    response = InferenceResponse(
        outputs=outputs, model_name="m", model_version="3", id="7", parameters=parameters
    )
    binary = data.draw(st.sets(st.sampled_from(sorted(outputs))))
    decoded = decode_response(encode_response(response, binary=binary))
    _same(decoded.outputs, outputs)
    assert (decoded.model_name, decoded.model_version, decoded.id) == ("m", "3", "7")
    assert decoded.parameters == parameters


@given(inputs=_tensors(finite=True))
def test_nested_data(inputs: Tensors) -> None:
    """Data nested as the shape says reads as flat data does."""
    entries = [
        {
            "name": name,
            "shape": list(tensor.shape),
            "datatype": next(key for key, dtype in DATATYPES.items() if dtype == tensor.dtype),
            "data": tensor.tolist() if tensor.ndim else [tensor.item()],
        }
        for name, tensor in inputs.items()
    ]
    _same(decode_request(_json({"inputs": entries})).inputs, inputs)


def test_specification_examples() -> None:
    """The example request of the specification, JSON and binary, reads as it says."""
    wanted = {
        "input0": np.array([[1, 2], [3, 4]], dtype=np.uint32),
        "input1": np.array([True, False, True]),
    }
    plain = (
        '{"id":"42","inputs":[{"name":"input0","shape":[2,2],"datatype":"UINT32",'
        '"data":[1,2,3,4]},{"name":"input1","shape":[3],"datatype":"BOOL",'
        '"data":[true,false,true]}],"outputs":[{"name":"output0"}]}'
    )
    _same(decode_request(Message(headers={}, body=plain.encode())).inputs, wanted)
    head = (
        b'{"inputs":[{"name":"input0","shape":[2,2],"datatype":"UINT32",'
        b'"parameters":{"binary_data_size":16}},{"name":"input1","shape":[3],"datatype":"BOOL",'
        b'"parameters":{"binary_data_size":3}}],'
        b'"outputs":[{"name":"output0","parameters":{"binary_data":true}}]}'
    )
    blob = bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1, 0, 1])
    headers = {HEADER_LENGTH.lower(): str(len(head))}
    request = decode_request(Message(headers=headers, body=head + blob))
    _same(request.inputs, wanted)
    assert request.wants_binary("output0")
    assert not request.wants_binary("output1")


def _json(content: Any) -> Message:
    return Message(headers={}, body=json.dumps(content).encode())


def _input(**change: Any) -> Message:
    entry = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]} | change
    return _json({"inputs": [{k: v for k, v in entry.items() if v is not None}]})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message(headers={}, body=b'{"inputs":'), "request body: found unexpected end of data"),
        (Message(headers={}, body=b"\xff{}"), "request body: found"),
        (Message(headers={}, body=b"[" * 100_000), "request body: found"),
        (Message(headers={}, body=b'{"inputs":[],"id":NaN}'), "which has no NaN or infinity"),
        (_json([1]), "request body: found list, expected a JSON object"),
        (_json({}), "body, inputs: found None, expected a list of objects"),
        (_json({"inputs": [1]}), "body, inputs: found [1]"),
        (_json({"inputs": [], "id": 4}), "body, id: found 4, expected a string"),
        (_json({"inputs": [], "parameters": []}), "request, parameters: found []"),
        (_json({"inputs": [], "parameters": {"binary_data_output": 1}}), "true or false"),
        (_json({"inputs": [], "outputs": [{}]}), "output, name: found None"),
        (_input(name=None), "inputs, name: found None"),
        (_input(datatype="FP31"), "input 'x': found datatype 'FP31', expected one of BOOL, INT8"),
        (_input(datatype="BYTES", data=["a", "b"]), "input 'x': found datatype 'BYTES'"),
        (_input(shape=[-1]), "input 'x': found shape [-1]"),
        (_input(shape=[2.0]), "input 'x': found shape [2.0]"),
        (_input(shape=[True]), "input 'x': found shape [True]"),
        (_input(shape=[10**18, 0], data=[]), "axes and 2**40 elements at most"),
        (_input(shape=[3]), "input 'x': found 2 elements, expected 3, as shape [3]"),
        (_input(data=None), "input 'x': found no list 'data'"),
        (_input(data="ab"), "input 'x': found data 'ab', expected a list"),
        (_input(data=[1.0, [2.0]]), "input 'x': found data with list"),
        (_input(data=[1.0, "2"]), "input 'x': found data with str, expected values of FP32"),
        (_input(data=[1.0, 1e300]), "input 'x': found a value out of range"),
        (_input(datatype="FP64", data=[1, 10**400]), "number is infinity when parsed as double"),
        (_input(datatype="INT8", data=[1, 128]), "input 'x': found a value out of range"),
        (_input(datatype="UINT8", data=[1, -1]), "input 'x': found a value out of range"),
        (_input(datatype="INT8", data=[1, 1.5]), "input 'x': found data with float"),
        (_input(datatype="INT8", data=[1, True]), "input 'x': found data with bool"),
        (_input(datatype="BOOL", data=[1, True]), "input 'x': found data with int"),
        (_input(shape=[1, 2], data=[[1.0], [2.0]]), "expected lists nested as shape [1, 2]"),
        (_input(parameters={"binary_data_size": 8}), "found both 'data' and 'binary_data_size'"),
        (_input(data=None, parameters={"binary_data_size": 4}), "found binary_data_size 4"),
        (_input(data=None, parameters={"binary_data_size": 8}), "found 0 bytes of binary data"),
        (_json({"inputs": json.loads(_input().body)["inputs"] * 2}), "two tensors of this name"),
    ],
)
def test_malformed_requests(message: Message, text: str) -> None:
    """What is wrong with a request is named: the part, what is there, what should be."""
    with pytest.raises(ProtocolError) as caught:
        decode_request(message)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", ["-1", "x", "", "1e1", "999999", "²"])
def test_header_length(length: str) -> None:
    """A header that does not point into the body is refused."""
    body = encode_request({"x": np.zeros(2)}).body
    with pytest.raises(ProtocolError, match=HEADER_LENGTH):
        decode_request(Message(headers={HEADER_LENGTH: length}, body=body))


def test_surplus_binary_data() -> None:
    """Bytes that no tensor announces are refused."""
    message = encode_request({"x": np.zeros(2)})
    longer = Message(headers=message.headers, body=message.body + b"\0")
    with pytest.raises(ProtocolError, match="found 17 bytes of binary data, expected 16"):
        decode_request(longer)


def test_binary_bool_byte() -> None:
    """A BOOL byte that is neither 0 nor 1 is refused."""
    message = encode_request({"x": np.array([True])})
    with pytest.raises(ProtocolError, match="a byte above 1"):
        decode_request(Message(headers=message.headers, body=message.body[:-1] + b"\2"))


@pytest.mark.parametrize(("value", "found"), [("\ud800", "surrogates"), (2**70, "64-bit")])
def test_what_json_cannot_carry(value: object, found: str) -> None:
    """Half of a character, or a number too large, is refused by name."""
    with pytest.raises(ProtocolError, match=found):
        encode_request({}, parameters={"value": value})


def test_json_has_no_nan() -> None:
    """A tensor with NaN is not sent as JSON, and the remedy is told."""
    with pytest.raises(ProtocolError, match="the binary encoding carries them"):
        encode_request({"x": np.array([np.nan])}, binary=False)


def test_text_tensor() -> None:
    """A tensor of text is refused, with the datatypes there are."""
    with pytest.raises(ProtocolError, match="expected one of BOOL"):
        encode_request({"x": np.array(["a"])})


@given(st.binary(max_size=60), st.none() | st.integers(0, 60))
def test_any_bytes(body: bytes, length: int | None) -> None:
    """Whatever the bytes, decoding ends with a request or a ProtocolError."""
    headers = {} if length is None else {HEADER_LENGTH: str(length)}
    with pytest.raises(ProtocolError):
        decode_request(Message(headers=headers, body=body))


@pytest.mark.parametrize(
    ("metadata", "binary"),
    [
        (b'{"name": "t", "extensions": ["statistics", "binary_tensor_data"]}', True),
        (b'{"name": "t", "extensions": ["statistics"]}', False),
        (b'{"name": "t"}', False),
        (b'{"extensions": "binary_tensor_data"}', False),
        (b'{"extensions": null}', False),
        (b'["binary_tensor_data"]', False),
        (b"[" * 10**5, False),
        (b"\xff", False),
        (b"", False),
    ],
)
def test_who_takes_binary_tensors(metadata: bytes, binary: bool) -> None:
    """Only a server whose metadata lists the extension does; all else means that it does not."""
    assert takes_binary(metadata) is binary
