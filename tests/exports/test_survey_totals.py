"""The sums of a survey."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from crackseg.exports.survey import NO_RESULT, copies, survey_totals, write_survey


def row(name: str, sha256: str, cracks: int, status: str = "analyzed") -> dict[str, Any]:
    return {
        **NO_RESULT, "image": name, "folder": name, "status": status, "cracks": cracks,
        "length_mm": 1000.0 * cracks, "length_px": 0.0, "sha256": sha256, "warnings": [],
    }  # fmt: skip


def test_a_file_under_two_names_counts_once(tmp_path: Path) -> None:
    rows = [row("a", "1", 2), row("b", "2", 1), row("c", "1", 2)]
    totals = survey_totals(rows)
    assert (totals["images"], totals["copies"], totals["failed"]) == (3, 1, 0)
    assert (totals["cracks"], totals["length_mm"], totals["with_cracks"]) == (3, 3000.0, 2)
    about = {"package_version": "", "started_at": "", "model": {"name": "", "version": ""}}
    write_survey(rows, about, tmp_path, gallery=True)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "very file of another" in page
    assert "the very file of a, counted there" in page
    survey = json.loads((tmp_path / "survey.json").read_text(encoding="utf-8"))
    assert [row["copy_of"] for row in survey["images"]] == [None, None, "a"]
    with (tmp_path / "summary.csv").open(encoding="utf-8-sig", newline="") as stream:
        table = {line["image"]: line for line in csv.DictReader(stream)}
    assert sum(int(line["cracks"] or 0) for line in table.values()) == totals["cracks"]
    assert (table["c"]["copy_of"], table["c"]["cracks"]) == ("a", "")


def test_of_two_names_the_one_that_somebody_looked_at_counts_else_the_first() -> None:
    rows = [row("c", "1", 2), row("b", "1", 2), row("a", "2", 1)]
    assert [(again["image"], first["image"]) for again, first in copies(rows)] == [("c", "b")]
    rows[0] |= {"cracks": 0, "rejected": 2}
    assert [(again["image"], first["image"]) for again, first in copies(rows)] == [("b", "c")]
    assert survey_totals(rows)["cracks"] == 1


def test_of_two_names_the_one_with_a_scale_counts() -> None:
    unscaled = {**row("a", "1", 2), "length_mm": None, "length_px": 900.0}
    rows = [unscaled, {**row("b", "1", 2), "mm_per_px": 0.2}]
    assert [(again["image"], first["image"]) for again, first in copies(rows)] == [("a", "b")]
    assert survey_totals(rows)["length_mm"] == 2000.0


def test_rows_of_an_earlier_release_without_a_hash_all_count() -> None:
    old = [{k: v for k, v in row(name, "", 1).items() if k != "sha256"} for name in "ab"]
    totals = survey_totals(old)
    assert (totals["copies"], totals["cracks"]) == (0, 2)
