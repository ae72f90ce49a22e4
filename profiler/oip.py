"""Open Inference Protocol v2 over REST, with the binary tensor data extension.

Pure functions between tensors and HTTP messages, for clients and servers alike; nothing here
opens a socket. Sources: open-inference-protocol `inference_rest.md`, and Triton's
`extension_binary_data.md`. BYTES tensors are refused: no model here takes text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from ..errors import TrialError

__all__ = [
    "BINARY_EXTENSION",
    "DATATYPES",
    "HEADER_LENGTH",
    "InferenceRequest",
    "InferenceResponse",
    "Message",
    "ProtocolError",
    "Tensors",
    "datatype_of",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
    "takes_binary",
]

Tensors = Mapping[str, NDArray[np.generic]]
"""Tensors by name."""

HEADER_LENGTH = "Inference-Header-Content-Length"
"""HTTP header: bytes of JSON before the binary tensors."""

BINARY_EXTENSION = "binary_tensor_data"
"""How a server's metadata names the extension; a server that does not, reads JSON alone."""

_HEADER_LOWER = HEADER_LENGTH.lower()

DATATYPES: Mapping[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    **{
        f"{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}")
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
}
"""Protocol datatype to NumPy dtype."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_LITTLE_ENDIAN = {name: dtype.newbyteorder("<") for name, dtype in DATATYPES.items()}
_JSON_KINDS: Mapping[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}

# NumPy raises beyond its own limits, even for a tensor that another axis makes empty.
_MOST_AXES = 32
_MOST_ELEMENTS = 2**40


class ProtocolError(TrialError):
    """A message does not follow the protocol; the subject is the part that is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One HTTP message: its body, and the headers that say how to read it."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """What a client asks.

    Args:
        inputs: Input tensors by name.
        id: Identifier that the response repeats.
        parameters: The request's parameters, without those of the binary extension.
        outputs: For each wanted output whether it shall be binary, or `None` for the default;
            empty: all outputs.
        binary_output: The default for outputs that do not say.
    """

    inputs: Tensors
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, bool | None] = field(default_factory=dict)
    binary_output: bool = False

    def wants_binary(self, output: str) -> bool:
        """Return whether an output shall be sent as binary data."""
        wanted = self.outputs.get(output)
        return self.binary_output if wanted is None else wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceResponse:
    """What a server answers."""

    outputs: Tensors
    model_name: str
    model_version: str | None = None
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the protocol's name of a NumPy dtype.

    Raises:
        ProtocolError: When the protocol, as spoken here, has none.
    """
    name = _NAMES.get(dtype.newbyteorder("="))
    if name is None:
        raise ProtocolError("tensor", found=f"dtype {dtype}", expected=f"one of {_known()}")
    return name


def encode_request(
    inputs: Tensors,
    *,
    binary: bool = True,
    id: str | None = None,  # noqa: A002  the protocol's own word
    parameters: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = (),
) -> Message:
    """Encode a request.

    Args:
        inputs: Input tensors by name, of any dtype in `DATATYPES`.
        binary: Whether the inputs are sent, and the outputs wanted, as binary data.
        id: Identifier that the response repeats.
        parameters: Further parameters: strings, numbers, booleans.
        outputs: Names of the wanted outputs; none: all.

    Raises:
        ProtocolError: When a tensor cannot be sent so.
    """
    head: dict[str, Any] = {} if id is None else {"id": id}
    asked = dict(parameters or {}) | ({"binary_data_output": True} if binary else {})
    if asked:
        head["parameters"] = asked
    if outputs:
        head["outputs"] = [{"name": name} for name in outputs]
    return _encode(head, "inputs", inputs, set(inputs) if binary else set())


def encode_response(response: InferenceResponse, *, binary: frozenset[str] | set[str]) -> Message:
    """Encode a response; the outputs named in `binary` go as binary data.

    Raises:
        ProtocolError: When an output cannot be sent so.
    """
    head: dict[str, Any] = {"model_name": response.model_name}
    if response.model_version is not None:
        head["model_version"] = response.model_version
    if response.id is not None:
        head["id"] = response.id
    if response.parameters:
        head["parameters"] = dict(response.parameters)
    return _encode(head, "outputs", response.outputs, binary)


