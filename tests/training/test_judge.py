"""The judge counts centre lines: what is found, by width, what is invented, what is listed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.masks import probability_to_mask
from crackseg.records import Sample
from crackseg.training.judge import (
    CLASSES,
    NO_LINES,
    TOLERANCE_PX,
    count_levels,
    count_lines,
    judge,
    pool,
    read_truth,
)

SHAPE = 120, 300


def _stripe(row: int, thick: int, start: int = 0, stop: int = SHAPE[1]):
    mask = np.zeros(SHAPE, bool)
    mask[row : row + thick, start:stop] = True
    return mask


def _picture(*masks):
    rng = np.random.default_rng(0)
    grey = 170 + rng.normal(0, 2, SHAPE)
    for mask in masks:
        grey[mask] -= 100
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def sample(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    folder = tmp_path / "set"
    return Sample(
        image=folder / "images" / "a.png",
        mask=folder / "masks" / "a.png",
        source="set",
        split="val",
    )


def _count(mask, truth):
    return count_lines(mask, truth, MeasureOptions())


def test_recall_is_by_the_width_in_the_photograph_not_of_the_label(sample):
    thin, wide = _stripe(30, 2), _stripe(80, 6)
    fat = _stripe(27, 8) | _stripe(77, 12)  # as fat labels are
    truth = read_truth(sample, _picture(thin, wide), fat)
    counts = _count(wide, truth)
    by_width = dict(zip(CLASSES, counts.recalls, strict=True))
    assert by_width["<1.5"] == 0  # of 2 px, sharp, the width code reads 1.3
    assert by_width["4-8"] == pytest.approx(1)
    assert counts.precision == 1
    assert counts.recall == pytest.approx(0.5, abs=0.03)
    assert counts.balanced == pytest.approx(2 / 3, abs=0.02)


def test_a_line_beside_the_label_counts_up_to_the_tolerance(sample):
    crack = _stripe(60, 1)
    truth = read_truth(sample, _picture(crack), crack)
    near, far = (_count(_stripe(60 + by, 1), truth) for by in (3, 4))
    assert (near.precision, near.recall) == (1, 1)
    assert (far.precision, far.recall, far.f1) == (0, 0, 0)
    assert far.false_px_per_megapixel == pytest.approx(far.marked_px / crack.size * 1e6)


def test_zones_say_where_a_marked_line_is_right(sample):
    crack = _stripe(60, 2)
    (sample.mask.parent.parent / "zones").mkdir()
    zone = _stripe(40, 40).astype(np.uint8) * 255
    Image.fromarray(zone).save(sample.mask.parent.parent / "zones" / "a.png")
    truth = read_truth(sample, _picture(crack), crack)
    counts = _count(_stripe(45, 2), truth)
    assert counts.precision == 1
    assert counts.recall == 0


def test_a_crack_free_picture_is_listed_when_the_report_would_hold_a_crack(sample):
    free = np.zeros(SHAPE, bool)
    truth = read_truth(sample, _picture(), free)
    nothing, speck, crack = (_count(m, truth) for m in (free, _stripe(9, 4, 9, 13), _stripe(9, 4)))
    assert [c.listed for c in (nothing, speck, crack)] == [0, 0, 1]
    assert all(c.free == 1 for c in (nothing, speck, crack))
    assert math.isnan(nothing.recall)


def test_all_levels_at_once_equal_each_level_by_itself(sample):
    rng = np.random.default_rng(3)
    crack = _stripe(60, 3)
    probability = (40 * rng.random(SHAPE)).astype(np.uint8)
    for row, start, stop, value in ((60, 0, 100, 250), (61, 90, 200, 120), (20, 10, 80, 180)):
        probability[row : row + 3, start:stop] = value
    levels = [(low, high) for low in (10, 30, 60) for high in (30, 60, 80, 95) if high >= low]
    for labelled in (crack, np.zeros(SHAPE, bool)):
        truth = read_truth(sample, _picture(labelled), labelled)
        for (low, high), counts in count_levels(probability, truth, levels, MaskOptions()).items():
            mask = probability_to_mask(
                probability, threshold=high / 100, threshold_low=low / 100, options=MaskOptions()
            )
            assert counts == _count(mask, truth), (low, high)


def test_the_score_weighs_sets_alike_and_subtracts_half_the_listed_share():
    unit = replace(NO_LINES, pixels=100)
    right = replace(
        unit,
        marked_px=900,
        right_px=900,
        labelled_px=(0, 900, 0, 0, 0, 0),
        found_px=(0, 900, 0, 0, 0, 0),
    )
    blind = replace(unit, labelled_px=(100, 0, 0, 0, 0, 0))
    quiet, alarm = replace(unit, free=1), replace(unit, free=1, listed=1, marked_px=50)
    sets = {"large": [right] * 9, "small": [blind], "free": [quiet, alarm]}
    assert judge(sets) == pytest.approx((1 + 0) / 2 - 0.5 * 0.5)
    assert judge({"large": [right]}) == 1
    assert pool([right, right]).recall == 1
    assert TOLERANCE_PX == 3
