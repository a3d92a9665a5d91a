"""A result is corrected in its folder: every file says so, and an empty list puts all back."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner
from walls import AT, BY, Wall, edit, rough

from crackseg.commands import app
from crackseg.corrections.results import correct_folder
from crackseg.errors import DataError, OutputError
from crackseg.exports.reading import read_report
from crackseg.exports.tables import SCHEMA
from crackseg.folders import MARK


def write_edits(wall: Wall, edits: list[Any], name: str = "edits.json") -> Path:
    report = json.loads((wall.folder / "report.json").read_text(encoding="utf-8"))
    path = wall.folder.parent / name
    values = {"schema_version": "1", "image_sha256": report["image"]["sha256"], "edits": edits}
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def edits_of(wall: Wall) -> list[Any]:
    missed, first = wall.strokes[-1], wall.strokes[0]
    return [
        edit(1, "draw", line=rough(missed, 4, np.random.default_rng(2))),
        edit(2, "split", point=first.points[150].round(1).tolist()),
        edit(3, "not_a_crack", point=first.points[60].round(1).tolist()),
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_every_file_tells_of_the_corrections(wall: Wall) -> None:
    correct_folder(wall.folder, write_edits(wall, edits_of(wall)))
    report = json.loads((wall.folder / "report.json").read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(report)
    by_change = {crack.get("correction"): crack for crack in report["cracks"]}
    assert set(by_change) == {None, "drawn", "corrected"}
    assert (by_change["drawn"]["corrected_by"], by_change["drawn"]["corrected_at"]) == (BY, AT)
    assert by_change["corrected"]["edits"] == ["2"]
    assert [e["kind"] for e in report["corrections"]["edits"]] == ["draw", "split", "not_a_crack"]
    assert [old["edit"] for old in report["corrections"]["replaced"]] == ["2"]
    assert report["totals"]["cracks"] == 3
    with (wall.folder / "cracks.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert {row["correction"] for row in rows.values()} == {"", "drawn", "corrected"}
    lines = json.loads((wall.folder / "cracks.geojson").read_text(encoding="utf-8"))
    about = {feature["id"]: feature["properties"] for feature in lines["features"]}
    drawn = by_change["drawn"]["id"]
    assert about[drawn]["corrected_by"] == rows[str(drawn)]["corrected_by"] == BY
    page = (wall.folder / "page.html").read_text(encoding="utf-8")
    assert "drawn by A. Meier, 4 May 2026" in page
    assert "Corrected by hand by A. Meier: 1 drawn, 1 changed" in page
    assert contents(wall.folder)["overlay.jpg"] != contents(wall.folder / "network")["overlay.jpg"]


def test_no_edits_put_every_byte_back(wall: Wall) -> None:
    before = contents(wall.folder)
    edits = edits_of(wall)
    correct_folder(wall.folder, write_edits(wall, edits))
    network = contents(wall.folder / "network")
    assert {name: network[name] for name in before if name != MARK} == {
        name: content for name, content in before.items() if name != MARK
    }
    once = contents(wall.folder)
    correct_folder(wall.folder, write_edits(wall, edits[:1]))
    assert contents(wall.folder) != once
    correct_folder(wall.folder, write_edits(wall, edits))
    assert contents(wall.folder) == once  # the same list, the same files
    correct_folder(wall.folder, write_edits(wall, []))
    after = contents(wall.folder)
    assert json.loads(after.pop("corrections.json"))["edits"] == []
    assert after == before
    assert not (wall.folder / "network").exists()


def test_a_stopped_run_does_not_mix_two_results(
    wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(wall.folder)
    correct_folder(wall.folder, write_edits(wall, edits_of(wall)))
    moves = 0
    replace = Path.replace

    def stop(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += Path(target).parent == wall.folder and Path(target).name != MARK
        if moves == 5:  # report.json is back, the page is not
            raise OSError(28, "no room")
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stop)
        with pytest.raises(OSError, match="no room"):
            correct_folder(wall.folder, write_edits(wall, []))
    correct_folder(wall.folder, write_edits(wall, []))
    after = contents(wall.folder)
    after.pop("corrections.json")
    assert after == before


def test_the_command_takes_the_list_in_the_folder(wall: Wall) -> None:
    run = CliRunner()
    file = write_edits(wall, edits_of(wall)[:1])
    file.rename(wall.folder / "corrections.json")
    answer = run.invoke(app, ["correct", str(wall.folder)])
    assert answer.exit_code == 0, answer.output
    assert answer.output == "Corrected by hand by A. Meier: 1 drawn.\n"
    moved = wall.photo.rename(wall.photo.with_name("moved.png"))
    answer = run.invoke(app, ["correct", str(wall.folder)])
    assert isinstance(answer.exception, DataError)
    assert "`--image`" in str(answer.exception)
    answer = run.invoke(app, ["correct", str(wall.folder), "--image", str(moved)])
    assert answer.exit_code == 0, answer.output


def test_the_command_says_that_the_files_of_a_survey_are_as_before(wall: Wall) -> None:
    (wall.folder.parent / "survey.json").write_text("{}", encoding="utf-8")
    file = write_edits(wall, edits_of(wall)[:1])
    answer = CliRunner().invoke(app, ["correct", str(wall.folder), str(file)])
    assert answer.exit_code == 0, answer.output
    assert "`crackseg analyze` with the same options brings them up to date" in answer.output


def test_another_photograph_is_refused(wall: Wall, tmp_path: Path) -> None:
    file = write_edits(wall, edits_of(wall))
    with pytest.raises(DataError, match="not the photograph of the report"):
        correct_folder(wall.folder, file, tmp_path / "mask.png")


def test_a_changed_file_is_not_replaced(wall: Wall) -> None:
    file = write_edits(wall, edits_of(wall))
    (wall.folder / "cracks.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="was changed since"):
        correct_folder(wall.folder, file)
    assert not (wall.folder / "network").exists()


def test_a_refused_edit_changes_nothing(wall: Wall) -> None:
    before = contents(wall.folder)
    file = write_edits(wall, [*edits_of(wall), edit(4, "split", point=[5, 5])])
    with pytest.raises(DataError, match="edit 4 "):
        correct_folder(wall.folder, file)
    assert contents(wall.folder) == before
    assert not (wall.folder / "network").exists()


@pytest.mark.parametrize("name", ["mask.png", "report.json"])
def test_a_result_without_its_files_is_refused(wall: Wall, name: str) -> None:
    file = write_edits(wall, edits_of(wall))
    (wall.folder / name).unlink()
    with pytest.raises(DataError, match=name):
        correct_folder(wall.folder, file)


def test_a_mask_of_another_result_is_refused(wall: Wall) -> None:
    file = write_edits(wall, edits_of(wall))
    report = json.loads((wall.folder / "report.json").read_text(encoding="utf-8"))
    report["cracks"][0]["mask_area_px2"] += 1
    (wall.folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (wall.folder / MARK).unlink()
    with pytest.raises((DataError, OutputError)):
        correct_folder(wall.folder, file)


def test_a_line_that_begins_on_its_neighbour_leaves_it_its_mask(wall: Wall) -> None:
    before = read_report(wall.folder)
    path = wall.folder / "report.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    first, second = values["cracks"][:2]
    for name in ("centre_line", "width_profile_px"):
        second[name][0][:0] = first[name][0][:4]
    path.write_text(json.dumps(values), encoding="utf-8")
    after = read_report(wall.folder)
    for crack, same in zip(after.cracks, before.cracks, strict=True):
        np.testing.assert_array_equal(crack.mask, same.mask)


def test_a_part_that_was_taken_for_a_fitting_keeps_its_mask(wall: Wall) -> None:
    """It was parted by a window: both masks are one piece of the picture of all."""
    whole = read_report(wall.folder).cracks[0]
    path = wall.folder / "report.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    one, *others = values["cracks"]
    row, places = whole.window.row + whole.window.height // 3, whole.mask.nonzero()
    parts = []
    for below, repetition in ((False, None), (True, 0.9)):
        rows, cols = (at[(places[0] + whole.window.row >= row) == below] for at in places)
        lines = [
            [pair for pair in zip(line, widths, strict=True) if (pair[0][0] >= row) == below]
            for line, widths in zip(one["centre_line"], one["width_profile_px"], strict=True)
        ]
        of = [k for k, line in enumerate(lines) if len(line) > 3]
        box = {
            "row": int(rows.min()) + whole.window.row,
            "col": int(cols.min()) + whole.window.col,
            "height": int(np.ptp(rows)) + 1,
            "width": int(np.ptp(cols)) + 1,
        }
        parts.append({
            **one,
            "id": len(parts) + 1,
            "bbox": box,
            "repetition": repetition,
            "mask_area_px2": len(rows),
            "centre_line": [[point for point, _ in lines[k]] for k in of],
            "width_profile_px": [[width for _, width in lines[k]] for k in of],
            **{name: [one[name][k] for k in of] for name in ("branch_kinds", "branch_nodes")},
        })  # fmt: skip
    values["cracks"] = [*parts, *others]
    path.write_text(json.dumps(values), encoding="utf-8")
    cracks = read_report(wall.folder).cracks[:2]
    assert [crack.mask.sum() for crack in cracks] == [part["mask_area_px2"] for part in parts]
