"""What keeps the map of thousands of photographs small: features let go, pictures shrunk once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rendered_survey import Rendered

from crackseg.face import block, merging
from crackseg.face.mapping import FaceMap, make_map
from crackseg.face.matching import Features, find_features, match_along
from crackseg.face.merging import beside, sample
from crackseg.face.mosaic import _halved, _picture, grid_of, make_mosaic
from crackseg.face.neighbours import _in_each_direction, _near_pairs
from crackseg.face.photographs import read_photographs
from crackseg.face.plane import plane_of


def test_features_are_found_once_and_let_go_after_the_last_pair() -> None:
    asked: list[int] = []
    empty = Features(points_px=np.zeros((0, 2)), looks=np.zeros((0, 128), np.uint8), factor=1.0)

    def find(number: int) -> Features:
        asked.append(number)
        return empty

    count = 30
    along = np.random.default_rng(0).permutation(count).astype(float)
    place = np.argsort(along)  # photograph at each place of the line
    pairs = {tuple(sorted((int(place[n]), int(place[n + d])))) for d in (1, 2)
             for n in range(count - d)}  # fmt: skip
    shares: list[float] = []
    assert list(match_along(find, pairs, along, [100.0] * count, shares.append)) == []  # type: ignore[arg-type]
    assert asked == place.tolist()  # one after the other as they lie, each once
    assert shares == sorted(shares)
    assert len(shares) == len(pairs)


def test_rows_that_overlap_by_nine_tenths_are_tied_to_the_rows_beside_them(
    first_date: Rendered,
) -> None:
    photographs = read_photographs(first_date.results)
    like = photographs[0]
    assert like.pose is not None
    dense = []
    for row in range(3):
        for step in range(20):
            pose = replace(like.pose, lat_deg=like.pose.lat_deg, lon_deg=like.pose.lon_deg
                           + 5e-6 * step, height_m=like.pose.height_m + 2.2 * row)  # fmt: skip
            dense.append(replace(like, name=f"{row}_{step}.JPG", pose=pose))
    plane = plane_of(first_date.survey.face)
    pairs, along = _near_pairs(dense, plane, first_date.plan.azimuth_deg)
    assert len(along) == len(dense)
    for number in range(len(dense)):
        own = {m if n == number else n for n, m in pairs if number in (n, m)}
        rows = {other // 20 for other in own}
        assert {number // 20, 1} <= rows  # its own row and one beside it
    assert len(pairs) < 60 * 12


def test_in_each_direction_the_nearest_and_one_farther_are_taken() -> None:
    apart = np.array([[1.0, 0.1], [2.0, 0.1], [4.0, 0.2], [-0.5, 0.1], [0.1, -3.0]])
    gap = np.hypot(*apart.T)
    assert set(_in_each_direction(apart, gap, np.zeros(5, int), 2.2)) == {0, 1, 3, 4}
    camera = np.array([0, 0, 1, 0, 0])  # the third is of a zoom
    assert set(_in_each_direction(apart, gap, camera, 2.2)) == {0, 1, 2, 3, 4}


def test_samples_beside_each_other_do_not_depend_on_the_portions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    lines = [np.cumsum(rng.normal([0.01, 0], 0.004, (200, 2)), axis=0) for _ in range(4)]
    samples = sample([(n, [x], [np.ones(len(x))]) for n, x in enumerate(lines)], 0.005)
    whole = beside(samples, samples, 0.05)
    monkeypatch.setattr(merging, "_NEAR", 500)
    parts = beside(samples, samples, 0.05)
    for one, other in zip(whole, parts, strict=True):
        assert len(one) == len(other) > 1000
    order = [np.lexsort((pairs[1], pairs[0])) for pairs in (whole, parts)]
    for one, other in zip(whole, parts, strict=True):
        assert one[order[0]] == pytest.approx(other[order[1]])


def test_photographs_of_many_are_shrunk_once_for_the_mosaic(
    first_date: Rendered, face_map: FaceMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "_MOSAIC_SHARE_PX", 8 * 100_000)
    face = make_map(first_date.results, references=first_date.reference(0, 3),
                    survey=first_date.survey, small=tmp_path)  # fmt: skip
    assert len(list(tmp_path.glob("*.jpg"))) == len(face.photographs)
    assert face.length_m == face_map.length_m
    fine, coarse = (grid_of(face.views, limit) for limit in (60_000_000, 60_000))
    photograph, view = face.photographs[0], face.views[0]
    whole, same = _picture(photograph, view, fine)
    assert whole.shape[:2] == (view.lens.height_px, view.lens.width_px)
    assert same is view
    small, own = _picture(photograph, view, coarse)
    assert small.shape[0] * small.shape[1] == pytest.approx(100_000, rel=0.01)
    corner = np.array([[own.lens.height_px - 0.5, own.lens.width_px - 0.5]])
    factor = view.lens.width_px / own.lens.width_px
    assert own.to_face(corner) == pytest.approx(
        view.to_face((corner + 0.5) * factor - 0.5), abs=0.002
    )
    pictures = [make_mosaic(f, coarse).pixels.astype(float) for f in (face, face_map)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 3.0


@pytest.mark.parametrize("shape", [(6, 8), (7, 9), (7, 8, 3), (1, 5), (1, 1, 3)])
def test_a_picture_is_halved_with_its_odd_edges(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8)
    odd = [(0, n % 2) for n in shape[:2]] + [(0, 0)] * (len(shape) - 2)
    even = np.pad(picture.astype(float), odd, mode="edge")
    expected = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    assert np.abs(_halved(picture) - expected).max() <= 0.5


def test_a_shrunk_photograph_is_not_written_unasked(first_date: Rendered, tmp_path: Path) -> None:
    path = next(first_date.photographs.glob("*.JPG"))
    plain = find_features(path)
    with_small = find_features(path, tmp_path / "a.jpg", 50_000)
    assert (tmp_path / "a.jpg").is_file()
    assert (plain.looks == with_small.looks).all()
