"""The map of a rendered wall: each crack once, in its place, as long and as wide as drawn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from rendered_survey import Rendered, measure
from scipy.spatial import cKDTree

from crackseg.errors import DataError
from crackseg.face.face_json import face_to_dict
from crackseg.face.mapping import FaceMap, make_map
from crackseg.face.neighbours import each_once
from crackseg.face.photographs import is_outdated, read_photographs
from crackseg.face.scaling import References

POSITION_MM = 10.0  # in the median, once the common shift is taken away
LENGTH_REL = 0.03


def matched(face: FaceMap, truth: dict[str, Any], *, turn: bool = False) -> tuple[list[int], Any]:
    """Return for each crack of the map the true one it lies on, and its distances in mm.

    The map's common shift is taken away first, with ``turn`` also its turn; by complex numbers.
    """
    courses = [np.array(crack["points_m"]) @ [1, 1j] for crack in truth["cracks"]]
    own = [np.concatenate(crack.lines_m) @ [1, 1j] for crack in face.cracks]
    pairs = _by_length(own, courses)
    a = np.array([own[i].mean() for i, _ in pairs])
    b = np.array([courses[j].mean() for _, j in pairs])
    factor, shift = 1.0 + 0j, b.mean() - a.mean()
    if turn:
        factor = np.vdot(a - a.mean(), b - b.mean())
        factor /= abs(factor)
        shift = b.mean() - factor * a.mean()
    points = np.concatenate(courses)
    owner = np.repeat(np.arange(len(courses)), [len(c) for c in courses])
    tree = cKDTree(np.column_stack([points.real, points.imag]))
    for _ in range(20):  # to the nearest points of the true courses
        moved = factor * np.concatenate(own) + shift
        far, nearest = tree.query(np.column_stack([moved.real, moved.imag]))
        shift += np.median((points[nearest] - moved).real) + 1j * np.median(
            (points[nearest] - moved).imag
        )
    hits, start = [], 0
    for course in own:
        hits.append(int(np.bincount(owner[nearest[start : start + len(course)]]).argmax()))
        start += len(course)
    return hits, 1000 * far


def _by_length(own: list[Any], courses: list[Any]) -> list[tuple[int, int]]:
    def order(lines: list[Any]) -> list[int]:
        return sorted(range(len(lines)), key=lambda n: -float(np.abs(np.diff(lines[n])).sum()))

    return list(zip(order(own), order(courses), strict=False))


def check(face: FaceMap, survey: Rendered, *, turn: bool = False) -> None:
    """Assert that a map holds every true crack once, in place and at its length."""
    hits, far_mm = matched(face, survey.truth, turn=turn)
    assert sorted(hits) == list(range(len(survey.lines)))
    assert np.median(far_mm) < POSITION_MM
    for crack, number in zip(face.cracks, hits, strict=True):
        true_m = survey.truth["cracks"][number]["length_m"]
        assert crack.length.value_mm == pytest.approx(1000 * true_m, rel=LENGTH_REL)
    total = sum(crack["length_m"] for crack in survey.truth["cracks"])
    assert face.length_m == pytest.approx(total, rel=0.01)


def test_each_crack_stands_once_in_its_place(first_date: Rendered, face_map: FaceMap) -> None:
    check(face_map, first_date)
    assert face_map.marks > 2 * len(face_map.cracks)  # photographs overlap
    assert face_map.marks_length_m > 2 * face_map.length_m
    assert all(face_map.tied)
    assert face_map.aside == ()
    assert face_map.scale.source == "reference_length"
    assert face_map.scale.placed


def test_the_block_says_how_well_it_holds_together(face_map: FaceMap) -> None:
    residuals = face_map.residuals
    assert residuals is not None
    assert residuals.ties > 300
    assert 0 < residuals.median_mm < 3
    assert residuals.median_px < 0.5
    assert face_map.pose_misses_m == pytest.approx(0.1, abs=0.06)  # what was drawn


def test_the_lens_is_found_with_the_poses(first_date: Rendered, face_map: FaceMap) -> None:
    lens = face_map.views[0].lens
    plan = first_date.plan
    assert lens.focal_px == pytest.approx(plan.focal_px, rel=0.01)
    edge = 0.5  # of the picture's half width over the focal length
    bend = plan.k1 * edge**2 + plan.k2 * edge**4
    assert lens.k1 * edge**2 + lens.k2 * edge**4 == pytest.approx(bend, abs=0.003)


def test_widths_hold_the_truth_within_their_interval(
    first_date: Rendered, face_map: FaceMap
) -> None:
    hits, _ = matched(face_map, first_date.truth)
    for crack, number in zip(face_map.cracks, hits, strict=True):
        true_mm = float(np.mean(first_date.truth["cracks"][number]["width_mm"]))
        mean = crack.widths["mean"]
        assert mean.low_mm is not None
        assert mean.high_mm is not None
        assert mean.low_mm <= true_mm <= mean.high_mm
        if len(crack.views) > 1:
            assert crack.spread_mm is not None
            assert crack.spread_mm < 0.5


def test_places_are_stations_and_elevations(first_date: Rendered, face_map: FaceMap) -> None:
    hits, _ = matched(face_map, first_date.truth)
    for crack, number in zip(face_map.cracks, hits, strict=True):
        true = np.array(first_date.truth["cracks"][number]["points_m"]).mean(axis=0)
        there = face_map.plane.to_map(crack.points_m).mean(axis=0) - np.array([0, 400])
        assert np.abs(there - true).max() < 0.25  # poses: 0.1 m, 1 deg


def test_without_poses_one_length_is_enough(first_date: Rendered) -> None:
    face = make_map(first_date.results, references=first_date.reference(0, 3), use_poses=False)
    check(face, first_date, turn=True)  # how the map is turned no photograph says
    assert not face.scale.placed
    assert "place_not_known" in {notice.code for notice in face.notices}


def test_poses_alone_give_the_scale_and_say_how_well(first_date: Rendered) -> None:
    face = make_map(first_date.results, references=References(), survey=first_date.survey)
    assert face.scale.source == "poses"
    total = sum(crack["length_m"] for crack in first_date.truth["cracks"])
    sigma = face.scale.sigma_rel
    assert 0.002 < sigma < 0.04
    assert abs(face.length_m / total - 1) < 2 * sigma + 0.01


def test_a_crack_over_several_photographs_is_linked_to_them(
    first_date: Rendered, face_map: FaceMap
) -> None:
    names = {path.name for path in first_date.photographs.glob("*.JPG")}
    longest = max(face_map.cracks, key=lambda c: c.length.value_mm or 0)
    assert len(longest.views) > 1
    assert longest.could_show >= len(longest.views)
    for number, ids in longest.views:
        photograph = face_map.photographs[number]
        assert photograph.name in names
        assert set(ids) <= {crack["id"] for crack in photograph.report["cracks"]}


def test_the_same_photographs_give_the_same_map(first_date: Rendered, face_map: FaceMap) -> None:
    again = make_map(
        first_date.results, references=first_date.reference(0, 3), survey=first_date.survey
    )
    assert again.length_m == face_map.length_m


def test_photographs_that_were_moved_are_found_by_name_and_content(
    first_date: Rendered, tmp_path: Path
) -> None:
    for photograph in read_photographs(first_date.results, [first_date.photographs]):
        assert photograph.path is not None
        assert photograph.path.parent == first_date.photographs


def test_an_orthomosaic_lies_where_its_own_coordinates_say(
    first_date: Rendered, tmp_path: Path
) -> None:
    rasters, masks, results = (tmp_path / name for name in ("rasters", "masks", "results"))
    for folder in (rasters, masks):
        folder.mkdir()
    picture = np.asarray(Image.open(first_date.photographs / "DJI_0002.JPG"))  # noqa: TID251
    mask = first_date.photographs.parent / "first_masks" / "DJI_0002.png"
    (masks / "ortho.png").write_bytes(mask.read_bytes())
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3076, 0, 1, 9001)  # local, in metres
    tags = [
        (33550, "d", 3, (0.004, 0.004, 0.0), True),
        (33922, "d", 6, (0, 0, 0, 100.0, 410.0, 0), True),
        (34735, "H", len(keys), keys, True),
    ]
    tifffile.imwrite(rasters / "ortho.JPG", picture, photometric="rgb", extratags=tags)
    measure(rasters, masks, results)
    face = make_map(results, survey=first_date.survey)
    assert face.scale.source == "orthomosaic"
    cracks = face.photographs[0].report["cracks"]
    assert len(face.cracks) == len(cracks) > 0
    assert face.length_m == pytest.approx(0.004 * sum(c["length_px"] for c in cracks), rel=0.005)
    for crack in face.cracks:
        there = face.plane.to_map(crack.points_m)
        (own,) = (c for c in cracks if c["id"] == crack.views[0][1][0])
        row, col = np.concatenate(own["centre_line"]).astype(float).min(axis=0)
        assert there[:, 0].min() == pytest.approx(100 + 0.004 * (col + 0.5), abs=1e-6)
        assert there[:, 1].max() == pytest.approx(410 - 0.004 * (row + 0.5), abs=1e-6)


def test_what_an_inspector_rejected_is_on_no_map(first_date: Rendered, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(first_date.results, results)
    before = make_map(results, references=first_date.reference(0, 3), survey=first_date.survey)
    was = face_to_dict(before)
    gone, name_of = was["cracks"][0], {p["folder"]: p["image"] for p in was["photographs"]}
    part_of = gone["photographs"]
    rows = [f"{name_of[p['folder']]},{n},reject" for p in part_of for n in p["ids"]]
    (results / "verdicts.csv").write_text("\n".join(["image_name,crack,verdict", *rows]) + "\n")
    after = make_map(results, references=first_date.reference(0, 3), survey=first_date.survey)
    values = face_to_dict(after)
    assert len(after.cracks) == len(before.cracks) - 1
    assert values["totals"]["length_m"] == pytest.approx(
        was["totals"]["length_m"] - gone["length_mm"] / 1000, abs=0.02
    )
    assert sum(len(p["verdicts"]) for p in values["photographs"]) == len(rows)
    now = face_to_dict(before)
    assert is_outdated(now, results)  # these verdicts are newer
    assert not is_outdated(values, results)
    assert not is_outdated(now, first_date.results)
    assert not is_outdated(now, tmp_path)  # the results are not beside it
    assert is_outdated({**values, "photographs": values["photographs"][1:]}, results)
    facts = results / "survey.toml"
    facts.write_text("[face]\nbatter = 0.0\n", encoding="utf-8")
    assert not is_outdated(values, results)
    facts.write_text("[face]\nbatter = 0.3\n", encoding="utf-8")
    assert is_outdated(values, results)
    (note,) = [n.message for n in after.notices if n.code == "rejected_left_out"]
    assert note.startswith(f"{len(rows)} mark")


def test_a_verdict_on_no_crack_is_refused_before_a_map_is_made(
    first_date: Rendered, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(first_date.results, results)
    name = read_photographs(results)[0].name
    (results / "verdicts.csv").write_text(f"image_name,crack,verdict\n{name},99,reject\n")
    with pytest.raises(DataError, match="has no crack 99"):
        read_photographs(results)


def test_of_one_file_the_name_counts_that_was_looked_at_wherever_the_file_is(
    first_date: Rendered, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(first_date.results, results)
    first = read_photographs(results)[0]
    assert first.path is not None
    shutil.copytree(first.folder, results / "A_first")
    there = shutil.copy(first.path, tmp_path / "there.JPG")
    for folder, path in ((first.folder, tmp_path / first.name), (results / "A_first", there)):
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        report["image"]["path"] = str(path)
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (results / "verdicts.csv").write_text(f"image_name,crack,verdict\n{first.name},1,reject\n")
    aside: list[tuple[str, str]] = []
    once = each_once(read_photographs(results), aside)
    assert aside == [("there.JPG", f"it is the very file of {first.name}, which counts.")]
    (kept,) = [p for p in once if p.name == first.name]
    assert kept.verdicts == {1: "reject"}
    assert kept.path == tmp_path / "there.JPG"
