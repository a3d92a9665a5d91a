"""A mask from elsewhere is measured under the doubts of its photograph that a network has."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from crackseg.config import AnalyzeOptions
from crackseg.imagery.files import open_image
from crackseg.inference.predictor import Predictor
from crackseg.pipeline import analyze, export, measure_mask
from crackseg.records import Array, Report
from crackseg.screen import show_measured

SIDE = 512


@pytest.fixture(params=["sharp", "blurred"])
def wall(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A rough wall with a dark crack of 4 px along its middle; blurred by a lens or not."""
    noise = np.random.default_rng(0).normal(0, 40, (SIDE, SIDE))
    grey = 150 + cv2.GaussianBlur(noise, None, 0.6)
    grey[254:258, 40:470] = 20
    if request.param == "blurred":
        grey = cv2.GaussianBlur(grey, None, 3.0)
    path = tmp_path / f"{request.param}.jpg"
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB").save(path, quality=95)
    return path


def both(photograph: Path, model: Path) -> tuple[Report, Report]:
    """Return the report of the network, and that of the network's mask measured apart."""
    mask = photograph.with_name("mask.png")
    with open_image(photograph) as image:
        own = analyze(image, Predictor.open(str(model)), AnalyzeOptions())
        pixels = np.zeros((image.info.height_px, image.info.width_px), np.uint8)
        for crack in own.cracks:
            pixels[crack.window.slices][crack.mask] = 255
        Image.fromarray(pixels).save(mask)
        with open_image(mask) as drawn:
            return own, measure_mask(drawn, image, AnalyzeOptions())


def parts(report: Report) -> list[tuple[str, float]]:
    """Return what cannot be judged of a photograph, or less well."""
    return [(part.code, part.share) for part in (*report.unjudged, *report.impaired)]


def test_blur_is_doubted_in_both(wall: Path, dark_model: Path) -> None:
    own, apart = both(wall, dark_model)
    is_blurred = wall.stem == "blurred"
    for report in (own, apart):
        (crack,) = report.cracks
        assert ("blurred" in crack.flags) == is_blurred
    assert parts(apart) == parts(own)
    assert apart.cracks[0].width_mean.low_px == own.cracks[0].width_mean.low_px
    assert bool(parts(own)) == is_blurred


