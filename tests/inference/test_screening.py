"""Tiles that a classifier takes for free of cracks are not searched, and the report says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dark_model import write_dark_model
from PIL import Image

from crackseg import batch
from crackseg.config import AnalyzeOptions, MaskOptions, PredictOptions
from crackseg.errors import ConfigError, ModelError
from crackseg.imagery.files import open_image
from crackseg.inference.models import load_model, read_card, write_card
from crackseg.inference.predict import predict
from crackseg.inference.screening import Screened
from crackseg.pipeline import analyze
from crackseg.records import Array, Prediction


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A model folder: dark is crack."""
    return write_dark_model(tmp_path / "dark")


@pytest.fixture
def screen(tmp_path: Path) -> Path:
    """The folder of a classifier on squares of 128 px: what has a pixel under grey 60 is kept."""
    folder = write_dark_model(tmp_path / "screen", level=60.0)
    write_card(folder, replace(read_card(folder), network="classifier:dark"))
    return folder


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """500 x 700 px, bright; a black line crosses the right half, a grey one the left."""
    pixels = np.full((500, 700, 3), 200, np.uint8)
    pixels[250:254, 400:650] = 10
    pixels[100:104, 20:200] = 80
    path = tmp_path / "wall.png"
    Image.fromarray(pixels).save(path)
    return path


def run(path: Path, network: Path, screen: Path | None, **options: object) -> Prediction:
    plain = PredictOptions(threads=1, tile_px=128, screen=screen, **options)  # type: ignore[arg-type]
    with open_image(path) as image:
        return predict(image, load_model(network), plain)


@pytest.mark.parametrize("readings", [1, 4])
def test_what_the_classifier_keeps_is_found_and_the_rest_left_out(
    network: Path, screen: Path, photograph: Path, readings: int
) -> None:
    full = run(photograph, network, None, readings=readings)
    found = run(photograph, network, screen, readings=readings)
    assert np.array_equal(found.probability[240:264, 390:660], full.probability[240:264, 390:660])
    assert full.probability[102, 20:200].min() > 150
    assert not found.probability[:, :250].any()  # the grey line is missed: that is the price
    (notice,) = found.notices
    left_out, tiles = (int(word) for word in notice.message.split()[:3:2])
    assert notice.code == "screened"
    assert tiles > left_out > tiles / 2
    assert "`screen` 1 took them for free of cracks" in notice.message


@pytest.mark.parametrize("shape", [(7, 5), (130, 128), (129, 300)])
def test_tiles_of_any_size_are_cut_for_the_classifier(
    network: Path, screen: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    pixels = np.full((*shape, 3), 200, np.uint8)
    pixels[-1, -1] = 0
    Image.fromarray(pixels).save(tmp_path / "small.png")
    found = run(tmp_path / "small.png", network, screen)
    assert found.probability.shape == shape
    assert found.probability[-1, -1] > 250


def test_an_answer_that_is_not_finite_keeps_the_tile(screen: Path) -> None:
    seen: list[Array] = []

    def network(tiles: Array) -> Array:
        seen.append(tiles)
        return np.ones(tiles.shape[:3], np.float32)

    screened = Screened(network, screen, PredictOptions(threads=1))
    screened._classify = lambda parts: np.full(parts.shape[:3], np.nan, np.float32)
    tiles = np.full((2, 128, 128, 3), 200, np.uint8)
    assert screened(tiles).min() == 1
    assert len(seen[0]) == 2


def test_a_whole_analysis_names_what_was_left_out(
    network: Path, screen: Path, photograph: Path, tmp_path: Path
) -> None:
    options = AnalyzeOptions(
        model=str(network),
        predict=PredictOptions(threads=1, screen=screen),
        mask=MaskOptions(threshold=0.5),
        exports=("json",),
    )
    (outcome,) = batch.run([photograph], tmp_path / "out", options)
    assert outcome.status == "analyzed"
    text = (tmp_path / "out" / "wall" / "report.json").read_text(encoding="utf-8")
    assert '"screened"' in text
    assert str(screen) in text
    assert json.loads(text)["screen"]["name"] == "screen"


def test_another_classifier_in_the_same_folder_is_asked_again(
    network: Path, screen: Path, photograph: Path, tmp_path: Path
) -> None:
    options = AnalyzeOptions(
        model=str(network),
        predict=PredictOptions(threads=1, tile_px=128, screen=screen),
        mask=MaskOptions(threshold=0.5),
        exports=("json",),
    )
    out = tmp_path / "out"
    first, same = batch.run([photograph], out, options)[0], batch.run([photograph], out, options)[0]
    assert (first.status, same.status) == ("analyzed", "unchanged")
    assert first.row["cracks"] == 1  # the grey line is not searched
    shutil.rmtree(screen)
    write_dark_model(screen, level=100.0)
    write_card(screen, replace(read_card(screen), network="classifier:dark"))
    (other,) = batch.run([photograph], out, options)
    assert other.status == "analyzed"
    assert other.row["cracks"] == 2


def test_a_segmentation_model_does_not_screen(network: Path, photograph: Path) -> None:
    with pytest.raises(ConfigError, match="must name the folder of a tile classifier, got `dark`"):
        run(photograph, network, network)


def test_a_wrong_folder_fails_the_run_and_not_every_image(
    network: Path, screen: Path, photograph: Path, tmp_path: Path
) -> None:
    (screen / "model.onnx").write_bytes(b"cut")
    options = AnalyzeOptions(model=str(network), predict=PredictOptions(screen=screen))
    with pytest.raises(ModelError, match="was altered"):
        batch.run([photograph], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_a_classifier_measures_nothing(screen: Path, photograph: Path) -> None:
    with open_image(photograph) as image, pytest.raises(ConfigError, match="draws no cracks"):
        analyze(image, load_model(screen), AnalyzeOptions())
