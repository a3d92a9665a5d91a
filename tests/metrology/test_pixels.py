"""The pixel list agrees with whole-picture tools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from crackseg.metrology.pixels import label_pixels, list_pixels

STEPS = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
MASKS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_table_holds_every_neighbour_and_no_other(mask: np.ndarray) -> None:
    pixels = list_pixels(mask)
    assert len(pixels) == mask.sum()
    place = {(r, c): k for k, (r, c) in enumerate(zip(pixels.rows, pixels.cols, strict=True))}
    for k, (row, col) in enumerate(zip(pixels.rows, pixels.cols, strict=True)):
        wanted = [place.get((row + dr, col + dc), len(pixels)) for dr, dc in STEPS]
        assert pixels.table[k].tolist() == wanted


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_components_are_those_of_scipy(mask: np.ndarray) -> None:
    if not mask.any():
        return
    pixels = list_pixels(mask)
    count, label = label_pixels(pixels)
    image, wanted = ndimage.label(mask, np.ones((3, 3)))
    assert count == wanted
    pairs = set(zip(label.tolist(), image[pixels.rows, pixels.cols].tolist(), strict=True))
    assert len(pairs) == count


@pytest.mark.parametrize("density", [0.02, 0.4, 0.9])
def test_large_random_masks(density: float, rng: np.random.Generator) -> None:
    mask = rng.random((200, 170)) < density
    assert label_pixels(list_pixels(mask))[0] == ndimage.label(mask, np.ones((3, 3)))[1]