@pytest.mark.parametrize("off", ["nothing", "mirrored", "shifted"])
def test_a_mask_beside_the_cracks_of_its_photograph_is_told(
    wall: Path, off: str, capfd: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[253:259, 40:470] = 255
    moved = {"nothing": mask, "mirrored": np.roll(mask.T, 60, 1), "shifted": np.roll(mask, 20, 0)}
    drawn = wall.with_name("drawn.png")
    Image.fromarray(moved[off]).save(drawn)
    with open_image(wall) as image, open_image(drawn, is_mask=True) as marks:
        report = measure_mask(marks, image, AnalyzeOptions())
        folder = wall.with_name("out")
        export(report, folder, image, ["page"])
    show_measured(report, drawn, folder, quiet=False)
    is_off = off != "nothing"
    assert ("mask_not_dark" in {notice.code for notice in report.notices}) == is_off
    for text in (capfd.readouterr().err, (folder / "page.html").read_text(encoding="utf-8")):
        assert ("may not belong to this photograph" in " ".join(text.split())) == is_off


def test_what_decoding_tells_stands_in_both(tmp_path: Path, dark_model: Path) -> None:
    deep = np.random.default_rng(0).normal(30000, 3000, (200, 200))
    deep[98:102, 20:180] = 3000
    path = tmp_path / "deep.png"
    Image.fromarray(deep.clip(0, 65535).astype(np.uint16)).save(path)
    for report in both(path, dark_model):
        assert "scaled_to_8_bit" in {notice.code for notice in report.notices}


def test_a_mask_whose_pieces_are_all_too_short_is_told_from_an_empty_one(tmp_path: Path) -> None:
    specks = np.zeros((60, 80), np.uint8)
    specks[10, 10:18] = specks[40, 20:30] = 255
    for name, pixels, codes in (
        ("specks", specks, ["no_scale", "short_pieces_dropped", "mask_too_short"]),
        ("empty", 0 * specks, ["no_scale"]),
    ):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        with open_image(tmp_path / f"{name}.png", is_mask=True) as mask:
            report = measure_mask(mask, None, AnalyzeOptions())
        assert report.cracks == ()
        assert [notice.code for notice in report.notices] == codes


ROWS, COLS = np.mgrid[:200, :1400]
WEDGE = COLS + 0.3 * (ROWS - 100) > 1040  # a seam of tiles lies before it
SEEN_PX = 340  # of the crack: from column 700 to the wedge


def cut_wall(
    folder: Path, kind: str, *, width: float = 3.0, nothing: Array = WEDGE
) -> tuple[Path, Array]:
    """Write a wall whose crack runs into nothing; return its path and where the crack would be."""
    crack = (np.abs(ROWS - 100) <= width / 2) & (COLS >= 700) & (COLS < 1200)
    grey = 160 + np.random.default_rng(0).normal(0, 3, ROWS.shape)
    grey = cv2.GaussianBlur(np.where(crack, 30, grey), None, 0.8)
    grey = np.where(nothing, 255 if "white" in kind else 0, grey.clip(0, 255)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    if "alpha" in kind:
        pixels = np.concatenate([pixels, np.where(nothing, 0, 255)[..., None]], axis=2)
    path = folder / f"wall_{kind}"
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=80)
    return path, crack


def measured(photograph: Path, mask: Array) -> Report:
    """Return the report of a mask and its photograph."""
    path = photograph.with_name("drawn.png")
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    with open_image(path, is_mask=True) as drawn, open_image(photograph) as image:
        return measure_mask(drawn, image, AnalyzeOptions())


def lost(report: Report) -> list[str]:
    """Return what the report says of marks on nothing."""
    return [n.message for n in report.notices if n.code == "marked_on_nothing"]


KINDS = ["black.png", "white.png", "black.jpg", "white.jpg", "alpha.png"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1.5, 3.0, 9.0])
@pytest.mark.parametrize("drawn", ["through it", "up to it", "3 px short"])
def test_a_crack_is_cut_by_nothing_and_not_measured_in_it(
    tmp_path: Path, kind: str, width: float, drawn: str
) -> None:
    path, crack = cut_wall(tmp_path, kind, width=width)
    beyond = np.roll(WEDGE, -3, axis=1) if "short" in drawn else WEDGE
    report = measured(path, crack if drawn == "through it" else crack & ~beyond)
    (found,) = report.cracks
    assert found.touches_border
    assert "touches_nodata" in found.flags
    assert found.length.px == pytest.approx(SEEN_PX, abs=9)
    if drawn == "through it":
        (told,) = lost(report)
        share = (crack & WEDGE).sum() / crack.sum()
        assert float(told.split()[8]) == pytest.approx(100 * share, abs=2)


def test_what_a_mask_fills_or_is_as_narrow_as_a_crack_is_no_nothing(tmp_path: Path) -> None:
    """A cavity that the mask covers, a pore and a joint of black, and a crack with a black core."""
    from_end = np.hypot(ROWS - 100, COLS - 1040)
    for black, also in (
        (from_end < 40, from_end < 40),
        (from_end < 22, from_end < 0),
        (np.abs(COLS - 1040) < 20, from_end < 0),
        ((np.abs(ROWS - 100) < 20) & (COLS > 700), from_end < 0),
    ):
        path, crack = cut_wall(tmp_path, "black.png", nothing=black)
        report = measured(path, (crack & (COLS < 1040)) | also)
        assert lost(report) == []
        assert not any("touches_nodata" in found.flags for found in report.cracks)


def test_a_shadow_with_texture_is_no_nothing(tmp_path: Path) -> None:
    path, crack = cut_wall(tmp_path, "black.png")
    with open_image(path) as image:
        pixels = image.read()
    dark = np.random.default_rng(1).normal(9, 4, ROWS.shape)[..., None].clip(0, 32)
    pixels = np.where(WEDGE[..., None], dark, pixels).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    report = measured(path, crack)
    assert lost(report) == []
    assert report.cracks[0].length.px == pytest.approx(500, abs=4)


def test_a_mask_on_nothing_alone_is_told(tmp_path: Path) -> None:
    path, crack = cut_wall(tmp_path, "alpha.png")
    report = measured(path, crack & WEDGE)
    assert report.cracks == ()
    assert len(lost(report)) == 1
    assert "mask_left_out" in {notice.code for notice in report.notices}


@pytest.mark.parametrize("kind", ["white.png", "white.jpg", "alpha.png"])
def test_a_network_s_crack_is_cut_by_nothing(tmp_path: Path, dark_model: Path, kind: str) -> None:
    path, _ = cut_wall(tmp_path, kind)
    with open_image(path) as image:
        report = analyze(image, Predictor.open(str(dark_model)), AnalyzeOptions())
    found = max(report.cracks, key=lambda crack: crack.length.px)
    assert found.length.px == pytest.approx(SEEN_PX, abs=9)
    assert "touches_nodata" in found.flags
