"""A second date of the rendered wall: all that changed is found, nothing is invented."""

from __future__ import annotations

import csv
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import openpyxl
import pytest
import wall_survey
from PIL import Image
from pypdf import PdfReader
from rendered_survey import Rendered, render
from typer.testing import CliRunner

from crackseg.changes.cautions import cautions
from crackseg.changes.command import compare_folders
from crackseg.changes.comparison import Change, Difference, compare
from crackseg.changes.records import Comparison
from crackseg.changes.registration import Registration, photographs_of, register
from crackseg.changes.registration import _fit as registration_of
from crackseg.changes.writing import SCHEMA, write_changes
from crackseg.commands import app
from crackseg.errors import ConfigError, DataError
from crackseg.face.face_json import face_to_dict, read_face
from crackseg.face.mapping import FaceMap, make_map
from crackseg.face.writing import write_map
from crackseg.words import read_words


@pytest.fixture(scope="module")
def second_date(
    first_date: Rendered, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Rendered, dict[str, Any]]:
    """The wall a year later: other places of the camera, other light, and what changed."""
    plan = replace(first_date.plan, seed=2, light=0.86, sun_deg=160.0, day="2027:05:20",
                   distance_m=4.0)  # fmt: skip
    rng = np.random.default_rng(5)
    lines, facts = wall_survey.second_date(first_date.lines, plan, rng)
    folder = tmp_path_factory.mktemp("later")
    return render(plan, lines, folder, "second"), facts


