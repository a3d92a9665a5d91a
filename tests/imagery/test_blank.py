"""Frames that show nothing are counted as such, and concrete never is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crackseg import pipeline, screen
from crackseg.config import AnalyzeOptions
from crackseg.exports import survey
from crackseg.exports.page import lead
from crackseg.exports.tables import report_to_dict
from crackseg.imagery.blank import BLOCK_PX, BlankCounter, unjudged_notices
from crackseg.imagery.clarity import ClarityCounter
from crackseg.imagery.files import open_image
from crackseg.imagery.structure import with_noise
from crackseg.inference.predictor import Predictor
from crackseg.records import Array, Report, Unjudged, can_judge
from crackseg.tasks import Outcome


def frame(kind: str, shape: tuple[int, int] = (200, 300), seed: int = 0) -> Array:
    """Return (H, W, 3) uint8 of one kind."""
    rng = np.random.default_rng(seed)
    level, noise = {
        "lens cap": (1.5, 1.5),
        "black": (0, 0),
        "white": (255, 0),
        "burnt out": (320, 12),
        "grey": (128, 0),
        "concrete": (140, 6),
        "dark concrete": (25, 5),
        "bright concrete": (235, 6),
        "smooth concrete": (140, 1.2),
    }[kind]
    values = level + noise * rng.standard_normal((*shape, 3))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def shares(pixels: Array, valid: Array | None = None, band: int | None = None) -> dict[str, float]:
    counter = BlankCounter(*pixels.shape[:2])
    step = band or len(pixels)
    for row in range(0, len(pixels), step):
        first = max(row - 5, 0)  # bands overlap
        part = slice(first, row + step)
        counter.add(first, pixels[part], None if valid is None else valid[part])
    return {k: v / pixels[..., 0].size for k, v in counter.areas_px2().items()}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("lens cap", "black"),
        ("black", "black"),
        ("white", "white"),
        ("burnt out", "white"),
        ("grey", "flat"),
    ],
)
@pytest.mark.parametrize("shape", [(200, 300), (1, 900), (900, 1), (17, 33), (1, 1)])
def test_a_frame_of_nothing_is_nothing_whole(kind: str, code: str, shape: tuple[int, int]) -> None:
    assert shares(frame(kind, shape)) == {code: pytest.approx(1.0)}


@pytest.mark.parametrize(
    "kind", ["concrete", "dark concrete", "bright concrete", "smooth concrete"]
)
def test_concrete_is_never_nothing(kind: str) -> None:
    assert shares(frame(kind)) == {}


def test_a_part_counts_by_its_area_however_the_bands_fall() -> None:
    pixels = frame("concrete", (320, 320))
    pixels[:160] = 0
    pixels[200:290, 64:154] = 255
    pixels[300:304, :] = 0  # a dark line is no area
    for band in (None, 64, 50):
        areas = shares(pixels, band=band)
        assert areas["black"] == pytest.approx(0.5, abs=0.06)
        assert 0.5 * 90 * 90 / 320**2 < areas["white"] <= 90 * 90 / 320**2


def test_missing_data_are_not_counted_twice() -> None:
    pixels = frame("concrete")
    valid = np.ones(pixels.shape[:2], bool)
    pixels[:, 150:], valid[:, 150:] = 0, False
    assert shares(pixels, valid).get("black", 0) < 0.06


def test_what_can_be_judged_is_measured_by_what_the_picture_holds() -> None:
    def parts(**of: float) -> tuple[Unjudged, ...]:
        return tuple(Unjudged(code=code, share=share) for code, share in of.items())

    assert can_judge(())
    assert can_judge(parts(no_data=0.9))
    assert can_judge(parts(no_data=0.6, black=0.1))
    assert not can_judge(parts(no_data=0.6, black=0.21))
    assert not can_judge(parts(black=0.3, white=0.3))
    assert not can_judge(parts(no_data=1.0))
    assert unjudged_notices(parts(black=0.004), judged=True) == []
    (some,) = unjudged_notices(parts(no_data=0.2, black=0.004), judged=True)
    assert some.code == "partly_judged"
    assert "20 % of it holds no data" in some.message
    assert "black" not in some.message


def analyzed(pixels: Array, folder: Path, model: Path) -> Report:
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / "frame.png")
    with open_image(folder / "frame.png") as image:
        report = pipeline.analyze(image, Predictor.open(model), AnalyzeOptions())
        pipeline.export(report, folder / "out", image, ["json", "page"])
    return report


@pytest.mark.parametrize("kind", ["white", "grey"])
def test_a_frame_of_nothing_is_never_free_of_cracks(
    kind: str, tmp_path: Path, dark_model: Path
) -> None:
    report = analyzed(frame(kind), tmp_path, dark_model)
    assert not report.judged
    assert "cannot_be_judged" in [n.code for n in report.notices]
    assert report.totals.analyzed_px2 == pytest.approx(0)
    assert report.totals.left_out_px2 == pytest.approx(200 * 300)
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert "cannot be judged" in page
    assert "No crack was found" not in page
    assert 'class="detection"' not in page  # from which width on: of nothing here
    assert "<dd>100 % " in page, "a share, no exponent"
    assert "cracks: this picture cannot be judged" in page
    row = survey.report_row(report_to_dict(report), "out", "analyzed")
    assert row["judged"] is False
    totals = survey.survey_totals([row])
    assert (totals["not_judged"], totals["without_cracks"]) == (1, 0)
    about = {"package_version": "", "started_at": "", "model": {"name": "", "version": ""}}
    survey.write_survey([row], about, tmp_path, gallery=True)
    gallery = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "no crack found" not in gallery
    assert gallery.count("cannot be judged") == 1


def test_concrete_without_a_crack_is_judged(tmp_path: Path, dark_model: Path) -> None:
    report = analyzed(frame("concrete"), tmp_path, dark_model)
    assert report.judged
    assert report.unjudged == ()
    assert report.totals.left_out_px2 == 0
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert 'class="detection"' in page
    assert "Nothing is marked as a crack" in page, "too little structure to tell of sharpness"


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 900), (900, 1), (15, 400), (12, 12)])
def test_a_picture_smaller_than_a_crack_is_not_called_sound(
    shape: tuple[int, int], dark_model: Path, tmp_path: Path
) -> None:
    report = analyzed(frame("concrete", shape), tmp_path, dark_model)
    assert not report.judged
    (notice,) = (n for n in report.notices if n.code == "cannot_be_judged")
    assert "smaller than any crack" in notice.message


def test_a_small_picture_that_can_show_a_crack_is_judged(dark_model: Path, tmp_path: Path) -> None:
    assert analyzed(frame("concrete", (16, 40)), tmp_path, dark_model).judged


@pytest.mark.parametrize("width", [16, 100, 517])
def test_blocks_are_judged_as_one_by_one(width: int) -> None:
    """Against a loop over blocks: sizes that no block fits, black, white, flat and no data."""
    rng = np.random.default_rng(width)
    across = -(-width // BLOCK_PX)
    for height in (1, 7, BLOCK_PX):
        level = rng.choice([0, 8, 9, 20, 120, 248, 252], size=(1, across, 3))
        grain = rng.integers(0, 4, (height, width, 3)) * rng.choice([0, 1, 3])
        pixels = level.repeat(BLOCK_PX, axis=1)[:, :width] + grain
        picture = np.clip(pixels, 0, 255).astype(np.uint8)
        valid = rng.random((height, width)) < 0.5
        counter = BlankCounter(height, width)
        counter.add(0, picture, valid)
        codes = [one_code(picture, valid, k) for k in range(across)]
        assert counter._codes[0].tolist() == codes


def one_code(picture: Array, valid: Array, number: int) -> int:
    columns = np.minimum(np.arange(BLOCK_PX) + number * BLOCK_PX, picture.shape[1] - 1)
    block = picture[:, columns].reshape(-1, 3).astype(float)
    if valid[:, columns].mean() < 0.5:
        return 0
    if block.mean(axis=0).max() <= 9 and block.max() <= 32:
        return 1
    if block.min() >= 250:
        return 2
    return 3 if np.ptp(block, axis=0).max() <= 2 else 0


@pytest.mark.parametrize(
    ("colour", "noise", "code"),
    [((257, 257, 257), 3, "white"), ((0, 0, 0), 12, "black"), ((20, 2, 2), 2, "black")],
)
def test_noise_makes_nothing_of_a_frame_worth_judging(
    colour: tuple[int, int, int], noise: float, code: str
) -> None:
    spread = np.random.default_rng(0).normal(0, noise, (320, 448, 1))
    pixels = np.clip(np.rint(colour + spread), 0, 255).astype(np.uint8)
    blank, clarity = BlankCounter(320, 448), ClarityCounter(320, 448)
    blank.add(0, pixels, None)
    clarity.add(0, pixels, None)
    area = 320 * 448
    assert sum(blank.areas_px2().values()) < area / 2, "no pixel may be out of the ordinary there"
    assert with_noise(blank.areas_px2(), clarity.measures()) == {code: pytest.approx(area)}


def test_a_picture_that_tells_nothing_of_its_sharpness_is_no_sound_wall_without_a_word(
    tmp_path: Path, dark_model: Path
) -> None:
    finger = np.array([190.0, 150.0, 130.0]) - np.linspace(0, 30, 300)[:, None]
    finger = finger + np.random.default_rng(0).normal(0, 3, (200, 300, 3))
    report = analyzed(np.clip(finger, 0, 255).astype(np.uint8), tmp_path, dark_model)
    assert "no_structure" in [n.code for n in report.notices]
    assert lead(report).startswith("Nothing is marked as a crack, and nothing tells whether")
    row = survey.report_row(report_to_dict(report), "a", "analyzed")
    assert survey.nothing_text(row) == survey.NOTHING_TELLS
    outcome = Outcome(path=tmp_path / "a.png", status="analyzed", folder=tmp_path, row=row)
    assert screen._result(outcome) == survey.NOTHING_TELLS
    finger[80:84, 40:260] = 20
    report = analyzed(np.clip(finger, 0, 255).astype(np.uint8), tmp_path, dark_model)
    assert report.totals.cracks == 1
    assert "no_structure" not in [n.code for n in report.notices], "what is marked is to be seen"
