"""Label maps keep thin cracks as lines, and call long straight dark lines something else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.measure import label

from crackseg.training.labels import (
    CRACK,
    IGNORED,
    LINE,
    NOTHING,
    OTHER,
    UNKNOWN,
    label_map,
    settle,
    turned,
)
from crackseg.training.lines import dark_line


def _wavy(thick: float, size: int = 400):
    """A dark wavy line on noisy grey, and its mask."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:size, :size]
    mask = np.abs(rows - size / 2 - 40 * np.sin(cols / 50)) < thick / 2
    grey = 160 + rng.normal(0, 4, (size, size)) - 90 * mask
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2), mask


def _shrunk(labels, scale, angle=0.0, size=100):
    middle = (labels.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), angle, scale)
    matrix[:, 2] += (size - 1) / 2 - middle
    return turned(labels, matrix, scale, size)


@pytest.mark.parametrize("scale", [0.2, 0.3, 0.45])
@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_a_shrunk_thin_crack_stays_one_line_from_side_to_side(scale, angle):
    picture, mask = _wavy(4)
    small = _shrunk(label_map(picture, mask), scale, angle, 60)
    crack = small == CRACK
    assert label(crack, connectivity=2).max() == 1
    assert crack.any(axis=0).sum() > 50
    assert crack.sum() < 2.5 * 75, "one or two pixels wide"


def test_a_wide_crack_is_shrunk_by_its_share_of_each_pixel():
    picture, mask = _wavy(24)
    small = _shrunk(label_map(picture, mask), 0.25, size=100) == CRACK
    expected = cv2.resize(mask.astype(np.float32), (100, 100), interpolation=cv2.INTER_AREA) > 0.5
    assert (small ^ expected).sum() < 0.15 * expected.sum()


def test_a_crack_shrunk_to_nothing_teaches_nothing():
    picture, mask = _wavy(1.0)
    small = _shrunk(label_map(picture, mask), 0.2)
    assert (small == IGNORED).sum() > 40
    assert not (small == CRACK).any()


def test_enlarging_and_turning_keep_the_line_in_one_piece():
    picture, mask = _wavy(2.5)
    for scale, angle in ((1.0, 20.0), (1.5, 0.0), (1.3, 37.0)):
        crack = _shrunk(label_map(picture, mask), scale, angle, 200) == CRACK
        assert label(crack, connectivity=2).max() == 1


def test_every_crack_pixel_is_crack_once_settled():
    picture, mask = _wavy(5)
    labels = label_map(picture, mask)
    assert (labels == LINE).any()
    np.testing.assert_array_equal(settle(labels) == CRACK, mask)


def test_straight_joints_are_other_lines_only_where_the_set_is_known_for_them():
    grey = np.full((200, 300), 170.0) + np.random.default_rng(1).normal(0, 3, (200, 300))
    grey[97:100] -= 70
    picture = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    free = np.zeros(grey.shape, bool)
    for joints, kind in ((True, OTHER), (False, UNKNOWN)):
        labels = label_map(picture, free, joints=joints)
        assert (labels[98] == kind).mean() > 0.9
        assert (labels[:90] == NOTHING).mean() > 0.97


def test_a_labelled_crack_is_never_called_another_line():
    picture, mask = _wavy(4)
    labels = label_map(picture, mask, joints=True)
    assert not np.isin(labels[mask], (OTHER, UNKNOWN)).any()


def test_a_drawn_line_is_darker_where_it_is_labelled_and_spares_cracks():
    plain = np.full((128, 128, 3), 160, np.uint8)
    crack = np.zeros((128, 128), np.uint8)
    crack[60:64] = CRACK
    lengths = []
    for seed in range(30):
        picture, labels = dark_line(plain, crack, np.random.default_rng(seed))
        assert (labels[crack == CRACK] == CRACK).all()
        line = (labels != crack) & (labels != NOTHING)
        lengths.append(line.sum())
        if line.any():
            assert picture[line].mean() < 150
    assert np.median(lengths) > 100
