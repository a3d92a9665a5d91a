"""Regions lie where they were drawn, in pixels and on maps, or are refused with a sentence."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from crackseg import batch, pipeline
from crackseg.config import AnalyzeOptions, RegionOptions, read_options
from crackseg.errors import ConfigError, CracksegError, DataError
from crackseg.exports import overlay
from crackseg.exports.geojson import PIXELS, to_geojson
from crackseg.imagery.files import open_image
from crackseg.imagery.regions import (
    Region,
    find_region_files,
    outline,
    read_region,
    share_on_joints,
    unused_files,
)
from crackseg.inference.predictor import Predictor
from crackseg.records import Array, ImageInfo, Report

HEIGHT, WIDTH = 180, 260
Photo = Callable[..., Path]
SQUARE = [[20, 30], [120, 30], [120, 90], [20, 90], [20, 30]]  # x, y
HOLE = [[50, 50], [80, 50], [80, 70], [50, 70], [50, 50]]


def info(**facts: Any) -> ImageInfo:
    return ImageInfo(
        path=Path("DJI_0042.JPG"),
        sha256="",
        height_px=HEIGHT,
        width_px=WIDTH,
        format="JPEG",
        **facts,
    )


def feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def write(path: Path, *features: dict[str, Any], **more: Any) -> Path:
    data = {"type": "FeatureCollection", "features": list(features), **more}
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def read(about: ImageInfo, **files: Path) -> Region:
    region = read_region(RegionOptions(**files), about)
    assert region is not None
    return region


def inside(about: ImageInfo, **files: Path) -> Array:
    mask = read(about, **files).inside
    assert mask is not None
    return mask


def square(hole: bool = False) -> Array:
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[30:91, 20:121] = True
    if hole:
        expected[51:70, 51:80] = False
    return expected


def near(mask: Array, expected: Array) -> bool:
    """Whether two shapes differ by no more than a rim of a pixel."""
    return int((mask != expected).sum()) < 500 and mask.sum() > 0


def test_a_drawing_of_a_gis_may_overshoot_the_top_of_a_plain_picture(tmp_path: Path) -> None:
    drawn = [[0, 5], [WIDTH, 5], [WIDTH, -60], [0, -60], [0, 5]]
    mask = inside(info(), region=write(tmp_path / "r.geojson", feature("Polygon", [drawn])))
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[:60] = True
    assert near(mask, expected)


@pytest.mark.parametrize("name", ["dji_0042.geojson", "DJI_0042.JPG.geojson", "DJI_0042.GEOJSON"])
@pytest.mark.parametrize("role", ["region", "ignore"])
def test_a_file_is_a_photographs_however_its_name_is_written(
    role: str, name: str, tmp_path: Path
) -> None:
    write(tmp_path / name, feature("Polygon", [SQUARE]))
    found = find_region_files(RegionOptions(**{role: tmp_path}), Path("DJI_0042.JPG"))
    assert [file.path.name for file in found] == [name]
    assert unused_files(RegionOptions(**{role: tmp_path}), [Path("DJI_0042.JPG")]) == ()


def test_an_umlaut_in_two_parts_is_the_same_name(tmp_path: Path) -> None:
    write(tmp_path / "Mu\u0308ller.geojson", feature("Polygon", [SQUARE]))
    assert find_region_files(RegionOptions(ignore=tmp_path), Path("M\u00fcller.JPG"))


def test_what_is_spelt_alike_goes_before_what_is_nearly(tmp_path: Path) -> None:
    for name in ("a.geojson", "A.png"):
        write(tmp_path / name, feature("Polygon", [SQUARE]))
    for photograph, file in (("a.jpg", "a.geojson"), ("A.jpg", "A.png")):
        (found,) = find_region_files(RegionOptions(ignore=tmp_path), Path(photograph))
        assert found.path.name == file


def test_files_to_ignore_of_no_photograph_are_named(tmp_path: Path) -> None:
    for name in ("DJI_0042_mask.geojson", "DJI_0041.geojson", "notes.txt"):
        (tmp_path / name).write_text("{}")
    unused = unused_files(RegionOptions(ignore=tmp_path), [Path("x/DJI_0041.JPG")])
    assert [file.name for file in unused] == ["DJI_0042_mask.geojson"]


@pytest.mark.parametrize("role", ["region", "ignore"])
def test_two_files_of_one_photograph_are_refused(role: str, tmp_path: Path) -> None:
    for name in ("a.geojson", "a.jpg.geojson"):
        write(tmp_path / name, feature("Polygon", [SQUARE]))
    with pytest.raises(DataError, match="2 files"):
        find_region_files(RegionOptions(**{role: tmp_path}), Path("a.jpg"))


def test_what_goes_behind_a_better_name_is_named(tmp_path: Path) -> None:
    for name in ("a.geojson", "A.geojson"):
        write(tmp_path / name, feature("Polygon", [SQUARE]))
    unused = unused_files(RegionOptions(ignore=tmp_path), [Path("a.jpg")])
    assert [file.name for file in unused] == ["A.geojson"]


def test_polygons_in_pixels_with_holes(tmp_path: Path) -> None:
    path = write(tmp_path / "r.geojson", feature("Polygon", [SQUARE, HOLE]))
    assert np.array_equal(inside(info(), region=path)[30:91, 20:50], square()[30:91, 20:50])
    assert near(inside(info(), region=path), square(hole=True))
    assert near(~inside(info(), ignore=path), square(hole=True))
    both = write(
        tmp_path / "b.geojson",
        feature("MultiPolygon", [[SQUARE]]),
        feature("Polygon", [HOLE], **{"class": "ignore"}),
    )
    assert near(inside(info(), region=both), square(hole=True))
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps({"type": "Polygon", "coordinates": [SQUARE]}), encoding="utf-8-sig")
    assert near(inside(info(), region=bare), square())


def test_a_polygon_of_an_unknown_class_is_refused(tmp_path: Path) -> None:
    trees = feature("Polygon", [SQUARE], **{"class": "Vegetation"})
    with pytest.raises(DataError, match="geometry 2 is a polygon of class vegetation; expected"):
        read(info(), region=write(tmp_path / "r.json", feature("Polygon", [SQUARE]), trees))
    named = write(tmp_path / "s.json", feature("Polygon", [SQUARE], **{"class": "structure"}))
    assert np.array_equal(read(info(), ignore=named).inside, read(info(), region=named).inside)


def test_a_plain_picture_in_a_gis_has_its_rows_upside_down(tmp_path: Path) -> None:
    turned = [[x + 0.5, -(y + 0.5)] for x, y in SQUARE]
    assert near(
        inside(info(), region=write(tmp_path / "r.geojson", feature("Polygon", [turned]))), square()
    )


UTM = {"crs": "EPSG:32632", "transform": (0.01, 0.002, 5e5, 0.002, -0.01, 5.2e6)}


@pytest.mark.parametrize("far", [1.0, 1e3, 1e6, 1e9])
def test_an_outline_that_reaches_far_beyond_the_picture_keeps_its_edges(
    far: float, tmp_path: Path
) -> None:
    """The half below the line through (0, 20) and (WIDTH, 100), however far its corners lie."""
    left, right = (-far * WIDTH, 20 - far * 80), ((1 + far) * WIDTH, 100 + far * 80)
    depth = right[1] + WIDTH
    ring = [left, right, (right[0], depth), (left[0], depth), left]
    region = inside(info(), region=write(tmp_path / "r.geojson", feature("Polygon", [ring])))
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    assert np.abs(region.astype(int) - (rows > 20 + 80 * cols / WIDTH)).sum() <= WIDTH


def test_an_outline_that_crosses_itself_holds_what_it_goes_round(tmp_path: Path) -> None:
    angle = np.arange(6) * 4 * np.pi / 5
    star = np.column_stack([80 + 40 * np.sin(angle), 60 - 40 * np.cos(angle)])
    path = write(tmp_path / "r.geojson", feature("Polygon", [star.tolist()]))
    assert inside(info(), region=path)[60, 80]
    assert not inside(info(), ignore=path)[60, 80]
    key = [[20, 30], [120, 30], [120, 90], [20, 90], [20, 60], [50, 60], [50, 70], [80, 70],
           [80, 50], [50, 50], [50, 60], [20, 60], [20, 30]]  # fmt: skip
    cut = inside(info(), region=write(tmp_path / "k.geojson", feature("Polygon", [key])))
    assert near(cut, square(hole=True))
    assert not cut[60, 65]


@pytest.mark.parametrize("role", ["region", "ignore"])
def test_corners_out_of_order_are_refused_and_a_slip_of_the_hand_is_not(
    role: str, tmp_path: Path
) -> None:
    tie = [[20, 30], [120, 90], [120, 30], [20, 90], [20, 30]]
    for rings in ([tie], [[[0, 0], [200, 0], [200, 150], [0, 150], [0, 0]], tie]):
        path = write(
            tmp_path / "r.geojson", feature("Polygon", [SQUARE]), feature("Polygon", rings)
        )
        with pytest.raises(
            DataError, match=r"geometry 2 crosses itself like a bow tie.* (49|50) %"
        ):
            read(info(), **{role: path})
    slip = [[20, 30], [120, 30], [120, 90], [20, 90], [22, 26], [20, 30]]
    looked_at = inside(info(), region=write(tmp_path / "r.geojson", feature("Polygon", [slip])))
    assert near(looked_at, square())


def outside(about: ImageInfo, **files: Path) -> list[str]:
    """Return what is warned of shapes outside of the picture."""
    return [n.message for n in read(about, **files).notices if n.code == "region_outside"]


def test_what_lies_outside_of_the_picture_is_told_with_its_share(tmp_path: Path) -> None:
    wide = [[150, 20], [250, 20], [250, 60], [150, 60], [150, 20]]
    swapped = feature("Polygon", [[[y, x] for x, y in wide]])  # of rows 150 to 250, 180 are there
    joint = feature("LineString", [[100, 80], [100, 280]], **{"class": "joint"})
    path = write(tmp_path / "r.geojson", feature("Polygon", [SQUARE]), swapped, joint)
    (text,) = outside(info(), ignore=path)
    assert "260 x 180 px" in text
    assert "70 % of geometry 2" in text
    assert "50 % of geometry 3" in text
    assert "geometry 1" not in text
    slip = [[-4, -4], [263, -4], [263, 183], [-4, 183], [-4, -4]]
    joint = feature("LineString", [[-3, 40], [262, 40]], **{"class": "joint"})
    path = write(tmp_path / "s.geojson", feature("Polygon", [slip]), joint)
    assert outside(info(), region=path) == []


def test_shapes_of_a_map_may_reach_beyond_a_picture_but_not_all_lie_off_it(tmp_path: Path) -> None:
    far = [[x + 5000, y] for x, y in SQUARE]
    large = [[x * 3 - 40, y * 3] for x, y in SQUARE]
    some = write(
        tmp_path / "r.geojson", *(feature("Polygon", [on_map(r)]) for r in (large, SQUARE, far))
    )
    assert outside(info(**UTM), region=some) == []
    declared = {"crs": {"type": "name", "properties": {"name": UTM["crs"]}}}
    none = write(tmp_path / "n.geojson", feature("Polygon", [on_map(far)]), **declared)
    if importlib.util.find_spec("pyproj"):
        (text,) = outside(info(**UTM), ignore=none)
        assert text.startswith("Nothing of `n.geojson` lies on this picture")


def test_a_hole_beside_its_outline_adds_nothing(tmp_path: Path) -> None:
    hole = [[130, 30], [150, 30], [150, 60], [130, 60], [130, 30]]
    region = inside(
        info(), region=write(tmp_path / "r.geojson", feature("Polygon", [SQUARE, hole]))
    )
    assert near(region, square())
    assert not region[45, 140]


def test_corners_on_the_outermost_pixels_leave_nothing_out(tmp_path: Path) -> None:
    ring = [[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1], [0, 0]]
    assert inside(info(), region=write(tmp_path / "r.geojson", feature("Polygon", [ring]))).all()


def on_map(points: list[list[int]]) -> list[list[float]]:
    a, b, c, d, e, f = UTM["transform"]
    return [
        [a * (x + 0.5) + b * (y + 0.5) + c, d * (x + 0.5) + e * (y + 0.5) + f] for x, y in points
    ]


def test_map_coordinates_of_the_raster_of_another_crs_and_of_pixels(tmp_path: Path) -> None:
    own = write(tmp_path / "own.geojson", feature("Polygon", [on_map(SQUARE)]))
    assert near(inside(info(**UTM), region=own), square())
    pixels = write(
        tmp_path / "px.geojson",
        feature("Polygon", [SQUARE]),
        coordinate_system="image pixels: x = column, y = row downwards; not WGS84",
    )
    assert near(inside(info(**UTM), region=pixels), square())
    upwards = write(
        tmp_path / "up.geojson",
        feature("Polygon", [[[x + 0.5, -(y + 0.5)] for x, y in SQUARE]]),
        coordinate_system=PIXELS,
    )
    assert near(inside(info(**UTM), region=upwards), square())
    for declared in ("EPSG:32632", "urn:ogc:def:crs:EPSG::32632", "urn:ogc:def:crs:EPSG:9.6:32632"):
        crs = {"type": "name", "properties": {"name": declared}}
        same = write(tmp_path / "same.geojson", feature("Polygon", [on_map(SQUARE)]), crs=crs)
        assert near(inside(info(**UTM), region=same), square()), declared  # without the extra geo
    pyproj = pytest.importorskip("pyproj", reason="needs the extra geo")
    for code, declared in (("EPSG:4326", None), ("EPSG:3035", "urn:ogc:def:crs:EPSG::3035")):
        change = pyproj.Transformer.from_crs("EPSG:32632", code, always_xy=True).transform
        points = [list(change(x, y)) for x, y in on_map(SQUARE)]
        more = {"crs": {"type": "name", "properties": {"name": declared}}} if declared else {}
        path = write(tmp_path / "other.geojson", feature("Polygon", [points]), **more)
        assert near(inside(info(**UTM), region=path), square()), code


@pytest.mark.parametrize(
    ("about", "features", "more", "words"),
    [
        (info(), [feature("Polygon", [[[8.1, 46], [8.2, 46], [8.2, 47]]])], {}, "draw the region"),
        (
            info(),
            [feature("Polygon", [SQUARE])],
            {"crs": {"properties": {"name": "EPSG:32632"}}},
            "not georeferenced",
        ),
        (
            info(),
            [feature("Polygon", [[[900, 900], [999, 900], [999, 999]]])],
            {},
            "covers nothing",
        ),
        (info(), [feature("Point", [3, 4])], {}, "is a Point"),
        (info(), [feature("LineString", SQUARE)], {}, "`class` = `joint`"),
        (info(), [], {}, "no polygon and no line"),
        (info(), [feature("Polygon", [[["a", 1], [2, 3]]])], {}, "no numbers"),
        (info(), [feature("Polygon", [[[1], [2], [3]]])], {}, "points of x and y"),
        (info(), [feature("Polygon", [[[0, 0], [1e300, 0], [5, 5]]])], {}, "points of x and y"),
        (info(), [feature("Polygon", 5)], {}, "lists of coordinates"),
        (info(), [feature("Polygon", [5])], {}, "no numbers"),
        (info(), [feature("MultiPolygon", None)], {}, "lists of coordinates"),
        (info(), [feature("MultiPolygon", [[]])], {}, "no polygon and no line"),
        (info(), [feature("Polygon", [SQUARE])], {"crs": 5}, "`crs` names no system"),
        (info(), [feature("Polygon", [SQUARE])], {"crs": {"properties": 5}}, "names no system"),
        (info(), [{"type": "Circle"}], {}, "is not GeoJSON"),
        (info(), [{"type": "FeatureCollection"}], {}, "a collection has no `features`"),
        (info(), [{"type": "GeometryCollection"}], {}, "a collection has no `geometries`"),
        (info(**{**UTM, "crs": None}), [feature("Polygon", [SQUARE])], {}, "have no CRS"),
    ],
)
def test_what_cannot_be_placed_is_refused(
    about: ImageInfo, features: list[Any], more: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(CracksegError, match=words):
        read(about, region=write(tmp_path / "r.geojson", *features, **more))


@pytest.mark.parametrize(
    ("crs", "points", "words"),
    [
        ("site grid", SQUARE, "known CRS"),
        ("EPSG:32632", [[8.1, 46], [8.2, 46], [8.2, 47]], "covers nothing"),
        ("EPSG:32632", [[8.1, 460], [8.2, 460], [8.2, 470]], "covers nothing|not on Earth"),
    ],
)
def test_what_lies_elsewhere_on_the_map_is_refused(
    crs: str, points: list[list[float]], words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "r.geojson", feature("Polygon", [points]))
    about = info(**{**UTM, "crs": crs})
    if importlib.util.find_spec("pyproj") is None:
        words = r"install `crackseg\[geo\]`"
    with pytest.raises(CracksegError, match=words):
        read(about, region=path)


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_picture_is_a_region_whatever_its_bright_value(value: int, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(square().astype(np.uint8) * value).save(path)
    assert np.array_equal(inside(info(), region=path), square())
    assert np.array_equal(inside(info(), ignore=path), ~square())
    Image.fromarray(square().astype(np.uint8)[:-1] * value).save(path)
    with pytest.raises(DataError, match="as large as the photograph, 260 x 180 px"):
        read(info(), region=path)
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(path)
    with pytest.raises(DataError, match="marks nothing"):
        read(info(), region=path)


def test_greys_that_are_neither_inside_nor_outside_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    parts = np.where(square(), 255, 0).astype(np.uint8)
    classes = parts.copy()
    classes[100:150, 150:200] = 128
    few = np.minimum(classes, 2)
    few[100:150, 150:200] = 1
    for pixels, words in (
        (np.full_like(parts, 128), "holds one value, 128"),
        (np.full_like(parts, 1), "holds one value, 1"),
        (classes, "holds 3 values, 128 among them"),
        (few, "none brighter than 2"),
    ):
        Image.fromarray(pixels).save(path)
        for role in ("region", "ignore"):
            with pytest.raises(DataError, match=words):
                read(info(), **{role: path})
    soft = cv2.GaussianBlur(parts, None, 6)
    Image.fromarray(soft).save(path)
    assert near(inside(info(), region=path), square())
    Image.fromarray(parts).save(tmp_path / "mask.jpg", quality=60)
    assert near(inside(info(), region=tmp_path / "mask.jpg"), square())


def test_a_mask_that_leaves_nothing_out_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(path)
    assert [notice.code for notice in read(info(), region=path).notices] == ["region_all"]


def test_a_photograph_is_no_region(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    grey = np.random.default_rng(0).normal(140, 30, (HEIGHT, WIDTH))
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(path)
    with pytest.raises(DataError, match=r"`wall\.png` is no mask"):
        read(info(), region=path)


def test_a_folder_holds_one_file_for_each_photograph(tmp_path: Path) -> None:
    write(tmp_path / "DJI_0042.geojson", feature("Polygon", [SQUARE]))
    assert near(inside(info(), region=tmp_path), square())
    other = replace(info(), path=Path("DJI_0043.JPG"))
    with pytest.raises(DataError, match=r"no file for `DJI_0043\.JPG`"):
        read(other, region=tmp_path)
    assert read_region(RegionOptions(ignore=tmp_path), other) is None
    (tmp_path / "DJI_0042.png").touch()
    with pytest.raises(DataError, match="2 files"):
        read(info(), region=tmp_path)


def test_the_outline_has_the_area_that_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "r.geojson", feature("Polygon", [SQUARE, HOLE]))
    region = read(info(), region=path)
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    polygons = [np.rint(p[:, ::-1]).astype(np.int32) for p in outline(region)]
    cv2.fillPoly(drawn, polygons, 1)
    assert near(drawn == 0, square(hole=True))
    assert outline(None) == ()


def test_points_along_a_joint() -> None:
    line = np.array([[10.0, 0.0], [10.0, 100.0]])
    along = np.column_stack([np.full(50, 14.0), np.arange(50)])
    across = np.column_stack([np.arange(50), np.full(50, 30.0)])
    assert share_on_joints(along, (line,), 5.0) == 1.0
    assert share_on_joints(across, (line,), 5.0) == pytest.approx(11 / 50)
    assert share_on_joints(along + np.array([0, 200]), (line,), 5.0) == 0.0


@pytest.fixture
def analyzed(photo: Photo, tmp_path: Path, dark_model: Path) -> Callable[..., Report]:
    """Analyze a photograph with two cracks, at rows 40 to 60 and 90 to 110."""

    def run(*features: dict[str, Any], role: str = "region") -> Report:
        path = write(tmp_path / "r.geojson", *features)
        options = read_options(AnalyzeOptions, {"region": {role: path}})
        with open_image(photo(tmp_path / "wall.png", cracks=2)) as image:
            report = pipeline.analyze(image, Predictor.open(dark_model), options)
            pipeline.export(report, tmp_path / "out", image, ["json", "page", "csv", "overlay"])
        return report

    return run


UPPER = [[0, 0], [259, 0], [259, 72], [0, 72], [0, 0]]


@pytest.mark.parametrize("role", ["region", "ignore"])
def test_only_what_is_inside_is_listed_and_counted(
    role: str, analyzed: Callable[..., Report], tmp_path: Path
) -> None:
    report = analyzed(feature("Polygon", [UPPER]), role=role)
    (crack,) = report.cracks
    assert (crack.window.row < 72) == (role == "region")
    area = 73 * 260 if role == "region" else HEIGHT * WIDTH - 73 * 260
    assert report.totals.analyzed_px2 == pytest.approx(area)
    assert report.totals.left_out_px2 == pytest.approx(HEIGHT * WIDTH - area)
    assert [part.code for part in report.unjudged] == ["left_out"]
    assert report.judged
    assert [n.code for n in report.notices] == ["no_scale"]  # it was asked for: no warning
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert f"r.geojson ({role})" in page
    picture = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    overlay.shade_left_out(picture, report, 1.0, 1)
    dark = picture[..., 0] == 100
    assert dark[20, 200] == (role == "ignore")
    assert dark[150, 200] == (role == "region")


def test_a_crack_along_a_named_joint_is_a_joint(
    analyzed: Callable[..., Report], tmp_path: Path
) -> None:
    line = feature("LineString", [[0, 38], [259, 68]], **{"class": "joint"})
    report = analyzed(line, role="ignore")
    (crack,), (joint,) = report.cracks, report.joints
    assert crack.window.row > 72 > joint.window.row
    assert (crack.id, joint.id) == (1, 1)
    assert report.totals.cracks == 1
    assert report.totals.length_px == pytest.approx(crack.length.px or 0)
    assert report.totals.left_out_px2 == 0
    written = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert len(written["joints"]) == len(written["cracks"]) == 1
    assert written["region"]["files"][0]["role"] == "ignore"
    crossing = feature("LineString", [[100, 0], [100, 179]], **{"class": "joint"})
    assert len(analyzed(crossing).cracks) == 2


def test_lines_of_our_own_files_lie_where_they_were_once_they_are_named_joints(
    analyzed: Callable[..., Report], tmp_path: Path
) -> None:
    report = analyzed(feature("Polygon", [UPPER]))
    written = to_geojson(report)
    path = tmp_path / "cracks.geojson"
    path.write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(DataError, match="`class` = `joint`"):  # which are joints is not guessed
        read(report.image, ignore=path)
    for line in written["features"]:
        line["properties"]["class"] = "joint"
    path.write_text(json.dumps(written), encoding="utf-8")
    region = read(report.image, ignore=path)
    lines = [branch.centre_line for crack in report.cracks for branch in crack.branches]
    for joint, line in zip(region.joints, lines, strict=True):
        np.testing.assert_allclose(joint, line, atol=0.01)
    assert region.notices == ()


def test_a_changed_region_is_analyzed_again(photo: Photo, tmp_path: Path, dark_model: Path) -> None:
    photos = [photo(tmp_path / "in" / "a.png", cracks=2)]
    path = write(tmp_path / "r.geojson", feature("Polygon", [UPPER]))
    values = {"model": str(dark_model), "region": {"region": path}}
    options = read_options(AnalyzeOptions, values)
    states = [batch.run(photos, tmp_path / "out", options)[0].status for _ in range(2)]
    assert states == ["analyzed", "unchanged"]
    write(path, feature("Polygon", [SQUARE]))
    (outcome,) = batch.run(photos, tmp_path / "out", options)
    assert outcome.status == "analyzed"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"`--region .*r\.geojson` cannot be used: .* not GeoJSON"
    ):
        batch.run(photos, tmp_path / "out", options)
    path.unlink()
    with pytest.raises(ConfigError, match="does not exist"):
        batch.run(photos, tmp_path / "out", options)
