"""Tiles cover every pixel, their weights sum to 1, and float memory is one band."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackseg.errors import ConfigError
from crackseg.imagery.tiles import Band, fill_invalid, pad_tile, plan_axis
from crackseg.records import Array


@given(
    length=st.integers(1, 3000),
    tile=st.integers(2, 20).map(lambda n: 32 * n),
    share=st.floats(0, 0.5),
)
def test_tiles_cover_every_pixel_and_weights_sum_to_one(
    length: int, tile: int, share: float
) -> None:
    overlap = int(share * tile)
    axis = plan_axis(length, tile_px=tile, overlap_px=overlap, multiple=32)
    total = np.zeros(max(length, axis.size_px))
    for start, weight in zip(axis.starts, axis.weights, strict=True):
        assert start >= 0
        total[start : start + axis.size_px] += weight
    assert np.abs(total - 1).max() < 1e-5
    assert axis.size_px % 32 == 0
    if length > tile:
        assert axis.size_px == tile
        assert axis.starts[-1] + tile == length
        assert tile - np.diff(axis.starts).max() >= overlap
        assert np.ptp(np.diff(axis.starts)) <= 1
    else:
        assert axis.starts == (0,)
        assert axis.size_px - length < 32


@given(length=st.integers(129, 2000), overlap=st.integers(8, 64))
def test_the_outer_quarter_of_an_overlap_weighs_nothing(length: int, overlap: int) -> None:
    axis = plan_axis(length, tile_px=128, overlap_px=overlap, multiple=32)
    quiet = overlap // 4
    assert axis.weights[1:, :quiet].max() < 1e-4
    assert axis.weights[:-1, 128 - quiet :].max() < 1e-4
    assert np.allclose(axis.weights[0, :quiet], 1, atol=1e-4)


@pytest.mark.parametrize(
    ("tile", "overlap", "words"),
    [
        (500, 64, "480 and 512 fit"),
        (20, 4, "got 20; 32 fits"),
        (512, 257, r"half of `tile_px` \(256\), got 257"),
        (512, -1, "got -1"),
    ],
)
def test_impossible_tiles_are_refused(tile: int, overlap: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_axis(1000, tile_px=tile, overlap_px=overlap, multiple=32)


@given(height=st.integers(1, 300), width=st.integers(1, 300), overlap=st.integers(0, 32))
def test_a_picture_cut_into_tiles_is_stitched_back(height: int, width: int, overlap: int) -> None:
    picture = np.random.default_rng(height).random((height, width), dtype=np.float32)
    stitched = np.full((height, width), 7, np.uint8)
    next_row = 0

    def emit(row: int, finished: Array) -> None:
        nonlocal next_row
        assert row == next_row
        stitched[row : row + len(finished)] = finished
        next_row += len(finished)

    rows = plan_axis(height, tile_px=64, overlap_px=overlap, multiple=8)
    cols = plan_axis(width, tile_px=64, overlap_px=overlap, multiple=8)
    band = Band(rows, cols, height_px=height, width_px=width, emit=emit)
    for i, row in enumerate(rows.starts):
        for j, col in enumerate(cols.starts):
            part = picture[row : row + rows.size_px, col : col + cols.size_px]
            whole = np.zeros((rows.size_px, cols.size_px), np.float32)
            whole[: part.shape[0], : part.shape[1]] = part
            band.add(i, j, whole)
        band.finish(i)
    assert next_row == height
    assert np.abs(stitched - picture * 255).max() <= 0.502


def test_padding_reflects_and_keeps_the_picture() -> None:
    tile = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    padded = pad_tile(tile, 8, 8)
    assert padded.shape == (8, 8, 3)
    assert np.array_equal(padded[:5, :4], tile)
    assert np.array_equal(padded[5, :4], tile[3])
    assert pad_tile(tile, 5, 4) is tile
    assert (pad_tile(tile[:1, :1], 3, 3) == tile[0, 0]).all()


def test_invalid_pixels_repeat_the_nearest_valid_one() -> None:
    rng = np.random.default_rng(5)
    tile = rng.integers(1, 256, (40, 50, 3), np.uint8)
    valid = rng.random((40, 50)) < 0.02
    tile[~valid] = 0
    filled = fill_invalid(tile, valid)
    assert np.array_equal(filled[valid], tile[valid])
    rows, cols = np.nonzero(valid)
    for row, col in [(0, 0), (39, 49), (20, 7), (11, 30)]:
        distance = np.hypot(rows - row, cols - col)
        near = distance <= distance.min() * 1.03 + 1e-9  # the 5 x 5 mask is not quite Euclidean
        assert (tile[rows[near], cols[near]] == filled[row, col]).all(axis=1).any()
    assert fill_invalid(tile, np.ones_like(valid)) is tile
