"""Counts on a device are those of the judge of single pictures; intervals are of the draws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.measure import label
from skimage.morphology import skeletonize

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from crackseg.errors import DataError  # noqa: E402
from crackseg.metrics import Counts, count, dilate  # noqa: E402
from crackseg.records import Sample  # noqa: E402
from crackseg.training import compare_stats  # noqa: E402
from crackseg.training.areas import LEFT_OUT, areas_file, encode_areas  # noqa: E402
from crackseg.training.batch_judge import (  # noqa: E402
    FIELDS,
    count_exam,
    line_counts,
    prepare_truths,
    read_exam,
    thin,
    truths_fit,
)
from crackseg.training.compare_stats import Counted, differences, measure_cells  # noqa: E402
from crackseg.training.judge import TOLERANCE_PX, pool, read_truth  # noqa: E402
from crackseg.training.manifest import read_pair  # noqa: E402


def blobs(rng, shape=(97, 131)):
    grey = cv2.GaussianBlur(
        rng.standard_normal(shape).astype(np.float32), (0, 0), rng.uniform(1, 5)
    )
    return grey > np.quantile(grey, rng.uniform(0.6, 0.95))


def test_thinning_keeps_every_piece_and_stays_beside_the_other_thinning():
    rng = np.random.default_rng(0)
    away = lines = 0
    for _ in range(20):
        mask = blobs(rng)
        line = thin(torch.from_numpy(mask)[None])[0].numpy()
        assert not (line & ~mask).any()
        assert label(line, connectivity=2).max() == label(mask, connectivity=2).max()
        theirs = skeletonize(mask)
        away += int((line & ~dilate(theirs, 2)).sum() + (theirs & ~dilate(line, 2)).sum())
        lines += int(line.sum() + theirs.sum())
    assert away < 0.03 * lines


def test_a_slanted_line_two_pixels_wide_does_not_vanish():
    mask = np.zeros((40, 40), bool)
    steps = np.arange(5, 35)
    mask[steps, steps] = mask[steps, steps + 1] = True
    assert thin(torch.from_numpy(mask)[None]).sum() >= 28


@pytest.fixture
def samples(tmp_path):
    """Five pictures of two sizes with a wavy crack each, the last one without."""
    rng = np.random.default_rng(1)
    made = []
    for k in range(5):
        height, width = (90, 120) if k % 2 else (64, 96)
        rows, cols = np.mgrid[:height, :width]
        course = height / 2 + 8 * np.sin(cols / (7 + 3 * k))
        crack = (np.abs(rows - course) < 0.8 + k) & (k < 4)
        picture = np.clip(rng.normal(180, 6, (height, width)) - 90 * crack, 0, 255)
        files = [tmp_path / "set" / f"{kind}s" / f"{kind}{k}.png" for kind in ("image", "mask")]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(files[0]), np.repeat(picture[..., None], 3, 2).astype(np.uint8))
        cv2.imwrite(str(files[1]), crack.astype(np.uint8) * 255)
        made.append(Sample(image=files[0], mask=files[1], source="ab"[k % 2], split="val"))
    return made


@pytest.fixture
def exam(samples, tmp_path):
    prepare_truths(samples, tmp_path / "truths.npz")
    return read_exam(samples, tmp_path / "truths.npz", torch.device("cpu"))


def maps_of(exam, samples):
    """A network's answer: labels, blurred, shifted, with noise."""
    rng = np.random.default_rng(2)
    maps = []
    for sample in samples:
        _, crack = read_pair(sample)
        soft = cv2.GaussianBlur(np.roll(crack, 1, 0).astype(np.float32) * 255, (0, 0), 1.5)
        maps.append(np.clip(soft + 60 * blobs(rng, crack.shape), 0, 255).astype(np.uint8))
    return maps, [torch.from_numpy(np.stack([maps[n] for n in g.numbers])) for g in exam.groups]


def pixel_counts(counts, *, near=False):
    """Return the counts of one picture at one level as the judge of single pictures holds them."""
    values = dict(zip(FIELDS, counts[: len(FIELDS)].tolist(), strict=True))
    return Counts(
        marked=values["marked"],
        labelled=values["labelled"],
        marked_hits=values["near_marked"] if near else values["hits"],
        labelled_hits=values["near_labelled"] if near else values["hits"],
        pixels=values["pixels"],
    )


def test_counts_are_those_of_one_picture_at_a_time(samples, exam):
    single, grouped = maps_of(exam, samples)
    counts = count_exam(exam, grouped, (20, 50))
    for number, sample in enumerate(samples):
        picture, crack = read_pair(sample)
        truth = read_truth(sample, picture, crack)
        marked = single[number] >= np.ceil(0.5 * 255)
        assert pixel_counts(counts[number, 1]) == count(marked, crack)
        assert pixel_counts(counts[number, 1], near=True) == count(marked, crack, tolerance_px=2)
        mine = line_counts(counts[number, 1])
        line = thin(torch.from_numpy(marked)[None])[0].numpy()
        classes = truth.width_class[dilate(line, TOLERANCE_PX)[truth.line]]
        assert mine.labelled_px == tuple(np.bincount(truth.width_class, minlength=6))
        assert mine.found_px == tuple(np.bincount(classes, minlength=6))
        assert mine.marked_px == line.sum()
        assert mine.right_px == (line & truth.right).sum()
        assert (mine.pixels, mine.free) == (crack.size, int(not crack.any()))
        assert mine.listed == int(not crack.any() and marked.mean() > 0.001)


