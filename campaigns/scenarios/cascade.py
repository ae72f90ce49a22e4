"""Join the stages of an early-exit model into one graph that stops computing where a row leaves.

Each stage is a graph of its own, so that it can be quantised and measured alone. In the joined
graph a stage runs only for the rows that no exit before it let go: they are gathered, the rest of
the model runs on them inside an `If`, and their answers are scattered back. So the saving shows in
CPU time, row by row, in any runtime that runs ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .exits import CONFIDENCE, EXIT, MAX_EXIT, THRESHOLD

__all__ = ["FEATURES", "cascade"]

FEATURES = "features"
"""What a stage gives to the next, beside its answers. The last stage has no such output."""


def cascade(stages: Sequence[onnx.ModelProto], *, name: str) -> onnx.ModelProto:
    """Return one model of several stages.

    A row leaves by the first exit whose confidence reaches `exit_threshold`, and at the latest by
    exit `max_exit`, counted from 1.

    Args:
        stages: The first takes what clients send; the one input of each other stage, under any
            name, is `features` of the one before. Each gives `confidence` (FP32, shape (N,)), the
            same answers in the same order, and all but the last `features`; each axis 0 is of any
            length.
        name: Of the graph.

    Returns:
        A model with the inputs of the first stage, `exit_threshold` (FP32, scalar) and `max_exit`
        (INT64, scalar), and the outputs of the stages, `confidence` and `exit` (INT64, shape (N,)).

    Raises:
        ValueError: The stages do not fit together.
    """
    _check(stages)
    whole = _Whole(stages)
    nodes, results = whole.level(0, whole.inputs)
    outputs = [
        *whole.answers,
        helper.make_tensor_value_info(CONFIDENCE, TensorProto.FLOAT, ["N"]),
        helper.make_tensor_value_info(EXIT, TensorProto.INT64, ["N"]),
    ]
    for result, output in zip(results, outputs, strict=True):
        nodes.append(
            helper.make_node("Identity", [result], [output.name], name=f"to_{output.name}")
        )
    knobs = [
        helper.make_tensor_value_info(THRESHOLD, TensorProto.FLOAT, []),
        helper.make_tensor_value_info(MAX_EXIT, TensorProto.INT64, []),
    ]
    graph = helper.make_graph(
        nodes, name, [*stages[0].graph.input, *knobs], outputs, whole.constants
    )
    model = helper.make_model(
        graph,
        opset_imports=whole.opsets,
        ir_version=max(stage.ir_version for stage in stages),
        producer_name="joulery",
    )
    onnx.checker.check_model(model)
    return model


def _check(stages: Sequence[onnx.ModelProto]) -> None:
    """Raise ValueError where stages cannot follow each other."""
    if len(stages) < 2:
        raise ValueError(f"found {len(stages)} stages, expected 2 or more")
    answers = None
    for number, stage in enumerate(stages, start=1):
        given = [output.name for output in stage.graph.output]
        takes = [entry.name for entry in stage.graph.input]
        wanted = {CONFIDENCE} if number == len(stages) else {CONFIDENCE, FEATURES}
        if not wanted <= set(given) or (number == len(stages) and FEATURES in given):
            raise ValueError(f"stage {number}: found outputs {given}, expected {sorted(wanted)}")
        if number > 1 and len(takes) != 1:
            raise ValueError(f"stage {number}: found inputs {takes}, expected one")
        own = [entry for entry in given if entry not in (CONFIDENCE, FEATURES)]
        if answers not in (None, own):
            raise ValueError(f"stage {number}: found answers {own}, expected {answers}")
        answers = own


class _Whole:
    """The joined graph under construction."""

    def __init__(self, stages: Sequence[onnx.ModelProto]) -> None:
        self._stages = stages
        first = stages[0].graph
        self.inputs = {entry.name: entry.name for entry in first.input}
        self.answers = [entry for entry in first.output if entry.name not in (CONFIDENCE, FEATURES)]
        self.opsets = _opsets(stages)
        # All constants stand outermost, where an `If` sees them; `slimmed` puts them in place.
        self.constants: list[Any] = [
            numpy_helper.from_array(np.array([-1], dtype=np.int64), "last_axis"),
            numpy_helper.from_array(np.array([0], dtype=np.int64), "first_axis"),
        ]

    def level(self, index: int, inputs: dict[str, str]) -> tuple[list[Any], list[str]]:
        """Return the nodes of a stage and all after it, and what they give.

        Args:
            index: Of the stage.
            inputs: What its inputs are called outside of it.

        Returns:
            Nodes, and the names of answers, confidence and exit.
        """
        prefix = f"exit_{index + 1}/"
        nodes, given = self._inlined(index, inputs, prefix)
        answers = [given[entry.name] for entry in self.answers]
        number = f"{prefix}number"
        self.constants.append(numpy_helper.from_array(np.array(index + 1, dtype=np.int64), number))
        shape, exits = f"{prefix}shape", f"{prefix}exit"
        nodes += [
            helper.make_node("Shape", [given[CONFIDENCE]], [shape]),
            helper.make_node("Expand", [number, shape], [exits]),
        ]
        here = [*answers, given[CONFIDENCE], exits]
        if index + 1 == len(self._stages):
            return nodes, here
        nodes += _staying(prefix, given[CONFIDENCE], number)
        results = [f"{prefix}after/{place}" for place in range(len(here))]
        nodes.append(
            helper.make_node(
                "If",
                [f"{prefix}any"],
                results,
                name=f"{prefix}rest",
                then_branch=self._rest(index, given[FEATURES], here, prefix),
                else_branch=_unchanged(here, prefix),
            )
        )
        return nodes, results

    def _rest(self, index: int, features: str, here: list[str], prefix: str) -> Any:
        """Return the graph that runs what comes after a stage on the rows that stay."""
        rows, places = f"{prefix}rows", f"{prefix}places"
        nodes = [
            helper.make_node("NonZero", [f"{prefix}stays"], [f"{prefix}found"]),
            helper.make_node("Squeeze", [f"{prefix}found", "first_axis"], [places]),
            helper.make_node("Gather", [features, places], [rows], axis=0),
            helper.make_node("Unsqueeze", [places, "last_axis"], [f"{prefix}at"]),
        ]
        [entry] = self._stages[index + 1].graph.input
        inner, later = self.level(index + 1, {entry.name: rows})
        nodes += inner
        outputs = []
        for place, (mine, theirs) in enumerate(zip(here, later, strict=True)):
            result = f"{prefix}then/{place}"
            nodes.append(helper.make_node("ScatterND", [mine, f"{prefix}at", theirs], [result]))
            outputs.append(onnx.ValueInfoProto(name=result))
        return helper.make_graph(nodes, f"{prefix}then", [], outputs)

    def _inlined(
        self, index: int, inputs: dict[str, str], prefix: str
    ) -> tuple[list[Any], dict[str, str]]:
        """Return a stage's nodes under names of their own, and what its outputs are called."""
        graph = self._stages[index].graph
        names = dict(inputs)

        def named(name: str) -> str:
            return name and names.setdefault(name, prefix + name)

        for constant in graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(constant)
            copy.name = named(constant.name)
            self.constants.append(copy)
        nodes = []
        for node in graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = prefix + node.name
            del copy.input[:], copy.output[:]
            copy.input.extend(map(named, node.input))
            copy.output.extend(map(named, node.output))
            nodes.append(copy)
        return nodes, {entry.name: named(entry.name) for entry in graph.output}


