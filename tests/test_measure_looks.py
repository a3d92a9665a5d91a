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
from crackseg.pipeline import analyze, measure_mask
from crackseg.records import Report

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
