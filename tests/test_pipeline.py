"""The chain from an open image to a folder: right figures, right shares, whole folders only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from crackseg import pipeline
from crackseg.config import AnalyzeOptions, PredictOptions, read_options
from crackseg.errors import ConfigError, DataError, ImageError
from crackseg.exports import EXPORTS
from crackseg.exports.tables import SCHEMA, report_to_dict
from crackseg.imagery.files import OpenImage, open_image
from crackseg.imagery.masks import MaskRule
from crackseg.inference.models import load_model
from crackseg.inference.predictor import Predictor
from crackseg.metrology.totals import sum_up
from crackseg.records import Report, Scale

Photo = Callable[..., Path]
TRUE_LENGTH_PX = float(np.hypot(170, 20))


@pytest.fixture
def image(photo: Photo, tmp_path: Path) -> Iterator[OpenImage]:
    """An open photograph with two cracks."""
    with open_image(photo(tmp_path / "wall.png", cracks=2)) as opened:
        yield opened


def options(**values: object) -> AnalyzeOptions:
    return read_options(AnalyzeOptions, values)


def test_the_report_names_what_the_predictor_was_opened_with(
    image: OpenImage, dark_model: Path
) -> None:
    predictor = Predictor.open(dark_model, PredictOptions(readings=1))
    report = pipeline.analyze(image, predictor, options(model="another", predict={"readings": 4}))
    assert report.options["model"] == str(dark_model)
    assert report.options["predict"]["readings"] == 1
    named_by_card = pipeline.analyze(image, Predictor(predictor.model), options())
    assert named_by_card.options["model"] == predictor.card.name


def test_a_tile_classifier_is_no_model_to_measure_with(image: OpenImage, dark_model: Path) -> None:
    model = load_model(dark_model)
    card = replace(model.card, network="classifier:resnet18")
    with pytest.raises(ConfigError, match="decides on whole tiles"):
        pipeline.analyze(image, Predictor(replace(model, card=card)), options())


def test_a_net_of_lines_may_be_joints_and_the_report_says_so(
    photo: Photo, dark_model: Path, tmp_path: Path
) -> None:
    wall = photo(tmp_path / "wall.png", cracks=2)
    setts = np.random.default_rng(0).integers(157, 164, (260, 260), dtype=np.uint8)
    for at in (40, 90, 150, 210):
        setts[at : at + 4, 20:240] = setts[20:240, at : at + 4] = 20
    Image.fromarray(setts).save(tmp_path / "setts.png")
    told = {}
    for path in (wall, tmp_path / "setts.png"):
        with open_image(path) as opened:
            report = pipeline.analyze(opened, Predictor.open(dark_model), options())
        told[path.stem] = [n.message for n in report.notices if n.code == "may_be_joints"]
    assert told["wall"] == []
    (message,) = told["setts"]
    assert message.startswith("1 crack of the main list forms a net: map cracking does")


def test_analyze_measures_in_mm_and_keeps_the_schema(image: OpenImage, dark_model: Path) -> None:
    shares: list[float] = []
    report = pipeline.analyze(
        image, Predictor.open(dark_model), options(scale={"mm_per_px": 0.5}), shares.append
    )
    assert len(report.cracks) == 2
    for crack in report.cracks:
        assert crack.length.px == pytest.approx(TRUE_LENGTH_PX, rel=0.03)
        assert crack.length.mm == pytest.approx(crack.length.px * 0.5)
        assert crack.width_mean.px == pytest.approx(crack.mask_area_px2 / TRUE_LENGTH_PX, abs=0.4)
    assert report.totals.length_px == pytest.approx(sum(c.length.px or 0 for c in report.cracks))
    assert report.totals.analyzed_mm2 == pytest.approx(260 * 180 / 4)
    assert report.totals.density_m_per_m2 == pytest.approx(
        1000 * (report.totals.length_mm or 0) / (260 * 180 / 4)
    )
    assert shares[-1] == pytest.approx(1.0)
    assert {"decode", "scale", "forward", "stitch", "mask", "measure"} <= set(report.timing_s)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(report_to_dict(report))))


def test_without_scale_there_is_one_warning_and_no_mm(image: OpenImage, dark_model: Path) -> None:
    report = pipeline.analyze(image, Predictor.open(dark_model), options())
    assert [n.code for n in report.notices].count("no_scale") == 1
    assert report.totals.length_mm is None
    assert report.cracks[0].width_max.mm is None


def test_a_lower_threshold_above_the_threshold_is_said_in_the_report(
    image: OpenImage, dark_model: Path
) -> None:
    mask = {"threshold": 0.4, "threshold_low": 0.6}
    report = pipeline.analyze(image, Predictor.open(dark_model), options(mask=mask))
    assert report.thresholds == (0.4, 0.4)
    said = [n.message for n in report.notices if n.code == "threshold_low_lowered"]
    assert len(said) == 1
    assert "got 0.6: 0.4 was used" in said[0]


def test_measured_mask_agrees_with_analysis(
    image: OpenImage, dark_model: Path, tmp_path: Path
) -> None:
    report = pipeline.analyze(image, Predictor.open(dark_model), options())
    pipeline.export(report, tmp_path / "out", image, ["mask"])
    with open_image(tmp_path / "out" / "mask.png") as mask:
        again = pipeline.measure_mask(mask, image, options())
    assert again.model is None
    assert [c.length.px for c in again.cracks] == [c.length.px for c in report.cracks]
    assert [c.width_mean.px for c in again.cracks] == [c.width_mean.px for c in report.cracks]


@pytest.mark.parametrize("value", [1, 200, 255])
def test_a_mask_of_two_values_needs_no_particular_ones(value: int, tmp_path: Path) -> None:
    mask = np.zeros((60, 200), np.uint8)
    mask[30:33, 20:180] = value
    Image.fromarray(mask).save(tmp_path / "mask.png")
    with open_image(tmp_path / "mask.png") as opened:
        report = pipeline.measure_mask(opened, None, options())
    assert len(report.cracks) == 1
    assert report.cracks[0].mask_area_px2 == 480
    assert "mask_not_binary" not in [n.code for n in report.notices]


def test_a_mask_with_soft_edges_is_cut_in_the_middle_with_a_warning(tmp_path: Path) -> None:
    mask = np.zeros((60, 200), np.uint8)
    mask[30:33, 20:180] = 255
    mask[29, 20:180], mask[33, 20:180] = 90, 140
    Image.fromarray(mask).save(tmp_path / "mask.png")
    with open_image(tmp_path / "mask.png") as opened:
        report = pipeline.measure_mask(opened, None, options())
    assert report.cracks[0].mask_area_px2 == 640
    assert "mask_not_binary" in [n.code for n in report.notices]


def test_a_mask_that_could_be_anything_is_not_measured(tmp_path: Path) -> None:
    mask = np.zeros((60, 200), np.uint8)
    mask[30:33, 20:180], mask[10:13, 20:180] = 1, 2
    Image.fromarray(mask).save(tmp_path / "mask.png")
    with open_image(tmp_path / "mask.png") as opened:
        with pytest.raises(DataError, match=r"mask\.png.*--values"):
            pipeline.measure_mask(opened, None, options())
        report = pipeline.measure_mask(opened, None, options(), MaskRule(values=("2",)))
        with pytest.raises(DataError, match=r"got 3; `mask\.png` holds 0"):
            pipeline.measure_mask(opened, None, options(), MaskRule(values=("3",)))
    assert report.cracks[0].mask_area_px2 == 480
    assert "mask_values" in [n.code for n in report.notices]


def test_what_shows_nothing_is_not_judged_by_its_mask_either(tmp_path: Path) -> None:
    """As of ``analyze``: silence about such a picture would read as "no crack there"."""
    tiny, mask, black = (tmp_path / f"{name}.png" for name in ("tiny", "mask", "black"))
    Image.fromarray(np.zeros((12, 40), np.uint8)).save(tiny)
    Image.fromarray(np.zeros((200, 300), np.uint8)).save(mask)
    Image.fromarray(np.zeros((200, 300, 3), np.uint8)).save(black)
    with open_image(tiny) as opened:
        report = pipeline.measure_mask(opened, None, options())
    assert [(part.code, part.share) for part in report.unjudged] == [("too_small", 1.0)]
    assert "cannot_be_judged" in [notice.code for notice in report.notices]
    with open_image(mask) as opened, open_image(black) as photograph:
        report = pipeline.measure_mask(opened, photograph, options())
        alone = pipeline.measure_mask(opened, None, options())
    assert not report.judged
    assert report.unjudged[0].code == "black"
    assert report.totals.analyzed_px2 == 0
    assert alone.judged


def test_a_mask_of_one_value(tmp_path: Path) -> None:
    for value in (0, 255):
        Image.fromarray(np.full((40, 60), value, np.uint8)).save(tmp_path / f"{value}.png")
    with open_image(tmp_path / "0.png") as opened:
        assert pipeline.measure_mask(opened, None, options()).cracks == ()
    with open_image(tmp_path / "255.png") as opened:
        with pytest.raises(DataError, match=r"100\.0% of the mask"):
            pipeline.measure_mask(opened, None, options())
        assert pipeline.measure_mask(opened, None, options(), MaskRule(invert=True)).cracks == ()


def test_a_large_empty_mask_is_no_bomb(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4200, 4200), np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(ImageError, match="bomb"), open_image(tmp_path / "mask.png"):
        pass
    with open_image(tmp_path / "mask.png", is_mask=True) as opened:
        assert pipeline.measure_mask(opened, None, options()).cracks == ()


def test_a_mask_of_another_size_is_refused(image: OpenImage, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((90, 130), np.uint8)).save(tmp_path / "mask.png")
    with (
        open_image(tmp_path / "mask.png") as mask,
        pytest.raises(ImageError, match="260 x 180 px, got 130 x 90"),
    ):
        pipeline.measure_mask(mask, image, options())


def test_export_times_itself_and_replaces_its_own_files(
    make_report: Callable[..., Report], tmp_path: Path
) -> None:
    folder = tmp_path / "out" / "wall"
    pipeline.export(make_report(), folder, None, EXPORTS)
    (folder / "notes.txt").write_text("of the inspector")
    report = pipeline.export(make_report(), folder, None, [n for n in EXPORTS if n != "coco"])
    names = {path.name for path in folder.iterdir()}
    assert "coco.json" not in names
    assert "notes.txt" in names
    assert {"report.json", "page.html", "mask.png", "overlay.jpg", "cracks.csv"} <= names
    assert report.timing_s["export"] > 0
    written = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert written["timing_s"]["export"] == pytest.approx(report.timing_s["export"], abs=1e-3)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["wall"]


def test_a_failed_export_leaves_the_old_folder_and_nothing_else(
    make_report: Callable[..., Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "wall"
    pipeline.export(make_report(), folder, None, ["csv"])

    def full(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
        (folder / "half.txt").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(EXPORTS, "page", full)
    with pytest.raises(OSError, match="No space left"):
        pipeline.export(make_report(), folder, None, ["csv", "page"])
    assert [path.name for path in tmp_path.iterdir()] == ["wall"]
    assert {path.name for path in folder.iterdir()} == {".crackseg", "cracks.csv", "report.json"}


def test_area_of_an_oblique_picture_is_that_of_the_face() -> None:
    scale = Scale(
        mm_per_px=0.5,
        sigma_rel=0.01,
        source="plane",
        homography=((0.5, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    )
    assert sum_up((), (40, 90), 40 * 90, scale).analyzed_mm2 == pytest.approx(0.5 * 40 * 90)
