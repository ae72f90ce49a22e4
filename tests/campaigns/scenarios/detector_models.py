"""Small ONNX detectors, made on the spot, that find what they were told to, or what is bright."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["bright_detector", "telling_detector"]


def telling_detector(
    path: Path,
    outputs: Mapping[str, NDArray[Any]],
    *,
    shape: Sequence[int | str] = (1, 3, 640, 640),
    dtype: int = TensorProto.FLOAT,
    names: Mapping[int, str] | Sequence[str] | None = None,
    logistic: Collection[str] = (),
    size: tuple[int, int] | None = None,
) -> Path:
    """Write a detector that answers any picture with the given FP32 tensors.

    Args:
        path: The file.
        outputs: Its answers, by name; INT64 ones stay so.
        shape: Of its picture.
        dtype: Of its picture.
        names: Names of classes in its metadata.
        logistic: Outputs that a logistic function ends, through a `Clip`; the rest are as told.
        size: Height and width of its picture in its metadata.
    """
    nodes = [
        helper.make_node("Cast", ["picture"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
    ]
    constants = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    declared = []
    for name, array in outputs.items():
        values = array.astype(np.float32)
        if name in logistic:
            values = np.log(values / (1 - values))
        constants.append(numpy_helper.from_array(values, f"{name}_told"))
        nodes.append(helper.make_node("Add", [f"{name}_told", "nothing"], [f"{name}_sum"]))
        kind = TensorProto.FLOAT
        if array.dtype == np.int64:
            kind = TensorProto.INT64
            nodes.append(helper.make_node("Cast", [f"{name}_sum"], [name], to=kind))
        elif name in logistic:
            nodes.append(helper.make_node("Sigmoid", [f"{name}_sum"], [f"{name}_ratio"]))
            nodes.append(helper.make_node("Clip", [f"{name}_ratio"], [name]))
        else:
            nodes.append(helper.make_node("Identity", [f"{name}_sum"], [name]))
        declared.append(helper.make_tensor_value_info(name, kind, list(array.shape)))
    picture = helper.make_tensor_value_info("picture", dtype, list(shape))
    model = _model(nodes, [picture], declared, constants)
    if names is not None:
        model.metadata_props.add(key="names", value=repr(names))
    if size is not None:
        model.metadata_props.add(key="imgsz", value=repr(list(size)))
    onnx.save(model, str(path))
    return path


def bright_detector(path: Path, *, side: int = 256, cell: int = 4, batch: int | str = 1) -> Path:
    """Write a CenterNet that finds 16 by 32 pixels around what is brightest in red.

    Its heat map has one class, and goes through the logistic function in the graph.

    Args:
        path: The file.
        side: Of its picture, in pixels.
        cell: Of its heat map, in pixels.
        batch: How many pictures it takes: a number, or a name for any.
    """
    cells = side // cell
    constants = [
        numpy_helper.from_array(np.array([[[[1.0]], [[0.0]], [[0.0]]]], np.float32), "red"),
        numpy_helper.from_array(np.array(20, np.float32), "steep"),
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(
            np.broadcast_to(
                np.array([16, 32], np.float32)[None, :, None, None] / cell, (1, 2, cells, cells)
            ).copy(),
            "wh_told",
        ),
        numpy_helper.from_array(np.full((1, 2, cells, cells), 0.5, np.float32), "reg_told"),
    ]
    nodes = [
        helper.make_node("Conv", ["picture", "red"], ["only_red"], kernel_shape=[1, 1]),
        helper.make_node(
            "AveragePool", ["only_red"], ["mean"], kernel_shape=[cell] * 2, strides=[cell] * 2
        ),
        helper.make_node("Sub", ["mean", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "steep"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["hm"]),
        # As many as pictures: what is told, once for each.
        helper.make_node("Mul", ["hm", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "wh_told"], ["wh"]),
        helper.make_node("Add", ["nothing", "reg_told"], ["reg"]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, depth, cells, cells])
        for name, depth in (("hm", 1), ("wh", 2), ("reg", 2))
    ]
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, 3, side, side])
    onnx.save(_model(nodes, [picture], outputs, constants), str(path))
    return path


def _model(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "detector", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model
