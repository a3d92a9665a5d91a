"""CSV tables in the form that a spreadsheet of the user's locale reads."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from crackseg.config import AnalyzeOptions, to_plain
from crackseg.errors import ConfigError
from crackseg.exports import find_exports
from crackseg.exports.survey import report_row, write_survey
from crackseg.exports.tables import report_to_dict
from crackseg.records import Report, Scale


@pytest.mark.parametrize(
    ("locale", "delimiter"),
    [("de", ";"), ("fr", ";"), ("pt_BR", ";"), ("en", ","), ("de_CH", ","), ("ja", ",")],
)
def test_both_tables_follow_the_locale(
    locale: str, delimiter: str, make_report: Callable[..., Report], tmp_path: Path
) -> None:
    options = to_plain(AnalyzeOptions(locale=locale))
    scale = Scale(mm_per_px=0.25, sigma_rel=0.02, source="given")
    report = replace(make_report(scale=scale), options=options)
    find_exports(["csv"])["csv"](report, tmp_path, None)
    row = report_row(report_to_dict(report), "a", "analyzed")
    write_survey([row], {"options": options}, tmp_path, gallery=False)
    for name in ("cracks.csv", "summary.csv"):
        with (tmp_path / name).open(encoding="utf-8-sig", newline="") as file:
            read = list(csv.DictReader(file, delimiter=delimiter))
        decimal = "," if delimiter == ";" else "."
        assert read[0]["length_mm"] == f"{30 if name == 'cracks.csv' else 60}{decimal}0"
        assert read[0]["width_max_mm"] == f"0{decimal}85"


def test_an_unknown_locale_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="`locale` must be a language"):
        AnalyzeOptions(locale="klingon")
