"""The files of a map, each read again by an independent reader."""

from __future__ import annotations

import ast
import csv
import html
import json
import re
import sqlite3
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image
from rendered_survey import Rendered
from shapely.geometry import shape
from typer.testing import CliRunner

import crackseg.face
from crackseg import __version__
from crackseg.commands import app
from crackseg.errors import OutputError
from crackseg.exports.tables import marks_sha256
from crackseg.face.face_json import SCHEMA, read_face, view_from
from crackseg.face.mapping import FaceMap
from crackseg.face.writing import write_map
from crackseg.words import read_words


@pytest.fixture(scope="module")
def folder(
    face_map: FaceMap, first_date: Rendered, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("written") / "map"
    for path in write_map(face_map, first_date.results, out):
        assert path.stat().st_size > 0, path
    return out


@pytest.fixture(scope="module")
def values(folder: Path) -> dict[str, Any]:
    return read_face(folder)


def test_face_json_holds_to_its_schema(values: dict[str, Any], first_date: Rendered) -> None:
    jsonschema.validate(values, json.loads(SCHEMA.read_text(encoding="utf-8")))
    lengths = [c["length_mm"] / 1000 for c in values["cracks"] if c["section"] == "main"]
    assert values["totals"]["length_m"] == pytest.approx(sum(lengths), abs=1e-3)
    assert values["survey"]["dam"] == "Test dam"
    for photograph in values["photographs"]:  # which marks it was made of
        path = first_date.results / photograph["folder"] / "report.json"
        report = json.loads(path.read_text(encoding="utf-8"))
        assert photograph["marks_sha256"] == marks_sha256(report)


def test_views_come_back_from_the_file(values: dict[str, Any], face_map: FaceMap) -> None:
    for written, view in zip(values["photographs"], face_map.views, strict=True):
        points = np.array([[10.0, 20.0], [700.0, 900.0]])
        assert np.allclose(view_from(written).to_face(points), view.to_face(points), atol=1e-4)


def test_geojson_lines_are_as_long_as_the_table_says(folder: Path, values: dict[str, Any]) -> None:
    collection = json.loads((folder / "face_cracks.geojson").read_text(encoding="utf-8"))
    assert "not WGS84" in collection["coordinate_system"]
    assert len(collection["features"]) == len(values["cracks"])
    for feature in collection["features"]:
        line = shape(feature["geometry"])
        assert line.length == pytest.approx(feature["properties"]["length_mm"] / 1000, rel=0.01)
        low, _, high, _ = line.bounds
        assert low == pytest.approx(feature["properties"]["station_from_m"], abs=1e-3)
        assert high == pytest.approx(feature["properties"]["station_to_m"], abs=1e-3)
    outlines = json.loads((folder / "face_photographs.geojson").read_text(encoding="utf-8"))
    assert all(shape(feature["geometry"]).is_valid for feature in outlines["features"])


def test_the_drawing_of_cad_programs_is_sound(folder: Path, values: dict[str, Any]) -> None:
    ezdxf = pytest.importorskip("ezdxf", reason="extra gis is not installed")
    drawing = ezdxf.readfile(folder / "face.dxf")
    assert not drawing.audit().has_errors
    assert drawing.header["$INSUNITS"] == 6  # metres
    lines = [e for e in drawing.modelspace() if e.dxf.layer.startswith("CRACKS")]
    assert len(lines) == sum(len(crack["course"]) for crack in values["cracks"])
    first = lines[0].get_points("xy")[0]
    starts = [crack["course"][0][0] for crack in values["cracks"]]
    assert min(np.hypot(*(np.array(start) - first)) for start in starts) < 1e-3


def test_the_geopackage_holds_cracks_widths_and_frames(
    folder: Path, values: dict[str, Any]
) -> None:
    pytest.importorskip("pyogrio", reason="extra gis is not installed")
    with sqlite3.connect(folder / "face.gpkg") as base:  # read by none of its writers
        tables = dict(base.execute("SELECT table_name, data_type FROM gpkg_contents"))
        rows = base.execute("SELECT crack, length_mm, station_to_m, could_show FROM cracks")
        widths = {row[0]: row[1:] for row in rows}
        frames = base.execute("SELECT COUNT(*) FROM frames").fetchone()[0]
    base.close()
    assert tables == dict.fromkeys(("cracks", "widths", "frames"), "features")
    assert frames == len(values["photographs"])
    for crack in values["cracks"]:
        there = (crack["length_mm"], crack["station_to_m"], crack["could_show"])
        assert widths[crack["id"]] == pytest.approx(there)


def test_the_table_has_a_row_per_crack(folder: Path, values: dict[str, Any]) -> None:
    with (folder / "face_cracks.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == [crack["id"] for crack in values["cracks"]]
    assert float(rows[0]["length_mm"]) == pytest.approx(values["cracks"][0]["length_mm"])


def test_the_drawing_is_one_of_all_cracks(folder: Path, values: dict[str, Any]) -> None:
    root = ElementTree.parse(folder / "face.svg").getroot()
    cracks = [e for e in root.iter("{http://www.w3.org/2000/svg}g") if e.get("class") == "crack"]
    assert {e.get("data-id") for e in cracks} == {str(c["id"]) for c in values["cracks"]}


def test_tiles_fit_into_each_other_and_show_the_wall(folder: Path) -> None:
    tiles = sorted(folder.glob("tile_*.jpg"))
    levels = {int(path.stem.split("_")[1]) for path in tiles}
    assert levels == set(range(max(levels) + 1))
    coarse = np.asarray(Image.open(folder / f"tile_{max(levels)}_0_0.jpg"))  # noqa: TID251
    overview = np.asarray(Image.open(folder / "mosaic.jpg"))  # noqa: TID251
    assert max(coarse.shape[:2]) <= 512
    assert overview.shape[1] / overview.shape[0] == pytest.approx(
        coarse.shape[1] / coarse.shape[0], rel=0.02
    )
    middle = overview[overview.shape[0] // 3 : overview.shape[0] // 2, overview.shape[1] // 2 :]
    assert 60 < middle.mean() < 200
    assert middle.std() > 2


def test_the_mosaic_lies_where_the_map_says(folder: Path, face_map: FaceMap) -> None:
    """Along every crack of the map the mosaic is dark."""
    from crackseg.face.mosaic import grid_of, make_mosaic

    grid = grid_of(face_map.views)
    mosaic = make_mosaic(face_map, grid)
    grey = mosaic.pixels[..., 0].astype(float)
    for crack in face_map.cracks:
        line = np.concatenate(crack.lines_m)
        cols = np.rint((line[:, 0] - grid.left_m) / grid.m_per_px - 0.5).astype(int)
        rows = np.rint((grid.top_m - line[:, 1]) / grid.m_per_px - 0.5).astype(int)
        beside = grey[np.clip(rows + 9, 0, len(grey) - 1), np.clip(cols + 9, 0, grey.shape[1] - 1)]
        assert np.median(grey[rows, cols]) < np.median(beside) - 15


def test_the_page_names_every_crack_and_loads_nothing_from_elsewhere(
    folder: Path, values: dict[str, Any]
) -> None:
    page = (folder / "face.html").read_text(encoding="utf-8")
    for crack in values["cracks"]:
        assert f'<tr data-id="{crack["id"]}"' in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_the_command_writes_the_map_and_says_what_it_is(
    first_date: Rendered, tmp_path: Path
) -> None:
    references = tmp_path / "references.toml"
    length = first_date.reference(0, 3).length[0]
    spots = [
        f'{{ image = "{s.image}", row = {s.row}, col = {s.col} }}'
        for s in (length.start, length.end)
    ]
    references.write_text(
        f"[[length]]\nlength_m = {length.length_m}\nstart = {spots[0]}\nend = {spots[1]}\n"
    )
    out = tmp_path / "map"
    arguments = ["face", str(first_date.results), "--references", str(references), "-o", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "7 cracks" in done.output
    assert (out / "face.html").is_file()
    with pytest.raises(OutputError, match="other results"):
        write_map_over_a_photograph(first_date)


def write_map_over_a_photograph(survey: Rendered) -> None:
    """A photograph that is called `face` has its results where the map would go."""
    from crackseg.face.writing import refuse_others

    folder = next(survey.results.glob("*/report.json")).parent
    refuse_others(folder, survey.results, "face.json", "a map")


def visible(page: Path) -> str:
    text = re.sub(r"(?s)<(style|script).*?</\1>", "", page.read_text(encoding="utf-8"))
    return html.unescape(re.sub(r"<[^>]+>", " ", text))


def test_page_and_drawing_speak_the_language_of_their_reader(
    face_map: FaceMap, first_date: Rendered, folder: Path, tmp_path: Path
) -> None:
    write_map(face_map, first_date.results, tmp_path / "karte", locale="de")
    german = visible(tmp_path / "karte" / "face.html")
    english = visible(folder / "face.html")
    texts = {name: read_words(name).texts for name in ("en", "de")}
    for key, text in texts["en"]["face"].items():
        if isinstance(text, str) and len(text) > 12 and "{" not in text:
            assert text not in german, key
            assert (text in english) == (texts["de"]["face"][key] in german), key
    for notice in face_map.notices:
        assert notice.message in english
        assert notice.message not in german
    assert re.search(r"\d\.\d\d (m|mm|%)\b", english)
    assert not re.search(r"\d\.\d\d", german.replace(__version__, ""))
    drawing = (tmp_path / "karte" / "face.svg").read_text(encoding="utf-8")
    assert "Station und Höhe" in drawing
    assert "station and elevation" not in drawing


def test_the_catalogue_quotes_what_a_map_says() -> None:
    """A sentence that is changed in the code and not in the catalogue would stay English."""
    parts = [
        node.value
        for path in Path(crackseg.face.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    source = "\n".join(parts)
    sentences = read_words("en").texts["sentences"]
    about = {k: v for k, v in sentences.items() if k.startswith(("map_", "aside_"))}
    assert len(about) > 20
    for key, sentence in about.items():
        longest = max(re.split(r"\{\w+\}", sentence), key=len).rstrip(".")
        assert longest[-20:] in source or longest[:20] in source, key
