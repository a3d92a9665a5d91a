"""A model of one convolution, small enough to know every answer by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dark_model import CARD as DARK_CARD
from PIL import Image

from crackseg.inference.models import Model, load_model, write_card, write_probe
from crackseg.records import Array

MEAN, STD = (120.0, 115.0, 110.0), (60.0, 58.0, 56.0)
CARD = replace(DARK_CARD, name="tiny", network="tiny", mean=MEAN, std=STD)


def kernel(radius: int) -> Array:
    """Return (1, 3, k, k) float32 weights that make dark spots on a bright ground a crack."""
    side = 2 * radius + 1
    weights = np.random.default_rng(7).normal(0.01, 0.02, (1, 3, side, side))
    weights[0, :, radius, radius] = -0.8
    return weights.astype(np.float32)


def plain_probability(image: Array, radius: int) -> Array:
    """Return (H, W) probability of an (H, W, 3) picture by a plain sum; zeros lie outside."""
    weights = kernel(radius)[0]
    normal = (image.astype(np.float64) - MEAN) / STD
    padded = np.pad(normal, ((radius, radius), (radius, radius), (0, 0)))
    height, width = image.shape[:2]
    logits = np.zeros((height, width))
    for row in range(2 * radius + 1):
        for col in range(2 * radius + 1):
            part = padded[row : row + height, col : col + width]
            logits += part @ weights[:, row, col]
    return 1 / (1 + np.exp(-logits))


def write_onnx(path: Path, radius: int) -> None:
    """Write the network as an ONNX file that keeps the contract of model.onnx."""
    helper = pytest.importorskip("onnx.helper")
    onnx = pytest.importorskip("onnx")
    numbers = onnx.numpy_helper.from_array
    constants = [
        numbers(np.asarray(MEAN, np.float32), "mean"),
        numbers(np.asarray(STD, np.float32), "std"),
        numbers(kernel(radius), "weights"),
        numbers(np.array([1], np.int64), "channel"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
        helper.make_node("Transpose", ["normal"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights"], ["logits"], pads=[radius] * 4),
        helper.make_node("Sigmoid", ["logits"], ["sigmoid"]),
        helper.make_node("Squeeze", ["sigmoid", "channel"], ["probability"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("image", onnx.TensorProto.UINT8, ["n", "h", "w", 3])],
        [value("probability", onnx.TensorProto.FLOAT, ["n", "h", "w"])],
        constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="tests"
    )
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Model]:
    """A function that writes and loads a model folder: ``make_model(radius=3)``."""

    def make(*, radius: int = 3, **card: object) -> Model:
        folder = tmp_path / f"model-{radius}"
        folder.mkdir()
        write_onnx(folder / "model.onnx", radius)
        image = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)
        write_probe(folder, image, np.stack([plain_probability(i, radius) for i in image]))
        write_card(folder, replace(CARD, **card))  # type: ignore[arg-type]
        return load_model(folder)

    return make


@pytest.fixture
def make_picture(tmp_path: Path) -> Callable[..., tuple[Path, Array]]:
    """A function that writes a smooth random picture as PNG and returns its path and pixels."""

    def make(height: int, width: int, *, alpha: Array | None = None) -> tuple[Path, Array]:
        coarse = np.random.default_rng(3).integers(0, 256, (height // 4 + 2, width // 4 + 2, 3))
        pixels = np.kron(coarse, np.ones((4, 4, 1))).astype(np.uint8)[:height, :width]
        stored = pixels if alpha is None else np.dstack([pixels, alpha])
        path = tmp_path / f"picture-{height}x{width}.png"
        Image.fromarray(np.ascontiguousarray(stored)).save(path)
        return path, pixels

    return make


@pytest.fixture(name="expected_probability")
def _expected_probability() -> Callable[[Array, int], Array]:
    """The network's answer to a whole picture, by a plain sum."""
    return plain_probability


@pytest.fixture(name="kernel")
def _kernel() -> Callable[[int], Array]:
    """The network's weights by its radius."""
    return kernel
