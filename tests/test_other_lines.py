"""A network with a second output: other lines are measured, told apart from cracks, in no total."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from dark_model import write_dark_model
from PIL import Image

from crackseg.config import (
    AnalyzeOptions,
    MaskOptions,
    MeasureOptions,
    PredictOptions,
    ScaleOptions,
)
from crackseg.exports.tables import SCHEMA
from crackseg.imagery.files import open_image
from crackseg.inference import choosing as room
from crackseg.inference.models import load_model
from crackseg.inference.predictor import Predictor
from crackseg.pipeline import analyze, export

WALL, LINE, CRACK = 180, 90, 40
HEIGHT, WIDTH = 200, 300


def two_outputs(model, **_):
    """Return a forward function: black is crack, grey another line."""

    def forward(tiles):
        grey = tiles.mean(axis=3)
        return np.stack([grey < 60, (grey > 60) & (grey < 130)], axis=3).astype(np.float32)

    return forward


@pytest.fixture
def picture(tmp_path):
    """A wall with a black line down and a grey line across it."""
    grey = np.full((HEIGHT, WIDTH), WALL, np.uint8)
    grey[60:64] = LINE
    grey[:, 200:204] = CRACK
    path = tmp_path / "wall.png"
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(path)
    return path


@pytest.fixture
def model(tmp_path):
    return load_model(write_dark_model(tmp_path / "dark"))


def reading_once(model):
    return Predictor(model, PredictOptions(readings=1))


def options():
    return AnalyzeOptions(
        mask=MaskOptions(),
        measure=MeasureOptions(),
        scale=ScaleOptions(mm_per_px=0.5, use_metadata=False),
    )


def test_both_probabilities_are_stitched_alike(picture, model, monkeypatch):
    monkeypatch.setattr(room, "open_forward", two_outputs)
    for readings, tile_px in ((1, 128), (4, 128), (1, 512)):
        with open_image(picture) as image:
            choice = PredictOptions(readings=readings, tile_px=tile_px)
            prediction = Predictor(model, choice).predict(image)
            grey = image.read()[..., 0]
        np.testing.assert_array_equal(prediction.probability > 127, grey == CRACK)
        np.testing.assert_array_equal(prediction.other > 127, grey == LINE)


def test_an_old_model_says_that_it_does_not_tell(picture, model, tmp_path):
    with open_image(picture) as image:
        report = analyze(image, reading_once(model), options())
        export(report, tmp_path / "out", image, ["json", "geojson"])
    assert report.other_lines is None
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["other_lines"] is None
    assert not (tmp_path / "out" / "other_lines.geojson").exists()


def test_other_lines_are_measured_and_in_no_total(picture, model, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "open_forward", two_outputs)
    with open_image(picture) as image:
        report = analyze(image, reading_once(model), options())
        export(report, tmp_path / "out", image, ["json", "geojson", "page"])
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    jsonschema.validate(written, json.loads(SCHEMA.read_text()))
    assert len(written["cracks"]) == 1
    assert written["totals"]["length_px"] == pytest.approx(HEIGHT, abs=3)
    lines = written["other_lines"]
    length = sum(line["length_px"] for line in lines)
    assert length == pytest.approx(WIDTH - 4, abs=12), "all but where the crack crosses it"
    assert length * 0.5 == pytest.approx(sum(line["length_mm"] for line in lines), rel=1e-3)
    assert all(3 < line["width_mean_px"] < 5 for line in lines)
    features = json.loads((tmp_path / "out" / "other_lines.geojson").read_text())["features"]
    assert [feature["id"] for feature in features] == [line["id"] for line in lines]
    assert len(json.loads((tmp_path / "out" / "cracks.geojson").read_text())["features"]) == 1
    page = (tmp_path / "out" / "page.html").read_text()
    assert len(lines) == 1, "one line, although a crack crosses it"
    assert "Other lines: 1 dark line taken" in page
    assert "One dark line was taken for no crack" in page
