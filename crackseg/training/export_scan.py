"""A network that works on what it finds -> an ONNX graph that takes a batch picture by picture.

Mask R-CNN follows as many boxes as a picture gives it. Torch's exporter of symbolic shapes does not
take such steps; its older one, which follows one picture through the network, does. ONNX's ``Scan``
repeats that graph over the batch, so the model keeps the contract of every other.
"""

from __future__ import annotations

import io
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper


class _One(torch.nn.Module):
    """(h, w, 3) -> (h, w): the module on a batch of one."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, picture: Any) -> Any:
        return self.module(picture[None])[0]


def scan_pictures(module: torch.nn.Module, example: Any, opset: int) -> Any:
    """Return the ONNX model of a module, free in batch and sides.

    Args:
        module: (n, h, w, 3) uint8 -> (n, h, w) float32, each picture on its own.
        example: (n, h, w, 3) uint8; its first picture is followed, and should be one in which
            something is found.
        opset: version of the ONNX operators.

    Raises:
        OnnxExporterError: of torch, where a step has no ONNX twin.
    """
    file = io.BytesIO()
    sides = {0: "h", 1: "w"}
    torch.onnx.export(
        _One(module).eval(),
        (example[0],),
        file,
        dynamo=False,
        input_names=["picture"],
        output_names=["answer"],
        dynamic_axes={"picture": sides, "answer": sides},
        opset_version=opset,
    )
    one = onnx.load_from_string(file.getvalue()).graph
    weights = list(one.initializer)
    del one.initializer[:]  # they move out of the loop, where its body still sees them
    scan = helper.make_node("Scan", ["image"], ["probability"], body=one, num_scan_inputs=1)
    graph = helper.make_graph(
        [scan],
        "pictures",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", "h", "w"])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
