"""The fusion of side branches, computed as the sum that it is: the same function with less work.

Where a 1 x 1 convolution, class by class, ends a network that put the maps of its branches side by
side, its factors can be taken into the up-samplings and heads that made these maps; what is left is
to add them up. A head at full size takes in an up-sampling by one. Weights are changed, so this is
for graphs that hold weights of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper, numpy_helper

from crackseg.records import Array
from crackseg.training.joins import drop_unused


def sum_tail(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same function with the fusion at its end as a sum; others stay as they are.

    Args:
        model: its weights are initializers; it is changed in place.
    """
    tail = _Tail(model.graph)
    fuse = next((node for node in reversed(model.graph.node) if node.op_type == "Conv"), None)
    parts = [] if fuse is None else tail.parts(fuse)
    if fuse is None or not parts or not all(map(tail.is_scalable, parts)):
        return model
    factors, offset = (tail.values(name) for name in fuse.input[1:3])
    for number, part in enumerate(parts):
        tail.scale(part, factors[:, number, 0, 0])
    parts = [tail.without_up_by_one(part) for part in parts]
    tail.set(parts[0].input[2], tail.values(parts[0].input[2]) + offset)
    parts.sort(key=lambda part: part.op_type != "Conv")  # a runtime may add while it convolves
    _add_up(model.graph, fuse, [part.output[0] for part in parts])
    drop_unused(model.graph)
    return model


class _Tail:
    """A graph whose constants can be read and written."""

    def __init__(self, graph: Any) -> None:
        self._constants = {each.name: each for each in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._readers: dict[str, int] = {}
        for node in graph.node:
            for name in node.input:
                self._readers[name] = self._readers.get(name, 0) + 1

    def values(self, name: str) -> Array:
        """Return a constant."""
        values: Array = numpy_helper.to_array(self._constants[name])
        return values

    def set(self, name: str, values: Array) -> None:
        """Write a constant."""
        tensor = numpy_helper.from_array(values.astype(self.values(name).dtype), name)
        self._constants[name].CopyFrom(tensor)

    def parts(self, fuse: Any) -> list[Any]:
        """Return what makes the maps that a convolution fuses class by class, else nothing."""
        shape = self._makers.get(fuse.input[0])
        stack = None if shape is None else self._makers.get(shape.input[0])
        if shape is None or stack is None or len(fuse.input) < 3 or _number(fuse, "group") < 1:
            return []
        if (shape.op_type, stack.op_type, _number(stack, "axis")) != ("Reshape", "Concat", 2):
            return []
        apart = [self._makers.get(name) for name in stack.input]
        if any(each is None or each.op_type != "Unsqueeze" for each in apart):
            return []
        classes, count = self.values(fuse.input[1]).shape[:2]
        if _number(fuse, "group") != classes or count != len(apart):
            return []
        return [self._makers.get(each.input[0]) for each in apart if each is not None]

    def is_scalable(self, part: Any) -> bool:
        """Return whether each output of a node can be multiplied by changing its constants."""
        own = part is not None and self._is_own(part)
        return own and (part.op_type == "Conv" or self.values(part.input[1]).shape[1] == 1)

    def _is_own(self, part: Any) -> bool:
        """Return whether a node is a convolution whose weights and output one node reads."""
        return (
            part.op_type in ("Conv", "ConvTranspose")
            and len(part.input) == 3
            and all(name in self._constants for name in part.input[1:])
            and all(self._readers[name] == 1 for name in (*part.input[1:], part.output[0]))
        )

    def scale(self, part: Any, factors: Array) -> None:
        """Multiply every output of a node."""
        weight, bias = part.input[1:]
        self.set(weight, self.values(weight) * factors[:, None, None, None])
        self.set(bias, self.values(bias) * factors)

    def without_up_by_one(self, part: Any) -> Any:
        """Return a head that does what it and an up-sampling by one behind it do, else the part."""
        head = self._makers.get(part.input[0])
        weight = self.values(part.input[1])
        if part.op_type == "Conv" or weight.shape[1:] != (1, 1, 1) or head is None:
            return part
        if head.op_type != "Conv" or not self._is_own(head):
            return part
        self.scale(head, weight[:, 0, 0, 0])
        self.set(head.input[2], self.values(head.input[2]) + self.values(part.input[2]))
        return head


def _number(node: Any, name: str) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), 1)


def _add_up(graph: Any, fuse: Any, maps: Sequence[str]) -> None:
    """Put the sum of maps in the place of a convolution."""
    nodes, total, last = [], maps[0], len(maps) - 1
    for number, one in enumerate(maps[1:], 1):
        name = fuse.output[0] if number == last else f"{fuse.name}:sum{number}"
        nodes.append(helper.make_node("Add", [total, one], [name], name=f"{fuse.name}:add{number}"))
        total = name
    place = list(graph.node).index(fuse)
    all_nodes = [*graph.node[:place], *nodes, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(all_nodes)
