"""Small ONNX models for tests, made on the spot, and the graphs inside of any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

__all__ = ["all_graphs", "doubling_model", "exit_model", "matrix_model", "ordered_model"]


def all_graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and all graphs inside of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from all_graphs(attribute.g)


def doubling_model(path: Path, *, rows: int | str = "rows", factor: float = 2.0) -> Path:
    """Write `y = 2 * x` and `total = sum(y, axis 1)` for `x` of FP32, shape (rows, 3).

    Another `factor` than 2 tells its answers from those of the usual model.
    """
    steps = [
        helper.make_node("Mul", ["x", "factor"], ["y"]),
        helper.make_node("ReduceSum", ["y", "axis"], ["total"], keepdims=1),
    ]
    return _save(
        path,
        steps,
        inputs=[("x", TensorProto.FLOAT, [rows, 3])],
        outputs=[("y", TensorProto.FLOAT, [rows, 3]), ("total", TensorProto.FLOAT, [rows, 1])],
        constants={
            "axis": np.array([1], dtype=np.int64),
            "factor": np.array([factor], dtype=np.float32),
        },
    )


def matrix_model(path: Path) -> Path:
    """Write `y = x` for `x` of FP32, shape (rows, columns), that fails unless columns is 3."""
    return _save(
        path,
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ["rows", "columns"])],
        outputs=[("y", TensorProto.FLOAT, ["rows", 3])],
        constants={"W": np.eye(3, dtype=np.float32)},
    )


def ordered_model(path: Path) -> Path:
    """Write `y = a` for inputs `a` and `b` of FP32 and shape (rows, any), of which `b` idles."""
    steps = [
        helper.make_node("ReduceSum", ["b", "axis"], ["b_total"], keepdims=1),
        helper.make_node("Mul", ["b_total", "zero"], ["nothing"]),
        helper.make_node("Add", ["a", "nothing"], ["y"]),
    ]
    return _save(
        path,
        steps,
        inputs=[
            ("a", TensorProto.FLOAT, ["rows", "a_columns"]),
            ("b", TensorProto.FLOAT, ["rows", "b_columns"]),
        ],
        outputs=[("y", TensorProto.FLOAT, ["rows", "a_columns"])],
        constants={"axis": np.array([1], np.int64), "zero": np.zeros(1, np.float32)},
    )


def exit_model(path: Path, *, threshold_shape: tuple[int, ...] = ()) -> Path:
    """Write an early-exit model of `x`, FP32 of shape (rows, 3).

    A row whose greatest value reaches `exit_threshold` takes exit 0 and has the answer 100; the
    others take exit 1 and have the answer 200.
    """
    steps = [
        helper.make_node("ReduceMax", ["x"], ["confidence"], axes=[1], keepdims=0),
        helper.make_node("GreaterOrEqual", ["confidence", "exit_threshold"], ["early"]),
        helper.make_node("Where", ["early", "zero", "one"], ["exit"]),
        helper.make_node("Where", ["early", "hundred", "two_hundred"], ["y"]),
    ]
    return _save(
        path,
        steps,
        inputs=[
            ("x", TensorProto.FLOAT, ["rows", 3]),
            ("exit_threshold", TensorProto.FLOAT, list(threshold_shape)),
        ],
        outputs=[("y", TensorProto.FLOAT, ["rows"]), ("exit", TensorProto.INT64, ["rows"])],
        constants={
            "zero": np.array([0], np.int64),
            "one": np.array([1], np.int64),
            "hundred": np.array([100], np.float32),
            "two_hundred": np.array([200], np.float32),
        },
    )


def _save(
    path: Path,
    nodes: list[Any],
    *,
    inputs: list[tuple[str, int, list[Any]]],
    outputs: list[tuple[str, int, list[Any]]],
    constants: dict[str, Any],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
