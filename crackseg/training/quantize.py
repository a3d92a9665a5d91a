"""A float model folder and train tiles -> ``model.int8.onnx``, its probe and what the card says.

Weights are 8 bit per channel, activations 8 bit by their range over the tiles (static, as pairs of
QuantizeLinear and DequantizeLinear, which ONNX Runtime and OpenVINO both fuse). The ends stay in
float, see ``sensitive_ends``, and so does up-sampling by transposed convolution. The picture's
levels are read as they are, see ``_read_whole_levels``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from crackseg.errors import ModelError
from crackseg.imagery.files import open_image
from crackseg.imagery.tiles import pad_tile
from crackseg.inference.models import GRAPHS, Model, read_probe, write_probe
from crackseg.records import Array, Sample
from crackseg.training.joins import drop_unused
from crackseg.training.tails import sum_tail

QUANTIZED = ["Conv", "Concat", "Add", "Resize", "Relu", "Clip", "MaxPool", "DepthToSpace"]
_LEAST_TOLERANCE = 0.02


def calibration_tiles(samples: Sequence[Sample], tile_px: int, count: int, seed: int) -> Array:
    """Return (count, tile_px, tile_px, 3) uint8, one tile of each of ``count`` pictures.

    Args:
        samples: of split ``train``.
        tile_px: side.
        count: how many; fewer where there are fewer pictures.
        seed: of the choice.

    Raises:
        ModelError: a sample is not of ``train``: scores on its list would be of known pictures.
    """
    foreign = sorted({sample.split for sample in samples} - {"train"})
    if foreign:
        raise ModelError(f"8 bit is calibrated on split `train`, got {', '.join(foreign)}.")
    rng = np.random.default_rng(seed)
    tiles = []
    for number in rng.permutation(len(samples))[:count]:
        with open_image(samples[number].image) as image:
            pixels = image.read()
        row, col = (int(rng.integers(max(side - tile_px, 0) + 1)) for side in pixels.shape[:2])
        cut = pixels[row : row + tile_px, col : col + tile_px]
        tiles.append(pad_tile(cut, tile_px, tile_px))
    return np.stack(tiles)


def quantize(model: Model, tiles: Array) -> float:
    """Write the 8-bit graph of a model and its probe into the model's folder.

    Args:
        model: a folder with a float graph.
        tiles: (n, h, w, 3) uint8, from ``calibration_tiles``.

    Returns:
        How far a runtime's answer to the probe may be from the written one: twice what the fused
        graph and the same graph computed step by step differ.

    Raises:
        ModelError: the 8-bit graph gives values that are not finite.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, rough = Path(folder) / "plain.onnx", Path(folder) / "rough.onnx"
        target = Path(folder) / GRAPHS["int8"]
        graph = sum_tail(_folded(model.folder / GRAPHS["float"], plain))
        onnx.save(graph, str(plain))
        ends = sensitive_ends(graph)
        quantize_static(
            str(plain),
            str(rough),
            _Reader(tiles),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=QUANTIZED,
            nodes_to_exclude=ends,
            calibrate_method=CalibrationMethod.MinMax,
        )
        whole = _read_whole_levels(onnx.load(str(rough)))
        onnx.save(_without_vain_rounding(whole, graph, ends), str(target))
        image, _ = read_probe(model.folder)
        fused = _run(target, image, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        by_steps = _run(target, image, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        if not (np.isfinite(fused).all() and np.isfinite(by_steps).all()):
            raise ModelError(
                f"the 8-bit graph of `{model.folder}` gives values that are not finite; keep the "
                "float graph."
            )
        shutil.copyfile(target, part := model.folder / f"{target.name}.tmp")
    part.replace(model.folder / target.name)
    write_probe(model.folder, image, fused, "int8")
    return max(2 * float(np.abs(fused - by_steps).max()), _LEAST_TOLERANCE)


def sensitive_ends(graph: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that stay in float.

    These are the last convolution and all behind it (where several maps are added up there, all
    behind the convolutions that make them), and a convolution that reads the picture in
    strides with what follows up to the next one: OpenVINO 2026.4 rounds that map by far more than
    a step (probe off by 0.7), and 8 bit gains nothing there.
    """
    nodes = list(graph.graph.node)
    last = max((i for i, n in enumerate(nodes) if n.op_type == "Conv"), default=len(nodes))
    ends = [node.name for node in nodes[last:]]
    if any(n.op_type == "Add" and set(n.input) & set(nodes[last].output) for n in nodes[last:]):
        ends = ends[1:]
    made_by_conv: set[str] = set()
    for node in nodes:
        if made_by_conv.intersection(node.input):
            made_by_conv.update(node.output)
        elif node.op_type == "Conv":
            made_by_conv.update(node.output)
            if max(_strides(node)) > 1:
                ends += [node.name, *_up_to_next_conv(nodes, node)]
    return ends


def _strides(conv: Any) -> list[int]:
    return next((list(a.ints) for a in conv.attribute if a.name == "strides"), [1])


def _up_to_next_conv(nodes: Sequence[Any], start: Any) -> Iterator[str]:
    """Yield the names of the nodes behind one, up to the next convolutions and these as well."""
    reached = set(start.output)
    for node in nodes:
        if reached.intersection(node.input):
            yield node.name
            if node.op_type != "Conv":
                reached.update(node.output)


def _read_whole_levels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same function that takes the picture's levels as 8-bit activations as they are.

    With one whole number as the mean of all colours and one deviation, (level - mean) / deviation
    is what DequantizeLinear computes; other graphs stay as they are.
    """
    graph = model.graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for quantized in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        chain = _normalisation(quantized.input[0], makers, values)
        if chain is None:
            continue
        levels, mean, deviation = chain
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.float32(1 / deviation), "level:scale"),
                numpy_helper.from_array(np.uint8(mean), "level:zero"),
            ]
        )
        for node in graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] == quantized.output[0]:
                node.input[:] = [levels, "level:scale", "level:zero"]
        break
    drop_unused(graph)
    return model


