"""Files for GIS, CAD and labelling tools, each read again by a reader that is not ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import openpyxl
import pytest

pyogrio = pytest.importorskip("pyogrio", reason="extra gis is not installed")
ezdxf = pytest.importorskip("ezdxf", reason="extra gis is not installed")
shapely = pytest.importorskip("shapely", reason="extra gis is not installed")

from crackseg.exports import find_exports  # noqa: E402
from crackseg.exports.annotations import Marked, outline, rings, row_runs  # noqa: E402
from crackseg.exports.layers import LIMITS_MM, bin_label, bin_labels  # noqa: E402
from crackseg.exports.places import frame, place_of, stations_of  # noqa: E402
from crackseg.exports.tables import report_to_dict  # noqa: E402
from crackseg.records import Gps, Measure, Report, Scale, Window  # noqa: E402

Make = Callable[..., Report]
GIVEN = Scale(mm_per_px=0.25, sigma_rel=0.02, source="given")
TILTED = Scale(
    mm_per_px=0.25,
    sigma_rel=0.02,
    source="plane",
    homography=((0.25, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 1.0)),
)
UTM = {"transform": (0.01, 0.0, 447_000.0, 0.0, -0.01, 5_156_000.0), "crs": "EPSG:32632"}


def write(name: str, report: Report, folder: Path) -> list[Path]:
    return find_exports([name])[name](report, folder, None)


def read(path: Path, layer: str) -> tuple[dict[str, Any], Any, dict[str, list[Any]]]:
    meta, _, wkb, data = pyogrio.raw.read(path, layer=layer)
    columns = {str(name): list(column) for name, column in zip(meta["fields"], data, strict=True)}
    return meta, shapely.from_wkb(wkb), columns


@pytest.mark.parametrize("kind", ["gpkg", "shp"])
def test_gis_files_hold_lines_widths_frame_and_camera(
    kind: str, make_report: Make, tmp_path: Path
) -> None:
    report = make_report(scale=GIVEN, gps=Gps(lat_deg=46.5, lon_deg=8.3, alt_m=600.0))
    paths = write(kind, report, tmp_path)
    at = {n: tmp_path / ("cracks.gpkg" if kind == "gpkg" else f"{n}.shp")
          for n in ("cracks", "widths", "frames", "photographs")}  # fmt: skip
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert set(at.values()) <= set(paths)
    meta, lines, facts = read(at["cracks"], "cracks")
    assert meta["crs"] is None or "Undefined" in meta["crs"]
    assert len(lines) == 2
    first = report.cracks[0]
    assert shapely.length(lines[0]) == pytest.approx(119 * 0.00025)  # metres
    assert lines[0].bounds[3] == pytest.approx(-41.5 * 0.00025)
    mean = "width_mean_mm" if kind == "gpkg" else "w_mean_mm"
    assert facts[mean] == pytest.approx([0.75, 0.75])
    assert facts["image"] == ["Staumauer Süd.jpg"] * 2
    assert facts["crack"] == [1, 2]
    assert facts["width_bin"] == ["0.5-1"] * 2
    assert facts["length_mm"][0] == pytest.approx(first.length.mm)
    _, stations, widths = read(at["widths"], "widths")
    assert len(stations) == 24
    assert widths["width_mm"] == pytest.approx([0.75] * 24)
    _, frames, _ = read(at["frames"], "frames")
    assert frames[0].bounds == pytest.approx((0, -0.06, 0.08, 0))
    meta, cameras, _ = read(at["photographs"], "photographs")
    assert meta["crs"] == "EPSG:4326"
    assert (cameras[0].x, cameras[0].y) == (8.3, 46.5)


@pytest.mark.parametrize("kind", ["gpkg", "shp"])
def test_a_georeferenced_picture_keeps_its_place_and_system(
    kind: str, make_report: Make, tmp_path: Path
) -> None:
    write(kind, make_report(cracks=1, **UTM), tmp_path)
    path = tmp_path / ("cracks.gpkg" if kind == "gpkg" else "cracks.shp")
    meta, lines, facts = read(path, "cracks")
    assert meta["crs"] == "EPSG:32632"
    assert lines[0].bounds[0] == pytest.approx(447_000.005)
    assert lines[0].bounds[3] == pytest.approx(5_155_999.585)
    assert np.isnan(facts["length_mm"][0])  # no scale: nothing in mm


@pytest.mark.parametrize("kind", ["gpkg", "shp", "dxf", "svg", "xlsx", "yolo", "cvat"])
def test_a_sound_wall_is_a_file_too(kind: str, make_report: Make, tmp_path: Path) -> None:
    paths = write(kind, make_report(cracks=0, scale=GIVEN), tmp_path)
    assert paths == [path for path in paths if path.is_file()]
    assert paths


def test_without_a_scale_lines_lie_on_the_picture(make_report: Make, tmp_path: Path) -> None:
    write("gpkg", make_report(cracks=1), tmp_path)
    _, lines, facts = read(tmp_path / "cracks.gpkg", "cracks")
    assert lines[0].bounds == pytest.approx((0.5, -41.5, 119.5, -41.5))
    assert facts["width_bin"] == ["no_scale"]


def test_widths_of_a_tilted_face_are_those_between_the_edges(make_report: Make) -> None:
    report = report_to_dict(make_report(cracks=1, scale=TILTED))  # 0.5 mm per px down the picture
    widths = [s.width_mm for s in stations_of(report["cracks"][0], place_of(report))]
    assert widths == pytest.approx([1.5] * 12)


def test_a_frame_that_reaches_the_horizon_is_drawn_round_the_cracks(make_report: Make) -> None:
    scale = replace(TILTED, homography=((0.25, 0.0, 0.0), (0.0, 0.25, 0.0), (0.0, 1 / 239.4, -1.0)))
    report = report_to_dict(make_report(cracks=1, scale=scale))
    corners = frame(report, place_of(report))
    assert np.isfinite(corners).all()
    assert np.abs(corners).max() < 1e4


@pytest.mark.parametrize(("scale", "unit", "length"), [(GIVEN, 6, 119 * 0.00025), (None, 0, 119)])
def test_dxf_has_a_layer_per_bin_units_and_widths(
    scale: Scale | None, unit: int, length: float, make_report: Make, tmp_path: Path
) -> None:
    path = write("dxf", make_report(scale=scale), tmp_path)[0]
    drawing = ezdxf.readfile(path)
    audit = drawing.audit()
    assert not audit.errors
    assert not audit.fixes
    assert drawing.dxfversion == "AC1024"
    assert drawing.units == unit
    name = "CRACKS 0.5-1 mm" if scale else "CRACKS no_scale"
    lines = drawing.modelspace().query(f'LWPOLYLINE[layer=="{name}"]')
    assert len(lines) == 2
    points = [p[:2] for p in lines[0].get_points()]
    assert shapely.LineString(points).length == pytest.approx(length)
    texts = [t.dxf.text for t in drawing.modelspace().query('TEXT[layer=="WIDTHS"]')]
    assert texts == (
        ["1: 0.85 %%p 0.10 mm", "2: 0.85 %%p 0.10 mm"]
        if scale
        else ["1: 3.4 %%p 0.4 px", "2: 3.4 %%p 0.4 px"]
    )
    frames = drawing.modelspace().query('LWPOLYLINE[layer=="PHOTOGRAPHS"]')
    assert len(frames) == 1
    assert frames[0].closed


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (Measure(px=2.0, low_px=0.5, high_px=6.0), "1: 2.0 px (0.5 to 6.0)"),
        (Measure(px=None, high_px=3.0, status="below_detection"), "1: below detection, < 3.0 px"),
        (Measure(px=None, status="not_resolvable"), "1: not resolvable"),
    ],
)
def test_dxf_says_a_width_as_the_page_does(
    width: Measure, said: str, make_report: Make, tmp_path: Path
) -> None:
    report = make_report(cracks=1)
    report = replace(report, cracks=(replace(report.cracks[0], width_max=width),))
    drawing = ezdxf.readfile(write("dxf", report, tmp_path)[0])
    (text,) = drawing.modelspace().query('TEXT[layer=="WIDTHS"]')
    assert text.dxf.text == said


def test_svg_is_xml_with_a_line_per_branch(make_report: Make, tmp_path: Path) -> None:
    report = make_report(scale=GIVEN, path=tmp_path / "a <b> & c.jpg")
    root = ElementTree.parse(write("svg", report, tmp_path)[0]).getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}polyline")) == 2
    assert {g.get("data-bin") for g in root.findall(f"{space}g")} == {"0.5-1"}
    assert root.findtext(f"{space}text") == "a <b> & c.jpg"
    first = root.find(f".//{space}polyline")
    assert first is not None
    x, y = map(float, str(first.get("points")).split()[0].split(","))
    assert (x, y) == pytest.approx((0.5 * 2000 / 320, 41.5 * 2000 / 320), abs=0.01)


def test_the_workbook_of_a_photograph(make_report: Make, tmp_path: Path) -> None:
    report = make_report(scale=GIVEN, path=tmp_path / "=1+1.jpg")
    sheet = openpyxl.load_workbook(write("xlsx", report, tmp_path)[0])["cracks"]
    rows = list(sheet.iter_rows(values_only=True))
    cells = dict(zip(rows[0], rows[1], strict=True))
    assert (cells["image"], cells["length_mm"]) == ("=1+1.jpg", 30)
    assert all(cell.data_type != "f" for row in sheet for cell in row)


def ring_report(make_report: Make) -> Report:
    """Return a report with a ring round an island, a line of one pixel and two loose pixels."""
    report = make_report(cracks=3, scale=GIVEN)
    ring = np.zeros((30, 40), bool)
    cv2.circle(view := ring.astype(np.uint8), (20, 15), 10, 1, 2)
    thin = np.eye(30, dtype=bool) | np.eye(30, k=1, dtype=bool)
    loose = np.zeros((5, 9), bool)
    loose[0, 0] = loose[4, 8] = True
    masks = (view.astype(bool), thin, loose)
    places = ((50, 60), (100, 200), (0, 0))
    cracks = tuple(
        replace(crack, mask=mask, window=Window(row=r, col=c, height=h, width=w))
        for crack, mask, (r, c), (h, w) in zip(
            report.cracks, masks, places, (m.shape for m in masks), strict=True
        )
    )
    return replace(report, cracks=cracks)


def painted(report: Report) -> Any:
    whole = np.zeros((report.image.height_px, report.image.width_px), bool)
    for crack in report.cracks:
        whole[crack.window.slices] |= crack.mask
    return whole


def rasterised(polygons: list[Any], shape: tuple[int, int]) -> Any:
    """Return which pixel centres lie inside polygons of x, y."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        area = shapely.Polygon(polygon)
        assert area.is_valid
        inside |= shapely.contains_xy(area, cols + 0.5, rows + 0.5)
    return inside