def decode_request(message: Message) -> InferenceRequest:
    """Decode a request.

    Raises:
        ProtocolError: When it does not follow the protocol; the text can be shown to the client.
    """
    head, rest = _split(message, "request")
    parameters = _parameters(head, "request")
    binary_output = _boolean(parameters.pop("binary_data_output", False), "binary_data_output")
    outputs: dict[str, bool | None] = {}
    for output in _objects(head, "outputs", "request") if "outputs" in head else ():
        name = _text(output, "name", "output")
        wanted = _parameters(output, f"output {name!r}").get("binary_data")
        outputs[name] = None if wanted is None else _boolean(wanted, f"output {name!r}")
    return InferenceRequest(
        inputs=_tensors(head, "inputs", rest),
        id=_optional_text(head, "id"),
        parameters=parameters,
        outputs=outputs,
        binary_output=binary_output,
    )


def decode_response(message: Message) -> InferenceResponse:
    """Decode a successful response.

    Raises:
        ProtocolError: When it does not follow the protocol.
    """
    head, rest = _split(message, "response")
    return InferenceResponse(
        outputs=_tensors(head, "outputs", rest),
        # The protocol requires it, and its own example goes without.
        model_name=_optional_text(head, "model_name") or "",
        model_version=_optional_text(head, "model_version"),
        id=_optional_text(head, "id"),
        parameters=_parameters(head, "response"),
    )


def takes_binary(metadata: bytes) -> bool:
    """Return whether a server's metadata, the body of `GET /v2`, names the binary extension."""
    try:
        told = orjson.loads(metadata)
    except ValueError:
        return False
    extensions = told.get("extensions") if isinstance(told, dict) else None
    return isinstance(extensions, list) and BINARY_EXTENSION in extensions


def _known() -> str:
    return ", ".join(DATATYPES)


def _encode(
    head: dict[str, Any], key: str, tensors: Tensors, binary: frozenset[str] | set[str]
) -> Message:
    described: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, tensor in tensors.items():
        datatype = datatype_of(tensor.dtype)
        entry: dict[str, Any] = {"name": name, "shape": tensor.shape, "datatype": datatype}
        if name in binary:
            blobs.append(tensor.astype(_LITTLE_ENDIAN[datatype], copy=False).tobytes())
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            _check_finite(key, tensor)
            entry["data"] = tensor.ravel().astype(DATATYPES[datatype], copy=False)
        described.append(entry)
    head[key] = described
    numbers = [one for one in head.get("parameters", {}).values() if isinstance(one, float)]
    _check_finite("parameters", np.array(numbers))
    try:
        text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        _wrong("message", str(error), "text in UTF-8, and integers of 64 bits")
    if not blobs:
        return Message(headers={"Content-Type": "application/json"}, body=text)
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return Message(headers=headers, body=b"".join((text, *blobs)))


def _check_finite(subject: str, values: NDArray[np.generic]) -> None:
    if not np.isfinite(values).all():
        raise ProtocolError(
            subject,
            found="NaN or infinity",
            expected="finite numbers, since JSON has no others",
            remedy="the binary encoding carries them",
        )


def _split(message: Message, subject: str) -> tuple[dict[str, Any], memoryview]:
    """Return the JSON object and the binary data behind it."""
    body = message.body
    length = next((v for k, v in message.headers.items() if k.lower() == _HEADER_LOWER), None)
    size_bytes = len(body)
    if length is not None:
        size_bytes = int(length) if length.isascii() and length.isdigit() else -1
        if not 0 <= size_bytes <= len(body):
            _wrong(f"header {HEADER_LENGTH}", length, f"0 to {len(body)}, the length of the body")
    try:
        head = orjson.loads(memoryview(body)[:size_bytes])
    except ValueError as error:
        expected = "a JSON object in UTF-8, which has no NaN or infinity"
        _wrong(f"{subject} body", str(error), expected)
    if not isinstance(head, dict):
        _wrong(f"{subject} body", type(head).__name__, "a JSON object")
    return head, memoryview(body)[size_bytes:]


def _tensors(head: Mapping[str, Any], key: str, rest: memoryview) -> dict[str, NDArray[np.generic]]:
    """Decode every tensor of a message; `rest` must hold exactly what they announce."""
    tensors: dict[str, NDArray[np.generic]] = {}
    used_bytes = 0
    for entry in _objects(head, key, "body"):
        name = _text(entry, "name", key)
        subject = f"{key[:-1]} {name!r}"
        if name in tensors:
            _wrong(subject, "two tensors of this name", "one")
        datatype = entry.get("datatype")
        if not isinstance(datatype, str) or datatype not in DATATYPES:
            _wrong(subject, f"datatype {datatype!r}", f"one of {_known()}")
        shape = _shape(entry, subject)
        size_bytes = _parameters(entry, subject).get("binary_data_size")
        if size_bytes is None:
            tensors[name] = _from_json(entry, shape, DATATYPES[datatype], subject)
            continue
        if "data" in entry:
            _wrong(subject, "both 'data' and 'binary_data_size'", "one of them")
        expected_bytes = math.prod(shape) * DATATYPES[datatype].itemsize
        if type(size_bytes) is not int or size_bytes != expected_bytes:
            expected = f"{expected_bytes}, which {datatype} of shape {list(shape)} takes"
            _wrong(subject, f"binary_data_size {size_bytes!r}", expected)
        blob = rest[used_bytes : used_bytes + expected_bytes]
        if len(blob) != expected_bytes:
            _wrong(subject, f"{len(blob)} bytes of binary data", str(expected_bytes))
        used_bytes += expected_bytes
        tensors[name] = _from_binary(blob, shape, datatype, subject)
    if used_bytes != len(rest):
        _wrong("body", f"{len(rest)} bytes of binary data", f"{used_bytes}, as announced")
    return tensors


