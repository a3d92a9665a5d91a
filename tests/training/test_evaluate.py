"""Scores of a model whose every answer is known: dark pixels are crack."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from dark_model import probability_of, write_dark_model
from PIL import Image
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.config import MaskOptions
from crackseg.errors import ConfigError, DataError, OutputError
from crackseg.training.evaluate import (
    EvaluateOptions,
    choose_threshold,
    group,
    load_samples,
    score_pictures,
    summarize,
)
from crackseg.training.score_text import as_text, without_nan

HEIGHT, WIDTH = 96, 128
WALL, CRACK = 200, 40  # grey levels: probability under 0.001 and over 0.999


@pytest.fixture
def model(tmp_path):
    """A folder whose model gives sigmoid((120 - grey) / 10)."""
    return write_dark_model(tmp_path / "dark", level=120)


def line(row, thick=3):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[row : row + thick, 10:110] = True
    return mask


def write(root, name, stem, grey, label):
    """Write a picture of these grey levels with its label into a set."""
    for kind in ("images", "masks"):
        (root / name / kind).mkdir(parents=True, exist_ok=True)
    picture = np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)
    Image.fromarray(picture).save(root / name / "images" / f"{stem}.png")
    Image.fromarray(label.astype(np.uint8) * 255).save(root / name / "masks" / f"{stem}.png")


def wall(*marks):
    grey = np.full((HEIGHT, WIDTH), WALL)
    for mark, level in marks:
        grey[mark] = level
    return grey


@pytest.fixture
def data(tmp_path):
    """A set with an exact, a shifted and a leaky crack, and one without cracks."""
    root, nothing = tmp_path / "data", np.zeros((HEIGHT, WIDTH), bool)
    write(root, "cracks", "exact", wall((line(40), CRACK)), line(40))
    write(root, "cracks", "shifted", wall((line(41), CRACK)), line(40))
    write(root, "cracks", "leaky", wall((line(60), CRACK)), line(60))
    (root / "cracks" / "test.txt").write_text("exact\nshifted\n")
    (root / "cracks" / "test_leaky.txt").write_text("leaky\n")
    write(root, "free", "clean", wall(), nothing)
    write(root, "free", "stained", wall((line(20, 9), CRACK)), nothing)
    (root / "free" / "test.txt").write_text("clean\nstained\n")
    return root


def scored(data, model, **options):
    made = EvaluateOptions(model=str(model), **options)
    return group(score_pictures(load_samples(data, split=made.split), made))


def test_scores_of_known_masks(data, model):
    groups = scored(data, model)
    assert {name: len(scores) for name, scores in groups.items()} == {
        "cracks": 2,
        "cracks official (with test_leaky)": 3,
        "free": 2,
    }
    figures = summarize(groups["cracks"])
    # 300 px each; the shifted line shares two of its three rows
    assert figures["strict"]["pooled"]["f1"] == pytest.approx(500 / 600)
    assert figures["strict"]["pooled"]["iou"] == pytest.approx(500 / 700)
    assert figures["strict"]["per_image"]["f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert figures["strict"]["per_image"]["iou"] == pytest.approx((1 + 1 / 2) / 2)
    assert figures["tolerant"]["pooled"]["f1"] == 1
    assert figures["raw_threshold"]["pooled"] == pytest.approx(figures["strict"]["pooled"])
    assert figures["ods"] == pytest.approx(500 / 600)
    assert figures["cldice"]["pooled"] == pytest.approx(1, abs=0.01)  # ends of the thin line
    assert math.isnan(figures["crack_free"]["alarm_rate"])
    sizes = figures["sizes"]
    assert (sizes["labelled_cracks"], sizes["found_cracks"]) == (2, 2)
    assert (sizes["marked_cracks"], sizes["true_cracks"]) == (2, 2)
    assert abs(sizes["length_error_rel"]) < 0.01
    assert abs(sizes["width_error_median_px"]) < 0.5
    official = summarize(groups["cracks official (with test_leaky)"])
    assert official["strict"]["pooled"]["f1"] == pytest.approx(800 / 900)
    lines = figures["lines"]
    assert (lines["precision"], lines["recall"], lines["f1"]) == (1, 1, 1)
    assert lines["by_width"]["2.5-4"]["recall"] == 1
    free = summarize(groups["free"])
    assert free["lines"]["listed_rate"] == 0.5
    assert free["crack_free"]["alarm_rate"] == 0.5
    assert free["crack_free"]["median_share"] == pytest.approx(900 / HEIGHT / WIDTH / 2)
    assert math.isnan(free["strict"]["per_image"]["recall"])


def test_pixels_can_be_scored_without_measuring_cracks(data, model):
    bare, whole = (scored(data, model, sizes=sizes)["cracks"] for sizes in (False, True))
    assert summarize(bare)["sizes"] is None
    assert summarize(bare)["strict"] == summarize(whole)["strict"]


def test_the_product_mask_has_hysteresis_and_no_specks_and_the_bare_one_has(tmp_path, model):
    weak = 120 + 4  # probability 0.40: above the lower threshold only
    crack, rest, speck = line(40), line(40), line(70)
    crack[:, 60:] = rest[:, :60] = False
    speck[:, 13:] = False  # 3 x 3 px
    write(tmp_path / "d", "s", "p", wall((crack, CRACK), (rest, weak), (speck, CRACK)), line(40))
    figures = summarize(scored(tmp_path / "d", model)["s"])
    assert figures["strict"]["pooled"]["f1"] == 1
    assert figures["raw_threshold"]["pooled"]["recall"] == pytest.approx(0.5)
    assert figures["raw_threshold"]["pooled"]["precision"] == pytest.approx(150 / 159)
    for low, recall in ((None, 1.0), (0.6, 0.5)):  # the card's lower threshold is 0.3
        options = MaskOptions(threshold=0.6, threshold_low=low)
        scores = summarize(scored(tmp_path / "d", model, mask=options)["s"])
        assert scores["strict"]["pooled"]["recall"] == pytest.approx(recall)


def test_a_missed_and_an_invented_crack_are_told_apart(tmp_path, model):
    write(tmp_path / "d", "s", "p", wall((line(10), CRACK), (line(30), CRACK)), line(10) | line(80))
    sizes = summarize(scored(tmp_path / "d", model)["s"])["sizes"]
    assert (sizes["labelled_cracks"], sizes["found_cracks"]) == (2, 1)
    assert (sizes["marked_cracks"], sizes["true_cracks"]) == (2, 1)


@pytest.fixture
def faint(tmp_path):
    """A validation set in which only thresholds between 0.55 and 0.75 are right."""
    root = tmp_path / "faint"
    crack, stain = 120 - 11, 120 - 2  # probability 0.75 and 0.55
    assert 0.74 < probability_of(crack, level=120) < 0.76
    write(root, "wall", "a", wall((line(40), crack), (line(70), stain)), line(40))
    write(root, "free", "b", wall((line(20), stain)), np.zeros((HEIGHT, WIDTH), bool))
    for name, stem in (("wall", "a"), ("free", "b")):
        (root / name / "val.txt").write_text(f"{stem}\n")
    return root


def test_the_chosen_threshold_keeps_the_crack_and_drops_the_stain(faint, model):
    options = EvaluateOptions(model=str(model), split="val")
    choice = choose_threshold(load_samples(faint, split="val"), options)
    assert choice.value == 1
    assert 0.55 < choice.threshold_low <= choice.threshold <= 0.75


def test_no_threshold_is_chosen_on_test(data, model):
    with pytest.raises(ConfigError, match="val"):
        choose_threshold(load_samples(data, split="test"), EvaluateOptions(model=str(model)))
    answer = CliRunner().invoke(
        app, ["evaluate", str(data), "--model", str(model), "--split", "test", "--choose-threshold"]
    )
    assert isinstance(answer.exception, ConfigError)


def test_the_command_says_that_a_lower_threshold_was_not_used(data, model):
    levels = ["--threshold", "0.5", "--threshold-low", "0.8"]
    answer = CliRunner().invoke(app, ["evaluate", str(data), "--model", str(model), *levels])
    assert answer.exit_code == 0, answer.output
    assert "warning: `threshold_low` must be at most `threshold` (0.5), got 0.8" in answer.output


def test_the_command_replaces_no_file_of_somebody_else(data, model, tmp_path):
    region = tmp_path / "region.geojson"
    region.write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "worst.jpg").write_bytes(b"mine")
    for option, file in (("--json", region), ("--plots", tmp_path)):
        before = region.read_bytes()
        command = ["evaluate", str(data), "--model", str(model), option, str(file)]
        assert isinstance(CliRunner().invoke(app, command).exception, OutputError)
        assert region.read_bytes() == before
    assert (tmp_path / "worst.jpg").read_bytes() == b"mine"


def test_the_command_prints_writes_and_draws(data, model, tmp_path):
    pytest.importorskip("matplotlib")
    arguments = ["evaluate", str(data), "--model", str(model), "--json", str(tmp_path / "s.json")]
    answer = CliRunner().invoke(app, [*arguments, "--plots", str(tmp_path / "plots")])
    assert answer.exit_code == 0, answer.output
    assert CliRunner().invoke(app, [*arguments, "--plots", str(tmp_path / "plots")]).exit_code == 0
    assert "threshold 0.5 with hysteresis down to 0.3" in answer.output
    assert "cracks official (with test_leaky)" in answer.output
    assert "free: 2 crack-free images" in answer.output
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["sets"]["cracks"]["strict"]["pooled"]["f1"] == pytest.approx(5 / 6)
    assert written["sets"]["cracks"]["crack_free"]["alarm_rate"] is None
    assert written["protocol"]["threshold_low"] == 0.3
    for name in ("precision_recall.png", "worst.jpg", "worst_free.jpg"):
        with Image.open(tmp_path / "plots" / name) as picture:  # noqa: TID251 - an independent reader
            assert picture.width > 600


def test_the_command_writes_the_chosen_thresholds(faint, model, tmp_path):
    answer = CliRunner().invoke(
        app,
        [
            *("evaluate", str(faint), "--model", str(model)),
            *("--choose-threshold", "--json", str(tmp_path / "t.json")),
        ],
    )
    assert answer.exit_code == 0, answer.output
    written = json.loads((tmp_path / "t.json").read_text())
    assert f"threshold {written['threshold']:g}" in answer.output
    assert written["value"] == 1


def test_text_and_json_say_undefined_instead_of_a_number(data, model):
    text = as_text({"free": summarize(scored(data, model)["free"])})
    assert "50.0%" in text
    assert without_nan({"a": [math.nan, 1.0], "b": (math.inf,)}) == {
        "a": [None, 1.0],
        "b": [math.inf],
    }


def test_a_set_without_lists_is_scored_whole_and_the_command_says_so(tmp_path, model):
    write(tmp_path / "sets", "wall", "a", wall((line(20), CRACK)), line(20))
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "sets"), "--model", str(model)])
    assert result.exit_code == 0
    assert "no list says what is test in wall, so all pictures there count" in result.stderr
    (tmp_path / "sets" / "wall" / "test.txt").write_text("a")
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "sets"), "--model", str(model)])
    assert "no list" not in result.stderr


def test_an_empty_split_is_refused(data):
    with pytest.raises(DataError, match="`val`"):
        load_samples(data, split="val")
    with pytest.raises(DataError, match="nowhere"):
        load_samples(data, split="test", sets=["nowhere"])
