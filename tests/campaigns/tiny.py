"""A tiny scenario for tests: the model doubles a number, and the answer's error is its quality."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from joulery.campaigns.configuration import Configuration
from joulery.campaigns.design import PlannedTrial
from joulery.campaigns.loads import SteadyLoad
from joulery.campaigns.scenarios.base import (
    Assessment,
    Figure,
    ModelFamily,
    RequestField,
    Scenario,
    Tensors,
    Workload,
)

__all__ = ["PLANNED", "TinyScenario", "TinyWorkload", "doubling_model"]

SIZE = 50

PLANNED = PlannedTrial(
    number=3,
    attempt=1,
    block=1,
    repeat=1,
    configuration=Configuration(
        scenario="tiny", model="double", precision="fp32", batch=1, threads=1
    ),
    load_index=0,
    load=SteadyLoad(rate_hz=50.0),
)
"""A trial of it."""


def doubling_model(path: Path) -> Path:
    """Write a model whose output `y` is twice its input `x`, shape [N, 1]."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


class TinyWorkload(Workload):
    """Fifty numbers to double."""

    source, licence, size = "made in the test", "CC0-1.0", SIZE
    sha256 = hashlib.sha256(b"0..49").hexdigest()

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._model = doubling_model(folder / "double.onnx")

    def model_path(self, model: str, precision: str) -> Path:
        """Return the one model."""
        assert (model, precision) == ("double", "fp32")
        return self._model

    def inputs(self, sample: int) -> Tensors:
        """Return the sample's own number."""
        return {"x": np.array([[sample]], dtype=np.float32)}

    def assess(self, samples: NDArray[np.int64], answers: Tensors) -> Assessment:
        """Compare with twice the sample's number."""
        error = np.abs(answers["y"][:, 0].astype(np.float64) - 2.0 * samples)
        return Assessment(figures={"error": float(error.mean())}, per_request={"error": error})


class TinyScenario(Scenario):
    """Double a number."""

    name, title, summary = "tiny", "Tiny", "Doubles a number."
    models: ClassVar[tuple[ModelFamily, ...]] = (
        ModelFamily(name="double", title="Adds x to x", precisions=("fp32",)),
    )
    figures = (
        Figure(name="error", title="Error", description="Mean absolute error", better="lower"),
    )
    request_fields = (RequestField(name="error", description="Absolute error"),)

    def prepare(self, data: Path | None, work: Path) -> TinyWorkload:  # noqa: ARG002 - it has its own
        """Make the model."""
        return TinyWorkload(work)
