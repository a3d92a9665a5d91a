"""Thinning: alike in every orientation, thin, connected, nothing lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import skeletonize as skimage_skeletonize

from crackseg.metrology.phantoms import Look, draw, straight, wandering
from crackseg.metrology.pixels import label_pixels, list_pixels
from crackseg.metrology.thinning import pose_table, thin

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip rows": lambda a: a[::-1],
    "flip columns": lambda a: a[:, ::-1],
    "transpose": lambda a: a.T,
    "quarter turn": np.rot90,
    "half turn": lambda a: a[::-1, ::-1],
    "three quarters": lambda a: np.rot90(a, 3),
    "other diagonal": lambda a: np.rot90(a, 2).T,
}
EIGHT = np.ones((3, 3))


def skeleton_of(mask: np.ndarray) -> np.ndarray:
    pixels = list_pixels(np.ascontiguousarray(mask))
    count, label = label_pixels(pixels)
    alive = thin(pose_table(pixels, label, count))
    result = np.zeros(mask.shape, bool)
    result[pixels.rows[alive], pixels.cols[alive]] = True
    return result


def net(rng: np.random.Generator) -> np.ndarray:
    strokes = [
        wandering((20 + 40 * k, 10), (-20, 10, 35, -5)[k], 200, (7, 1.5), rng) for k in range(4)
    ]
    return draw((220, 240), strokes, Look(), rng).mask


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_mask_has_the_turned_skeleton(turn: str, rng: np.random.Generator) -> None:
    mask = net(rng)
    assert np.array_equal(skeleton_of(TURNS[turn](mask)), TURNS[turn](skeleton_of(mask)))


@pytest.mark.parametrize("width", [2, 3, 4, 8, 20])
@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135])
def test_no_line_is_lost(width: int, angle: int, rng: np.random.Generator) -> None:
    for offset in (0, 0.5):
        stroke = straight((80 + offset, 80 + offset), angle, 100, width)
        skeleton = skeleton_of(draw((160, 160), [stroke], Look(), rng).mask)
        assert ndimage.label(skeleton, EIGHT)[1] == 1
        rows, cols = np.nonzero(skeleton)
        assert np.hypot(np.ptp(rows), np.ptp(cols)) > 100 - 1.5 * width - 2


def test_it_lies_where_scikit_image_has_it(rng: np.random.Generator) -> None:
    mask = net(rng)
    ours, theirs = skeleton_of(mask), skimage_skeletonize(mask)
    assert ndimage.label(ours, EIGHT)[1] == ndimage.label(mask, EIGHT)[1]
    distance = ndimage.distance_transform_edt(~theirs)[ours]
    assert np.mean(distance <= 1.5) > 0.98
    assert abs(int(ours.sum()) - int(theirs.sum())) < 0.1 * theirs.sum()


def test_holes_stay_holes() -> None:
    rows, cols = np.mgrid[:60, :60]
    radius = np.hypot(rows - 30, cols - 30)
    ring = (radius > 15) & (radius < 22)
    assert ndimage.label(~skeleton_of(ring))[1] == 2


def test_lines_are_one_pixel_wide(rng: np.random.Generator) -> None:
    skeleton = skeleton_of(net(rng))
    full = ndimage.convolve(skeleton.astype(int), np.ones((2, 2), int), mode="constant")
    assert (full == 4).sum() == 0
