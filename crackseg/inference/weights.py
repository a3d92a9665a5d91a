"""The trained tensors of a network: from safetensors, or out of the ONNX graph that holds them.

Reading needs torch, and reading a graph the package ``onnx`` as well: both are in the extras
``torch`` and ``train``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crackseg.errors import ModelError
from crackseg.inference.models import GRAPHS, SAFETENSORS
from crackseg.names import require

PREFIX = "network."  # of a trained tensor's name in a graph


def weights_file(folder: Path) -> Path:
    """Return the file of a run's or model's folder that holds its trained tensors."""
    graph = folder / GRAPHS["float"]
    return (
        graph if graph.is_file() and not (folder / SAFETENSORS).exists() else folder / SAFETENSORS
    )


def read_weights(path: Path) -> dict[str, Any]:
    """Return a network's state dict, from safetensors or from a graph ``crackseg export`` wrote.

    Raises:
        OSError: the file cannot be read.
        ModelError: it is damaged, or a graph without a network's trained tensors.
    """
    if path.suffix == ".onnx":
        return _from_graph(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Any] = load_file(path)
    except SafetensorError as error:
        raise ModelError(f"`{path}` is not safetensors: {error}.") from error
    return tensors


def _from_graph(path: Path) -> dict[str, Any]:
    require("onnx", extra="torch")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(str(path)).graph
    except DecodeError as error:
        raise ModelError(f"`{path}` is not an ONNX graph: {error}.") from error
    tensors = dict(_named(graph))
    if not tensors:
        raise ModelError(
            f"`{path}` holds no trained tensors by name; take a model that this release's "
            "`crackseg export` wrote, or a folder with weights.safetensors."
        )
    return tensors


def _named(graph: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and tensor of a network's state dict; normalisations have seen no batch."""
    import torch
    from onnx import numpy_helper

    for each in graph.initializer:
        name = each.name.removeprefix(PREFIX)
        if name != each.name:
            yield name, torch.from_numpy(numpy_helper.to_array(each).copy())
            if name.endswith(".running_var"):
                yield name.replace("running_var", "num_batches_tracked"), torch.tensor(0)