def test_yolo_polygons_cover_the_very_pixels(make_report: Make, tmp_path: Path) -> None:
    report = ring_report(make_report)
    path = write("yolo", report, tmp_path)[0]
    assert path.name == "Staumauer Süd.txt"
    size = [report.image.width_px, report.image.height_px]
    polygons = []
    for line in path.read_text(encoding="utf-8").splitlines():
        number, *values = line.split()
        assert number == "0"
        shares = np.array(values, float).reshape(-1, 2)
        assert ((shares >= 0) & (shares <= 1)).all()
        polygons.append(shares * size)
    assert (rasterised(polygons, (240, 320)) == painted(report)).all()


def test_label_studio_tasks_cover_the_very_pixels(make_report: Make, tmp_path: Path) -> None:
    report = ring_report(make_report)
    task = json.loads(write("labelstudio", report, tmp_path)[0].read_text(encoding="utf-8"))[0]
    results = task["predictions"][0]["result"]
    assert {r["type"] for r in results} == {"polygonlabels"}
    assert len({r["id"] for r in results}) == len(results)
    polygons = [np.array(r["value"]["points"]) * [3.2, 2.4] for r in results]
    assert (rasterised(polygons, (240, 320)) == painted(report)).all()


def test_cvat_masks_come_back_through_the_importer(make_report: Make, tmp_path: Path) -> None:
    from PIL import Image

    from crackseg.training.annotations import ImportOptions, import_annotations

    report = ring_report(make_report)
    photo = tmp_path / "photos" / report.image.path.name
    photo.parent.mkdir()
    Image.fromarray(np.full((240, 320, 3), 150, np.uint8)).save(photo)
    path = write("cvat", report, tmp_path)[0]
    options = ImportOptions(labels=("crack",))
    import_annotations(path, photo.parent, tmp_path / "set", format="cvat", options=options)
    mask = np.asarray(Image.open(next((tmp_path / "set" / "masks").iterdir())))  # noqa: TID251
    assert ((mask > 0) == painted(report)).all()


