"""Turn a float model into an int8 one: static ranges, per-channel weights, QDQ form.

Ranges come from training windows only, and answers do not depend on what else is in the batch;
`quantise_dynamic` is without ranges.

Activations are unsigned and weights signed (U8S8), with seven bits a weight. ONNX Runtime's x86
kernels take unsigned activations; signed ones, its default, are converted at every convolution,
which costs what integers save. On CPUs with AVX2 or AVX-512 but without VNNI a U8S8 product adds
pairs in 16 bits, where sums of eight-bit weights may saturate; its documentation advises
`reduce_range` there, above all with weights per channel. It costs no time, and answers are the
same on every CPU. See https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
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
    model: onnx.ModelProto,
    calibration: Mapping[str, NDArray[Any]],
    layer_prefix: str,
    *,
    leave: int = 0,
) -> onnx.ModelProto:
    """Return the model with some layers in int8; everything else stays float.

    Args:
        model: The float model.
        calibration: Inputs of training samples, each of shape (samples, ...).
        layer_prefix: How the names of the layers begin. Scores, averages and the last layer are
            left out: their rounding would go straight into the answer.
        leave: How many convolutions, from the first on, stay float too, with their activations.

    Raises:
        ValueError: When no convolution has such a name.
    """
    layers = [node for node in model.graph.node if node.name.startswith(layer_prefix)]
    places = [place for place, node in enumerate(layers) if node.op_type == "Conv"]
    if not places:
        raise ValueError(f"no convolution's name begins with {layer_prefix!r}")
    if leave >= len(places):
        unchanged = onnx.ModelProto()
        unchanged.CopyFrom(model)
        return unchanged
    chosen = layers[places[leave] if leave else 0 :]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        # By path: quantize_static changes a model that it is given as an object.
        source, path = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            path,
            _Windows(calibration),
            quant_format=QuantFormat.QDQ,
            # With its activation: one conversion after both, and less rounding.
            op_types_to_quantize=["Conv", "Relu"],
            nodes_to_quantize=[node.name for node in chosen],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)
