"""The costly last join of a decoder, computed at half size: the same function with less work.

A 3 x 3 convolution of an enlarged map beside a map of full size is the sum of two: one of the
full-size map, and one of the small map with a kernel for each of the four places in a pixel, which
DepthToSpace puts side by side. That is exact, also at the borders. The two kernels are written as
arithmetic on the trained one, which a runtime does once, when it opens the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from crackseg.records import Array

FEW_CHANNELS = 8  # a convolution with so few outputs leaves most of a vector register empty


def split_joined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same function with every costly last join of a decoder computed at half size.

    Args:
        model: its convolutions' weights are initializers; it is changed in place.
    """
    graph = model.graph
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        parts = _joined_parts(conv, makers)
        if parts is None or len(conv.input) < 3 or conv.input[1] not in shapes:
            continue
        shape = shapes[conv.input[1]]
        enlarged = shape[1] - _channels(parts[1], makers, shapes)
        if shape[0] <= FEW_CHANNELS and shape[2:] == (3, 3) and enlarged >= 1:
            constants, nodes = _split(conv, parts, shape, enlarged)
            graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in constants.items())
            _replace(graph, conv, nodes)
    drop_unused(graph)
    return model


def drop_unused(graph: Any) -> None:
    """Remove nodes and constants whose output nobody reads."""
    nodes = list(graph.node)
    while True:
        read = {name for node in nodes for name in node.input} | {o.name for o in graph.output}
        live = [node for node in nodes if read.intersection(node.output)]
        if len(live) == len(nodes):
            break
        nodes = live
    constants = [each for each in graph.initializer if each.name in read]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _joined_parts(conv: Any, makers: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the small map and the full-size one that a convolution reads side by side."""
    join = makers.get(conv.input[0])
    if join is None or join.op_type != "Concat" or len(join.input) != 2:
        return None
    enlarge = makers.get(join.input[0])
    if enlarge is None or enlarge.op_type != "Resize":
        return None
    mode = {a.name: a.s for a in enlarge.attribute}.get("mode", b"nearest")
    return (enlarge.input[0], join.input[1]) if mode == b"nearest" else None


def _channels(name: str, makers: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the channels of a map: those of the convolution it comes from."""
    while makers[name].op_type != "Conv":
        name = makers[name].input[0]
    return shapes[makers[name].input[1]][0]


def _split(
    conv: Any, parts: tuple[str, str], shape: tuple[int, ...], enlarged: int
) -> tuple[dict[str, Array], list[Any]]:
    """Return the constants and nodes of the sum that a convolution of a join is.

    Args:
        conv: it.
        parts: names of the small map and of the full-size one.
        shape: (C, c, 3, 3) of its weights.
        enlarged: how many of the c channels are those of the small map.
    """
    name, (small, skip) = conv.name, parts
    kernel, by_place, places = f"{name}:low:kernel", f"{name}:low:by_place", f"{name}:places"
    constants = {f"{name}:{key}": value for key, value in _numbers(shape, enlarged).items()}
    constants[places] = _places()
    end = {each: f"{name}:{each}" for each in ("start", "middle", "end", "axis")}
    at = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}

    def node(kind: str, of: list[str], out: str, **more: Any) -> Any:
        return helper.make_node(kind, of, [out], name=out, **more)

    slices = [conv.input[1], end["start"], end["middle"], end["axis"]]
    rest = [conv.input[1], end["middle"], end["end"], end["axis"]]
    return constants, [
        node("Slice", slices, f"{kernel}:3x3"),
        node("Reshape", [f"{kernel}:3x3", f"{name}:flat"], kernel),
        node("MatMul", [kernel, places], f"{kernel}:all"),
        node("Reshape", [f"{kernel}:all", f"{name}:apart"], f"{kernel}:apart"),
        node("Transpose", [f"{kernel}:apart"], f"{kernel}:first", perm=[2, 0, 1, 3]),
        node("Reshape", [f"{kernel}:first", f"{name}:kernels"], by_place),
        node("Slice", rest, f"{name}:full:kernel"),
        node("Conv", [small, by_place], f"{name}:low", **at),
        node("DepthToSpace", [f"{name}:low"], f"{name}:up", blocksize=2, mode="DCR"),
        node("Conv", [skip, f"{name}:full:kernel", conv.input[2]], f"{name}:full", **at),
        helper.make_node(
            "Add", [f"{name}:full", f"{name}:up"], list(conv.output), name=f"{name}:sum"
        ),
    ]


def _numbers(shape: tuple[int, ...], enlarged: int) -> dict[str, Array]:
    """Return the places of cuts and the shapes on the way to the kernels, as int64."""
    count, channels = shape[:2]
    numbers = {
        "start": [0],
        "middle": [enlarged],
        "end": [channels],
        "axis": [1],
        "flat": [count, enlarged, 9],
        "apart": [count, enlarged, 4, 9],
        "kernels": [4 * count, enlarged, 3, 3],
    }
    return {name: np.array(values, np.int64) for name, values in numbers.items()}


def _places() -> Array:
    """Return (9, 36) what a 3 x 3 kernel adds to the kernels of the four places over a small map.

    Columns are place after place, each the nine taps of its kernel.
    """
    taps = np.zeros((9, 4, 3, 3), np.float32)
    for place, (down, right) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        for row in (-1, 0, 1):
            for col in (-1, 0, 1):
                at = (down + row) // 2 + 1, (right + col) // 2 + 1
                taps[3 * (row + 1) + col + 1, place, at[0], at[1]] = 1
    return taps.reshape(9, 36)


def _replace(graph: Any, old: Any, new: list[Any]) -> None:
    nodes = list(graph.node)
    place = nodes.index(old)
    nodes[place : place + 1] = new
    del graph.node[:]
    graph.node.extend(nodes)
