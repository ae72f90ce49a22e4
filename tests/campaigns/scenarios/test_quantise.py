"""Int8 models: which layers become integers, what their numbers are, and where constants stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from joulery.campaigns.scenarios import scenarios
from joulery.campaigns.scenarios.fitted import SHIPPED, model_file
from joulery.campaigns.scenarios.graphs import GraphBuilder, run
from joulery.campaigns.scenarios.quantise import quantise
from joulery.tests.campaigns.scenarios.onnx_models import all_graphs

_PAIR_LIMIT = 32_767
"""The most that a sum of two products may be where a CPU adds pairs in 16 bits."""
_INPUTS = 12
INT8 = [
    (one.name, family.name)
    for one in scenarios()
    for family in one.models
    if "int8" in family.precisions
]
PRECISIONS = {
    (one.name, family.name): family.precisions for one in scenarios() for family in one.models
}
EXITS = {(one.name, family.name): family.exits for one in scenarios() for family in one.models}


@pytest.fixture
def calibration() -> dict[str, Any]:
    """Return inputs of both signs."""
    return {"x": np.random.default_rng(3).normal(size=(64, _INPUTS)).astype(np.float32)}


def _network(layers: int) -> onnx.ModelProto:
    rng = np.random.default_rng(4)
    graph = GraphBuilder("network")
    tensor = graph.reshape(graph.input("x", "float32", (_INPUTS,)), _INPUTS, 1)
    hidden = graph.network(
        tensor, [(rng.normal(size=(_INPUTS, _INPUTS)), np.zeros(_INPUTS)) for _ in range(layers)]
    )
    readout = graph.dense(hidden, rng.normal(size=(1, _INPUTS)), [0.0])
    graph.output(graph.reshape(readout, 1), "y", "float32", (1,))
    return graph.model()


def _constants(graph: Any) -> dict[str, Any]:
    return {one.name: numpy_helper.to_array(one) for one in graph.initializer}


def _quantised(graph: Any) -> int:
    """Return how many convolutions of a graph compute with int8 weights."""
    made = {node.output[0]: node for node in graph.node}
    constants = _constants(graph)
    count = 0
    for node in graph.node:
        weights = made.get(node.input[1]) if node.op_type == "Conv" else None
        if weights is not None and weights.op_type == "DequantizeLinear":
            count += constants[weights.input[0]].dtype == np.int8
    return count


def test_layers_become_integers_and_answers_stay_close(calibration: dict[str, Any]) -> None:
    """All hidden layers, or all but the first; the readout has another name and stays float."""
    model = _network(3)
    expected = run(model, calibration)["y"]
    for leave in (0, 1, 2):
        narrow = quantise(model, calibration, "hidden_", leave=leave)
        assert _quantised(narrow.graph) == 3 - leave
        gap = np.abs(run(narrow, calibration)["y"] - expected).mean()
        assert 0 < gap < 0.05 * expected.std()


def test_a_single_layer_may_stay_as_it_is(calibration: dict[str, Any]) -> None:
    """With nothing left to turn into integers the model is the same."""
    model = _network(1)
    assert quantise(model, calibration, "hidden_", leave=1) == model
    with pytest.raises(ValueError, match="kernels_"):
        quantise(model, calibration, "kernels_")


@pytest.mark.parametrize(("name", "model"), INT8)
def test_no_product_can_saturate(name: str, model: str) -> None:
    """Activations are unsigned, weights signed and of seven bits: pairs of products fit 16 bits."""
    path = _path(name, model)
    kinds = set()
    for graph in all_graphs(onnx.load(path).graph):
        constants = _constants(graph)
        for node in graph.node:
            if node.op_type == "QuantizeLinear":
                kinds.add(constants[node.input[2]].dtype)
            elif node.op_type == "DequantizeLinear" and node.input[0] in constants:
                weights = constants[node.input[0]]
                if weights.dtype == np.int8:
                    assert 2 * 255 * int(np.abs(weights.astype(int)).max()) <= _PAIR_LIMIT
    assert kinds == {np.dtype(np.uint8)}


@pytest.mark.parametrize(("name", "model"), [one for one in INT8 if EXITS[one] > 1])
def test_constants_stand_in_the_graph_that_computes_with_them(name: str, model: str) -> None:
    """Nothing inside an `If` looks further out for a constant: that would cost time in each run."""
    whole = onnx.load(_path(name, model)).graph
    for graph in all_graphs(whole):
        outer = set() if graph is whole else {one.name for one in whole.initializer}
        assert not outer & {name for node in graph.node for name in node.input}
    assert any(
        tensor.data_type == TensorProto.INT8
        for graph in all_graphs(whole)
        if graph is not whole
        for tensor in graph.initializer
    )


@pytest.mark.parametrize(("name", "model"), [one for one in INT8 if EXITS[one] > 1])
def test_one_more_convolution_stays_float_in_mixed(name: str, model: str) -> None:
    """It is the first of those that int8 has as integers."""
    paths = [_path(name, model, precision) for precision in ("int8", "mixed")]
    if not paths[1].is_file():
        assert "mixed" not in PRECISIONS[name, model]
        return
    int8, mixed = ([_quantised(g) for g in all_graphs(onnx.load(path).graph)] for path in paths)
    first = next(place for place, count in enumerate(int8) if count)
    int8[first] -= 1
    assert int8 == mixed


def _path(name: str, model: str, precision: str = "int8") -> Path:
    return SHIPPED / name / "models" / model_file(model, precision)
