"""The mean of runs is exported like one run, and only runs of one network have a mean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from dark_model import write_dark_model
from PIL import Image

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402

from crackseg.config import PredictOptions  # noqa: E402
from crackseg.errors import ModelError  # noqa: E402
from crackseg.imagery.files import open_image  # noqa: E402
from crackseg.inference.models import load_model  # noqa: E402
from crackseg.inference.predict import predict  # noqa: E402
from crackseg.networks import build  # noqa: E402
from crackseg.training.export_onnx import ExportOptions, export_run  # noqa: E402

OPTIONS = ExportOptions(name="mean", version="1", threshold=0.5, threshold_low=0.5)


def write_run(
    folder: Path, seed: int, width: float = 0.03125, mean: float = 127.0, name: str = "unet"
) -> Path:
    torch.manual_seed(seed)
    arguments = {"width": width} if name == "unet" else {}
    folder.mkdir()
    save_file(build(name, **arguments).state_dict(), folder / "weights.safetensors")
    trained = {
        "network": name,
        "arguments": arguments,
        "data": {"crop_px": 200},
        "mean": [mean] * 3,
        "std": [128.0] * 3,
    }
    (folder / "run.json").write_text(json.dumps({"options": trained, "data": []}))
    return folder


def test_the_mean_of_two_runs(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one", 1), write_run(tmp_path / "other", 2)
    export_run(one, tmp_path / "model", OPTIONS, [other])
    first, second, found = (
        load_file(folder / "weights.safetensors") for folder in (one, other, tmp_path / "model")
    )
    for name, tensor in found.items():
        if tensor.is_floating_point():
            expected = 0.5 * (first[name] + second[name])
            assert torch.allclose(tensor.float(), expected, atol=1e-3)
    assert any(not torch.equal(first[name], second[name]) for name in found)


def test_runs_of_other_networks_have_no_mean(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", 1)
    with pytest.raises(ModelError, match="different shapes"):
        export_run(one, tmp_path / "out", OPTIONS, [write_run(tmp_path / "wide", 1, 0.0625)])
    with pytest.raises(ModelError, match=r"has the `mean` \[0.0"):
        export_run(one, tmp_path / "out", OPTIONS, [write_run(tmp_path / "dark", 1, mean=0.0)])
    with pytest.raises(ModelError, match="not a finished run"):
        export_run(one, tmp_path / "out", OPTIONS, [tmp_path / "none"])


@pytest.mark.slow
def test_a_classifier_is_exported_for_squares_of_its_crops_and_screens(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1, name="classifier:mobilenet_v2")
    card = export_run(run, tmp_path / "screen", replace(OPTIONS, threshold=0.999))
    assert card.tile_px == 256  # 200 brought to what the graph takes
    Image.new("RGB", (700, 300), (180, 180, 180)).save(tmp_path / "wall.png")
    options = PredictOptions(threads=1, screen=tmp_path / "screen")
    with open_image(tmp_path / "wall.png") as image:
        found = predict(image, load_model(write_dark_model(tmp_path / "dark")), options)
    tiles = found.notices[0].message.split()
    assert tiles[0] == tiles[2]  # a fresh classifier is sure of nothing
    assert not found.probability.any()