def test_what_nobody_decided_counts_for_nothing(samples, exam, tmp_path):
    _, grouped = maps_of(exam, samples)
    before = count_exam(exam, grouped, (50,))[0, 0]
    _, crack = read_pair(samples[0])
    left_out = np.zeros(crack.shape, np.uint8)
    left_out[:, :40] = LEFT_OUT
    file = areas_file(samples[0])
    file.parent.mkdir()
    file.write_bytes(encode_areas(left_out))
    prepare_truths(samples, tmp_path / "anew.npz")
    anew = read_exam(samples, tmp_path / "anew.npz", torch.device("cpu"))
    after = count_exam(anew, grouped, (50,))[0, 0]
    assert pixel_counts(after).labelled == crack[:, 40:].sum()
    assert pixel_counts(after).pixels == crack[:, 40:].size
    assert pixel_counts(after).marked < pixel_counts(before).marked
    assert 0 < sum(line_counts(after).labelled_px) < sum(line_counts(before).labelled_px)


def test_truths_of_other_pictures_are_refused(samples, tmp_path):
    prepare_truths(samples[:2], tmp_path / "two.npz")
    with pytest.raises(DataError, match=r"two\.npz does not hold the truths of these pictures"):
        read_exam(samples, tmp_path / "two.npz", torch.device("cpu"))


def relabel(samples, file):
    cv2.imwrite(str(samples[0].mask), np.zeros((64, 96), np.uint8))


def leave_out(samples, file):
    areas_file(samples[0]).parent.mkdir()
    areas_file(samples[0]).write_bytes(encode_areas(np.full((64, 96), LEFT_OUT, np.uint8)))


def repaint(samples, file):
    cv2.imwrite(str(samples[0].image), np.zeros((64, 96, 3), np.uint8))


def make_older(samples, file):
    with np.load(file) as stored:
        arrays = {k: stored[k] for k in stored if k != "digest" and not k.endswith("_counts")}
    np.savez_compressed(file, names=np.array([f"a/{s.image.stem}" for s in samples]), **arrays)


def cut_short(samples, file):
    file.write_bytes(file.read_bytes()[:-100])


def empty(samples, file):
    file.write_bytes(b"")


@pytest.mark.parametrize("change", [relabel, leave_out, repaint, make_older, cut_short, empty])
def test_truths_of_other_labels_or_another_release_do_not_fit(change, samples, tmp_path):
    file = tmp_path / "truths.npz"
    assert not truths_fit(samples, file)
    prepare_truths(samples, file)
    assert truths_fit(samples, file)
    change(samples, file)
    assert not truths_fit(samples, file)
    with pytest.raises(DataError, match="the next run makes it anew"):
        read_exam(samples, file, torch.device("cpu"))


def test_measures_of_a_cell_are_those_of_the_judge(samples, exam):
    _, grouped = maps_of(exam, samples)
    counts = count_exam(exam, grouped, (50,))[:, 0]
    counted = Counted(counts=counts[None], sources=exam.sources, photographs=exam.photographs)
    values = {name: float(of[0]) for name, of in measure_cells(counted).items()}
    of_sets = batch_judge_sets(exam, counts)
    assert values["line_f1"] == pytest.approx(np.mean([p.f1 for p in of_sets]))
    alarms = values["alarms"]
    assert alarms in (0.0, 1.0)  # one crack-free picture
    assert values["score"] == pytest.approx(np.mean([p.balanced for p in of_sets]) - 0.5 * alarms)
    each = [
        np.nanmean(
            [pixel_counts(row).iou for row, s in zip(counts, exam.sources, strict=True) if s == n]
        )
        for n in dict.fromkeys(exam.sources)
    ]
    assert values["iou"] == pytest.approx(np.mean(each))


def batch_judge_sets(exam, counts):
    rows = [(s, line_counts(row)) for s, row in zip(exam.sources, counts, strict=True)]
    return [pool(c for s, c in rows if s == name) for name in dict.fromkeys(exam.sources)]


def fake(hits, photographs=None):
    """Seeds x pictures of 100 labelled and 100 marked pixels, of which ``hits`` agree."""
    hits = np.asarray(hits)
    counts = np.zeros((*hits.shape, len(FIELDS) + 12), np.int64)
    counts[..., [0, 1]] = 100
    counts[..., 2] = hits
    counts[..., 7] = 10_000
    names = tuple(f"a/{k}" for k in range(hits.shape[1]))
    return Counted(counts=counts, sources=("a",) * hits.shape[1], photographs=photographs or names)


def test_a_steady_lead_is_clear_and_a_lead_by_chance_is_not():
    rng = np.random.default_rng(3)
    base = rng.integers(20, 80, (3, 40))
    ahead = differences(fake(base + 5), fake(base))["f1"]
    assert ahead.value == pytest.approx(0.05)
    assert ahead.is_clear
    assert ahead.low == pytest.approx(0.05)
    noise = differences(fake(rng.permuted(base, axis=1)), fake(base))["f1"]
    assert noise.value == pytest.approx(0, abs=1e-9)
    assert not noise.is_clear


def test_crops_of_one_photograph_are_drawn_together():
    rng = np.random.default_rng(4)
    lead = np.repeat(rng.integers(-20, 25, 8), 10)[None]
    apart = differences(fake(50 + lead), fake(np.full((1, 80), 50)))["f1"]
    together = tuple(f"a/{k // 10}" for k in range(80))
    joined = differences(fake(50 + lead, together), fake(np.full((1, 80), 50), together))["f1"]
    assert joined.value == apart.value
    assert joined.high - joined.low > 2 * (apart.high - apart.low)


def test_the_same_draws_are_made_each_time():
    rng = np.random.default_rng(5)
    one, two = fake(rng.integers(0, 100, (2, 30))), fake(rng.integers(0, 100, (2, 30)))
    assert differences(one, two)["f1"] == differences(one, two)["f1"]
    assert compare_stats.DRAWS == 2000
