"""Every export is written for every kind of report and read again by somebody else's reader."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image
from shapely.geometry import shape

from crackseg.errors import UnknownName
from crackseg.exports import EXPORTS, find_exports, overlay, wording
from crackseg.exports.tables import CRACK_COLUMNS, SCHEMA, report_to_dict
from crackseg.imagery.files import open_image
from crackseg.records import Crack, Measure, Report, Scale, Window
from crackseg.runs import Runs

GIVEN = Scale(mm_per_px=0.25, sigma_rel=0.02, source="given", detail="scale bar")
OBLIQUE = Scale(
    mm_per_px=0.25,
    sigma_rel=0.02,
    source="plane",
    homography=((0.25, 0.01, 0.0), (0.0, 0.25, 0.0), (0.0, 1e-5, 1.0)),
)
Make = Callable[..., Report]
NEEDS_GIS = ("yolo", "cvat", "labelstudio", "dxf", "gpkg", "shp")


def with_loop(report: Report) -> Report:
    """Return the report with its first crack closed to a ring that has an island."""
    ring = np.ones((30, 40), bool)
    ring[4:-4, 4:-4] = False
    angle = np.linspace(0, 2 * np.pi, 80)
    line = np.column_stack([55 + 13 * np.sin(angle), 80 + 18 * np.cos(angle)])
    first = report.cracks[0]
    branch = replace(
        first.branches[0],
        centre_line=line,
        width_px=np.full(80, 4.0),
        edges=np.stack([line - 2, line + 2], axis=1),
        kind="loop",
        nodes=(0, 0),
    )
    looped = replace(
        first,
        window=Window(row=40, col=60, height=30, width=40),
        mask=Runs.of(ring),
        branches=(branch,),
        width_max_at=None,
        orientation_deg=None,
        tortuosity=None,
        loops=1,
        tips=0,
    )
    return replace(report, cracks=(looped, *report.cracks[1:]))


def unmeasured(report: Report) -> Report:
    """Return the report with widths that no picture could give."""
    none = Measure(px=None, status="not_resolvable")
    below = Measure(px=None, high_px=0.8, status="below_detection")
    fields = ("width_mean", "width_median", "width_p95", "width_max")
    first: Crack = replace(report.cracks[0], **dict.fromkeys(fields, none))
    second: Crack = replace(report.cracks[1], **dict.fromkeys(fields, below))
    return replace(report, cracks=(first, second))


@pytest.fixture(params=["plain", "none", "no_scale", "oblique", "loop", "unmeasured"])
def report(request: pytest.FixtureRequest, make_report: Make) -> Report:
    """Reports of every kind."""
    kinds: dict[str, Callable[[], Report]] = {
        "plain": lambda: make_report(scale=GIVEN),
        "none": lambda: make_report(cracks=0, scale=GIVEN),
        "no_scale": lambda: make_report(),
        "oblique": lambda: make_report(scale=OBLIQUE),
        "loop": lambda: with_loop(make_report(scale=GIVEN)),
        "unmeasured": lambda: unmeasured(make_report()),
    }
    return kinds[request.param]()


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("with_image", [False, True])
def test_each_export_writes_what_it_says(
    name: str, with_image: bool, report: Report, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    image = None
    if with_image:
        noise = np.random.default_rng(1).integers(90, 200, (240, 320, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "photo.png")
        image = open_image(tmp_path / "photo.png")
    if name in NEEDS_GIS:
        pytest.importorskip("pyogrio", reason="extra gis is not installed")
    paths = find_exports([name])[name](report, folder, image)
    assert sorted(paths) == sorted(folder.iterdir())
    if report.cracks or name != "yolo":  # its labels of a picture without cracks are an empty file
        assert all(path.stat().st_size for path in paths)


def test_json_holds_to_its_schema(report: Report, tmp_path: Path) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    find_exports(["json"])["json"](report, tmp_path, None)
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(written)
    assert written["totals"]["cracks"] == len(report.cracks)


def test_nothing_in_mm_without_a_scale(make_report: Make) -> None:
    written = report_to_dict(make_report())
    assert written["scale"] is None
    assert [notice["code"] for notice in written["warnings"]] == ["no_scale"]

    def mm_values(part: Any) -> list[Any]:
        if isinstance(part, list):
            return [value for item in part for value in mm_values(item)]
        if not isinstance(part, dict):
            return []
        own = [value for key, value in part.items() if re.search(r"_mm2?$|_m_per_m2$", key)]
        return own + [value for item in part.values() for value in mm_values(item)]

    assert set(mm_values([written["cracks"], written["totals"]])) == {None}


def test_schema_refuses_a_field_it_does_not_know(make_report: Make) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    written = report_to_dict(make_report())
    written["cracks"][0]["length_inch"] = 3
    with pytest.raises(jsonschema.ValidationError, match="length_inch"):
        jsonschema.Draft202012Validator(schema).validate(written)


def test_csv_is_read_again(report: Report, tmp_path: Path) -> None:
    find_exports(["csv"])["csv"](report, tmp_path, None)
    with (tmp_path / "cracks.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == [crack.id for crack in report.cracks]
    for row, crack in zip(rows, report.cracks, strict=True):
        classes = {"width_p95_class_bins"} if report.scale is not None and report.cracks else set()
        assert set(row) == {"image", *CRACK_COLUMNS} | classes
        assert crack.length.px == pytest.approx(float(row["length_px"]))
        assert row["length_mm"] == "" or report.scale is not None


@pytest.mark.parametrize("name", ["=1+1.jpg", "+a.jpg", "-a.jpg", "@a.jpg"])
def test_csv_never_holds_a_formula(name: str, make_report: Make, tmp_path: Path) -> None:
    report = make_report(path=Path("/photos") / name)
    find_exports(["csv"])["csv"](report, tmp_path, None)
    text = (tmp_path / "cracks.csv").read_text(encoding="utf-8-sig")
    assert text.splitlines()[1].startswith(f"'{name},1,")


def test_mask_is_the_cracks(report: Report, tmp_path: Path) -> None:
    find_exports(["mask"])["mask"](report, tmp_path, None)
    with Image.open(tmp_path / "mask.png") as picture:  # noqa: TID251 - a reader not ours
        assert picture.mode == "L"
        mask = np.asarray(picture)
    assert mask.shape == (240, 320)
    assert set(np.unique(mask)) <= {0, 255}
    expected = sum(np.count_nonzero(crack.mask) for crack in report.cracks)
    assert np.count_nonzero(mask) == expected


def test_overlay_leaves_the_crack_to_be_seen(make_report: Make, tmp_path: Path) -> None:
    report = make_report(scale=GIVEN, cracks=1)
    picture = np.full((240, 320, 3), 150, np.uint8)
    drawn = overlay.draw(report, picture.copy())
    assert drawn.shape == picture.shape
    untouched = (drawn == picture).all(axis=-1)
    inside = np.zeros((240, 320), bool)
    inside[report.cracks[0].window.slices] = True
    assert untouched[40 + 1, 5:50].all()  # the middle of the crack, away from label and leader
    assert not untouched[38, 5:50].all()  # its outline
    assert untouched.mean() > 0.8


def test_many_labels_do_not_hide_the_picture(
    make_report: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = make_report(cracks=40, height=2200, width=2600)
    wide = replace(report.cracks[-1], width_max=Measure(px=9.0, u_px=0.5))
    report = replace(report, cracks=(*report.cracks[:-1], wide))
    picture = np.full((2200, 2600, 3), 150, np.uint8)
    written: list[int] = []
    label = wording.label
    monkeypatch.setattr(wording, "label", lambda crack: (written.append(crack.id), label(crack))[1])
    few = overlay.draw(report, picture.copy())
    assert sorted(written) == [*range(1, overlay.WITH_WIDTH + 1), 40]  # the worst, and the widest
    monkeypatch.setattr(overlay, "WITH_WIDTH", 40)
    many = overlay.draw(report, picture.copy())
    paper = [(drawn == overlay.PAPER).all(axis=-1).mean() for drawn in (few, many)]
    assert 0 < paper[0] < 0.6 * paper[1]


def test_three_hundred_marks_stay_readable(make_report: Make) -> None:
    report = make_report(cracks=300, height=3000, width=4000)
    rng = np.random.default_rng(7)
    cracks = []
    for crack in report.cracks:
        row, col = int(rng.integers(0, 2900)), int(rng.integers(0, 3800))
        cracks.append(
            replace(
                crack,
                window=replace(crack.window, row=row, col=col),
                width_max_at=(row + 1.0, col + 60.0),
                section="main" if crack.id <= 200 else "also_marked",
            )
        )
    report = replace(report, cracks=tuple(cracks))
    picture = np.full((3000, 4000, 3), 150, np.uint8)
    pen = overlay._Pen.for_picture(picture)
    labels = overlay._place_labels(report, picture, 1.0, pen, [])
    assert 20 <= len(labels) <= overlay.NUMBERED + overlay.WITH_WIDTH
    marked = {(round(c.width_max_at[1]), round(c.width_max_at[0])) for c in cracks[200:]}
    assert not marked & {label.anchor for label in labels}  # doubtful ones have no number
    reach = [np.hypot(*np.subtract(label.near(), label.anchor)) for label in labels]
    assert max(reach) < 0.1 * 3000  # no leader across the picture
    for one, other in itertools.combinations(labels, 2):
        assert not one.box.meets(other.box)
    marked_px = np.zeros(picture.shape[:2], bool)
    for crack in cracks:
        marked_px[crack.window.slices] |= crack.mask
    for box in (label.box for label in labels):  # no number hides a mark, its own or another
        assert not marked_px[box.row : box.row + box.height, box.col : box.col + box.width].any()


def test_outlines_tell_doubtful_marks_from_cracks(make_report: Make) -> None:
    report = make_report(cracks=2)
    first, second = report.cracks
    report = replace(report, cracks=(first, replace(second, section="also_marked")))
    drawn = overlay.draw(report, np.full((240, 320, 3), 150, np.uint8)).astype(int)
    red, blue = drawn[..., 0] - drawn[..., 2] > 60, drawn[..., 2] - drawn[..., 0] > 60
    rows = [crack.window.row for crack in report.cracks]
    assert red[rows[0] - 3 : rows[0] + 6].any()
    assert not blue[rows[0] - 3 : rows[0] + 6].any()
    assert blue[rows[1] - 3 : rows[1] + 6].any()
    assert not red[rows[1] - 3 : rows[1] + 6].any()


@pytest.mark.parametrize(
    ("scale", "bar_px"),
    [
        (None, 2.0 * 20),  # 20 px of the photograph
        (GIVEN, 2.0 * 10 / 0.25),  # 1 cm
        (OBLIQUE, 2.0 * 10 / 0.2512),  # the mean of both directions at the corner
    ],
)
def test_a_close_up_has_a_bar_of_its_own_place(scale: Scale | None, bar_px: float) -> None:
    picture = np.full((240, 320, 3), 150, np.uint8)
    overlay.draw_close_up_bar(picture, scale, (0.0, 0.0), 2.0)
    ink = (picture == overlay.INK).all(axis=-1)
    lengths = ink.sum(axis=1)
    assert lengths.max() == pytest.approx(bar_px, abs=2.5)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (256, 256), (40, 900), (2000, 60)])
def test_overlay_fits_any_size(height: int, width: int, make_report: Make) -> None:
    report = make_report(cracks=0, scale=GIVEN, height=height, width=width)
    drawn = overlay.draw(report, np.full((height, width, 3), 150, np.uint8))
    assert drawn.shape == (height, width, 3)


def test_large_pictures_are_drawn_reduced(make_report: Make) -> None:
    report = make_report(scale=GIVEN)
    picture, factor = overlay.read_reduced(report, None, 240 * 320 // 4)
    assert picture.shape == (120, 160, 3)
    assert factor == pytest.approx(0.5)
    assert picture.min() < 60  # without a photograph the cracks themselves are shown


def test_reduced_bands_are_the_reduced_whole(make_report: Make, tmp_path: Path) -> None:
    tall = np.random.default_rng(2).integers(0, 255, (2600, 30, 1), np.uint8)
    Image.fromarray(np.repeat(tall, 3, axis=2)).save(tmp_path / "tall.png")
    report = make_report(cracks=0, height=2600, width=30)
    with open_image(tmp_path / "tall.png") as image:
        picture, _ = overlay.read_reduced(report, image, 2600 * 30 // 4)
    expected = np.repeat(tall, 3, axis=2).reshape(1300, 2, 15, 2, 3).mean(axis=(1, 3))
    assert picture.shape == expected.shape
    assert np.abs(picture - expected).max() <= 1


def test_geojson_in_pixels_says_so(report: Report, tmp_path: Path) -> None:
    find_exports(["geojson"])["geojson"](report, tmp_path, None)
    written = json.loads((tmp_path / "cracks.geojson").read_text(encoding="utf-8"))
    assert "not WGS84" in written["coordinate_system"]
    assert "y upwards" in written["coordinate_system"]  # as a GIS lays out a plain picture
    assert len(written["features"]) == len(report.cracks)
    for feature, crack in zip(written["features"], report.cracks, strict=True):
        lines = shape(feature["geometry"])
        assert lines.is_valid
        points = np.vstack([branch.centre_line for branch in crack.branches]) + 0.5
        top, left, bottom, right = (*points.min(axis=0), *points.max(axis=0))
        expected = (left, -bottom, right, -top)
        assert lines.bounds == pytest.approx(expected, abs=0.02)
        assert feature["properties"]["length_px"] == pytest.approx(crack.length.px)


@pytest.mark.parametrize("transform", [None, (0.01, 0.0, 500.0, 0.0, -0.01, 90.0)])
@pytest.mark.parametrize("largest_px", [None, 19_200])
def test_world_files_lay_the_pictures_under_the_lines(
    transform: tuple[float, ...] | None,
    largest_px: int | None,
    make_report: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from crackseg.exports.geojson import to_geojson

    if largest_px:
        monkeypatch.setattr(overlay, "LARGEST_PX", largest_px)
    report = make_report(cracks=1, transform=transform)
    for name in ("mask", "overlay"):
        find_exports([name])[name](report, tmp_path, None)
    drawn = to_geojson(report)["features"][0]["geometry"]["coordinates"][0][0]
    for picture, world in (("mask.png", "mask.pgw"), ("overlay.jpg", "overlay.jgw")):
        text = (tmp_path / world).read_text(encoding="ascii").split()
        a, d, b, e, c, f = map(float, text)
        with open_image(tmp_path / picture, is_mask=True) as image:
            factor = image.info.width_px / 320
        row, col = (np.array([41.0, 0.0]) + 0.5) * factor - 0.5  # where the line begins
        placed = (a * col + b * row + c, d * col + e * row + f)
        assert placed == pytest.approx(tuple(drawn), abs=1e-6)
    assert factor == (0.5 if largest_px else 1.0)


def test_geojson_of_a_raster_without_crs_is_in_map_units(make_report: Make) -> None:
    from crackseg.exports.geojson import to_geojson

    report = make_report(cracks=1, transform=(0.01, 0.0, 500.0, 0.0, -0.01, 90.0), crs=None)
    written = to_geojson(report)
    x, y = written["features"][0]["geometry"]["coordinates"][0][0]
    assert "no CRS" in written["coordinate_system"]
    assert (x, y) == pytest.approx((500 + 0.5 * 0.01, 90 - 41.5 * 0.01))


def test_geojson_of_a_georeferenced_raster_is_wgs84(make_report: Make) -> None:
    pyproj = pytest.importorskip("pyproj", reason="extra geo is not installed")
    from crackseg.exports.geojson import to_geojson

    place = (0.01, 0.0, 447_000.0, 0.0, -0.01, 5_156_000.0)
    written = to_geojson(make_report(cracks=1, transform=place, crs="EPSG:32632"))
    lon, lat = written["features"][0]["geometry"]["coordinates"][0][0]
    back = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    assert back.transform(lon, lat) == pytest.approx((447_000.005, 5_155_999.585), abs=1e-3)
    assert written["coordinate_system"].startswith("WGS84")


def test_geojson_without_pyproj_names_the_crs(
    make_report: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crackseg.exports import geojson

    monkeypatch.setattr(geojson.importlib.util, "find_spec", lambda name: None)
    place = (0.01, 0.0, 447_000.0, 0.0, -0.01, 5_156_000.0)
    written = geojson.to_geojson(make_report(cracks=1, transform=place, crs="EPSG:32632"))
    assert written["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    assert written["features"][0]["geometry"]["coordinates"][0][0][0] > 400_000


# pycocotools 2.0.11 itself still has the array protocol of NumPy 1.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_is_decoded_by_its_own_library(report: Report, tmp_path: Path) -> None:
    masks = pytest.importorskip("pycocotools.mask")
    find_exports(["coco"])["coco"](report, tmp_path, None)
    written = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))
    height, width = report.image.height_px, report.image.width_px
    for entry, crack in zip(written["annotations"], report.cracks, strict=True):
        expected = np.zeros((height, width), bool)
        expected[crack.window.slices] = crack.mask
        packed = masks.frPyObjects(entry["segmentation"], height, width)
        assert np.array_equal(masks.decode(packed).astype(bool), expected)
        assert masks.toBbox(packed).tolist() == pytest.approx(entry["bbox"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_cracks_are_objects_for_its_own_library(report: Report, tmp_path: Path) -> None:
    library = pytest.importorskip("pycocotools.coco")
    find_exports(["coco"])["coco"](report, tmp_path, None)
    data = library.COCO(str(tmp_path / "coco.json"))
    assert len(data.getAnnIds(iscrowd=False)) == len(report.cracks)
    for entry in data.anns.values():  # ids are unique and start at 1: 0 means "no match" there
        assert entry["id"] >= 1
        assert data.annToMask(entry).sum() == entry["area"]
        assert data.imgs[entry["image_id"]]["height"] == report.image.height_px
        assert data.cats[entry["category_id"]]["name"] == "crack"


def test_an_unknown_export_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown export `geo`; known: geojson"):
        find_exports(["geo"])
