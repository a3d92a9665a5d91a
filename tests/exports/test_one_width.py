"""Every surface tells the same width of a crack: page, table, overlay, terminal, survey, viewer."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crackseg import screen
from crackseg.exports import page, survey, wording
from crackseg.exports.tables import SCHEMA, WIDTHS, crack_to_dict, read_measure, report_to_dict
from crackseg.records import Measure, Opening, Report, Scale

viewer = pytest.importorskip("service.routes.pages", reason="the extra serve is not installed")
Make = Callable[..., Report]
SCALE = Scale(mm_per_px=0.25, sigma_rel=0.02, source="given", detail="")
KINDS = {
    "even": (
        Measure(px=3.0, u_px=0.5, mm=0.75, u_mm=0.13),
        "0.75 ± 0.13 mm",
    ),
    "uneven": (
        Measure(px=1.0, low_px=0.6, high_px=2.0, mm=0.25, low_mm=0.15, high_mm=0.51),
        "0.25 mm (0.15 to 0.51)",
    ),
    "below": (
        Measure(px=None, high_px=0.8, high_mm=0.2, status="below_detection"),
        "below detection, < 0.20 mm",
    ),
    "none": (Measure(px=None, status="not_resolvable"), "not resolvable"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_text_everywhere(
    kind: str, make_report: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    largest, text = KINDS[kind]
    report = make_report(cracks=1, scale=SCALE)
    mean = Measure(px=None, high_px=0.5, high_mm=0.13, status="below_detection")
    crack = replace(report.cracks[0], width_max=largest, width_mean=mean)
    report = replace(report, cracks=(crack,))
    written = json.loads(json.dumps(report_to_dict(report)))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(written)
    (record,) = written["cracks"]
    assert read_measure(record, "width_max") == largest
    assert wording.label(crack) == f"{crack.id}: {text}"
    assert survey.width_text(survey.report_row(written, "photo", "ok")) == text
    page.write(report, tmp_path, None)
    page_text = re.sub(r"<[^>]+>", " ", (tmp_path / "page.html").read_text("utf-8"))
    assert text in " ".join(html.unescape(page_text).split())
    assert viewer._crack(record, {}, "mm", None)["width"] == text
    (tmp_path / "report.json").write_text(json.dumps(written), "utf-8")
    screen.show_cracks({"photo": tmp_path})
    assert text in capsys.readouterr().out


def test_a_report_of_the_first_schema_is_still_read(make_report: Make) -> None:
    record: dict[str, Any] = crack_to_dict(make_report(cracks=1).cracks[0])
    old = {k: v for k, v in record.items() if not re.search("_(low|high)_|_status", k)}
    assert read_measure(old, "width_max") == read_measure(record, "width_max")
    for name in WIDTHS:
        old[f"width_{name}_px"] = None
    assert read_measure(old, "width_max") == Measure(px=None, status="not_resolvable")


def test_an_opening_is_told_apart_from_the_width(make_report: Make, tmp_path: Path) -> None:
    report = make_report(cracks=1)
    place = Opening(
        row=41.0, col=30.0, width=Measure(px=9.0, u_px=1.0), length=Measure(px=12.0, u_px=1.7)
    )
    crack = replace(report.cracks[0], openings=(place,))
    report = replace(report, cracks=(crack,))
    (record,) = report_to_dict(report)["cracks"]
    assert record["openings"][0]["width_px"] == 9.0
    assert record["width_max_px"] == 3.4
    page.write(report, tmp_path, None)
    assert "open at one place, up to 9.0 ± 1.0 px" in (tmp_path / "page.html").read_text("utf-8")
