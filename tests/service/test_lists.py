"""The service's lists follow the report's order and sections; a verdict moves a mark."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crackseg.exports.survey import failure_row, judged_row, report_row, write_survey
from crackseg.exports.tables import report_to_dict
from crackseg.records import Report, Scale, WidthClass
from service.routes import pages

SCALE = Scale(mm_per_px=0.5, sigma_rel=0.02, source="given")


@pytest.fixture
def report(make_report: Callable[..., Report]) -> dict[str, Any]:
    """A report of two cracks and a doubtful mark that is the widest of all."""
    made = make_report(cracks=3, scale=SCALE)
    cracks = tuple(
        replace(crack, certainty=0.3 if crack.id == 3 else 0.95,
                section="also_marked" if crack.id == 3 else "main")
        for crack in made.cracks
    )  # fmt: skip
    one = made.cracks[0].length
    totals = replace(
        made.totals, cracks=2, length_px=2 * (one.px or 0), length_mm=2 * (one.mm or 0),
        area_px2=720.0, area_mm2=180.0, also_marked=1, also_marked_length_px=one.px or 0,
        also_marked_length_mm=one.mm, density_m_per_m2=1000 * 2 * (one.mm or 0) / (240 * 320 / 4),
    )  # fmt: skip
    values = report_to_dict(replace(made, cracks=cracks, totals=totals))
    wide = {"width_max_px": 80.0, "width_max_low_px": 79.0, "width_max_high_px": 81.0}
    wide |= {"width_max_mm": 40.0, "width_max_low_mm": 39.0, "width_max_high_mm": 41.0}
    values["cracks"][2] |= wide
    return values


def test_a_row_is_about_the_main_list(report: dict[str, Any]) -> None:
    row = report_row(report, "a", "analyzed")
    assert (row["cracks"], row["also_marked"]) == (2, 1)
    assert row["width_max_px"] == pytest.approx(3.4)
    assert row["severity_mm2"] == pytest.approx(0.95 * 60 * 1.5)


def test_an_accepted_mark_counts_and_a_rejected_one_leaves(report: dict[str, Any]) -> None:
    before = report_row(report, "a", "analyzed")
    untouched = judged_row(report, before, {})
    assert {name: untouched[name] for name in before} == before
    accepted = judged_row(report, before, {3: "accept"})
    assert (accepted["cracks"], accepted["also_marked"]) == (3, 0)
    assert accepted["width_max_px"] == 80.0
    assert accepted["length_px"] == pytest.approx(1.5 * before["length_px"])
    assert accepted["also_marked_length_mm"] == 0
    rejected = judged_row(report, before, {3: "reject"})
    assert (rejected["cracks"], rejected["also_marked"], rejected["rejected"]) == (2, 0, 1)
    assert rejected["length_px"] == pytest.approx(before["length_px"])
    one_less = judged_row(report, before, {1: "reject"})
    assert (one_less["cracks"], one_less["also_marked"]) == (1, 1)


def test_a_report_of_an_earlier_release_has_one_list(report: dict[str, Any]) -> None:
    for crack in report["cracks"]:
        del crack["section"], crack["certainty"]
    for key in ("also_marked", "also_marked_length_px", "also_marked_length_mm"):
        del report["totals"][key]
    row = report_row(report, "a", "analyzed")
    assert row["width_max_px"] == 80.0
    assert judged_row(report, row, {1: "reject"})["cracks"] == 2
    values = pages._report_values(report, {})
    assert values["also_marked"] == 0
    assert [crack["certainty"] for crack in values["cracks"]] == ["–"] * 3


def test_the_tables_of_a_survey_stand_in_the_same_order(
    report: dict[str, Any], tmp_path: Path
) -> None:
    fine = report_row(report, "fine", "analyzed") | {"image": "fine.jpg"}
    worst = {**fine, "image": "worst.jpg", "folder": "worst", "severity_mm2": 1e6}
    failed = failure_row(Path("failed.jpg"), "broken")
    old = {**fine, "image": "old.jpg", "folder": "old"}  # of a release without severities
    for column in ("severity_px2", "severity_mm2", "also_marked"):
        del old[column]
    about = {"package_version": "1", "started_at": "-", "model": {"name": "m", "version": "1"}}
    write_survey([old, fine, failed, worst], about, tmp_path, gallery=True)
    with (tmp_path / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    ranked = ["failed.jpg", "worst.jpg", "fine.jpg", "old.jpg"]
    assert [row["image"] for row in rows] == ranked
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert sorted(ranked, key=lambda name: page.index(f"<b>{name}</b>")) == ranked


def test_images_stand_in_one_order() -> None:
    def task(name: str, state: str = "succeeded", **summary: Any) -> Any:
        return SimpleNamespace(name=name, state=state, summary=summary or None)

    tasks = [
        task("clear", cracks=0, also_marked=0),
        task("doubtful", cracks=0, also_marked=4),
        task("px", cracks=1, severity_mm2=None, severity_px2=9e9),
        task("small", cracks=9, severity_mm2=3.0, severity_px2=30.0),
        task("large", cracks=1, severity_mm2=300.0, severity_px2=3.0),
        task("blank", cracks=0, also_marked=0, judged=False),
        task("broken", "failed"),
    ]
    ranked = [t.name for t in sorted(tasks, key=pages.task_place)]
    assert ranked == ["broken", "blank", "large", "small", "px", "doubtful", "clear"]


def test_a_column_of_classes_is_of_one_document(report: dict[str, Any]) -> None:
    def entry(document: str, label: str | None) -> dict[str, Any]:
        whole = WidthClass(document=document, label=label, verified=True)
        return {"document": whole.document, "label": whole.label, "verified": whole.verified}

    labels = [(None, "over w_k1"), ("over 1 mm", "over w_k1"), ("0.5 to 1 mm", None)]
    for crack, (bins, tight) in zip(report["cracks"], labels, strict=True):
        crack["width_classes"] = [entry("bins", bins), entry("EN 1992-3 class 1", tight)]
    report["cracks"][2]["width_classes"] = []
    values = pages._report_values(report, {})
    heads = {key: label for key, label, _ in values["columns"]}
    assert heads["class"] == "Class of 95 % width: bins"
    assert [c["label"] for c in values["cracks"]] == ["between two classes", "over 1 mm", "–"]
    assert [c["class_value"] for c in values["cracks"]] == [
        crack["width_p95_mm"] for crack in report["cracks"]
    ]


def test_without_a_scale_there_is_no_column_of_classes(make_report: Callable[..., Report]) -> None:
    values = pages._report_values(report_to_dict(make_report()), {})
    assert "class" not in {key for key, _, _ in values["columns"]}