def _from_binary(
    blob: memoryview, shape: tuple[int, ...], datatype: str, subject: str
) -> NDArray[np.generic]:
    raw = np.frombuffer(blob, dtype=_LITTLE_ENDIAN[datatype])
    if datatype == "BOOL" and raw.size and raw.view(np.uint8).max() > 1:
        _wrong(subject, "a byte above 1", "0 or 1 per BOOL")
    # A copy: aligned, in native byte order, and not tied to the message's memory.
    return raw.astype(DATATYPES[datatype]).reshape(shape)


def _from_json(
    entry: Mapping[str, Any], shape: tuple[int, ...], dtype: np.dtype[np.generic], subject: str
) -> NDArray[np.generic]:
    """Decode `data`: flat in row-major order, or nested exactly as the shape says."""
    data = entry.get("data")
    if not isinstance(data, list):
        _wrong(subject, "no list 'data'" if data is None else f"data {data!r:.40}", "a list")
    level: list[Any] = data
    if len(shape) > 1 and data and isinstance(data[0], list):
        level = [data]
        for size in shape:
            if any(not isinstance(row, list) or len(row) != size for row in level):
                _wrong(subject, "data nested otherwise", f"lists nested as shape {list(shape)}")
            level = list(chain.from_iterable(level))
    if len(level) != math.prod(shape):
        _wrong(subject, f"{len(level)} elements", f"{math.prod(shape)}, as shape {list(shape)}")
    strange = set(map(type, level)) - _JSON_KINDS[dtype.kind]
    if strange:
        kinds = ", ".join(sorted(kind.__name__ for kind in strange))
        _wrong(subject, f"data with {kinds}", f"values of {_NAMES[dtype]}")
    try:
        with np.errstate(over="ignore"):
            array: NDArray[np.generic] = np.array(level, dtype=dtype).reshape(shape)
    except OverflowError:
        _wrong(subject, "a value out of range", f"values of {_NAMES[dtype]}")
    if dtype.kind == "f" and not np.isfinite(array).all():
        _wrong(subject, "a value out of range", f"values of {_NAMES[dtype]}")
    return array


def _shape(entry: Mapping[str, Any], subject: str) -> tuple[int, ...]:
    shape = entry.get("shape")
    if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
        _wrong(subject, f"shape {shape!r:.60}", "a list of integers, 0 or more")
    if len(shape) > _MOST_AXES or math.prod(n or 1 for n in shape) > _MOST_ELEMENTS:
        _wrong(subject, f"shape {shape!r:.60}", f"{_MOST_AXES} axes and 2**40 elements at most")
    return tuple(shape)


def _objects(head: Mapping[str, Any], key: str, subject: str) -> list[dict[str, Any]]:
    entries = head.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        _wrong(f"{subject}, {key}", f"{entries!r:.60}", "a list of objects")
    return entries


def _parameters(head: Mapping[str, Any], subject: str) -> dict[str, Any]:
    parameters = head.get("parameters", {})
    if not isinstance(parameters, dict):
        _wrong(f"{subject}, parameters", f"{parameters!r:.60}", "an object")
    return dict(parameters)


def _text(entry: Mapping[str, Any], key: str, subject: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        _wrong(f"{subject}, {key}", f"{value!r:.60}", "a string")
    return value


def _optional_text(head: Mapping[str, Any], key: str) -> str | None:
    return None if head.get(key) is None else _text(head, key, "body")


def _boolean(value: object, subject: str) -> bool:
    if not isinstance(value, bool):
        _wrong(subject, f"{value!r:.60}", "true or false")
    return value


def _wrong(subject: str, found: str, expected: str) -> NoReturn:
    raise ProtocolError(subject, found=found, expected=expected)
