"""Every runtime gives the probe's answer, one tile at a time or many, and names what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crackseg.errors import ConfigError, ModelError
from crackseg.inference import runtimes
from crackseg.inference.models import Model, load_model, write_card
from crackseg.inference.runtimes import PROBE_TOLERANCE, RUNTIMES, check_probe, open_forward
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
    assert check_probe(model, runtime, "cuda") < 0.02


def test_every_runtime_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = dict.fromkeys(RUNTIMES, "no_such_package.runtime:open_runtime")
    monkeypatch.setattr(runtimes, "RUNTIMES", missing)
    for name in ("openvino", "torch"):
        with pytest.raises(ImportError, match=rf"crackseg\[{name}\]"):
            look_up(missing, name, what="runtime", extra=runtimes._EXTRAS[name])
