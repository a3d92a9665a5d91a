"""Thresholding against scikit-image, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

from crackseg.config import MaskOptions
from crackseg.errors import ConfigError
from crackseg.metrology.masks import fill_pinholes, probability_to_mask, without_pinholes
from crackseg.records import Window


def blobs(rng: np.random.Generator) -> np.ndarray:
    field = ndimage.gaussian_filter(rng.normal(size=(120, 150)), 2.5)
    return np.clip(128 + 200 * field / field.std() / 3, 0, 255).astype(np.uint8)


def test_hysteresis_is_that_of_scikit_image(rng: np.random.Generator) -> None:
    probability = blobs(rng)
    mask = probability_to_mask(
        probability, threshold=0.8, threshold_low=0.6, options=MaskOptions(min_area_px=1)
    )
    structure = np.ones((3, 3))
    low, seed = probability >= 153, probability >= 204
    label, _ = ndimage.label(low, structure)
    assert np.array_equal(mask, np.isin(label, np.unique(label[seed & low])) & low)
    # scikit-image joins by sides only, so its mask lies within ours
    theirs = apply_hysteresis_threshold(probability.astype(float), 152.5, 203.5)
    assert (mask | ~theirs).all()


def test_specks_go_and_cracks_stay() -> None:
    probability = np.zeros((40, 60), np.uint8)
    probability[10, 5:45] = 200
    probability[30:33, 10:13] = 250
    mask = probability_to_mask(
        probability, threshold=0.5, threshold_low=0.3, options=MaskOptions(min_area_px=12)
    )
    assert mask.sum() == 40
    assert mask[10, 5:45].all()


def test_threshold_is_the_smallest_that_counts() -> None:
    probability = np.full((5, 5), 128, np.uint8)
    options = MaskOptions(min_area_px=1)
    hit = probability_to_mask(probability, threshold=128 / 255, threshold_low=0.1, options=options)
    miss = probability_to_mask(probability, threshold=0.51, threshold_low=0.1, options=options)
    assert hit.all()
    assert not miss.any()


def test_invalid_pixels_do_not_count() -> None:
    probability = np.full((20, 20), 255, np.uint8)
    valid = np.ones((20, 20), bool)
    valid[:, 10:] = False
    mask = probability_to_mask(
        probability,
        threshold=0.5,
        threshold_low=0.5,
        options=MaskOptions(),
        valid=valid,
    )
    assert mask.sum() == 20 * 10
    assert mask[:, :10].all()


@pytest.mark.parametrize(
    ("threshold", "low"), [(0.3, 0.5), (0.5, 0.0), (1.2, 0.5)], ids=["order", "zero", "above"]
)
def test_thresholds_out_of_order_are_refused(threshold: float, low: float) -> None:
    with pytest.raises(ConfigError, match="threshold_low"):
        probability_to_mask(
            np.zeros((4, 4), np.uint8),
            threshold=threshold,
            threshold_low=low,
            options=MaskOptions(),
        )


def test_a_float_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="uint8"):
        probability_to_mask(
            np.zeros((4, 4)), threshold=0.5, threshold_low=0.5, options=MaskOptions()
        )


def test_pinholes_are_filled_region_by_region_as_in_the_whole(rng: np.random.Generator) -> None:
    """Rings in rings, corners that touch, holes that reach the border and dense noise."""
    for share in (0.2, 0.5, 0.8, 0.95):
        mask = np.zeros((120, 130), bool)
        mask[10:60, 20:70] = rng.random((50, 50)) < share
        mask[70:110, 40:100] = blobs(rng)[:40, :60] > 120
        mask[80:90, :8] = np.pad(np.zeros((6, 6), bool), ((2, 2), (0, 2)), constant_values=True)
        for most in (1, 12, 60):
            whole = fill_pinholes(mask, most)
            assert np.array_equal(np.asarray(without_pinholes(mask, most)), whole)


def test_pinholes_are_filled_and_bays_are_not(rng: np.random.Generator) -> None:
    mask = ndimage.gaussian_filter(rng.normal(size=(150, 150)), 1.5) > -0.05
    filled = fill_pinholes(mask, 12)
    holes, count = ndimage.label(~mask)
    border = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    small = [k for k in range(1, count + 1) if k not in border and sizes[k] <= 12]
    assert len(small) > 5
    assert filled[np.isin(holes, small)].all()
    assert not filled[np.isin(holes, border) & ~mask].any()


@pytest.mark.parametrize("width", [8, 12, 20, 30])
def test_a_hole_that_is_narrow_for_its_crack_is_filled(width: int) -> None:
    mask = np.zeros((80, 200), bool)
    mask[20 : 20 + width, 5:195] = True
    across = width // 3
    for row, col in ((20 + across, 40), (21, 90), (20 + width - across - 1, 150)):
        holed = mask.copy()
        holed[row : row + across, col : col + across + 3] = False
        assert fill_pinholes(holed, 1)[20 : 20 + width, 5:195].all()


def test_a_hole_that_parts_two_cracks_is_none(cracks_of: Any) -> None:
    fork = np.zeros((60, 200), bool)
    fork[25:31, 5:195] = True
    fork[22:25, 60:80] = fork[31:34, 60:80] = True
    fork[25:31, 62:78] = False  # round a grain, 6 px wide between branches of 3 px
    assert np.array_equal(fill_pinholes(fork, 12), fork)
    pair = np.zeros((60, 200), bool)
    pair[20:32, 5:195] = True
    pair[24:28, 60:120] = False  # two cracks of 4 px that run beside each other for 60 px
    assert np.array_equal(fill_pinholes(pair, 12), pair)
    (crack,) = cracks_of(pair)
    assert crack.loops == 1


@pytest.mark.parametrize("grey", [40, 150])
def test_a_hole_is_filled_where_the_photograph_is_dark_there(grey: int) -> None:
    crack = np.zeros((80, 200), bool)
    crack[30:46, 5:195] = True
    picture = np.where(crack, 40, 160).astype(np.uint8)
    picture[35:40, 90:98] = grey  # the crack's interior, or a flake of concrete
    mask = crack.copy()
    mask[35:40, 90:98] = False

    def read(window: Window) -> Any:
        return np.repeat(picture[window.slices][..., None], 3, axis=2)

    filled = np.asarray(without_pinholes(mask, 12, read))
    assert np.array_equal(filled, crack if grey == 40 else mask)
