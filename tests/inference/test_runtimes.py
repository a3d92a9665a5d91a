"""Every runtime gives the probe's answer, one tile at a time or many, and names what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crackseg.errors import ConfigError, ModelError
from crackseg.inference import runtimes
from crackseg.inference.models import Model, load_model, read_probe, write_card
from crackseg.inference.runtimes import (
    HALF_TOLERANCE,
    PROBE_TOLERANCE,
    RUNTIMES,
    check_probe,
    open_forward,
)
from crackseg.names import look_up
from crackseg.records import Array

MakeModel = Callable[..., Model]
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}


@pytest.fixture(params=sorted(RUNTIMES))
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every runtime whose package is installed; torch learns the tests' network."""
    name = str(request.param)
    pytest.importorskip(PACKAGES[name])
    if name == "torch":
        from crackseg.inference import torch_runtime

        monkeypatch.setattr(torch_runtime, "build", lambda _, **arguments: network(**arguments))
    return name


def network(radius: int) -> Any:
    """Return the tests' network with fresh weights; it answers with a tuple, like a deep one."""
    import torch

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 1, 2 * radius + 1, padding=radius, bias=False)

        def forward(self, image: Any) -> Any:
            return self.conv(image), None

    return Tiny()


@pytest.fixture
def model(make_model: MakeModel, kernel: Callable[[int], Array]) -> Model:
    """The tiny model, with its weights for torch where safetensors is installed."""
    made = make_model(radius=2, network_arguments={"radius": 2})
    try:
        from safetensors.numpy import save_file
    except ModuleNotFoundError:
        return made
    save_file({"conv.weight": kernel(2)}, made.folder / "weights.safetensors")
    write_card(made.folder, made.card)
    return load_model(made.folder)


def test_the_probe_agrees(model: Model, runtime: str) -> None:
    assert check_probe(model, runtime) < min(PROBE_TOLERANCE, 1e-4)


def test_a_batch_of_one_equals_a_batch_of_many(model: Model, runtime: str) -> None:
    forward = open_forward(model, runtime=runtime, threads=1)
    tiles = np.random.default_rng(2).integers(0, 256, (3, 64, 32, 3), np.uint8)
    together = forward(tiles)
    assert together.shape == (3, 64, 32)
    assert together.dtype == np.float32
    for tile, answer in zip(tiles, together, strict=True):
        assert np.abs(forward(tile[None])[0] - answer).max() < 1e-6


def test_a_device_that_is_not_there_is_an_error(model: Model, runtime: str) -> None:
    with pytest.raises(ConfigError, match=r"`device` cuda:7.*is not there.*cpu"):
        open_forward(model, runtime=runtime, device="cuda:7")


def test_a_file_that_is_no_onnx_is_a_model_error(model: Model, runtime: str) -> None:
    if runtime == "torch":
        pytest.skip("reads no ONNX")
    (model.folder / "model.onnx").write_bytes(b"\x08\x08garbage" * 20)
    with pytest.raises(ModelError, match="cannot be opened"):
        open_forward(model, runtime=runtime)


def test_onnx_of_another_shape_is_a_model_error(model: Model) -> None:
    onnx = pytest.importorskip("onnx")
    path = model.folder / "model.onnx"
    proto = onnx.load(path)
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "pixels"
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="must map"):
        open_forward(model)


def test_torch_turns_its_own_shortage_into_a_memory_error(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from crackseg.inference import torch_runtime

    class Greedy(torch.nn.Module):  # type: ignore[misc, name-defined]
        def load_state_dict(self, *_: Any, **__: Any) -> None:
            return None

        def forward(self, _: Any) -> Any:
            raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(torch_runtime, "build", lambda _, **__: Greedy())
    forward = open_forward(model, runtime="torch")
    with pytest.raises(MemoryError, match="injected"):
        forward(np.zeros((1, 32, 32, 3), np.uint8))


def test_torch_refuses_weights_of_another_network(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from crackseg.inference import torch_runtime

    monkeypatch.setattr(torch_runtime, "build", lambda _, **__: network(3))
    with pytest.raises(ModelError, match="does not fit its network"):
        open_forward(model, runtime="torch")


def test_torch_needs_its_weights(make_model: MakeModel) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    with pytest.raises(ModelError, match=r"model\.onnx` holds no trained tensors by name"):
        open_forward(make_model(), runtime="torch")


@pytest.mark.gpu
def test_cuda_gives_the_probe_within_its_precision(model: Model, runtime: str) -> None:
    torch = pytest.importorskip("torch")
    if runtime != "torch" or not torch.cuda.is_available():
        pytest.skip("no CUDA device for this runtime")
    assert check_probe(model, runtime, "cuda") < HALF_TOLERANCE


@pytest.mark.parametrize("name", ["default", "open"])
def test_half_precision_keeps_the_probe_of_what_is_shipped(name: str) -> None:
    """As a GPU takes the products, here on the CPU."""
    torch = pytest.importorskip("torch")
    from crackseg.inference import torch_runtime

    shipped = load_model(name)
    image, expected = read_probe(shipped.folder, "float")
    network = torch_runtime._network(shipped).eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (shipped.card.mean, shipped.card.std))
    batch = torch.tensor(image).permute(0, 3, 1, 2)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.float16):
        logits = network(
            ((batch.float() - mean) / std).contiguous(memory_format=torch.channels_last)
        )
    logits = logits[0] if isinstance(logits, tuple | list) else logits
    answer = torch.sigmoid(logits.float()).permute(0, 2, 3, 1).numpy()
    away = np.abs(answer.reshape(expected.shape) - expected).max()
    assert 0 < away < HALF_TOLERANCE


def test_every_runtime_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = dict.fromkeys(RUNTIMES, "no_such_package.runtime:open_runtime")
    monkeypatch.setattr(runtimes, "RUNTIMES", missing)
    for name in ("openvino", "torch"):
        with pytest.raises(ImportError, match=rf"crackseg\[{name}\]"):
            look_up(missing, name, what="runtime", extra=runtimes._EXTRAS[name])


def test_tensorrt_keeps_its_engines_and_leaves_the_rest_to_cuda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which providers a session gets; no GPU is asked."""
    from crackseg.inference import onnx_runtime

    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnx_runtime.ort, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnx_runtime, "cache_folder", lambda: tmp_path)
    (first, settings), second = onnx_runtime._providers("tensorrt:1")
    assert (first, second) == (names[0], (names[1], {"device_id": "1"}))
    assert settings["device_id"] == "1"
    assert settings["trt_engine_cache_path"] == str(tmp_path / "tensorrt")
    assert (tmp_path / "tensorrt").is_dir()
    assert onnx_runtime._providers("cuda") == [(names[1], {})]
    assert onnx_runtime._providers("cpu") == [(names[2], {})]


def test_tensorrt_that_is_not_there_is_named(model: Model) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match=r"tensorrt is not there.*Install onnxruntime-gpu"):
        open_forward(model, device="tensorrt")
