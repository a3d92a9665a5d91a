"""A whole survey for GIS, CAD and labelling tools, read again by others."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from survey_results import speak

pyogrio = pytest.importorskip("pyogrio", reason="extra gis is not installed")
ezdxf = pytest.importorskip("ezdxf", reason="extra gis is not installed")
shapely = pytest.importorskip("shapely", reason="extra gis is not installed")

from crackseg.errors import DataError  # noqa: E402
from crackseg.reporting.command import write_report  # noqa: E402
from crackseg.reporting.gather import gather  # noqa: E402


def read(path: Path, layer: str) -> tuple[dict[str, Any], Any, dict[str, list[Any]]]:
    meta, _, wkb, data = pyogrio.raw.read(path, layer=layer)
    columns = {str(name): list(column) for name, column in zip(meta["fields"], data, strict=True)}
    return meta, shapely.from_wkb(wkb), columns


def change(results: Path, name: str, **values: Any) -> None:
    """Change what the ``image`` of a report says."""
    path = results / name / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["image"].update(values)
    path.write_text(json.dumps(report), encoding="utf-8")


def test_photographs_without_a_place_lie_side_by_side(results: Path) -> None:
    paths = write_report(results, formats=["gpkg"])
    assert [path.name for path in paths] == ["survey.gpkg"]
    layers = {str(name) for name, _ in pyogrio.list_layers(paths[0])}
    assert layers == {"cracks_m", "widths_m", "frames_m", "frames_px", "photographs"}
    _, frames, _ = read(paths[0], "frames_m")
    assert len(frames) == 2
    assert not frames[0].intersects(frames[1])
    assert {round(f.area, 9) for f in frames} == {round(0.08 * 0.06, 9)}  # metres, true to size
    _, lines, facts = read(paths[0], "cracks_m")
    for line, image in zip(lines, facts["image"], strict=True):
        own = frames[0] if image == "a.png" else frames[1]
        assert own.buffer(1e-9).contains(line)
    assert facts["section"] == ["main", "also_marked"] * 2
    assert facts["link"][0] == "../a/page.html"
    assert (results / "report" / facts["link"][0]).resolve().is_file()
    meta, cameras, photos = read(paths[0], "photographs")
    assert meta["crs"] == "EPSG:4326"
    assert photos["image"] == ["a.png", "b =1+1.png", "c.png"]
    assert [c.y for c in cameras] == pytest.approx([46.5, 46.5001, 46.5002])


def test_what_is_rejected_is_in_no_file_and_what_is_accepted_is_main(results: Path) -> None:
    image = str(gather(results).cracks[0].photograph.row["image"])
    speak(results, image, 1, "reject")
    speak(results, image, 2, "accept")
    path = write_report(results, formats=["gpkg"])[0]
    _, _, facts = read(path, "cracks_m")
    rows = list(zip(*(facts[n] for n in ("image", "crack", "section", "verdict")), strict=True))
    assert ("b =1+1.png", 2, "main", "accept") in rows
    assert not [row for row in rows if row[:2] == ("b =1+1.png", 1)]
    _, _, widths = read(path, "widths_m")
    assert {1, 2} == set(widths["crack"])


def test_georeferenced_pictures_keep_their_place(results: Path) -> None:
    place = [0.01, 0.0, 447_000.0, 0.0, -0.01, 5_156_000.0]
    for name in ("a", "b =1+1", "c"):
        change(results, name, transform=place, crs="EPSG:32632")
    paths = write_report(results, formats=["gpkg", "shp", "geojson", "dxf"])
    meta, lines, _ = read(paths[0], "cracks")
    assert meta["crs"] == "EPSG:32632"
    assert lines[0].bounds[0] == pytest.approx(447_000.005)
    meta, _, _ = read(results / "report" / "cracks.shp", "cracks")
    assert meta["crs"] == "EPSG:32632"
    written = json.loads((results / "report" / "cracks.geojson").read_text(encoding="utf-8"))
    pytest.importorskip("pyproj", reason="extra geo is not installed")
    assert written["coordinate_system"].startswith("WGS84")
    lon, lat = written["features"][0]["geometry"]["coordinates"][0][0][:2]
    assert (lon, lat) == pytest.approx((8.309, 46.556), abs=2e-3)
    assert written["features"][0]["properties"]["link"] == "../a/page.html"


def test_two_reference_systems_are_two_layers(results: Path) -> None:
    place = [0.01, 0.0, 447_000.0, 0.0, -0.01, 5_156_000.0]
    change(results, "a", transform=place, crs="EPSG:32632")
    change(results, "b =1+1", transform=place, crs="EPSG:25832")
    path = write_report(results, formats=["gpkg"])[0]
    systems = {
        str(name): read(path, str(name))[0]["crs"]
        for name, _ in pyogrio.list_layers(path)
        if str(name).startswith("cracks")
    }
    assert systems == {"cracks_map": "EPSG:32632", "cracks_map2": "EPSG:25832"}


def test_drawings_are_one_per_unit(results: Path) -> None:
    (results / "survey.toml").write_text("[widths]\nlimits_mm = [1.5]", encoding="utf-8")
    paths = {path.name: path for path in write_report(results, formats=["dxf", "svg"])}
    assert sorted(paths) == ["cracks_m.dxf", "cracks_m.svg", "cracks_px.dxf", "cracks_px.svg"]
    drawing = ezdxf.readfile(paths["cracks_m.dxf"])
    assert not drawing.audit().errors
    assert drawing.units == 6
    lines = drawing.modelspace().query("LWPOLYLINE")
    layers = sorted(line.dxf.layer for line in lines)
    assert layers == [
        "ALSO MARKED", "ALSO MARKED", "CRACKS 0-1.5 mm", "CRACKS over 1.5 mm", "PHOTOGRAPHS",
        "PHOTOGRAPHS",
    ]  # fmt: skip
    names = [t.dxf.text for t in drawing.modelspace().query('TEXT[layer=="PHOTOGRAPH_NAMES"]')]
    assert names == ["a.png", "b =1+1.png"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_of_a_survey_is_read_by_its_own_library(results: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    masks = pytest.importorskip("pycocotools.mask")
    path = write_report(results, formats=["coco"])[0]
    data = coco.COCO(str(path))
    assert [data.imgs[i]["file_name"] for i in sorted(data.imgs)] == [
        "a.png",
        "b =1+1.png",
        "c.png",
    ]
    assert len(data.anns) == 2
    first = data.anns[1]
    code = masks.frPyObjects(first["segmentation"], 240, 320)
    mask = np.asarray(masks.decode(code))
    assert mask.sum() == 360
    assert mask[40:43, 0:120].all()
    assert first["attributes"]["id"] == 1


def test_labels_of_a_survey_hold_the_main_list(results: Path) -> None:
    formats = ["yolo", "cvat", "labelstudio"]
    paths = {path.name: path for path in write_report(results, formats=formats)}
    with zipfile.ZipFile(paths["yolo.zip"]) as packed:
        assert packed.testzip() is None
        labels = {n: packed.read(n).decode() for n in packed.namelist() if n.startswith("labels")}
    assert set(labels) == {"labels/a.txt", "labels/b =1+1.txt", "labels/c.txt"}
    assert labels["labels/c.txt"] == ""
    values = np.array(labels["labels/a.txt"].split()[1:], float).reshape(-1, 2) * [320, 240]
    assert shapely.Polygon(values).bounds == pytest.approx((0, 40, 120, 43), abs=1e-3)
    tasks = json.loads(paths["labelstudio.json"].read_text(encoding="utf-8"))
    assert [len(task["predictions"][0]["result"]) for task in tasks] == [1, 1, 0]
    assert paths["cvat.xml"].read_text(encoding="utf-8").count("<mask ") == 2


def test_cvat_of_a_survey_comes_back_through_the_importer(results: Path) -> None:
    from crackseg.training.annotations import ImportOptions, import_annotations

    path = write_report(results, formats=["cvat"])[0]
    out = results.parent / "set"
    made = import_annotations(
        path, results.parent / "photos", out, format="cvat", options=ImportOptions()
    )
    assert len(made.samples) == 3


def test_labels_need_the_masks(results: Path) -> None:
    (results / "a" / "mask.png").unlink()
    with pytest.raises(DataError, match=r"mask\.png"):
        write_report(results, formats=["coco"])
    assert not (results / "report").exists()
