"""Put a detector between frames and pixels: one graph from UINT8 frames to boxes on them.

Before the detector the frame is resized by the knob `resolution` and becomes an image; after it,
boxes in shares of the frame become pixels of the whole frame. So neither the stages of a detector
nor its answers depend on the resolution it looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..detections import BOXES, FRAME
from ..knobs import RESOLUTION

__all__ = ["BOXES", "FRAME", "IMAGE", "STEP_PX", "framed"]

IMAGE = "image"
"""What a detector takes: FP32, shape (N, 3, rows, columns), from -1 to 1."""
STEP_PX = 16
"""Width and height of an image are multiples of this; a frame's are rounded to the nearest."""

_SHARES = "boxes_in_shares"


def framed(detector: onnx.ModelProto) -> onnx.ModelProto:
    """Return a detector that takes `frame` and `resolution` in the place of `image`.

    Args:
        detector: Takes `image` and knobs, and gives `boxes` (N, slots, 4) in shares of the frame,
            x1, y1, x2, y2, beside other outputs.

    Returns:
        A model of the same outputs, boxes in pixels of the frame. Images are resized bilinearly,
        without a filter against aliasing: below half of the resolution, detail is skipped.

    Raises:
        ValueError: When the detector has no such input or output.
    """
    graph = detector.graph
    knobs = [entry for entry in graph.input if entry.name != IMAGE]
    if len(knobs) == len(graph.input) or BOXES not in [entry.name for entry in graph.output]:
        raise ValueError(f"found no input {IMAGE!r} or no output {BOXES!r}")
    nodes = []
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        outputs = [_SHARES if name == BOXES else name for name in node.output]
        del copy.output[:]
        copy.output.extend(outputs)
        nodes.append(copy)
    around = _Around()
    inputs = [
        helper.make_tensor_value_info(FRAME, TensorProto.UINT8, ["N", "height", "width", 3]),
        helper.make_tensor_value_info(RESOLUTION, TensorProto.FLOAT, []),
        *knobs,
    ]
    whole = helper.make_graph(
        [*around.before(), *nodes, *around.after()],
        graph.name,
        inputs,
        list(graph.output),
        [*graph.initializer, *around.constants],
    )
    model = helper.make_model(
        whole,
        opset_imports=list(detector.opset_import),
        ir_version=detector.ir_version,
        producer_name=detector.producer_name,
    )
    onnx.checker.check_model(model)
    return model


class _Around:
    """The nodes before and after a detector, under names of their own."""

    def __init__(self) -> None:
        self.constants: list[Any] = []

    def _constant(self, name: str, value: Any, dtype: str) -> str:
        full = f"frame/{name}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), full))
        return full

    @staticmethod
    def _node(kind: str, inputs: Sequence[str], result: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, [result], name=f"frame/{kind}/{result}", **attributes)

    def before(self) -> list[Any]:
        """Return what makes an image of a frame, and notes the frame's size."""
        node = self._node
        half, step = (
            self._constant("half", 0.5, "float32"),
            self._constant("step", STEP_PX, "float32"),
        )
        one = self._constant("one", 1.0, "float32")
        whole_step = self._constant("whole_step", STEP_PX, "int64")
        return [
            node("Transpose", [FRAME], "frame/planes", perm=[0, 3, 1, 2]),
            node("Cast", ["frame/planes"], "frame/floats", to=TensorProto.FLOAT),
            node("Shape", ["frame/floats"], "frame/shape_before", end=2),
            node("Shape", ["frame/floats"], "frame/size", start=2),
            node("Cast", ["frame/size"], "frame/size_px", to=TensorProto.FLOAT),
            node("Mul", ["frame/size_px", RESOLUTION], "frame/wanted_px"),
            node("Div", ["frame/wanted_px", step], "frame/wanted_steps"),
            node("Add", ["frame/wanted_steps", half], "frame/steps_and_half"),
            node("Floor", ["frame/steps_and_half"], "frame/rounded_steps"),
            node("Max", ["frame/rounded_steps", one], "frame/steps"),
            node("Cast", ["frame/steps"], "frame/whole_steps", to=TensorProto.INT64),
            node("Mul", ["frame/whole_steps", whole_step], "frame/image_size"),
            node("Concat", ["frame/shape_before", "frame/image_size"], "frame/sizes", axis=0),
            node(
                "Resize",
                ["frame/floats", "", "", "frame/sizes"],
                "frame/resized",
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            ),
            node(
                "Mul",
                ["frame/resized", self._constant("scale", 1 / 128, "float32")],
                "frame/scaled",
            ),
            node("Sub", ["frame/scaled", one], IMAGE),
        ]

    def after(self) -> list[Any]:
        """Return what makes pixels of shares."""
        order = self._constant("order", [1, 0, 1, 0], "int64")
        return [
            self._node("Gather", ["frame/size_px", order], "frame/sides_px", axis=0),
            self._node("Mul", [_SHARES, "frame/sides_px"], BOXES),
        ]
