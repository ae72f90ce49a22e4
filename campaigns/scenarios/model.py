"""One ONNX model, loaded: what it takes and gives, and a run of it.

Batches are joined elsewhere (`batching`); what early exits are, `exits` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...errors import SpecError, TrialError
from ...profiler.oip import DATATYPES, ProtocolError, datatype_of
from .base import Tensors
from .detections import are_detections, sieved
from .knobs import KNOBS, SCORE_THRESHOLD, knob_tensors
from .providers import provider as provider_named

__all__ = ["Model", "TensorSpec", "listed", "one_line", "open_session"]

_ONNX_DATATYPES = {f"tensor({name.lower()})": name for name in DATATYPES} | {
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model; -1 in `shape` is an axis of any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def takes_all_of(self, other: TensorSpec) -> bool:
        """Return whether whatever fits the other tensor fits this one."""
        return (
            (self.name, self.datatype) == (other.name, other.datatype)
            and len(self.shape) == len(other.shape)
            and all(
                mine in (-1, theirs) for mine, theirs in zip(self.shape, other.shape, strict=True)
            )
        )


class Model:
    """An ONNX model, loaded.

    Args:
        path: The ONNX file.
        threads: Threads of one model run.
        provider: What runs it, see `providers`.

    Attributes:
        inputs: What clients give; knobs are none of it.
        outputs: What the model gives.
        knobs: The names of its knobs; `SCORE_THRESHOLD` is one of a detector, whatever its graph.

    Raises:
        SpecError: When the file is missing, is no ONNX model, or has tensors that the protocol
            cannot carry or that lack a leading axis for batches; or when the provider is not there,
            or did not take the model.
    """

    def __init__(self, path: Path, threads: int, provider: str = "cpu") -> None:
        self._session = open_session(path, threads, provider)
        nodes = {node.name: node for node in self._session.get_inputs()}
        self._knobs = {name: _knob_shape(nodes.pop(name), path) for name in KNOBS if name in nodes}
        self._offer(
            inputs=tuple(_spec(node, path) for node in nodes.values()),
            outputs=tuple(_spec(node, path) for node in self._session.get_outputs()),
        )

    def _offer(self, *, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        """Note what it takes and gives, and that what a detector finds can be sieved."""
        self.inputs, self.outputs = inputs, outputs
        self._specs = {spec.name: spec for spec in inputs}
        self._names = [spec.name for spec in outputs]
        self._sieves = SCORE_THRESHOLD not in self._knobs and are_detections(self._names)
        if self._sieves:
            self._knobs[SCORE_THRESHOLD] = ()
        self.knobs = frozenset(self._knobs)

    @property
    def batches(self) -> bool:
        """Whether the leading axis of every tensor may have any length."""
        return all(spec.shape[0] == -1 for spec in (*self.inputs, *self.outputs))

    def constants(self, said: Mapping[str, float | None]) -> dict[str, NDArray[np.generic]]:
        """Return what each run is given beside the clients' inputs, by what is said of knobs."""
        return knob_tensors(self._knobs, said)

    def rows(self, inputs: Tensors) -> int:
        """Check a request's inputs and return the length of their common leading axis.

        Raises:
            ProtocolError: When an input is unknown, missing, or of the wrong datatype or shape.
        """
        if inputs.keys() != self._specs.keys():
            raise ProtocolError(
                "inputs", found=listed(inputs.keys()), expected=listed(self._specs.keys())
            )
        lengths: set[int] = set()
        for name, spec in self._specs.items():
            tensor = inputs[name]
            if DATATYPES[spec.datatype] != tensor.dtype:
                raise ProtocolError(
                    f"input {name!r}",
                    found=f"datatype {datatype_of(tensor.dtype)}",
                    expected=spec.datatype,
                )
            if not _fits(tensor.shape, spec.shape):
                raise ProtocolError(
                    f"input {name!r}",
                    found=f"shape {list(tensor.shape)}",
                    expected=f"{list(spec.shape)}, where -1 is any length of 1 or more",
                )
            lengths.add(tensor.shape[0])
        if len(lengths) != 1:
            raise ProtocolError(
                "inputs", found=f"leading axes of {sorted(lengths)}", expected="one length for all"
            )
        return lengths.pop()

    def run(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """Run the model once.

        Args:
            inputs: Those of clients, and `constants`.

        Raises:
            TrialError: When the runtime fails, with its reason.
        """
        threshold = 0.0
        if self._sieves and SCORE_THRESHOLD in inputs:
            threshold = float(inputs[SCORE_THRESHOLD].item())
            inputs = {name: one for name, one in inputs.items() if name != SCORE_THRESHOLD}
        try:
            found = self._session.run(self._names, inputs)
        except Exception as error:  # the runtime's errors share no other base
            raise TrialError("model run", found=one_line(error)) from error
        answers = dict(zip(self._names, found, strict=True))
        return sieved(answers, threshold) if threshold else answers


def open_session(
    path: Path, threads: int, provider: str = "cpu", *, expected: str = "an ONNX file"
) -> onnxruntime.InferenceSession:
    """Return ONNX Runtime's session of a file.

    Args:
        path: The ONNX file.
        threads: Threads of one run.
        provider: What runs it, see `providers`.
        expected: What the file should be, for messages.

    Raises:
        SpecError: As `Model` says.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Threads that spin between runs take energy that no request asked for.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not path.is_file():
        raise SpecError(f"model {path}", found="no such file", expected=expected)
    asked = provider_named(provider)
    chosen = [(asked.runtime, dict(asked.options))]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # the runtime's errors share no other base
        raise SpecError(
            f"model {path}", found=one_line(error), expected=f"{expected} that can be loaded"
        ) from error
    taken = session.get_providers()[0]
    if taken != asked.runtime:
        raise SpecError(
            f"model {path}",
            found=f"{taken}, which the runtime fell back to",
            expected=f"provider {provider} to take it",
            remedy="see that its device and libraries are there; provider cpu is everywhere",
        )
    return session


def _knob_shape(node: Any, path: Path) -> tuple[int, ...]:
    knob = KNOBS[node.name]
    if not knob.fits(node.type, node.shape):
        raise SpecError(
            f"model {path}",
            place=f"input {node.name!r}",
            found=f"{node.type} of shape {node.shape}",
            expected=f"{knob.datatype}, a scalar or of shape [1]",
        )
    return tuple(node.shape)


def _spec(node: Any, path: Path) -> TensorSpec:
    datatype = _ONNX_DATATYPES.get(node.type)
    if datatype is None or not node.shape:
        raise SpecError(
            f"model {path}",
            place=f"tensor {node.name!r}",
            found=f"{node.type} of shape {node.shape}",
            expected=f"a tensor with a leading axis, of {', '.join(DATATYPES)}",
        )
    shape = tuple(axis if isinstance(axis, int) else -1 for axis in node.shape)
    return TensorSpec(name=node.name, datatype=datatype, shape=shape)


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        found == size if size >= 0 else found > 0 for found, size in zip(shape, wanted, strict=True)
    )


def listed(names: Iterable[str]) -> str:
    """Return names for people: `'x', 'y'`."""
    return ", ".join(map(repr, names)) or "none"


def one_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
