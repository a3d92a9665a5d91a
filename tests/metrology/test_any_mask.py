"""Whatever the mask: every centre line stays on it, and no length is more than its pixels give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from crackseg.config import MaskOptions

EVERY = MaskOptions(min_area_px=3, gap_px=0.0)
OFF_PX = 6.0  # an end is carried on straight by about half a width


def scrap(rng: np.random.Generator) -> np.ndarray:
    """Return a mask of shreds and bands of any shape, part of it torn by noise."""
    height, width = rng.integers(8, 90, 2)
    field = ndimage.gaussian_filter(rng.standard_normal((height, width)), rng.uniform(0.5, 2.5))
    mask = abs(field) < field.std() * rng.uniform(0.05, 0.8)
    return mask & (rng.random(mask.shape) < rng.uniform(0.6, 1.0))


@pytest.mark.parametrize(("photograph", "count"), [(False, 300), (True, 30)])
@pytest.mark.parametrize("seed", range(2))
def test_centre_lines_stay_on_the_mask(
    cracks_of: Any, seed: int, photograph: bool, count: int
) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        mask = scrap(rng)
        grey = 150 + rng.normal(0, 10, mask.shape) - 80 * mask
        picture = np.clip(grey, 0, 255).astype(np.uint8) if photograph else None
        away = ndimage.distance_transform_edt(~mask)
        for crack in cracks_of(mask, picture, mask_options=EVERY, min_length_px=0.0):
            for branch in crack.branches:
                nearest = np.rint(branch.centre_line).astype(int)
                inside = np.clip(nearest, 0, np.array(mask.shape) - 1)
                assert np.abs(nearest - inside).max() <= OFF_PX
                assert away[tuple(inside.T)].max() <= OFF_PX
            assert crack.length.px <= 2 * mask.sum() + 2 * OFF_PX


@pytest.mark.parametrize(
    "rows", [("##", "##"), (".##.", "####", "####", ".##."), (".###", "####", "####", "..#.")]
)
@pytest.mark.parametrize("dots", [1, 2])
@pytest.mark.parametrize("photograph", [False, True])
def test_dots_that_thin_to_four_pixels_are_no_crack(
    cracks_of: Any, rows: tuple[str, ...], dots: int, photograph: bool
) -> None:
    """Their skeleton is a block of junctions alone, in which no line begins."""
    mask = np.zeros((40, 60), dtype=bool)
    dot = np.array([[letter == "#" for letter in row] for row in rows])
    for number in range(dots):
        mask[10 : 10 + len(rows), 10 + 25 * number : 10 + 25 * number + len(rows[0])] = dot
    picture = np.where(mask, 60, 150).astype(np.uint8) if photograph else None
    assert len(cracks_of(mask, picture, mask_options=EVERY, min_length_px=0.0)) == 0
