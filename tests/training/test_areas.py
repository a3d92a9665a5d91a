"""Areas beside a mask: what they leave out teaches nothing and is in no score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.errors import DataError
from crackseg.imagery.masks import encode_mask
from crackseg.metrics import count, count_centre_lines, histogram
from crackseg.records import Sample
from crackseg.training.areas import (
    LEFT_OUT,
    NO_CRACK,
    OTHER_LINE,
    encode_areas,
    read_areas,
)
from crackseg.training.augment import AugmentOptions, augment, random_crop
from crackseg.training.check import check_data
from crackseg.training.judge import count_levels, count_lines, read_truth
from crackseg.training.labels import CRACK, LINE, OTHER, UNKNOWN, label_map
from crackseg.training.labels import LEFT_OUT as LABEL_LEFT_OUT
from crackseg.training.manifest import index_folder, read_pair
from crackseg.training.tiling import TileOptions, cut_tiles

SHAPE = 160, 320


def _wall(*dark):
    grey = np.full(SHAPE, 170.0) + np.random.default_rng(0).normal(0, 2, SHAPE)
    for mask in dark:
        grey[mask] -= 100
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _stripe(row, start=0, stop=SHAPE[1], thick=3):
    mask = np.zeros(SHAPE, bool)
    mask[row : row + thick, start:stop] = True
    return mask


def _write(folder, picture, mask, areas=None, stem="a"):
    for name in ("images", "masks", "areas"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / "images" / f"{stem}.png")
    (folder / "masks" / f"{stem}.png").write_bytes(encode_mask(mask))
    if areas is not None:
        (folder / "areas" / f"{stem}.png").write_bytes(encode_areas(areas))
    return Sample(
        image=folder / "images" / f"{stem}.png",
        mask=folder / "masks" / f"{stem}.png",
        source=folder.name,
        split="val",
    )


@pytest.fixture
def left_out():
    areas = np.zeros(SHAPE, np.uint8)
    areas[:, 200:] = LEFT_OUT
    return areas


@pytest.fixture
def sample(tmp_path, left_out):
    """A crack from side to side, of which the right part is left out."""
    crack = _stripe(60)
    return _write(tmp_path / "set", _wall(crack), crack, left_out)


def test_areas_become_labels_and_beside_a_crack_alone(left_out):
    crack, joint = _stripe(60), _stripe(110)
    areas = left_out.copy()
    areas[50:70, :100] = NO_CRACK
    areas[joint & (left_out == 0)] = OTHER_LINE
    labels = label_map(_wall(crack, joint), crack, areas=areas)
    assert (labels[:, 200:] == LABEL_LEFT_OUT).all()
    assert np.isin(labels[:, :200][crack[:, :200]], (CRACK, LINE)).all()
    assert (labels[50:59, :100] == UNKNOWN).all()
    assert (labels[:, :200][joint[:, :200]] == OTHER).all()


def test_what_is_left_out_stays_so_under_every_change():
    """The place is painted green: labels must lie on the green after warps, turns and drawings."""
    picture = np.full((300, 300, 3), 150, np.uint8)
    areas = np.zeros((300, 300), np.uint8)
    areas[100:190, 120:230] = LEFT_OUT
    picture[areas == LEFT_OUT] = (20, 220, 20)
    labels = label_map(picture, np.zeros((300, 300), bool), areas=areas)
    options = AugmentOptions(
        native=0.0, rotate=0.6, shrink=0.3, distract=1.0, line=1.0, hair=0.0, patch=0.0,
        photometric=0.0, blur=0.0, noise=0.0, jpeg=0.0, shadow=0.0,
    )  # fmt: skip
    overlaps = []
    for number in range(30):
        rng = np.random.default_rng(number)
        crop, its = random_crop(picture, labels, 128, options, rng, labels[:0, :2])
        crop, its = augment(crop, its, options, rng)
        green = crop[..., 1].astype(int) > crop[..., 0].astype(int) + 60
        if green.sum() > 200:
            both = (its == LABEL_LEFT_OUT) & green
            overlaps.append(both.sum() / green.sum())
    assert len(overlaps) > 10
    assert min(overlaps) > 0.9


def test_no_mark_and_no_label_counts_where_labels_leave_out(sample):
    picture, mask = read_pair(sample)
    truth = read_truth(sample, picture, mask)
    assert not truth.line[:, 200:].any()
    marks = mask | _stripe(20, 220)  # a false mark where nobody decided
    counts = count_lines(marks, truth, MeasureOptions())
    assert counts.precision == 1
    assert counts.recall == 1
    assert counts.pixels == 160 * 200
    level = count_levels(marks.astype(np.uint8) * 255, truth, [(50, 50)], MaskOptions())[50, 50]
    assert level == counts


def test_a_mark_in_what_is_left_out_lists_no_crack_in_a_crack_free_picture(tmp_path, left_out):
    none = np.zeros(SHAPE, bool)
    tail = _stripe(60, 180)  # it reaches beyond the border
    sample = _write(tmp_path / "set", _wall(tail), none, left_out)
    truth = read_truth(sample, *read_pair(sample))
    grey = tail.astype(np.uint8) * 255
    levels = count_levels(grey, truth, [(50, 50)], MaskOptions())[50, 50]
    assert (levels.free, levels.listed) == (1, 0)
    assert count_lines(tail, truth, MeasureOptions()).listed == 0
    whole = replace(truth, counts=None)
    assert count_lines(tail, whole, MeasureOptions()).listed == 1
    assert count_levels(grey, whole, [(50, 50)], MaskOptions())[50, 50].listed == 1


def test_pixel_scores_leave_out_what_the_labels_leave_out(left_out):
    counts = left_out != LEFT_OUT
    label, marks = _stripe(60), _stripe(60) | _stripe(20, 210)
    for tolerance_px in (0, 2):
        counted = count(marks, label, tolerance_px=tolerance_px, counts=counts)
        cut = count(marks[:, :200], label[:, :200], tolerance_px=tolerance_px)
        assert counted == cut
    assert count_centre_lines(marks, label, counts).f1 == 1
    grey = marks.astype(np.uint8) * 255
    expected = histogram(grey[:, :200].copy(), label[:, :200].copy())
    assert np.array_equal(histogram(grey, label, counts), expected)


def test_tiles_carry_areas(sample, tmp_path):
    counts = cut_tiles([sample], tmp_path / "tiles", TileOptions(tile_px=80, overlap_px=0))
    assert sum(counts.values()) == 8
    for tile in index_folder(tmp_path / "tiles"):
        areas = read_areas(tile, (80, 80))
        start = int(tile.image.stem.rpartition("c")[2])
        assert np.array_equal(
            areas == LEFT_OUT, np.add.outer(np.zeros(80), np.arange(80)) + start >= 200
        )


@pytest.mark.parametrize(
    ("areas", "sentence"),
    [
        (np.zeros((160, 300), np.uint8), "areas are 160 x 300 px, the upright picture a.png 160 x"),
        (np.full(SHAPE, 7, np.uint8), "255 (left out); got 7."),
    ],
)
def test_areas_that_do_not_fit_are_refused_and_found(tmp_path, areas, sentence):
    crack = _stripe(60)
    sample = _write(tmp_path / "set", _wall(crack), crack, areas)
    with pytest.raises(DataError) as error:
        read_areas(sample, SHAPE)
    assert sentence in str(error.value)
    sound, findings = check_data(tmp_path / "set")
    assert not sound
    assert sentence in findings[0].message


def test_areas_without_a_mask_are_found(tmp_path):
    crack = _stripe(60)
    _write(tmp_path / "set", _wall(crack), crack)
    (tmp_path / "set" / "areas" / "lost.png").write_bytes(encode_areas(np.zeros(SHAPE, np.uint8)))
    _, findings = check_data(tmp_path / "set")
    assert [finding.where for finding in findings] == ["set/lost"]
