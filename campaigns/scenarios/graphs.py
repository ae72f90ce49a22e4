"""Build small ONNX graphs: inputs batched on axis 0, every answer the same alone or in a batch.

Dense layers are convolutions of width 1: ONNX Runtime runs those sample by sample, so that no
rounding depends on how many requests share a model run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["GraphBuilder", "run", "tree_ensemble", "with_metadata"]

_OPSET = 18
_ML_OPSET = 3
_IR_VERSION = 9
_TYPES = {
    "bool": TensorProto.BOOL,
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
}


class GraphBuilder:
    """A graph under construction; tensors are known by their names."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: str, shape: Sequence[int]) -> str:
        """Declare an input of shape (N, *shape); dtype is a NumPy name."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], ["N", *shape]))
        return name

    def constant(self, value: ArrayLike, dtype: str = "float32") -> str:
        """Add a constant tensor."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        result = name or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [result], name=result, **attributes))
        return result

    def dense(
        self, tensor: str, weights: ArrayLike, bias: ArrayLike, *, name: str | None = None
    ) -> str:
        """Add a dense layer to a tensor of shape (N, features, 1).

        Args:
            tensor: The input.
            weights: Shape (outputs, features).
            bias: Shape (outputs,).
            name: Name of the node and of its output.

        Returns:
            A tensor of shape (N, outputs, 1).
        """
        kernel = self.constant(np.asarray(weights)[:, :, None])
        return self.op("Conv", tensor, kernel, self.constant(bias), name=name, kernel_shape=[1])

    def network(self, tensor: str, layers: Iterable[tuple[ArrayLike, ArrayLike]]) -> str:
        """Add hidden layers, named `hidden_...`: dense, then the larger of 0 and the value.

        Args:
            tensor: The input, shape (N, features, 1).
            layers: Weights of shape (features, outputs), as scikit-learn has them, and biases.
        """
        for index, (weights, bias) in enumerate(layers):
            dense = self.dense(tensor, np.asarray(weights).T, bias, name=f"hidden_{index}")
            tensor = self.op("Relu", dense, name=f"hidden_{index}_relu")
        return tensor

    def mean(self, tensor: str, rows: int) -> str:
        """Add the mean over axis 1, kept as length 1, of a tensor (N, rows, values).

        A convolution too: `ReduceMean` sums in another order when the batch holds one sample.
        """
        return self.dense(tensor, np.full((1, rows), 1 / rows), [0.0])

    def reshape(self, tensor: str, *shape: int) -> str:
        """Reshape everything but the batch axis."""
        return self.op("Reshape", tensor, self.constant([0, *shape], "int64"))

    def reduce(self, kind: str, tensor: str, axis: int, *, keepdims: bool = False) -> str:
        """Reduce along one axis, for instance by `ReduceMean`."""
        return self.op(kind, tensor, self.constant([axis], "int64"), keepdims=int(keepdims))

    def take(self, tensor: str, rows: Sequence[int], axis: int = 1) -> str:
        """Keep some positions along an axis."""
        return self.op("Gather", tensor, self.constant(rows, "int64"), axis=axis)

    def clip(self, tensor: str, limit: float) -> str:
        """Clip to [-limit, limit]."""
        return self.op("Clip", tensor, self.constant(-limit), self.constant(limit))

    def output(self, tensor: str, name: str, dtype: str, shape: Sequence[int | None]) -> None:
        """Declare a tensor as an output of shape (N, *shape)."""
        self._nodes.append(helper.make_node("Identity", [tensor], [name], name=f"to_{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], ["N", *shape]))

    def model(self) -> onnx.ModelProto:
        """Return the checked model."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._constants
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="joulery"
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def with_metadata(model: onnx.ModelProto, properties: Mapping[str, str]) -> onnx.ModelProto:
    """Return the model with properties added to its metadata, sorted by name."""
    known = {prop.key: prop.value for prop in model.metadata_props} | dict(properties)
    del model.metadata_props[:]
    for key in sorted(known):
        model.metadata_props.add(key=key, value=known[key])
    return model


def run(
    model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]], *, chunk: int = 128
) -> dict[str, NDArray[Any]]:
    """Run a model over many samples on one thread; returns each output, concatenated."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    count = len(next(iter(inputs.values())))
    parts = [
        session.run(names, {key: array[at : at + chunk] for key, array in inputs.items()})
        for at in range(0, count, chunk)
    ]
    columns = zip(*parts, strict=True)
    return {name: np.concatenate(column) for name, column in zip(names, columns, strict=True)}


def tree_ensemble(
    graph: GraphBuilder,
    features: str,
    trees: Sequence[tuple[Any, NDArray[np.float64], int]],
    base: Sequence[float],
) -> str:
    """Add the sum of regression trees, grown by scikit-learn, to a tensor (N, features).

    Args:
        graph: The graph to add to.
        features: The input tensor.
        trees: Per tree: its `tree_`, the value of each node (used at leaves), its output.
        base: Start value of each output.

    Returns:
        A tensor of shape (N, outputs).
    """
    nodes: dict[str, list[Any]] = {
        key: []
        for key in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids",
                    "falsenodeids")
    }  # fmt: skip
    leaves: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for index, (tree, values, target) in enumerate(trees):
        leaf = tree.children_left < 0
        nodes["treeids"] += [index] * len(leaf)
        nodes["nodeids"] += range(len(leaf))
        nodes["featureids"] += np.where(leaf, 0, tree.feature).tolist()
        nodes["values"] += _round_down(np.where(leaf, 0.0, tree.threshold)).tolist()
        nodes["modes"] += np.where(leaf, "LEAF", "BRANCH_LEQ").tolist()
        nodes["truenodeids"] += np.where(leaf, 0, tree.children_left).tolist()
        nodes["falsenodeids"] += np.where(leaf, 0, tree.children_right).tolist()
        places = np.flatnonzero(leaf).tolist()
        leaves["treeids"] += [index] * len(places)
        leaves["nodeids"] += places
        leaves["ids"] += [target] * len(places)
        leaves["weights"] += values[places].tolist()
    attributes: dict[str, Any] = {f"nodes_{key}": column for key, column in nodes.items()}
    attributes |= {f"target_{key}": column for key, column in leaves.items()}
    return graph.op(
        "TreeEnsembleRegressor",
        features,
        domain="ai.onnx.ml",
        n_targets=len(base),
        base_values=list(base),
        aggregate_function="SUM",
        post_transform="NONE",
        **attributes,
    )


def _round_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 not above each value: `x <= threshold` then stays as it was."""
    near = values.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > values, below, near)
