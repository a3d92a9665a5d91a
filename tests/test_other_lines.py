"""A network with a second output: other lines are measured, told apart from cracks, in no total."""

from __future__ import annotations

import csv
import json
import re
import sys

import jsonschema
import numpy as np
import pytest
from command_line import exit_code
from dark_model import write_dark_model
from PIL import Image

from crackseg.config import (
    AnalyzeOptions,
    MaskOptions,
    MeasureOptions,
    PredictOptions,
    ScaleOptions,
)
from crackseg.exports.survey import not_counted_text, other_lines_text, report_row
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
    unscaled = report_row({**written, "scale": None, "other_lines": []}, "a", "analyzed")
    assert unscaled["other_lines_length_mm"] is None
    features = json.loads((tmp_path / "out" / "other_lines.geojson").read_text())["features"]
    assert [feature["id"] for feature in features] == [line["id"] for line in lines]
    assert len(json.loads((tmp_path / "out" / "cracks.geojson").read_text())["features"]) == 1
    page = (tmp_path / "out" / "page.html").read_text()
    assert len(lines) == 1, "one line, although a crack crosses it"
    (line,) = report.other_lines
    assert (line.openings, line.contrast, line.step) == ((), None, None), "no report tells of them"
    assert report.cracks[0].contrast is not None
    assert "Other lines: 1 dark line taken" in page
    assert "One dark line was taken for no crack and stands under" in page


def test_the_screen_and_the_summary_name_lines_that_are_no_crack(
    picture, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(room, "open_forward", two_outputs)
    monkeypatch.setenv("COLUMNS", "120")
    grey = np.full((HEIGHT, WIDTH), WALL, np.uint8)
    grey[60:64] = LINE
    grey += np.random.default_rng(0).integers(0, 6, grey.shape, np.uint8)  # else nothing is judged
    inputs = tmp_path / "in"
    inputs.mkdir()
    Image.fromarray(grey).save(inputs / "a.png")
    Image.fromarray(np.flipud(grey)).save(inputs / "b.png")
    out = tmp_path / "out"
    arguments = ["analyze", inputs, "--out", out, "--model", tmp_path / "dark", "--mm-per-px", 0.5]
    monkeypatch.setattr(sys, "argv", ["crackseg", *map(str, arguments)])
    assert exit_code() == 0
    shown = capsys.readouterr().err
    line = r"1 other dark line, 1\d\d mm long, not counted: look at the report"
    assert re.search(rf"a\.png: nothing marked as a crack, .*; {line}", shown)
    assert re.search(r"not counted as cracks: 2 other dark lines, \d\d\d mm long together", shown)
    with (out / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["other_lines"] for row in rows] == ["1", "1"]
    assert all(float(row["other_lines_length_px"]) == pytest.approx(WIDTH, abs=12) for row in rows)
    assert "1 other dark line" in (out / "index.html").read_text(encoding="utf-8")


def test_lengths_of_lines_with_and_without_a_scale_are_told_apart():
    row = {"other_lines": 1, "other_lines_length_px": 1000.0, "other_lines_length_mm": None}
    scaled = {**row, "other_lines": 2, "other_lines_length_mm": 2500.0}
    assert other_lines_text([row]) == "1 other dark line, 1000 px long"
    assert other_lines_text([row, scaled, {}]) == (
        "3 other dark lines, 2.50 m + 1000 px long together"
    )
    assert not_counted_text({"other_lines": 0, "joints": 2}) == (
        "2 lines along named joints, not counted"
    )
    assert not_counted_text({"other_lines": 0, "joints": 0}) == ""
