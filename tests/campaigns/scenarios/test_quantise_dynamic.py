"""Int8 models that find their scales while they run: how close, and of one sample alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from joulery.campaigns.scenarios import scenarios
from joulery.campaigns.scenarios.fitted import SHIPPED, model_file
from joulery.campaigns.scenarios.graphs import GraphBuilder, run
from joulery.campaigns.scenarios.quantise_dynamic import quantise_dynamically
from joulery.tests.campaigns.scenarios.onnx_models import all_graphs

_CHANNELS, _PLACES = 6, 20


def _network() -> onnx.ModelProto:
    """Return a network of two hidden convolutions, of inputs of both signs and of none below 0."""
    rng = np.random.default_rng(4)
    graph = GraphBuilder("network")
    tensor = graph.input("x", "float32", (_CHANNELS, _PLACES))
    for number in range(2):
        weights = rng.normal(size=(_CHANNELS, _CHANNELS, 3))
        weights[1] = 0.0  # a channel that says nothing has no scale either
        convolved = graph.op(
            *("Conv", tensor, graph.constant(weights), graph.constant(rng.normal(size=_CHANNELS))),
            name=f"hidden_{number}",
            kernel_shape=[3],
            dilations=[2],
            pads=[2, 2],
        )
        tensor = graph.op("Relu", convolved)
    graph.output(tensor, "y", "float32", (_CHANNELS, _PLACES))
    return graph.model()


def _inputs(scale: float = 1.0) -> dict[str, Any]:
    values = np.random.default_rng(3).normal(size=(16, _CHANNELS, _PLACES))
    return {"x": (scale * values).astype(np.float32)}


def _kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("leave", [0, 1, 2])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_answers_stay_close_at_any_scale(leave: int, scale: float) -> None:
    """What was never seen before is scaled like everything else, as no learned range can do."""
    model = _network()
    narrow = quantise_dynamically(model, "hidden_", leave=leave)
    assert _kinds(narrow).count("ConvInteger") == 2 - leave
    assert _kinds(narrow).count("Conv") == leave
    said, exact = (run(one, _inputs(scale))["y"] for one in (narrow, model))
    gap = np.abs(said - exact).mean()
    assert gap < 0.03 * exact.std()
    assert bool(gap) == (leave < 2)


def test_answers_are_of_one_sample_alone() -> None:
    """The largest among others in a batch changes nothing, bit for bit; nor does one of zeros."""
    narrow = quantise_dynamically(_network(), "hidden_")
    inputs = _inputs()["x"]
    inputs[3] *= 1e4
    inputs[5] = 0.0
    together = run(narrow, {"x": inputs})["y"]
    for place in range(len(inputs)):
        alone = run(narrow, {"x": inputs[place : place + 1]})["y"]
        assert together[place].tobytes() == alone.tobytes()
    assert np.isfinite(together).all()


def test_the_float_model_is_left_as_it_was() -> None:
    """Another name of layers is an error; float weights are gone from the new model only."""
    model = _network()
    before = model.SerializeToString()
    narrow = quantise_dynamically(model, "hidden_")
    assert model.SerializeToString() == before
    weights = [numpy_helper.to_array(one) for one in narrow.graph.initializer]
    assert not [one for one in weights if one.ndim == 3 and one.shape[1] > 1 and one.dtype != "i1"]
    assert max(np.abs(one.astype(int)).max() for one in weights if one.dtype == "i1") == 63
    with pytest.raises(ValueError, match="kernels_"):
        quantise_dynamically(model, "kernels_")


def test_the_layers_of_int8_are_those_of_int8_dynamic() -> None:
    """In what ships the same convolutions are integers in both, and each scenario has both."""
    found = [
        (SHIPPED / one.name / "models", family.name)
        for one in scenarios()
        for family in one.models
        if "int8_dynamic" in family.precisions
    ]
    assert len({folder for folder, _ in found}) == len(scenarios())
    for folder, name in found:
        counts = [
            [
                len([node for node in graph.node if node.op_type == "Conv"])
                for graph in all_graphs(onnx.load(folder / model_file(name, precision)).graph)
            ]
            for precision in ("fp32", "int8_dynamic")
        ]
        static = onnx.load(folder / model_file(name, "int8")).graph
        integers = [
            len([n for n in graph.node if n.op_type == "Conv" and _is_narrow(graph, n)])
            for graph in all_graphs(static)
        ]
        assert [a - b for a, b in zip(*counts, strict=True)] == integers


def _is_narrow(graph: Any, node: onnx.NodeProto) -> bool:
    makers = {one.output[0]: one.op_type for one in graph.node}
    return makers.get(node.input[1]) == "DequantizeLinear"
