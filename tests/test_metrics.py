"""Scores against loops over single pixels, against torchmetrics, and at their undefined ends."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crackseg.errors import DataError
from crackseg.metrics import (
    NOTHING,
    best_scores,
    count,
    count_centre_lines,
    count_thresholds,
    dilate,
    false_alarms,
    histogram,
    mean_defined,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
MASKS = SHAPES.flatmap(lambda s: st.tuples(hnp.arrays(bool, s), hnp.arrays(bool, s)))
TOLERANCES = st.sampled_from([0, 1, 1.5, 2, 2.3, 12])


def loop_hits(mask, other, tolerance):
    """Count the pixels of ``mask`` with one of ``other`` near, pair by pair."""
    near = 0
    for a in np.argwhere(mask):
        near += any(math.dist(a, b) <= tolerance for b in np.argwhere(other))
    return near


@settings(deadline=None, max_examples=60, derandomize=True)
@given(MASKS, TOLERANCES)
def test_counts_equal_a_loop_over_pairs_of_pixels(masks, tolerance):
    marked, labelled = masks
    counts = count(marked, labelled, tolerance_px=tolerance)
    assert counts.marked_hits == loop_hits(marked, labelled, tolerance)
    assert counts.labelled_hits == loop_hits(labelled, marked, tolerance)
    assert (counts.marked, counts.labelled) == (marked.sum(), labelled.sum())
    assert counts.pixels == marked.size


@settings(deadline=None, max_examples=60, derandomize=True)
@given(MASKS)
def test_strict_scores_equal_their_definitions(masks):
    marked, labelled = masks
    scores = count(marked, labelled).scores()
    tp = fp = fn = tn = 0
    for m, t in zip(marked.ravel(), labelled.ravel(), strict=True):
        tp, fp, fn, tn = tp + (m and t), fp + (m and not t), fn + (t and not m), tn + (not (m or t))
    expected = {
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "tpr": (tp, tp + fn),
        "tnr": (tn, tn + fp),
        "f1": (2 * tp, 2 * tp + fp + fn),
        "iou": (tp, tp + fp + fn),
    }
    for name, (part, whole) in expected.items():
        value = part / whole if whole else math.nan
        assert scores[name] == pytest.approx(value, nan_ok=True, abs=1e-12), name


@settings(deadline=None, max_examples=40, derandomize=True)
@given(MASKS, TOLERANCES)
def test_laws_of_scores(masks, tolerance):
    marked, labelled = masks
    counts = count(marked, labelled, tolerance_px=tolerance)
    swapped = count(labelled, marked, tolerance_px=tolerance)
    turned = count(np.rot90(marked), np.rot90(labelled), tolerance_px=tolerance)
    assert counts.precision == pytest.approx(swapped.recall, nan_ok=True)
    assert counts.f1 == pytest.approx(swapped.f1, nan_ok=True)
    assert counts == turned
    assert counts + NOTHING == counts
    assert counts.marked_hits >= count(marked, labelled).marked_hits


def test_agrees_with_torchmetrics():
    classification = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    marked, labelled = rng.random((2, 64, 96)) < 0.2
    counts = count(marked, labelled)
    arguments = torch.from_numpy(marked).int(), torch.from_numpy(labelled).int()
    for name, function in {
        "precision": classification.binary_precision,
        "recall": classification.binary_recall,
        "f1": classification.binary_f1_score,
        "iou": classification.binary_jaccard_index,
        "tnr": classification.binary_specificity,
    }.items():
        assert getattr(counts, name) == pytest.approx(float(function(*arguments)), abs=1e-6), name


EMPTY, FULL = np.zeros((4, 5), bool), np.ones((4, 5), bool)


def test_undefined_is_nan_and_one_sided_emptiness_is_zero():
    nothing, missed, invented = count(EMPTY, EMPTY), count(EMPTY, FULL), count(FULL, EMPTY)
    assert all(math.isnan(nothing.scores()[n]) for n in ("precision", "recall", "f1", "iou"))
    assert nothing.tnr == 1
    assert math.isnan(missed.precision)
    assert math.isnan(missed.tnr)
    assert (missed.recall, missed.f1, missed.iou) == (0, 0, 0)
    assert math.isnan(invented.recall)
    assert (invented.precision, invented.f1, invented.iou) == (0, 0, 0)
    assert mean_defined([math.nan, 0.5, 1.0]) == (0.75, 2)
    assert math.isnan(mean_defined([])[0])


def test_dilation_is_a_disc():
    mask = np.zeros((7, 7), bool)
    mask[3, 3] = True
    rows, cols = np.indices(mask.shape)
    for radius in (0, 1, 1.5, 2, 2.5, 3):
        assert np.array_equal(dilate(mask, radius), np.hypot(rows - 3, cols - 3) <= radius)


def test_one_pass_over_thresholds_equals_counting_each():
    rng = np.random.default_rng(5)
    labelled = rng.random((40, 30)) < 0.1
    probability = np.clip(rng.normal(90 + 80 * labelled, 50), 0, 255).astype(np.uint8)
    counts = count_thresholds(histogram(probability, labelled))
    assert len(counts) == 255
    for level in (1, 2, 100, 128, 254, 255):
        assert counts[level - 1] == count(probability >= level, labelled)


def test_best_scores_equal_a_search_over_thresholds():
    rng = np.random.default_rng(7)
    labels = rng.random((3, 20, 20)) < [[[0.1]], [[0.2]], [[0.0]]]
    maps = np.clip(rng.normal(60 + 90 * labels, 60), 0, 255).astype(np.uint8)
    best = best_scores(histogram(p, m) for p, m in zip(maps, labels, strict=True))
    pooled = [count((maps >= t)[0], labels[0]) for t in range(1, 256)]
    for index in (1, 2):
        pooled = [
            c + count(maps[index] >= t, labels[index])
            for c, t in zip(pooled, range(1, 256), strict=True)
        ]
    assert best.ods == max(c.f1 for c in pooled)
    assert pooled[round(best.ods_threshold * 255) - 1].f1 == best.ods
    own = [max(count(maps[i] >= t, labels[i]).f1 for t in range(1, 256)) for i in (0, 1)]
    assert best.ois == pytest.approx(np.mean(own))
    assert math.isnan(best_scores([]).ods)
    assert math.isnan(best_scores([histogram(maps[0] * 0, labels[2])]).ods)


def test_centre_line_score_knows_a_fat_mask_from_a_shifted_one():
    line, fat, far = np.zeros((3, 40, 60), bool)
    line[20, 5:55] = fat[17:24, 5:55] = far[5, 5:55] = True
    assert count_centre_lines(line, line).f1 == 1
    assert count_centre_lines(fat, line).recall == 1  # the whole line is covered …
    assert count_centre_lines(fat, line).precision > 0.9  # … by a body with the same middle
    assert count(fat, line).f1 < 0.3
    assert count_centre_lines(far, line).f1 == 0
    assert math.isnan(count_centre_lines(EMPTY, EMPTY).f1)


def test_false_alarms_look_at_crack_free_images_alone():
    clean, speck, loud = np.zeros((3, 100, 100), bool)
    speck[0, :10] = True  # 0.1 %: not more than the limit
    loud[0, :11] = True
    cracked = count(FULL, FULL)
    result = false_alarms([count(m, clean) for m in (clean, speck, loud)] + [cracked])
    assert (result.images, result.alarm_rate) == (3, pytest.approx(1 / 3))
    assert result.median_share == pytest.approx(0.001)
    assert math.isnan(false_alarms([cracked]).alarm_rate)


@pytest.mark.parametrize(
    ("marked", "labelled", "word"),
    [
        (EMPTY, FULL[:3], "one shape"),
        (EMPTY.astype(np.uint8), FULL, "bool mask"),
        (EMPTY, FULL * 0.5, "labelled"),
    ],
)
def test_wrong_arrays_are_refused(marked, labelled, word):
    with pytest.raises(DataError, match=word):
        count(marked, labelled)
    with pytest.raises(DataError, match="uint8"):
        histogram(np.zeros((4, 5)), EMPTY)
