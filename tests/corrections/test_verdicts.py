"""Verdicts on single cracks reach every paper; what is rejected stands in none unless asked for."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from walls import Wall

from crackseg.corrections.judging import judge
from crackseg.exports import find_exports, overlay
from crackseg.exports.reading import read_report
from crackseg.exports.tables import SCHEMA
from crackseg.imagery.files import open_image
from crackseg.records import Report, Verdict

SAID = {
    1: Verdict(word="accepted", by="A. Meier", at="2026-05-04T09:30:00Z", note="wet <b>"),
    2: Verdict(word="rejected", by="B. Kunz", at="2026-05-05T10:00:00Z", note="=lift joint"),
    9: Verdict(word="rejected", by="nobody", at="2026-05-05T10:00:00Z"),
}


@pytest.fixture
def report(wall: Wall) -> Report:
    """Two cracks, as measured."""
    return read_report(wall.folder)


def written(report: Report, wall: Wall, folder: Path) -> Path:
    """Write the papers of a report."""
    folder.mkdir()
    with open_image(wall.photo) as picture:
        for write in find_exports(("json", "csv", "geojson", "overlay", "page")).values():
            write(report, folder, picture)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the table of cracks."""
    with (folder / "cracks.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_rejected_crack_leaves_every_paper(report: Report, wall: Wall, tmp_path: Path) -> None:
    judged = judge(report, SAID)
    assert [crack.id for crack in judged.cracks] == [1]
    assert judged.totals.cracks == 1
    assert judged.totals.length_px == pytest.approx(report.cracks[0].length.px)
    assert judged.totals.analyzed_mm2 == pytest.approx(report.totals.analyzed_mm2)
    folder = written(judged, wall, tmp_path / "judged")
    (row,) = rows(folder)
    about = [row[key] for key in ("id", "verdict", "verdict_by", "verdict_at", "note")]
    assert about == ["1", "accepted", "A. Meier", "2026-05-04T09:30:00Z", "wet <b>"]
    (feature,) = json.loads((folder / "cracks.geojson").read_text())["features"]
    assert feature["properties"]["verdict_by"] == "A. Meier"
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "One crack was found." in page
    assert "accepted by A. Meier, 4 May 2026: wet &lt;b&gt;" in page
    assert "1 mark is left out, in no figure: rejected by B. Kunz." in page
    assert "nobody" not in page
    values = json.loads((folder / "report.json").read_text())
    jsonschema.validate(values, json.loads(SCHEMA.read_text()))
    assert values["totals"]["cracks"] == 1


def test_a_rejected_crack_that_is_asked_for_is_in_no_figure(
    report: Report, wall: Wall, tmp_path: Path
) -> None:
    judged = judge(report, SAID, with_rejected=True)
    assert [(c.id, c.section) for c in judged.cracks] == [(1, "main"), (2, "also_marked")]
    assert judged.totals.length_px == pytest.approx(report.cracks[0].length.px)
    folder = written(judged, wall, tmp_path / "judged")
    assert [(row["verdict"], row["note"]) for row in rows(folder)] == [
        ("accepted", "wet <b>"), ("rejected", "'=lift joint")
    ]  # fmt: skip
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "rejected by B. Kunz, 5 May 2026: =lift joint" in page
    assert "Grey ones are rejected" in page
    assert "1 mark is listed as doubtful" in page


def test_the_overlay_draws_no_rejected_crack(report: Report, wall: Wall) -> None:
    blank = np.full((report.image.height_px, report.image.width_px, 3), 200, np.uint8)
    window = report.cracks[1].window
    place = np.s_[window.row : window.row + window.height, window.col : window.col + window.width]

    def shows(judged: Report, colour: tuple[int, int, int]) -> bool:
        drawn = overlay.draw(judged, blank.copy())[place].astype(int)
        return bool((np.abs(drawn - colour).max(axis=2) < 50).any())

    assert shows(judge(report, {}), overlay.OUTLINE)
    for colour in (overlay.OUTLINE, overlay.REJECTED):
        assert not shows(judge(report, SAID), colour)
    assert shows(judge(report, SAID, with_rejected=True), overlay.REJECTED)


def test_a_doubtful_mark_that_is_accepted_counts(report: Report) -> None:
    doubtful = replace(report.cracks[1], section="also_marked", certainty=0.2)
    before = replace(report, cracks=(report.cracks[0], doubtful))
    accepted = judge(before, {2: SAID[1]})
    assert accepted.totals.cracks == 2
    assert accepted.totals.also_marked == 0
    undecided = judge(before, {2: Verdict(word="undecided", by="A", at="2026-05-04T09:30:00Z")})
    assert (undecided.totals.cracks, undecided.totals.also_marked) == (1, 1)
    assert undecided.notices == before.notices