@pytest.mark.parametrize(
    ("rows", "runs"),
    [(["000"], [3]), (["111"], [0, 3]), (["010", "011"], [1, 1, 2, 2]), (["100"], [0, 1, 2])],
)
def test_row_runs(rows: list[str], runs: list[int]) -> None:
    assert row_runs(np.array([[c == "1" for c in row] for row in rows])) == runs


def test_outlines_have_the_area_of_the_pixels() -> None:
    noise = np.random.default_rng(3).random((40, 50)) < 0.4
    assert outline(noise).area == noise.sum()
    marked = Marked(facts={}, window=Window(row=7, col=9, height=40, width=50), mask=noise)
    pieces = [shapely.Polygon(ring) for ring in rings(marked)]
    assert sum(piece.area for piece in pieces) == pytest.approx(noise.sum())
    assert shapely.union_all(pieces).bounds[0] >= 9


def test_bins_of_layers() -> None:
    labels = bin_labels(LIMITS_MM)
    for mm, expected in ((0.05, "0-0.1"), (0.1, "0-0.1"), (0.3, "0.2-0.3"), (1.2, "over 1")):
        label = bin_label({"width_p95_mm": mm, "width_p95_status": "measured"}, LIMITS_MM)
        assert label == expected
        assert label in labels
    assert all(re.fullmatch(r"[\w. -]+", label) for label in labels)
