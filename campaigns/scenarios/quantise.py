"""Turn a float model into an int8 one: static ranges, per-channel weights, QDQ form.

Static, because a dynamic scale depends on what else is in the batch: answers would then differ
with the load. Ranges come from training windows only.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

__all__ = ["quantise"]

_CHUNK = 32


class _Windows(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """Feeds calibration samples in small batches."""

    def __init__(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        count = len(next(iter(inputs.values())))
        self._batches = iter(
            {name: array[at : at + _CHUNK] for name, array in inputs.items()}
            for at in range(0, count, _CHUNK)
        )

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        return next(self._batches, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's advice to pre-process off the user's screen: our graphs need none."""

    def drop(record: logging.LogRecord) -> bool:
        return "pre-process" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(drop)
    try:
        yield
    finally:
        root.removeFilter(drop)


def quantise(
    model: onnx.ModelProto, calibration: Mapping[str, NDArray[Any]], layer_prefix: str
) -> onnx.ModelProto:
    """Return the model with some layers in int8; everything else stays float.

    Args:
        model: The float model.
        calibration: Inputs of training samples, each of shape (samples, ...).
        layer_prefix: How the names of the layers begin. Scores, averages and the last layer are
            left out: their rounding would go straight into the answer.

    Raises:
        ValueError: When no node has such a name.
    """
    layers = [node.name for node in model.graph.node if node.name.startswith(layer_prefix)]
    if not layers:
        raise ValueError(f"no layer's name begins with {layer_prefix!r}")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        # By path: quantize_static changes a model that it is given as an object.
        source, path = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            path,
            _Windows(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Relu"],
            nodes_to_quantize=layers,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)
