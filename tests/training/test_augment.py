"""Augmentations keep pairs together, labels binary and thin cracks whole."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage.measure import label

from crackseg.errors import ConfigError
from crackseg.training.augment import (
    AugmentOptions,
    augment,
    crack_places,
    distract,
    hair_crack,
    patch,
    random_crop,
)
from crackseg.training.fittings import fitting
from crackseg.training.labels import CRACK, NOTHING, OTHER, UNKNOWN, label_map
from crackseg.training.lookalike import lookalike

PLAIN = AugmentOptions(
    native=1, rotate=0, photometric=0, blur=0, noise=0, jpeg=0, shadow=0, hair=0, distract=0
)


def _pair(height: int = 90, width: int = 120):
    """A dark diagonal line of 3 px on grey, and its mask."""
    rows, cols = np.mgrid[:height, :width]
    mask = (np.abs(rows - 0.6 * cols - 5) < 2).astype(np.uint8)
    picture = np.repeat((180 - 120 * mask)[..., None], 3, axis=2).astype(np.uint8)
    return picture, mask


def test_flips_and_turns_move_picture_and_mask_alike():
    picture, mask = _pair(64, 64)
    variants = set()
    for seed in range(48):
        image, changed = augment(picture, mask, PLAIN, np.random.default_rng(seed))
        np.testing.assert_array_equal(image[..., 0] < 100, changed == 1)
        variants.add(changed.tobytes())
    assert len(variants) == 8, "a skew line has eight different flips and turns"


@pytest.mark.parametrize("size", [40, 64, 150])
def test_crop_has_its_size_and_binary_labels_for_small_and_large_pictures(size):
    picture, mask = _pair()
    for seed in range(10):
        options = AugmentOptions(native=0.3, rotate=0)
        whole = label_map(picture, mask)
        image, labels = random_crop(
            picture, whole, size, options, np.random.default_rng(seed), crack_places(whole)
        )
        assert image.shape == (size, size, 3)
        assert labels.shape == (size, size)
        assert set(np.unique(labels)) <= {NOTHING, CRACK, UNKNOWN}
        assert (labels == CRACK).any(), "an aimed crop holds crack"


def test_a_scaled_crop_keeps_a_thin_crack_dark_and_in_one_piece():
    rows, cols = np.mgrid[:200, :200]
    mask = (np.abs(rows - 0.37 * cols - 60) < 1.1).astype(np.uint8)
    picture = np.repeat((180 - 120 * mask)[..., None], 3, axis=2).astype(np.uint8)
    options = AugmentOptions(native=0, scale_low=0.5, scale_high=0.5, rotate=0)
    for seed in range(8):
        whole, anywhere = label_map(picture, mask), np.zeros((0, 2), np.int32)
        image, labels = random_crop(
            picture, whole, 96, options, np.random.default_rng(seed), anywhere
        )
        assert label(labels == CRACK, connectivity=2).max() == 1
        assert image[labels == CRACK].mean() < image[labels == NOTHING].mean() - 30


def test_a_drawn_hair_crack_is_dark_where_it_is_labelled():
    picture = np.full((128, 128, 3), 160, np.uint8)
    none = np.zeros((128, 128), np.uint8)
    hits = 0
    for seed in range(20):
        image, labels = hair_crack(picture, none, np.random.default_rng(seed))
        if labels.any():
            hits += 1
            assert image[labels == CRACK].mean() < 155
            assert (image[labels == NOTHING] >= 150).mean() > 0.9
    assert hits > 12


def test_distractors_change_the_picture():
    picture = np.full((96, 96, 3), 160, np.uint8)
    none = np.zeros((96, 96), np.uint8)
    pairs = [distract(picture, none, np.random.default_rng(s)) for s in range(40)]
    assert sum((changed != picture).any() for changed, _ in pairs) > 30
    assert not any((labels == CRACK).any() for _, labels in pairs)
    lines = [(changed, labels == OTHER) for changed, labels in pairs if (labels == OTHER).any()]
    assert len(lines) > 8
    for changed, line in lines:
        assert changed[line].mean() < 148, "another line is dark enough to be seen"


def test_lookalikes_change_the_picture_and_are_never_a_crack():
    picture = np.full((96, 96, 3), 160, np.uint8)
    crack = np.zeros((96, 96), np.uint8)
    crack[40:43] = CRACK
    kinds = set()
    changes, hidden = 0, 0
    for seed in range(60):
        image, labels = lookalike(picture, crack, np.random.default_rng(seed))
        kinds |= set(np.unique(labels).tolist())
        changes += bool((image != picture).any())
        assert not ((labels == CRACK) & (crack != CRACK)).any()
        gone = (crack == CRACK) & (labels != CRACK)
        hidden += bool(gone.any())
        assert (image[gone] != 160).any(1).mean() > 0.9 if gone.any() else True
        if (labels == OTHER).any():
            assert image[labels == OTHER].mean() < 150, "another line is dark enough to be seen"
    assert changes > 50
    assert kinds == {NOTHING, CRACK, OTHER, UNKNOWN}
    assert 2 < hidden < 30, "a twig hides the crack behind it, nothing else does"


def test_a_wide_drawn_crack_is_dark_and_as_wide_as_asked():
    picture = np.full((128, 128, 3), 160, np.uint8)
    none = np.zeros((128, 128), np.uint8)
    wide = 0
    for seed in range(30):
        image, labels = hair_crack(picture, none, np.random.default_rng(seed), 12.0)
        depth = cv2.distanceTransform((labels == CRACK).astype(np.uint8), cv2.DIST_L2, 3).max()
        if depth > 3:
            wide += 1
            assert image[labels == CRACK].mean() < 125
        assert depth < 12
    assert wide > 5
    with pytest.raises(ConfigError, match="`hair_high_px` must be above"):
        AugmentOptions(hair_high_px=0.5)


def test_patches_have_an_inside_and_an_outside_and_no_line_like_a_crack():
    plain = np.full((128, 128, 3), 160, np.uint8)
    shares, darkest = [], []
    for seed in range(20):
        grey = cv2.GaussianBlur(patch(plain, np.random.default_rng(seed)), (0, 0), 1.5).mean(2)
        shares.append((np.abs(grey - 160) > 8).mean())
        closed = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, np.ones((9, 9)))
        darkest.append((closed - grey).max())  # of lines thinner than 9 px
    assert sum(0.1 < share < 0.95 for share in shares) >= 15
    assert np.mean(np.array(darkest) < 35) >= 0.9, "cracks are darker than that"


def test_a_patch_covers_cracks_and_leaves_their_labels():
    picture, mask = _pair(96, 96)
    bare, covered = (
        augment(picture, mask, replace(PLAIN, patch=share), np.random.default_rng(5))
        for share in (0, 1)
    )
    np.testing.assert_array_equal(bare[1], covered[1])
    assert (bare[0] != covered[0]).mean() > 0.1


def test_a_fitting_hides_the_crack_behind_it_and_leaves_the_rest():
    picture, mask = _pair(128, 128)
    picture += np.random.default_rng(0).integers(0, 20, picture.shape, dtype=np.uint8)
    shares, hiding = [], 0
    for seed in range(60):
        image, labels = fitting(picture, mask, np.random.default_rng(seed))
        changed = (image != picture).any(2)
        shares.append(changed.mean())
        hidden = (mask == CRACK) & (labels != CRACK)
        assert set(np.unique(labels[labels != mask])) <= {UNKNOWN}, "a fitting is no crack"
        if hidden.any():
            hiding += 1
            assert changed[hidden].mean() > 0.95
        if (labels == CRACK).any():
            assert np.median(image[labels == CRACK]) <= 80, "what is still labelled is still seen"
    assert sum(0.001 < share < 0.9 for share in shares) > 50
    assert 10 < hiding < 60


def test_same_generator_same_crop():
    picture, mask = _pair(96, 96)
    options = AugmentOptions(hair=1, distract=1, fitting=1)
    one, two = (augment(picture, mask, options, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_options_refuse_an_empty_range():
    for name in ("scale", "shrink"):
        with pytest.raises(ConfigError, match=f"{name}_low"):
            AugmentOptions(**{f"{name}_low": 2, f"{name}_high": 1})
