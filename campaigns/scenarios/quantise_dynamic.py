"""Turn a float model into an int8 one whose activations are scaled while it runs.

Nothing is calibrated: the scale is that of what has come. It is each sample's own, as that of each
token in ZeroQuant (Yao et al. 2022): ONNX's `DynamicQuantizeLinear` has one scale for a whole
batch, so that answers would depend on who else asks. Scales, products and sums are then of one
sample alone, and answers are the same in any batch.

Integers are as in `quantise`: unsigned activations, signed weights of seven bits, a scale for each
output channel. ONNX Runtime has no fused kernel for this, so that finding the scale, rounding and
scaling back are steps of their own: they cost what integers save, and more where layers are small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

__all__ = ["quantise_dynamically"]

_WEIGHT_LEVELS = 63
_SIGNED_LEVELS, _ZERO = 127.0, 128
_POSITIVE_LEVELS = 255.0
_TINY = 1e-20
"""Least scale of activations: those that are all 0 are divided by it."""


def quantise_dynamically(
    model: onnx.ModelProto, layer_prefix: str, *, leave: int = 0
) -> onnx.ModelProto:
    """Return the model with some convolutions in int8; everything else stays float.

    Args:
        model: The float model.
        layer_prefix: How the names of the layers begin, as in `quantise`.
        leave: How many convolutions, from the first on, stay float too.

    Raises:
        ValueError: When no convolution has such a name.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    layers = [n for n in graph.node if n.op_type == "Conv" and n.name.startswith(layer_prefix)]
    if not layers:
        raise ValueError(f"no convolution's name begins with {layer_prefix!r}")
    chosen = {layer.output[0] for layer in layers[leave:]}
    positive = {node.output[0] for node in graph.node if node.op_type == "Relu"}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.output[0] in chosen:
            nodes += _Integers(graph, node, is_positive=node.input[0] in positive).nodes
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for tensor in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(tensor)
    onnx.checker.check_model(changed, full_check=True)
    return changed


class _Integers:
    """The nodes that stand for one convolution; their constants are added to the graph.

    Args:
        graph: What the convolution was in.
        layer: The convolution.
        is_positive: Whether nothing below 0 comes to it.
    """

    def __init__(self, graph: onnx.GraphProto, layer: onnx.NodeProto, *, is_positive: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph, self._name = graph, layer.output[0]
        source, *names = layer.input
        known = {one.name: one for one in graph.initializer}
        weights, *bias = (numpy_helper.to_array(known[name]) for name in names)
        others = tuple(range(1, weights.ndim))
        by_output = (-1, *(1 for _ in others[1:]))
        weight_scale = np.abs(weights).max(axis=others, keepdims=True) / _WEIGHT_LEVELS
        weight_scale[weight_scale == 0] = 1.0
        levels = _POSITIVE_LEVELS if is_positive else _SIGNED_LEVELS

        size = source if is_positive else self._add("Abs", source)
        size = self._add("ReduceMax", size, self._keep("others", np.array(others)), keepdims=1)
        size = self._add("Max", size, self._keep("tiny", np.float32(_TINY)))
        steps = self._add("Div", self._keep("levels", np.float32(levels)), size)
        rounded = self._add("Round", self._add("Mul", source, steps))
        if not is_positive:
            rounded = self._add("Add", rounded, self._keep("offset", np.float32(_ZERO)))
        summed = self._add(
            "ConvInteger",
            self._add("Cast", rounded, to=onnx.TensorProto.UINT8),
            self._keep("weights", np.round(weights / weight_scale).astype(np.int8)),
            self._keep("zero", np.uint8(0 if is_positive else _ZERO)),
            **{one.name: onnx.helper.get_attribute_value(one) for one in layer.attribute},
        )
        scale = (weight_scale / levels).astype(np.float32).reshape(by_output)
        scale = self._add("Mul", size, self._keep("scale", scale))
        answer = self._add("Mul", self._add("Cast", summed, to=onnx.TensorProto.FLOAT), scale)
        for one in bias:
            answer = self._add("Add", answer, self._keep("bias", one.reshape(by_output)))
        self.nodes[-1].output[0] = self._name

    def _keep(self, what: str, value: np.generic | NDArray[Any]) -> str:
        """Add a constant, and return its name."""
        name = f"{self._name}/{what}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        name = f"{self._name}/{len(self.nodes)}_{kind}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name
