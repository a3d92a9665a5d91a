"""Masks go to labelling tools as outlines of their pixels, and come back to the pixel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skimage.morphology import skeletonize

from crackseg.exports.annotations import Marked, Picture, write_labelstudio_file, yolo_labels
from crackseg.imagery.masks import MaskRule
from crackseg.metrology.phantoms import Look, draw, wandering
from crackseg.records import Array, Window
from crackseg.training.label_studio import read_label_studio
from crackseg.training.shapes import FillOptions, Shape, fill

CRACK = FillOptions(labels=frozenset({"crack"}))
SIDES = (97, 131)  # shares of them are no short decimals


def crack_mask(seed: int, kind: str) -> Array:
    """Return a (97, 131) mask: cracks with islands, such of one pixel, or single pixels."""
    rng = np.random.default_rng(seed)
    if kind == "pixels":
        return np.asarray(rng.random(SIDES) < 0.45)
    strokes = [
        wandering((48, 10), rng.uniform(-50, 50), 100, rng.uniform(1, 4), rng, bend_deg=20)
        for _ in range(3)
    ]
    mask = draw(SIDES, strokes, Look(blur_px=0, noise=0), rng).mask
    return np.asarray(skeletonize(mask) if kind == "hair" else mask)


@pytest.mark.parametrize("kind", ["cracks", "hair", "pixels"])
@pytest.mark.parametrize("seed", range(4))
def test_a_mask_comes_back_to_the_pixel(seed: int, kind: str, tmp_path: Path) -> None:
    mask = crack_mask(seed, kind)
    window = Window(row=0, col=0, height=SIDES[0], width=SIDES[1])
    marked = Marked(facts={"id": 1, "certainty": 0.5}, window=window, mask=mask)
    picture = Picture(name="a.png", height_px=SIDES[0], width_px=SIDES[1], cracks=[marked])
    (path,) = write_labelstudio_file(tmp_path / "a.json", [picture])
    tasks = json.loads(path.read_text())
    path.write_text(json.dumps([{**t, "annotations": t["predictions"]} for t in tasks]))
    (one,) = read_label_studio(path, MaskRule())
    assert np.array_equal(fill(one.shapes, SIDES, "a", CRACK)[0], mask)

    lines = [line.split()[1:] for line in yolo_labels(picture).splitlines()]
    shapes = [
        Shape(label="crack", where="b", in_shares=True,
              rings=(np.array(line, dtype=float).reshape(-1, 2),))
        for line in lines
    ]  # fmt: skip
    assert np.array_equal(fill(shapes, SIDES, "b", CRACK)[0], mask)
