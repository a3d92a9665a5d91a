"""What no map can be made of is said in a sentence; a wrong map is never made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rendered_survey import Rendered

from crackseg.errors import ConfigError, DataError, ScaleError
from crackseg.face.block import place
from crackseg.face.mapping import make_map
from crackseg.face.photographs import Photograph, read_photographs, read_report
from crackseg.face.plane import FacePlane, facing_deg, plane_of
from crackseg.face.scaling import (
    Length,
    Point,
    References,
    Spot,
    put_scale,
    read_references,
)
from crackseg.folders import filling
from crackseg.imagery.planes import camera_axes
from crackseg.survey import Survey


@pytest.fixture(scope="module")
def photographs(first_date: Rendered) -> list[Photograph]:
    return read_photographs(first_date.results)


@pytest.fixture
def plane(first_date: Rendered) -> FacePlane:
    return plane_of(first_date.survey.face)


def flat(folder: Path, name: str, like: Photograph) -> Photograph:
    """Return a photograph without any texture."""
    path = folder / name
    shape = (like.lens.height_px, like.lens.width_px, 3)
    Image.fromarray(np.full(shape, 120, np.uint8)).save(path)
    return replace(like, name=name, path=path, pose=None, report=own_hash(like, name))


def own_hash(like: Photograph, name: str) -> dict[str, Any]:
    """Return the report of a photograph as one of another file."""
    return {**like.report, "image": {**like.report["image"], "sha256": name}}


def other_wall(folder: Path, name: str, like: Photograph, seed: int = 99) -> Photograph:
    """Return a photograph of something else, without a pose."""
    rng = np.random.default_rng(seed)
    shape = (like.lens.height_px // 5, like.lens.width_px // 5)
    noise = Image.fromarray(rng.integers(40, 220, shape, dtype=np.uint8))
    path = folder / name
    noise.resize((like.lens.width_px, like.lens.height_px)).convert("RGB").save(path)
    return replace(like, name=name, path=path, pose=None, report=own_hash(like, name))


def outcome(photographs: list[Photograph]) -> str:
    """Return what is said of a block: its error, or the codes of its notices."""
    try:
        return " ".join(notice.code for notice in place(photographs, FacePlane()).notices)
    except DataError as error:
        return str(error)


def test_an_empty_folder_is_no_survey(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no report"):
        make_map(tmp_path)
    with pytest.raises(DataError, match="must be a folder"):
        make_map(tmp_path / "nowhere")


def test_a_survey_toml_in_the_results_is_that_of_the_map(tmp_path: Path) -> None:
    (tmp_path / "survey.toml").write_text("[face]\nbatter = 'steep'\n")
    with pytest.raises(ConfigError, match=r"face.batter"):
        make_map(tmp_path)
    with pytest.raises(DataError, match="holds no report"):
        make_map(tmp_path, survey=Survey(dam="Other"))


def test_a_report_of_an_older_release_is_refused(tmp_path: Path) -> None:
    with filling(tmp_path / "a") as fresh:
        (fresh / "report.json").write_text(json.dumps({"schema_version": "1"}))
    with pytest.raises(DataError, match="schema 1"):
        read_report(tmp_path / "a")


def test_photographs_without_pose_and_texture_are_refused(
    photographs: list[Photograph], tmp_path: Path
) -> None:
    bare = [flat(tmp_path, f"{n}.png", photographs[0]) for n in range(3)]
    with pytest.raises(DataError, match=r"no texture.*Set aside: `down.JPG`: it looks along"):
        place([*bare, looking_down(photographs[0])], FacePlane())


def test_a_photograph_without_pose_and_match_is_set_aside(
    photographs: list[Photograph], plane: FacePlane, tmp_path: Path
) -> None:
    stray = other_wall(tmp_path, "stray.png", photographs[0])
    placed = place([*photographs[:4], stray], plane)
    assert [name for name, _ in placed.aside] == ["stray.png"]
    assert "shows nothing" in placed.aside[0][1]
    assert len(placed.photographs) == 4


def test_a_photograph_of_another_face_is_set_aside(
    photographs: list[Photograph], plane: FacePlane
) -> None:
    pose = photographs[3].pose
    assert pose is not None
    turned = replace(photographs[3], name="side.JPG", pose=replace(pose, yaw_deg=pose.yaw_deg + 90))
    placed = place([*photographs[:3], turned], plane)
    assert [name for name, _ in placed.aside] == ["side.JPG"]
    assert "another face" in placed.aside[0][1]


def test_one_pose_among_photographs_that_nothing_holds_is_a_map_of_that_one(
    photographs: list[Photograph], plane: FacePlane, tmp_path: Path
) -> None:
    strays = [other_wall(tmp_path, f"{n}.png", photographs[0], seed=n) for n in range(3)]
    placed = place([strays[0], photographs[0], *strays[1:]], plane)
    assert [p.name for p in placed.photographs] == [photographs[0].name]
    assert [name for name, _ in placed.aside] == ["0.png", "1.png", "2.png"]
    assert all("has no pose" in why for _, why in placed.aside)


def test_one_pose_among_many_photographs_without_any_does_not_rule(
    photographs: list[Photograph], tmp_path: Path
) -> None:
    stray = other_wall(tmp_path, "stray.png", photographs[0])
    posed = replace(stray, pose=photographs[0].pose)
    placed = place([posed, *(replace(p, pose=None) for p in photographs[:4])], FacePlane())
    assert len(placed.photographs) == 4
    assert [name for name, _ in placed.aside] == ["stray.png"]
    assert "nothing ties it" in placed.aside[0][1]


def looking_down(like: Photograph) -> Photograph:
    pose = like.pose
    assert pose is not None
    down = replace(pose, pitch_deg=-90.0, axes=camera_axes(pose.yaw_deg, -90.0, 0.0))
    return replace(like, name="down.JPG", pose=down)


def test_a_photograph_that_looks_along_the_face_is_set_aside(
    photographs: list[Photograph], plane: FacePlane
) -> None:
    placed = place([looking_down(photographs[3]), *photographs[:3]], plane)
    assert [name for name, _ in placed.aside] == ["down.JPG"]
    assert "looks along the face, at 90 deg" in placed.aside[0][1]
    with pytest.raises(DataError, match=r"`down.JPG`: it looks along the face.*--ignore-poses"):
        place([looking_down(photographs[3])], FacePlane())


def test_cameras_that_look_down_do_not_turn_the_face(photographs: list[Photograph]) -> None:
    pose = looking_down(photographs[0]).pose
    assert pose is not None
    down = replace(photographs[0], pose=replace(pose, yaw_deg=pose.yaw_deg + 120))
    assert facing_deg([down, down, down, photographs[1]]) == facing_deg([photographs[1]])
    assert facing_deg([down]) == pytest.approx((pose.yaw_deg + 300) % 360)


def test_a_photograph_that_is_gone_is_set_aside(
    photographs: list[Photograph], plane: FacePlane
) -> None:
    placed = place([*photographs[:3], replace(photographs[3], path=None)], plane)
    assert "its file is not where" in placed.aside[0][1]


def test_a_file_under_two_names_is_one_photograph(
    photographs: list[Photograph], plane: FacePlane
) -> None:
    placed = place([*photographs[:4], replace(photographs[0], name="copy.JPG")], plane)
    assert placed.aside == (
        ("copy.JPG", f"it is the very file of {photographs[0].name}, which counts."),
    )
    assert len(placed.photographs) == 4


def test_one_photograph_alone_is_a_map_with_its_own_scale(
    photographs: list[Photograph], plane: FacePlane
) -> None:
    placed = place(photographs[:1], FacePlane())
    report = {**photographs[0].report, "scale": {"mm_per_px": 2.0, "sigma_rel": 0.02}}
    own = replace(placed, photographs=(replace(photographs[0], report=report),))
    block, scale = put_scale(own, References(), FacePlane())
    assert scale.source == "photographs"
    assert scale.sigma_rel == pytest.approx(0.02, abs=1e-6)
    del block
    with pytest.raises(ScaleError, match="has no scale"):
        put_scale(placed, References(), FacePlane())


def test_a_photograph_held_by_its_pose_alone_is_named(
    photographs: list[Photograph], plane: FacePlane, tmp_path: Path
) -> None:
    pose = photographs[3].pose
    lone = replace(flat(tmp_path, "lone.png", photographs[3]), pose=pose)
    placed = place([*photographs[:3], lone], plane)
    assert placed.tied.tolist() == [True, True, True, False]
    assert "lone.png" in next(n.message for n in placed.notices if n.code == "placed_by_pose_alone")


def test_different_cameras_get_lenses_of_their_own(
    photographs: list[Photograph], plane: FacePlane
) -> None:
    other = [replace(p, camera="other camera") for p in photographs[4:]]
    placed = place([*photographs[:4], *other], plane)
    assert len(placed.block.lenses) == 2
    assert "several_cameras" in {notice.code for notice in placed.notices}
    focal = [lens.focal_px for lens in placed.block.lenses]
    assert focal[0] == pytest.approx(focal[1], rel=0.025)


def test_a_block_that_does_not_hold_together_is_said(
    photographs: list[Photograph], tmp_path: Path
) -> None:
    """Half of every photograph is bent, each otherwise: no plane shows that."""
    folded = []
    for number, photograph in enumerate(photographs):
        assert photograph.path is not None
        picture = Image.open(photograph.path)  # noqa: TID251
        width, height = picture.size
        bend = 40 * ((number % 3) - 1)
        quad = (bend, 0, -bend, height + bend, width + 2 * bend, height - bend, width - bend, bend)
        path = tmp_path / photograph.name
        half = picture.transform(picture.size, Image.Transform.QUAD, quad)
        picture.paste(half.crop((width // 2, 0, width, height)), (width // 2, 0))
        picture.save(path, quality=95)
        folded.append(replace(photograph, path=path, pose=None))
    message = outcome(folded)
    assert "hold together" in message or "not_flat" in message


def test_a_reference_names_a_photograph_of_the_map(
    photographs: list[Photograph], plane: FacePlane
) -> None:
    placed = place(photographs[:3], plane)
    name = photographs[0].name
    spot, far = Spot(image=name, row=10, col=10), Spot(image=name, row=10, col=600)

    def scale(*lengths: Length, points: tuple[Point, ...] = ()) -> Any:
        return put_scale(placed, References(length=lengths, point=points), plane)

    with pytest.raises(ConfigError, match="not on the map"):
        scale(Length(length_m=1.0, start=spot, end=Spot(image="x.jpg", row=1, col=1)))
    with pytest.raises(ConfigError, match="lie outside"):
        scale(Length(length_m=1.0, start=spot, end=Spot(image=name, row=10, col=6000)))
    with pytest.raises(ConfigError, match="lie apart"):
        scale(Length(length_m=1.0, start=spot, end=spot))
    with pytest.raises(ScaleError, match="contradict each other"):
        scale(
            Length(length_m=2.4, start=spot, end=far),
            Length(length_m=4.8, start=spot, end=far),
        )
    _, known = scale(Length(length_m=3.2, start=spot, end=far))  # the drone says 2.4 m
    assert "scales_disagree" in {notice.code for notice in known.notices}


@pytest.mark.parametrize(("length_m", "text"), [(9.0, "smaller than"), (0.6, "larger than")])
def test_a_length_that_the_drones_places_rule_out_is_refused(
    length_m: float, text: str, photographs: list[Photograph], plane: FacePlane
) -> None:
    placed = place(photographs[:3], plane)
    name = photographs[0].name
    ends = {"start": Spot(image=name, row=10, col=10), "end": Spot(image=name, row=10, col=600)}
    typed = References(length=(Length(length_m=length_m, **ends),))  # 2.4 m in truth
    with pytest.raises(ScaleError, match=rf"{text} by 1 reference length: .*--ignore-poses"):
        put_scale(placed, typed, plane)
    bare = place([replace(p, pose=None) for p in photographs[:3]], FacePlane())
    assert put_scale(bare, typed, FacePlane())[1].source == "reference_length"


def test_reference_points_put_the_map_where_they_say(
    photographs: list[Photograph], plane: FacePlane
) -> None:
    placed = place(photographs[:4], plane)
    views = placed.block
    names = [p.name for p in placed.photographs]
    pixels = np.array([[100.0, 100.0], [600.0, 800.0], [100.0, 800.0]])
    numbers = np.array([0, 3, 1])
    places = views.places(numbers, pixels)
    marks = places @ np.array([[0.0, 1.1], [-1.1, 0.0]]) + [120.0, 410.0]  # turned and 10 % larger
    points = [
        Point(image=names[n], row=p[0], col=p[1], station_m=m[0], elevation_m=m[1])
        for n, p, m in zip(numbers, pixels, marks, strict=True)
    ]
    block, scale = put_scale(placed, References(point=tuple(points)), FacePlane())
    assert scale.source == "reference_points"
    assert np.allclose(block.places(numbers, pixels), marks, atol=1e-6)
    assert max(scale.misses_mm) < 0.01
    wrong = (*points[:2], replace(points[2], station_m=points[2].station_m + 1))
    with pytest.raises(DataError, match="do not fit the block"):
        put_scale(placed, References(point=wrong), FacePlane())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[[length]]\nlenght_m = 1.0\n", "unknown key .*length_m"),
        ("[[length]]\nlength_m = 1.0\n", "lacks `start`, `end`"),
        ("[[length]]\nlength_m = 1.0\nstart = {image = 'a', col = 1.0}\n", "lacks `row`"),
        ("[[length]]\nlength_m = 0.0\nstart = {image = 'a', row = 1.0, col = 1.0}\n"
         "end = {image = 'a', row = 1.0, col = 9.0}\n", "larger than 0, got 0"),
        ("", "holds no reference"),
    ],
)  # fmt: skip
def test_references_that_do_not_fit_are_a_sentence(text: str, error: str, tmp_path: Path) -> None:
    path = tmp_path / "references.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=error) as caught:
        read_references(path)
    assert "references.toml" in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "inf", "1e300"])
def test_a_reference_point_that_is_nowhere(value: str, tmp_path: Path) -> None:
    (tmp_path / "points.toml").write_text(
        '[[point]]\nimage = "a.jpg"\nrow = 1.0\ncol = 1.0\nelevation_m = 2.0\n'
        f"station_m = {value}\n"
    )
    with pytest.raises(ConfigError, match="station_m` must be a finite number"):
        read_references(tmp_path / "points.toml")