def _without_vain_rounding(
    model: onnx.ModelProto, plain: onnx.ModelProto, ends: Sequence[str]
) -> onnx.ModelProto:
    """Return the graph that rounds no map to 8 bit which only nodes in float read.

    Args:
        model: with pairs of QuantizeLinear and DequantizeLinear; it is changed in place.
        plain: the float graph that it was made of.
        ends: names of the nodes that were left in float.
    """
    in_float = {each.name for each in plain.graph.node if each.op_type not in QUANTIZED} | set(ends)
    clipping = [each for each in plain.graph.node if each.op_type in ("Relu", "Clip")]
    clipped = {name for each in clipping for name in each.output}  # by the rounding alone, now
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for rounding in [each for each in model.graph.node if each.op_type == "QuantizeLinear"]:
        back = readers.get(rounding.output[0], [])
        behind = [node for each in back for node in readers.get(each.output[0], [])]
        is_vain = bool(behind) and all(node.name in in_float for node in behind)
        if is_vain and rounding.input[0] not in clipped:
            for node in behind:
                of = {each.output[0]: rounding.input[0] for each in back}
                node.input[:] = [of.get(name, name) for name in node.input]
    drop_unused(model.graph)
    return model


def _normalisation(
    name: str, makers: dict[str, Any], values: dict[str, Array]
) -> tuple[str, float, float] | None:
    """Return levels, mean and deviation where a map is (levels - mean) / deviation, else None."""
    steps = []
    for kind in ("Div", "Sub", "Cast"):
        node = makers.get(name)
        if node is None or node.op_type != kind:
            return None
        steps.append(node)
        name = node.input[0]
    deviation, mean = (np.unique(values.get(node.input[1], [0.5, 1])) for node in steps[:2])
    whole = len(mean) == len(deviation) == 1 and float(mean[0]).is_integer() and 0 <= mean[0] < 256
    return (name, float(mean[0]), float(deviation[0])) if whole else None


class _Reader(CalibrationDataReader):
    def __init__(self, tiles: Array) -> None:
        self._tiles: Iterator[Array] = iter(tiles)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next tile as the graph's input."""
        tile = next(self._tiles, None)
        return None if tile is None else {"image": tile[None]}


def _folded(source: Path, target: Path) -> onnx.ModelProto:
    """Return a graph in plain ONNX whose constants are computed: half-stored weights are float."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(target))
    plain = [each for each in model.opset_import if each.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(plain)
    return model


def _run(file: Path, image: Array, level: Any) -> Array:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    answer: Array = session.run(["probability"], {"image": image})[0]
    return answer
