"""Make a graph small and quick without changing what it computes: short names, constants in place.

Exported graphs name every tensor after where it was made and repeat every small constant; in a
small network with exits that is more than half of the file. Each constant is then there once in
each graph that computes with it, and not further out: an integer convolution inside an `If` whose
weights stand outside takes up to half as long again, for ONNX Runtime 1.32 seems to pack weights
when it loads them only where they are in the convolution's own graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import AttributeProto

__all__ = ["slimmed"]


def slimmed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same model with constants joined and in place, and its inner names shortened.

    Names of inputs and outputs of the whole model stay; nodes lose theirs.
    """
    slim = onnx.ModelProto()
    slim.CopyFrom(model)
    _Slimming(slim.graph).all()
    onnx.checker.check_model(slim)
    return slim


class _Slimming:
    """One graph, changed in place."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        entries = (*graph.input, *graph.output)
        self._kept: dict[str, str] = {entry.name: entry.name for entry in entries}
        self._names: dict[bytes, str] = {}
        self._constants: dict[str, Any] = {}
        self._same: dict[str, str] = {}

    def all(self) -> None:
        for graph in _graphs(self._graph):
            for tensor in graph.initializer:
                self._shared(tensor, tensor.name)
            del graph.initializer[:]
        for graph in _graphs(self._graph):
            self._hoist(graph)
        for place, graph in enumerate(_graphs(self._graph)):
            self._rename(graph, place)

    def _shared(self, tensor: Any, name: str) -> None:
        """Note a constant under the name of the first that has its value."""
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.name = ""
        content = copy.SerializeToString(deterministic=True)
        self._same[name] = self._names.setdefault(content, name)
        self._constants.setdefault(self._same[name], copy)

    def _hoist(self, graph: Any) -> None:
        """Make constants of the nodes that give one."""
        nodes = []
        for node in graph.node:
            # A constant may be written in other ways than as a tensor; those stay as they are.
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._shared(node.attribute[0].t, node.output[0])
            else:
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                nodes.append(copy)
        del graph.node[:]
        graph.node.extend(nodes)

    def _rename(self, graph: Any, place: int) -> None:
        """Shorten the names of a graph, and put the constants into it that its nodes compute with.

        Args:
            graph: The graph.
            place: Its number.
        """
        own: dict[str, str] = {}

        def given(name: str) -> str:
            name = self._same.get(name, name)
            if name not in self._constants:
                return self._short(name)
            if name not in own:
                own[name] = self._short(f"{place}: {name}")
                tensor = graph.initializer.add()
                tensor.CopyFrom(self._constants[name])
                tensor.name = own[name]
            return own[name]

        for node in graph.node:
            node.name = ""
            inputs, outputs = [*map(given, node.input)], [*map(self._short, node.output)]
            del node.input[:], node.output[:]
            node.input.extend(inputs)
            node.output.extend(outputs)
        if graph is not self._graph:
            for entry in graph.output:
                entry.name = given(entry.name)

    def _short(self, name: str) -> str:
        """Return the name that a tensor has from now on; none stays none."""
        return name and self._kept.setdefault(name, f"t{len(self._kept)}")


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and all graphs inside of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
