"""A second date of the rendered wall: all that changed is found, nothing is invented."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rendered_survey import Rendered, render
from typer.testing import CliRunner

from crackseg.changes.command import compare_folders
from crackseg.changes.comparison import Change, Difference, compare
from crackseg.changes.registration import Registration, register
from crackseg.cli import app
from crackseg.errors import ConfigError, DataError
from crackseg.face.face_json import face_to_dict
from crackseg.face.mapping import FaceMap, make_map
from crackseg.face.writing import write_map


@pytest.fixture(scope="module")
def second_date(
    first_date: Rendered, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Rendered, dict[str, Any]]:
    """The wall a year later: other places of the camera, other light, and what changed."""
    renderer = first_date.renderer
    plan = replace(first_date.plan, seed=2, light=0.86, sun_deg=160.0, day="2027:05:20",
                   distance_m=4.0)  # fmt: skip
    rng = np.random.default_rng(5)
    lines, facts = renderer.second_date(first_date.lines, plan, rng)
    folder = tmp_path_factory.mktemp("later")
    return render(renderer, plan, lines, folder, "second"), facts


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
    found: dict[str, set[str]] = {}
    for change in changes:
        name = nearest(change, everything)
        for word in change.words:
            found.setdefault(word, set()).add(name)
        length, width = facts["longer_m"].get(name, 0.0), facts["wider_mm"].get(name, 0.0)
        if change.length is not None and change.width is not None:
            assert change.length.by_mm == pytest.approx(1000 * length, abs=change.length.u_mm)
            assert change.width.by_mm == pytest.approx(width, abs=change.width.u_mm)
    assert found.pop("new") == set(facts["new"])
    assert found.pop("gone") == set(facts["gone"])
    assert found.pop("longer") == set(facts["longer_m"])
    assert found.pop("wider") == set(facts["wider_mm"])
    assert set(found) <= {"same"}
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
    found = register(old, new)
    assert found.source == "coordinates"
    assert found.sigma_m > 0.05
    old["scale"]["placed"] = False
    with pytest.raises(DataError, match="cannot be laid on each other"):
        register(old, new)


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
    assert values["old"]["reservoir_level_m"] == 401.0
    with (folder / "changes.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == [change["kind"] for change in values["changes"]]
    layers = json.loads((folder / "changes.geojson").read_text(encoding="utf-8"))
    assert len(layers["features"]) == len(rows)
    page = (folder / "changes.html").read_text(encoding="utf-8")
    crops = sorted(path.name for path in folder.glob("crop_*.jpg"))
    assert len(crops) >= 2 * 8  # of three new, one gone, five grown
    assert all(name in page for name in crops)
    ids = {number: c["lasting_id"] for c in values["changes"] for number in c["new_ids"]}
    assert len(set(ids.values())) == len(ids)
    again = compare_folders(later.results, first_date.results)  # ids stay over a third survey
    for change in again.changes:
        if len(change.old_ids) == 1:
            assert change.lasting_id == ids[change.old_ids[0]]
