"""An 8-bit graph is the float one within its rounding, and the card says what it costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dark_model import CARD, probability_of, write_dark_model
from PIL import Image
from typer.testing import CliRunner

onnx = pytest.importorskip("onnx")
import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from crackseg.commands import app  # noqa: E402
from crackseg.errors import DataError, ModelError  # noqa: E402
from crackseg.inference.models import (  # noqa: E402
    GRAPHS,
    Model,
    has_eight_bit,
    load_model,
    write_card,
    write_probe,
)
from crackseg.inference.runtimes import check_probe  # noqa: E402
from crackseg.records import Array, Sample  # noqa: E402
from crackseg.training.joins import split_joined  # noqa: E402
from crackseg.training.quantize import (  # noqa: E402
    calibration_tiles,
    quantize,
    sensitive_ends,
)
from crackseg.training.tails import sum_tail  # noqa: E402


def graph_of(mean: float = 127.0) -> Any:
    """Return a small encoder and decoder: strided entrance, a join at full size, a last fusion."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> Array:
        spread = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)
        return spread.astype(np.float32)

    constants: dict[str, Array] = {
        "mean": np.full((1, 3, 1, 1), mean, np.float32),
        "std": np.full((1, 3, 1, 1), 64, np.float32),
        "six": np.float32(6),
        "zero": np.float32(0),
        "enlarge": np.array([1, 1, 2, 2], np.float32),
        "w1": weight(8, 3, 3, 3), "w2": weight(8, 1, 3, 3), "w3": weight(16, 8, 1, 1),
        "ws": weight(8, 3, 3, 3), "wj": weight(8, 24, 3, 3), "wf": weight(1, 8, 1, 1),
        "b8": np.zeros(8, np.float32), "b16": np.zeros(16, np.float32),
        "bj": np.linspace(-1, 1, 8).astype(np.float32), "bf": np.zeros(1, np.float32),
    }  # fmt: skip

    def conv(of: str, w: str, b: str, out: str, **more: Any) -> Any:
        side = constants[w].shape[-1]
        at = {"kernel_shape": [side] * 2, "pads": [side // 2] * 4, **more}
        return helper.make_node("Conv", [of, w, b], [out], name=out, **at)

    def node(kind: str, of: list[str], out: str, **more: Any) -> Any:
        return helper.make_node(kind, of, [out], name=out, **more)

    nodes = [
        node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2]),
        node("Cast", ["planes"], "floats", to=TensorProto.FLOAT),
        node("Sub", ["floats", "mean"], "away"),
        node("Div", ["away", "std"], "normal"),
        conv("normal", "w1", "b8", "half", strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Clip", ["half", "zero", "six"], "half6"),
        conv("half6", "w2", "b8", "each", group=8),
        node("Relu", ["each"], "each0"),
        conv("each0", "w3", "b16", "deep"),
        node("Relu", ["deep"], "deep0"),
        conv("normal", "ws", "b8", "stem"),
        node("Relu", ["stem"], "stem0"),
        node("Resize", ["deep0", "", "enlarge"], "large", mode="nearest",
             coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("Concat", ["large", "stem0"], "beside", axis=1),
        conv("beside", "wj", "bj", "joined"),
        node("Relu", ["joined"], "joined0"),
        conv("joined0", "wf", "bf", "logits"),
        node("Sigmoid", ["logits"], "sure"),
        node("Squeeze", ["sure", "axis"], "probability"),
    ]  # fmt: skip
    constants["axis"] = np.array([1], np.int64)
    sides = ["n", "h", "w"]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [*sides, 3])
    answer = helper.make_tensor_value_info("probability", TensorProto.FLOAT, sides)
    values = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "small", [image], [answer], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: Any, image: Array) -> Array:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: Array = session.run(None, {"image": image})[0]
    return answer