@pytest.fixture(scope="module")
def maps(
    first_date: Rendered, face_map: FaceMap, second_date: tuple[Rendered, dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    later = second_date[0]
    new = make_map(later.results, references=later.reference(0, 3), survey=later.survey)
    write_map(face_map, first_date.results, first_date.results / "face")
    write_map(new, later.results, later.results / "face")
    return face_to_dict(face_map), face_to_dict(new)


@pytest.fixture(scope="module")
def registration(maps: tuple[dict[str, Any], dict[str, Any]]) -> Registration:
    return register(*maps)


def to_size(path: Path) -> tuple[int, int]:
    """Return columns and rows of a picture."""
    with Image.open(path) as picture:  # noqa: TID251
        return picture.size


def nearest(change: Change, lines: list[Any]) -> str:
    """Return the name of the true crack that a change lies on."""
    middle = np.concatenate(change.lines_m)
    gaps = [
        np.median(np.abs((middle[:, None] - line.points_m[None, ::8]) @ [1, 1j]).min(axis=1))
        for line in lines
    ]
    return str(lines[int(np.argmin(gaps))].name)


def test_all_changes_are_found_and_none_is_invented(
    maps: tuple[dict[str, Any], dict[str, Any]],
    registration: Registration,
    first_date: Rendered,
    second_date: tuple[Rendered, dict[str, Any]],
) -> None:
    later, facts = second_date
    assert registration.source == "features"
    assert registration.sigma_m < 0.005
    changes = compare(*maps, registration)
    everything = [*later.lines, *(x for x in first_date.lines if x.name in facts["gone"])]
    names_by_word: dict[str, set[str]] = {}
    for change in changes:
        name = nearest(change, everything)
        for word in change.words:
            names_by_word.setdefault(word, set()).add(name)
        length, width = facts["longer_m"].get(name, 0.0), facts["wider_mm"].get(name, 0.0)
        if change.length is not None and change.width is not None:
            assert change.length.by_mm == pytest.approx(1000 * length, abs=change.length.u_mm)
            assert change.width.by_mm == pytest.approx(width, abs=change.width.u_mm)
    assert names_by_word.pop("new") == set(facts["new"])
    assert names_by_word.pop("gone") == set(facts["gone"])
    assert names_by_word.pop("longer") == set(facts["longer_m"])
    assert names_by_word.pop("wider") == set(facts["wider_mm"])
    assert set(names_by_word) <= {"same"}
    assert len(changes) == len(everything)


def test_a_map_compared_with_itself_has_no_change(
    maps: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    still = Registration(
        factor=1 + 0j, shift=0j, source="features", points=99, sigma_m=0.001, scale_sigma_rel=1e-4
    )
    changes = compare(maps[0], maps[0], still)
    assert {change.kind for change in changes} == {"same"}
    assert all(change.old_ids == change.new_ids for change in changes)
    assert all(change.length and change.length.by_mm == 0 for change in changes)


@pytest.mark.parametrize("shift", [0.15 + 0.05j, -0.1 - 0.1j, 0.05 - 0.15j])
def test_where_maps_lie_loosely_no_crack_gets_wider_by_it(
    maps: tuple[dict[str, Any], dict[str, Any]], shift: complex
) -> None:
    loose = Registration(
        factor=1 + 0j, shift=shift, source="coordinates", points=0, sigma_m=0.15,
        scale_sigma_rel=1e-4,
    )  # fmt: skip
    widths = [c.width for c in compare(maps[0], maps[0], loose) if c.old_ids and c.new_ids]
    known = [width for width in widths if width is not None]
    assert known
    assert not any(width.significant for width in known)


def test_a_crack_in_two_pieces_later_is_one_that_split(
    maps: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    old = json.loads(json.dumps(maps[0]))
    new = json.loads(json.dumps(maps[0]))
    crack = new["cracks"][0]
    course, widths = crack["course"][0], crack["width_profile_mm"][0]
    half = len(course) // 2
    pieces = []
    for number, part in ((crack["id"], slice(0, half)), (99, slice(half + 1, None))):
        piece = {**crack, "id": number, "course": [course[part]]}
        pieces.append({**piece, "width_profile_mm": [widths[part]]})
    new["cracks"] = [*pieces, *new["cracks"][1:]]
    still = Registration(
        factor=1 + 0j, shift=0j, source="features", points=99, sigma_m=0.001, scale_sigma_rel=1e-4
    )
    split = [c for c in compare(old, new, still) if c.link == "split"]
    assert [sorted(c.new_ids) for c in split] == [sorted([crack["id"], 99])]
    joined = [c for c in compare(new, old, still) if c.link == "joined"]
    assert [sorted(c.old_ids) for c in joined] == [sorted([crack["id"], 99])]


def test_what_the_other_date_does_not_show_is_neither_new_nor_gone(
    maps: tuple[dict[str, Any], dict[str, Any]], registration: Registration
) -> None:
    old, new = (json.loads(json.dumps(values)) for values in maps)
    old["cracks"], new["cracks"] = [], new["cracks"][:1]
    for photograph in old["photographs"]:
        photograph["judged"] = False
    assert [c.kind for c in compare(old, new, registration)] == ["not_shown_before"]
    assert [c.kind for c in compare(new, old, registration)][:1] == ["not_shown_now"]


def test_a_difference_counts_beyond_its_uncertainty() -> None:
    assert Difference(by_mm=-2.0, u_mm=1.9).significant
    assert not Difference(by_mm=1.9, u_mm=2.0).significant


def test_without_photographs_coordinates_lay_the_maps_on_each_other(
    maps: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    old, new = (json.loads(json.dumps(values)) for values in maps)
    for photograph in old["photographs"]:
        photograph["path"] = ""
    registration = register(old, new)
    assert registration.source == "coordinates"
    assert registration.sigma_m > 0.05
    old["scale"]["placed"] = False
    with pytest.raises(DataError, match="cannot be laid on each other"):
        register(old, new)


@pytest.mark.parametrize("side_m", [0.2, 3.0, 60.0])
def test_maps_of_any_size_are_laid_on_each_other(side_m: float) -> None:
    rng = np.random.default_rng(0)
    old = side_m * (rng.random(400) + 1j * rng.random(400))
    factor, shift = 1.01 * np.exp(0.02j), 3 - 4j
    new = factor * old + shift + 1e-4 * side_m * rng.standard_normal(400)
    new[:120] = shift + side_m * (rng.random(120) + 1j * rng.random(120))  # what is not alike
    found = registration_of(old, new)
    assert found is not None
    assert abs(found.factor - factor) < 1e-3
    assert abs(found.to_new(np.array([[0.0, 0.0]]))[0] @ [1, 1j] - shift) < 1e-3 * side_m


def test_photographs_are_found_from_another_working_folder(
    maps: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    place = tmp_path / "job" / "out" / "face"
    place.mkdir(parents=True)
    values = json.loads(json.dumps(maps[0]))
    beside = tmp_path / "job" / "photographs"
    beside.symlink_to(Path(values["photographs"][0]["path"]).parent)
    for photograph in values["photographs"]:
        photograph["path"] = f"photographs/{Path(photograph['path']).name}"
    (place / "face.json").write_text(json.dumps(values), encoding="utf-8")
    assert len(photographs_of(read_face(place))) == len(values["photographs"])
    values["photographs"][0]["sha256"] = "0" * 64  # another date's, by the same name
    (place / "face.json").write_text(json.dumps(values), encoding="utf-8")
    assert len(photographs_of(read_face(place))) == len(values["photographs"]) - 1
    beside.unlink()
    assert not photographs_of(read_face(place))


def test_the_command_writes_page_table_layers_and_crops(
    maps: tuple[dict[str, Any], dict[str, Any]],
    first_date: Rendered,
    second_date: tuple[Rendered, dict[str, Any]],
    tmp_path: Path,
) -> None:
    later = second_date[0]
    with pytest.raises(ConfigError, match="same map"):
        compare_folders(later.results, later.results / "face")
    with pytest.raises(DataError, match=r"no face\.json"):
        compare_folders(tmp_path, later.results)
    done = CliRunner().invoke(app, ["diff", str(first_date.results), str(later.results)])
    assert done.exit_code == 0, done.output
    assert "3 new, 1 gone, 3 longer" in done.output
    folder = later.results / "changes"
    values = json.loads((folder / "changes.json").read_text(encoding="utf-8"))
    jsonschema.validate(values, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert values["old"]["reservoir_level_m"] == 401.0
    assert values["between"] == {"reservoir_level_m": 0.0, "temperature_c": 0.0}
    assert values["warnings"] == []
    with (folder / "changes.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == [change["kind"] for change in values["changes"]]
    layers = json.loads((folder / "changes.geojson").read_text(encoding="utf-8"))
    assert len(layers["features"]) == len(rows)
    page = (folder / "changes.html").read_text(encoding="utf-8")
    crops = sorted(path.name for path in folder.glob("crop_*.jpg"))
    assert len(crops) >= 2 * 8  # of three new, one gone, five grown
    assert all(name in page for name in crops)
    for before in (name for name in crops if "before" in name):
        pair = [folder / before, folder / before.replace("before", "after")]
        sizes = {to_size(path) for path in pair if path.exists()}
        assert len(sizes) == 1  # one scale
    ids = {number: c["lasting_id"] for c in values["changes"] for number in c["new_ids"]}
    assert len(set(ids.values())) == len(ids)
    again = compare_folders(later.results, first_date.results)  # ids stay over a third survey
    for change in again.changes:
        if len(change.old_ids) == 1:
            assert change.lasting_id == ids[change.old_ids[0]]


def test_without_the_extra_reports_the_rest_is_written_and_said(
    maps: tuple[dict[str, Any], dict[str, Any]],
    first_date: Rendered,
    second_date: tuple[Rendered, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    folders = [str(first_date.results), str(second_date[0].results)]
    done = CliRunner().invoke(app, ["diff", *folders, "--out", str(tmp_path / "changes")])
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "changes").glob("changes.*")}
    assert names == {f"changes.{suffix}" for suffix in ("html", "csv", "json", "geojson")}
    assert "`changes.pdf` and `changes.xlsx` left out" in done.stderr
    assert "pip install 'crackseg[reports]'" in done.stderr
    assert "`changes.gpkg` and `changes.dxf` left out" in done.stderr
    assert "`ezdxf`; pip install 'crackseg[gis]'" in done.stderr
    done = CliRunner().invoke(app, ["face", folders[0], "--out", str(tmp_path / "face")])
    assert done.exit_code == 0, done.output
    assert "`face.gpkg` and `face.dxf` left out" in done.stderr


@pytest.fixture(scope="module")
def written(
    maps: tuple[dict[str, Any], dict[str, Any]],
    first_date: Rendered,
    second_date: tuple[Rendered, dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The files of a comparison in German."""
    later = second_date[0]
    comparison = compare_folders(first_date.results, later.results)
    out = tmp_path_factory.mktemp("german") / "changes"
    write_changes(comparison, later.results, out, locale="de")
    return out


def test_paper_and_workbook_say_it_in_the_language(written: Path) -> None:
    values = json.loads((written / "changes.json").read_text(encoding="utf-8"))
    text = " ".join(page.extract_text() for page in PdfReader(written / "changes.pdf").pages)
    assert "Was sich an der Fläche verändert hat" in text
    assert text.count("Test dam") == len(PdfReader(written / "changes.pdf").pages)
    assert values["new"]["dam"] == "Test dam"
    assert "Stauspiegel" in text
    assert "401,00" in text
    book = openpyxl.load_workbook(written / "changes.xlsx")
    rows = list(book["Risse"].iter_rows(values_only=True))
    assert len(rows) == 1 + len(values["changes"])
    sheet_rows = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [row["longer_by_mm"] for row in sheet_rows] == [
        c["longer_by_mm"] for c in values["changes"]
    ]
    assert sheet_rows[0]["change"] == "neu"
    with (written / "changes.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file, delimiter=";"))
    first = next(n for n, c in enumerate(values["changes"]) if c["longer_by_mm"] is not None)
    grown = float(table[first]["longer_by_mm"].replace(",", "."))
    assert grown == values["changes"][first]["longer_by_mm"]
    page = (written / "changes.html").read_text(encoding="utf-8")
    assert '<html lang="de">' in page
    assert "Test dam" in page
    assert "länger" in page


def test_layers_of_a_comparison_are_read_by_others(written: Path) -> None:
    ezdxf = pytest.importorskip("ezdxf", reason="extra gis is not installed")
    pytest.importorskip("pyogrio", reason="extra gis is not installed")
    values = json.loads((written / "changes.json").read_text(encoding="utf-8"))
    drawing = ezdxf.readfile(written / "changes.dxf")
    assert not drawing.audit().has_errors
    assert drawing.header["$INSUNITS"] == 6  # metres
    lines = [e for e in drawing.modelspace() if e.dxftype() == "LWPOLYLINE"]
    new = [c for c in values["changes"] if c["kind"] == "new"]
    drawn = [line for line in lines if line.dxf.layer == "NEW"]
    assert len(drawn) == sum(len(change["course"]) for change in new) >= 3
    with sqlite3.connect(written / "changes.gpkg") as base:
        rows = base.execute("SELECT lasting_id, kind, longer_by_mm FROM changes ORDER BY fid")
        records = rows.fetchall()
    base.close()
    assert records == [(c["lasting_id"], c["kind"], c["longer_by_mm"]) for c in values["changes"]]


def test_what_is_to_be_minded_of_two_dates_is_said(
    maps: tuple[dict[str, Any], dict[str, Any]], registration: Registration
) -> None:
    words = read_words("en")
    old, new = (json.loads(json.dumps(values)) for values in maps)

    def codes(outdated: tuple[bool, bool] = (False, False)) -> set[str]:
        comparison = Comparison(
            old=old, new=new, registration=registration, changes=(), outdated=outdated
        )
        return {notice.code for notice in cautions(comparison, words)}

    assert codes() == set()
    old, new = new, old
    assert codes() == {"order"}
    new = json.loads(json.dumps(old))
    assert codes() == {"same_photographs"}
    assert codes(outdated=(True, False)) == {"same_photographs", "outdated_old"}
    old, new = (json.loads(json.dumps(values)) for values in maps)
    for photograph in old["photographs"]:
        photograph |= {"mm_per_px": 2 * photograph["mm_per_px"], "model": "default 1.2.0"}
    assert codes() == {"other_scale", "other_model"}
    for photograph in new["photographs"]:
        photograph["taken_at"] = None
    assert "date_not_known" in codes()
    assert "other_dam" not in codes()
    new["survey"]["dam"] = "Other dam"
    assert "other_dam" in codes()
    new["survey"]["dam"] = None  # not known is not another
    assert "other_dam" not in codes()
    assert "loosely_laid" not in codes()
    registration = replace(registration, source="coordinates", sigma_m=0.15)
    assert "loosely_laid" in codes()
    comparison = Comparison(old=old, new=new, registration=registration, changes=())
    assert any("within 300 mm" in notice.message for notice in cautions(comparison, words))


def test_what_the_other_date_takes_for_a_joint_is_neither_new_nor_gone(
    maps: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    old, new = (json.loads(json.dumps(maps[0])) for _ in range(2))
    still = Registration(
        factor=1 + 0j, shift=0j, source="features", points=99, sigma_m=0.001, scale_sigma_rel=1e-4
    )
    crack = new["cracks"].pop(0)
    assert next(c.kind for c in compare(old, new, still)) == "gone"
    new["other_lines"] = [{"course": crack["course"]}]
    assert "gone" not in {c.kind for c in compare(old, new, still)}
    assert next(c.kind for c in compare(old, new, still)) == "other_line_now"
    assert next(c.kind for c in compare(new, old, still)) == "other_line_before"
    whole = json.loads(json.dumps(maps[0]))  # a half of it: that it is shorter is not so
    half = len(crack["course"][0]) // 2
    cut = {**crack, "course": [crack["course"][0][:half]],
           "width_profile_mm": [crack["width_profile_mm"][0][:half]]}  # fmt: skip
    new["cracks"].insert(0, cut)
    new["other_lines"] = [{"course": [crack["course"][0][half - 1 :]]}]
    change = next(c for c in compare(whole, new, still) if crack["id"] in c.old_ids)
    assert change.length is not None
    assert abs(change.length.by_mm) < 60
    assert change.words == ["same"]


def test_new_but_finer_than_the_other_date_shows_is_said(
    maps: tuple[dict[str, Any], dict[str, Any]], registration: Registration
) -> None:
    old, new = (json.loads(json.dumps(values)) for values in maps)
    assert not any(c.below_limit for c in compare(old, new, registration))
    for photograph in old["photographs"]:
        photograph["width_90_px"] = 9.0
    below_limit = {c.kind: c.below_limit for c in compare(old, new, registration)}
    assert (below_limit["new"], below_limit["gone"]) == (True, False)


def test_two_dates_without_a_crack_say_so_in_every_file(
    maps: tuple[dict[str, Any], dict[str, Any]],
    registration: Registration,
    second_date: tuple[Rendered, dict[str, Any]],
    tmp_path: Path,
) -> None:
    """Also of maps that an earlier release made, which tell of no model and no other line."""
    bare = []
    for values in json.loads(json.dumps(maps)):
        values.pop("other_lines")
        for photograph in values["photographs"]:
            del photograph["model"], photograph["width_90_px"]
        bare.append({**values, "cracks": [], "survey": None})
    changes = compare(*bare, registration)
    assert changes == []
    comparison = Comparison(old=bare[0], new=bare[1], registration=registration, changes=changes)
    out = tmp_path / "changes"
    write_changes(comparison, second_date[0].results, out)
    values = json.loads((out / "changes.json").read_text(encoding="utf-8"))
    jsonschema.validate(values, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert values["between"] == {"reservoir_level_m": None, "temperature_c": None}
    assert "Neither date has a crack" in (out / "changes.html").read_text(encoding="utf-8")
    text = " ".join(page.extract_text() for page in PdfReader(out / "changes.pdf").pages)
    assert "Neither date has a crack" in text
    assert "not known" in text
