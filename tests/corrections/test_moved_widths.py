"""A crack that is drawn by hand has the doubts of its place: motion may have spread it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from walls import edit

from crackseg.config import AnalyzeOptions, read_options
from crackseg.corrections.apply import apply
from crackseg.corrections.edits import parse_edits
from crackseg.exports.reading import read_report
from crackseg.imagery.files import open_image
from crackseg.metrology.phantoms import Look, draw, straight
from crackseg.pipeline import export, measure_mask
from crackseg.records import Report

HAIR_PX = 1.0


@pytest.fixture
def moved_wall(tmp_path: Path) -> Path:
    """The folder of a measured wall with two hair cracks, of which the mask holds the upper.

    The camera moved by 4 px across them: each looks like a pale crack of some pixels.
    """
    strokes = [straight((row, 256.3), 0, 380, HAIR_PX) for row in (150.2, 350.4)]
    both = draw((512, 512), strokes, Look(blur_px=0.5, noise=0), np.random.default_rng(1))
    upper = draw((512, 512), strokes[:1], Look(), np.random.default_rng(1))
    motion = np.full((4, 1), 0.25, np.float32)
    picture = cv2.filter2D(both.picture, -1, motion).astype(float)
    picture += np.random.default_rng(2).normal(0, 1.5, picture.shape)
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(tmp_path / "wall.png")
    Image.fromarray(upper.mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    options = read_options(AnalyzeOptions, {"scale": {"mm_per_px": 0.5}})
    with (
        open_image(tmp_path / "mask.png", is_mask=True) as mask,
        open_image(tmp_path / "wall.png") as image,
    ):
        export(measure_mask(mask, image, options), tmp_path / "result", image, ["json", "mask"])
    return tmp_path


def drawn(folder: Path, report: Report) -> Report:
    line = edit(1, "draw", line=[[351.0, 80.0], [350.0, 250.0], [350.0, 430.0]])
    with open_image(folder / "wall.png") as image:
        return apply(report, image, parse_edits([line], "test"))


def test_a_drawn_crack_may_be_as_thin_as_motion_allows(moved_wall: Path) -> None:
    report = read_report(moved_wall / "result")
    assert [part.code for part in report.unsteady] == ["unsteady"]
    assert report.unsteady[0].outlines
    measured, new = sorted(drawn(moved_wall, report).cracks, key=lambda crack: crack.id)
    steady = drawn(moved_wall, replace(report, unsteady=())).cracks
    sure = next(crack for crack in steady if crack.id == new.id)
    for crack in (measured, new):
        for width in (crack.width_mean, crack.width_p95):
            assert width.low_px is not None
            assert width.low_px <= HAIR_PX
            assert width.low_mm is not None
            assert width.low_mm <= 0.5 * HAIR_PX
    assert (sure.width_mean.low_px or 0.0) > HAIR_PX
    assert sure.width_mean.px == new.width_mean.px