def pixels(seed: int, *shape: int) -> Array:
    """Return smooth grey with noise: what a network's maps see in a photograph."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(140, 30, (*shape, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def small(tmp_path: Path) -> Model:
    folder = tmp_path / "small"
    folder.mkdir()
    graph = graph_of()
    onnx.save(graph, str(folder / "model.onnx"))
    image = pixels(1, 1, 64, 96)
    write_probe(folder, image, run(graph, image))
    return Model(card=write_card(folder, replace(CARD, name="small")), folder=folder)


def test_a_join_computed_at_half_size_is_the_same_function() -> None:
    plain, split = graph_of(), split_joined(graph_of())
    kinds = [node.op_type for node in split.graph.node]
    assert "DepthToSpace" in kinds
    assert "Concat" not in kinds
    assert "Resize" not in kinds  # nothing reads the enlarged map any more
    for size in ((64, 96), (32, 32)):  # also at the borders, of which the small one has most
        image = pixels(2, 2, *size)
        assert np.abs(run(plain, image) - run(split, image)).max() < 1e-5


def test_joins_that_are_not_of_that_kind_stay() -> None:
    linear = graph_of()
    for attribute in next(n for n in linear.graph.node if n.op_type == "Resize").attribute:
        if attribute.name == "mode":
            attribute.s = b"linear"
    assert [n.op_type for n in split_joined(linear).graph.node].count("DepthToSpace") == 0


def test_entrance_in_strides_and_last_fusion_stay_in_float() -> None:
    assert set(sensitive_ends(graph_of())) == {
        "half", "half6", "each", "logits", "sure", "probability",
    }  # fmt: skip


def test_eight_bit_gives_nearly_what_float_gives(small: Model) -> None:
    tolerance = quantize(small, pixels(3, 8, 64, 96))
    graph = onnx.load(str(small.folder / GRAPHS["int8"]))
    kinds = [node.op_type for node in graph.graph.node]
    assert "Sub" not in kinds  # the picture's levels are read as they are
    assert "QuantizeLinear" in kinds
    stored = {each.name: each.data_type for each in graph.graph.initializer}
    assert stored["wf"] == TensorProto.FLOAT
    assert stored["w1"] == TensorProto.FLOAT
    assert [name for name in stored if name.startswith("w3") and stored[name] == TensorProto.INT8]
    image = pixels(4, 2, 64, 64)
    away = np.abs(run(graph, image) - run(graph_of(), image))
    assert 0 < away.mean() < 0.01
    assert 0.02 <= tolerance < 0.2
    model = load_model(small.folder)  # digests are not in its card yet
    assert not has_eight_bit(model.card)
    assert check_probe(model, precision="int8") == 0


def test_levels_are_read_as_they_are_only_with_a_whole_mean(small: Model) -> None:
    onnx.save(graph_of(mean=123.7), str(small.folder / "model.onnx"))
    quantize(small, pixels(3, 4, 64, 96))
    graph = onnx.load(str(small.folder / GRAPHS["int8"]))
    assert "Sub" in [node.op_type for node in graph.graph.node]


def test_calibration_takes_train_pictures_alone(tmp_path: Path) -> None:
    Image.fromarray(pixels(1, 40, 300)).save(tmp_path / "a.png")
    sample = Sample(
        image=tmp_path / "a.png", mask=tmp_path / "a.png", source="set", split="train"
    )  # fmt: skip
    tiles = calibration_tiles([sample], 64, 5, 0)
    assert tiles.shape == (1, 64, 64, 3)  # a lower picture is filled up, one picture gives one
    with pytest.raises(ModelError, match="split `train`, got val"):
        calibration_tiles([replace(sample, split="val")], 64, 5, 0)


def write_set(folder: Path) -> Path:
    """Write a set of two train and two val pictures with a dark line, and one sound wall."""
    for part in ("images", "masks"):
        (folder / "walls" / part).mkdir(parents=True)
    for number in range(5):
        picture = np.clip(np.random.default_rng(number).normal(170, 4, (96, 128)), 0, 255)
        mask = np.zeros((96, 128), np.uint8)
        if number < 4:
            mask[40:44, 10:110] = 255
            picture[mask > 0] = 40
        grey = picture.astype(np.uint8)
        Image.fromarray(np.dstack([grey] * 3)).save(folder / "walls/images" / f"p{number}.png")
        Image.fromarray(mask).save(folder / "walls/masks" / f"p{number}.png")
    (folder / "walls/train.txt").write_text("p0\np1\n")
    (folder / "walls/val.txt").write_text("p2\np3\np4\n")
    return folder


def test_the_command_adds_eight_bit_to_a_model_folder(tmp_path: Path) -> None:
    model = write_dark_model(tmp_path / "dark")
    done = CliRunner().invoke(
        app, ["export", str(model), "--int8", "--data", str(write_set(tmp_path / "sets"))]
    )
    assert done.exit_code == 0, done.output
    assert "taken unasked" in done.output
    card = load_model(model).card  # every digest holds
    assert has_eight_bit(card)
    assert card.eight_bit is not None
    assert abs(card.eight_bit.loss) < 0.005
    assert card.eight_bit.sets["walls"]["line_f1_int8"] == pytest.approx(1, abs=0.05)
    assert card.eight_bit.sets["walls"]["listed_int8"] == 0
    assert "width_error_mean_abs_px_float" in card.eight_bit.sets["walls"]
    assert "2 tiles" in card.eight_bit.calibrated_on
    values = json.loads((model / "card.json").read_text())
    assert values["threshold"] == CARD.threshold  # all else is as it was


def test_eight_bit_replaces_no_file_that_the_card_does_not_tell_of(tmp_path: Path) -> None:
    model, sets = write_dark_model(tmp_path / "dark"), str(write_set(tmp_path / "sets"))
    (model / "notes.txt").write_text("mine")
    foreign = model / GRAPHS["int8"]
    foreign.write_bytes(b"of somebody else")
    command = ["export", str(model), "--int8", "--data", sets]
    refused = CliRunner().invoke(app, command).exception
    assert isinstance(refused, ModelError)
    assert "model.int8.onnx` is not the file that card.json beside it tells of" in str(refused)
    assert foreign.read_bytes() == b"of somebody else"
    foreign.unlink()
    for _ in range(2):  # what it made itself it makes anew
        assert CliRunner().invoke(app, command).exit_code == 0
    assert "notes.txt" not in load_model(model).card.sha256, "which a later export would remove"


def test_what_the_command_needs_is_named(tmp_path: Path) -> None:
    model = write_dark_model(tmp_path / "dark")
    done = CliRunner().invoke(app, ["export", str(model), "--int8"])
    assert "`--data`" in str(done.exception)
    done = CliRunner().invoke(app, ["export", str(model)])
    assert "`--out`, `--name` and `--version`" in str(done.exception)
    sets = write_set(tmp_path / "sets")
    (sets / "walls/train.txt").unlink()
    with pytest.raises(DataError, match="split `train`"):
        raise (
            CliRunner().invoke(app, ["export", str(model), "--int8", "--data", str(sets)]).exception
        )  # type: ignore[misc]
    assert not (model / GRAPHS["int8"]).exists()
    assert probability_of(0.0) > 0.9


def fused(classes: int = 2) -> Any:
    """Return a network whose heads at full size and at half are fused class by class."""
    rng = np.random.default_rng(5)
    at = {"kernel_shape": [1, 1], "pads": [0] * 4}
    shapes = {
        "w1": (4, 3, 3, 3), "w2": (6, 4, 3, 3), "full_w": (classes, 7, 1, 1),
        "half_w": (classes, 6, 1, 1), "main_w": (classes, 4, 1, 1), "one_w": (classes, 1, 1, 1),
        "two_w": (classes, 1, 4, 4), "fuse_w": (classes, 3, 1, 1),
    }  # fmt: skip
    constants = {name: rng.normal(0, 0.4, shape) for name, shape in shapes.items()}
    constants |= {f"{k[:-2]}_b": rng.normal(0, 0.4, classes) for k in shapes if k.endswith("_w")}
    plain = {name: values.astype(np.float32) for name, values in constants.items()}
    plain["std"] = np.array(128, np.float32)
    plain["axis"] = np.array([2], np.int64)
    plain["flat"] = np.array([0, 3 * classes, 32, -1], np.int64)  # pictures are 32 px high

    def node(kind: str, of: list[str], out: str, **more: Any) -> Any:
        return helper.make_node(kind, of, [out], name=out, **more)

    up = {"group": classes}
    nodes = [
        node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2]),
        node("Cast", ["planes"], "levels", to=TensorProto.FLOAT),
        node("Div", ["levels", "std"], "floats"),
        node("Conv", ["floats", "w1"], "first", kernel_shape=[3, 3], pads=[1] * 4),
        node("Conv", ["first", "w2"], "small", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]),
        node("Concat", ["floats", "first"], "beside", axis=1),
        node("Conv", ["beside", "full_w", "full_b"], "full", **at),
        node("ConvTranspose", ["full", "one_w", "one_b"], "one", kernel_shape=[1, 1], **up),
        node("Conv", ["small", "half_w", "half_b"], "half", **at),
        node("ConvTranspose", ["half", "two_w", "two_b"], "two", kernel_shape=[4, 4],
             strides=[2, 2], pads=[1] * 4, **up),
        node("Conv", ["first", "main_w", "main_b"], "main", **at),
        *[node("Unsqueeze", [each, "axis"], f"{each}1") for each in ("one", "two", "main")],
        node("Concat", ["one1", "two1", "main1"], "stack", axis=2),
        node("Reshape", ["stack", "flat"], "flattened"),
        node("Conv", ["flattened", "fuse_w", "fuse_b"], "logits", **at, **up),
        node("Sigmoid", ["logits"], "probability"),
    ]  # fmt: skip
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])
    answer = helper.make_tensor_value_info("probability", TensorProto.FLOAT, None)
    values = [numpy_helper.from_array(v, k) for k, v in plain.items()]
    graph = helper.make_graph(nodes, "fused", [image], [answer], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_a_fusion_computed_as_a_sum_is_the_same_function() -> None:
    for classes in (1, 2):
        plain, summed = fused(classes), sum_tail(fused(classes))
        kinds = [node.op_type for node in summed.graph.node]
        assert kinds.count("Add") == 2
        assert kinds.count("ConvTranspose") == 1  # the head at full size takes in the other
        assert kinds.count("Conv") == 5
        assert not {"Unsqueeze", "Reshape"} & set(kinds)
        image = pixels(6, 2, 32, 48)
        expected = run(plain, image)
        assert expected.std() > 0.01
        assert np.abs(run(summed, image) - expected).max() < 1e-6


def test_a_fusion_whose_parts_are_read_elsewhere_stays() -> None:
    for name in ("two", "main_w"):
        graph = fused()
        if name == "two":  # the map of a branch is an answer as well
            graph.graph.node.append(helper.make_node("Relu", ["two"], ["other"], name="other"))
            graph.graph.output.append(helper.make_tensor_value_info("other", 1, None))
        else:
            next(n for n in graph.graph.node if n.name == "main").input[1] = "shared"
            next(n for n in graph.graph.node if n.name == "half").input[1] = "shared"
            shared = numpy_helper.from_array(np.ones((2, 6, 1, 1), np.float32), "shared")
            graph.graph.initializer.append(shared)
        assert "Reshape" in [node.op_type for node in sum_tail(graph).graph.node]
    assert sum_tail(graph_of()) == graph_of()


def test_no_map_is_rounded_that_float_nodes_alone_read(tmp_path: Path) -> None:
    folder = tmp_path / "fused"
    folder.mkdir()
    onnx.save(fused(), str(folder / "model.onnx"))
    image = pixels(1, 1, 32, 48)
    write_probe(folder, image, run(fused(), image))
    model = Model(card=write_card(folder, replace(CARD, name="fused")), folder=folder)
    quantize(model, pixels(3, 4, 32, 48))
    graph = onnx.load(str(folder / GRAPHS["int8"]))
    rounded = {node.input[0] for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    assert rounded == {"floats", "beside", "first", "small"}
    assert sensitive_ends(sum_tail(fused())) == ["logits:add1", "logits:add2", "probability"]
    image = pixels(4, 2, 32, 32)
    assert np.abs(run(graph, image) - run(fused(), image)).mean() < 0.02
