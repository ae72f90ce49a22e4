"""Small ONNX models for tests, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["doubling_model", "matrix_model"]


def doubling_model(path: Path, *, rows: int | str = "rows") -> Path:
    """Write `y = 2 * x` and `total = sum(y, axis 1)` for `x` of FP32, shape (rows, 3)."""
    steps = [
        helper.make_node("Add", ["x", "x"], ["y"]),
        helper.make_node("ReduceSum", ["y", "axis"], ["total"], keepdims=1),
    ]
    return _save(
        path,
        steps,
        inputs=[("x", TensorProto.FLOAT, [rows, 3])],
        outputs=[("y", TensorProto.FLOAT, [rows, 3]), ("total", TensorProto.FLOAT, [rows, 1])],
        constants={"axis": np.array([1], dtype=np.int64)},
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