def _staying(prefix: str, confidence: str, number: str) -> list[Any]:
    """Return the nodes that say which rows do not leave here, and whether there are any."""

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, [prefix + output], **attributes)

    return [
        # A confidence that is no number reaches nothing: the row stays.
        node("GreaterOrEqual", [confidence, THRESHOLD], "sure"),
        node("Not", [f"{prefix}sure"], "unsure"),
        node("Greater", [MAX_EXIT, number], "may_go_on"),
        node("And", [f"{prefix}unsure", f"{prefix}may_go_on"], "stays"),
        node("Cast", [f"{prefix}stays"], "counted", to=TensorProto.INT64),
        node("ReduceMax", [f"{prefix}counted"], "most", keepdims=0),
        node("Cast", [f"{prefix}most"], "any", to=TensorProto.BOOL),
    ]


def _unchanged(names: list[str], prefix: str) -> Any:
    """Return the graph that gives what there is."""
    results = [f"{prefix}else/{place}" for place in range(len(names))]
    nodes = [
        helper.make_node("Identity", [name], [result])
        for name, result in zip(names, results, strict=True)
    ]
    outputs = [onnx.ValueInfoProto(name=result) for result in results]
    return helper.make_graph(nodes, f"{prefix}else", [], outputs)


def _opsets(stages: Sequence[onnx.ModelProto]) -> list[Any]:
    """Return the operator sets of all stages: those of the same domain have to be the same."""
    versions: dict[str, int] = {}
    for stage in stages:
        for opset in stage.opset_import:
            if versions.setdefault(opset.domain, opset.version) != opset.version:
                raise ValueError(f"opset {opset.domain!r}: found several versions, expected one")
    return [helper.make_opsetid(domain, version) for domain, version in versions.items()]
