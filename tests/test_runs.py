"""A mask as runs says what the same mask says as an array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from crackseg import runs as room
from crackseg.metrology.pixels import label_pixels, label_runs, list_pixels, parcels
from crackseg.records import Array
from crackseg.runs import Runs, bands

SIDES = st.integers(1, 40)


def random_mask(height: int, width: int, share: float = 0.4) -> Array:
    rng = np.random.default_rng(height * 100 + width)
    return np.asarray(rng.random((height, width)) < share)


@given(height=SIDES, width=SIDES, share=st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]))
def test_runs_read_like_the_array_they_are_of(height: int, width: int, share: float) -> None:
    mask = random_mask(height, width, share)
    runs = Runs.of(mask)
    assert np.array_equal(np.asarray(runs), mask)
    assert (runs.sum(), runs.any(), runs.size) == (mask.sum(), mask.any(), mask.size)
    assert np.array_equal(runs.nonzero(), np.nonzero(mask))
    assert np.array_equal(np.asarray(runs.outside()), ~mask)
    window = np.s_[height // 3 : height, width // 4 : width - width // 3]
    assert np.array_equal(runs[window], mask[window])
    assert np.array_equal(runs[height // 2 :], mask[height // 2 :])
    rows, cols = np.indices(mask.shape)
    assert np.array_equal(runs[rows, cols], mask)


@given(height=SIDES, width=SIDES, cut=st.integers(0, 40))
def test_masks_one_below_the_other_are_one(height: int, width: int, cut: int) -> None:
    mask = random_mask(height, width)
    parts = [Runs.of(mask[:cut]), Runs.of(mask[cut:])]
    whole = Runs.stack(parts, width)
    assert whole.shape == mask.shape
    assert np.array_equal(np.asarray(whole), mask)


@given(height=SIDES, width=SIDES)
def test_masks_meet_and_unite_as_arrays_do(height: int, width: int) -> None:
    one, other = random_mask(height, width), random_mask(height, width)[::-1, ::-1]
    both = Runs.of(one).both(Runs.of(other))
    assert np.array_equal(np.asarray(both), one & other)
    either = Runs.union([Runs.of(one), Runs.of(other)], (height, width))
    assert np.array_equal(np.asarray(either), one | other)
    assert np.array_equal(either.start, Runs.of(one | other).start)


@given(height=SIDES, width=SIDES, px=st.integers(0, 4))
def test_a_mask_grows_as_an_array_does(height: int, width: int, px: int) -> None:
    mask = random_mask(height, width, 0.05)
    grown = ndimage.binary_dilation(mask, np.ones((2 * px + 1,) * 2, bool))
    runs = Runs.of(mask).grown(px)
    assert np.array_equal(np.asarray(runs), grown)
    assert np.array_equal(runs.start, Runs.of(grown).start)


@given(height=SIDES, width=SIDES)
def test_components_are_numbered_as_those_of_pixels(height: int, width: int) -> None:
    mask = random_mask(height, width)
    runs = Runs.of(mask)
    if not runs.any():
        return
    count, label = label_runs(runs)
    assert count == ndimage.label(mask, np.ones((3, 3)))[1]
    assert np.array_equal(
        np.repeat(label, runs.stop - runs.start), label_pixels(list_pixels(mask))[1]
    )


def test_a_run_at_a_rows_end_does_not_touch_the_next_row_but_one() -> None:
    mask = np.zeros((3, 6), bool)
    mask[0, 4:] = mask[1, 2] = mask[2, :2] = True
    assert label_runs(Runs.of(mask))[0] == 2  # the lower two touch at a corner


@given(height=SIDES, width=SIDES, most=st.integers(1, 60))
def test_parcels_hold_whole_components_each_once(height: int, width: int, most: int) -> None:
    runs = Runs.of(random_mask(height, width, 0.2))
    if not runs.any():
        return
    count, label = label_runs(runs)
    parts = list(parcels(runs, label, count, most))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(runs.start)))
    assert sum(len(np.unique(label[part])) for part in parts) == count
    size = np.bincount(label, weights=runs.stop - runs.start)
    assert all(size[np.unique(label[part])].sum() < most + size.max() for part in parts)


def test_the_smallest_window_of_a_mask_and_back() -> None:
    mask = np.zeros((30, 40), bool)
    mask[4:9, 11:30] = random_mask(5, 19, 0.5)
    mask[4, 11] = mask[8, 29] = True
    runs = Runs.of(mask)
    top, left, height, width = runs.extent()
    assert (top, left, height, width) == (4, 11, 5, 19)
    crop = runs.moved(-top, -left, (height, width))
    assert np.array_equal(np.asarray(crop), mask[4:9, 11:30])
    assert np.array_equal(np.asarray(crop.moved(top, left, mask.shape)), mask)


def test_bands_cover_a_picture_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(bands(4000, 5000)) == [slice(0, 4000)]  # a photograph is one band
    monkeypatch.setattr(room, "_BAND_PX", 1000)
    parts = list(bands(333, 70))
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == 333
    assert max(part.stop - part.start for part in parts) * 70 < 2000
