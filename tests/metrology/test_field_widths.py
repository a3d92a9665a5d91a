"""The width code on cracks that people measured on the wall."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.errors import DataError
from crackseg.metrology.field_widths import FieldWidths, read_field_widths, score

DATA = Path(os.environ.get("CRACKSEG_DATA", Path(__file__).parents[3] / "shared" / "data"))
FIELD = DATA / "widths" / "field_widths.csv"
HEADER = "site,name,width_mm,mm_per_px,width_px,profile\n"
PROFILE = " ".join(["120"] * 14 + ["70", "10", "70"] + ["120"] * 14)


@pytest.fixture(scope="module")
def field() -> FieldWidths:
    if not FIELD.exists():
        pytest.skip(f"{FIELD} is not here; set CRACKSEG_DATA to the folder of the data sets")
    return read_field_widths(FIELD)


def test_field_measurements_are_met(field: FieldWidths) -> None:
    scores = score(field)
    assert scores["n"] == 576
    assert scores["mae_px"] <= 0.26
    assert abs(scores["bias_px"]) <= 0.08
    assert scores["median_abs_mm"] <= 0.022
    assert scores["within_0.1_mm"] >= 0.97
    assert 0.93 <= scores["interval_coverage"] <= 0.98


def test_each_site_is_met_alone(field: FieldWidths) -> None:
    for part in score(field)["by_site"].values():
        assert part["mae_px"] <= 0.33
        assert 0.90 <= part["interval_coverage"] <= 0.985


def test_turned_profiles_give_the_same(field: FieldWidths) -> None:
    turned = FieldWidths(
        site=field.site,
        width_mm=field.width_mm,
        mm_per_px=field.mm_per_px,
        profiles=tuple(profile[::-1] for profile in field.profiles),
    )
    assert score(turned)["mae_px"] == pytest.approx(score(field)["mae_px"], abs=0.003)


def csv_file(folder: Path, *rows: str) -> Path:
    path = folder / "widths.csv"
    path.write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_scores_are_counted_right(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path, f"a,1,0.2,0.1,2,{PROFILE}", f"a,2,0.4,0.1,4,{PROFILE}", f"b,3,0.2,0.1,2,{PROFILE}"
    )
    scores = score(read_field_widths(path))
    width = (50 + 110 + 50) / 120 / 0.93
    assert scores["n"] == 3
    assert scores["bias_px"] == pytest.approx(width - 8 / 3, abs=0.01)
    assert scores["mae_px"] == pytest.approx((2 * abs(width - 2) + abs(width - 4)) / 3, abs=0.01)
    assert scores["within_0.05_mm"] == pytest.approx(2 / 3)
    assert [part["n"] for part in scores["by_bin"]] == [2, 1]
    assert scores["by_site"]["b"]["n"] == 1


def test_a_file_of_windows_is_read(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"A,one,0.2,0.1,2.0,{PROFILE}")
    plain = read_field_widths(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert np.array_equal(read_field_widths(path).width_px, plain.width_px)


def test_the_command_prints_text_and_json(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"a,1,0.2,0.1,2,{PROFILE}")
    run = CliRunner()
    assert "1 cracks: mean error" in run.invoke(app, ["evaluate-widths", str(path)]).output
    printed = json.loads(run.invoke(app, ["evaluate-widths", str(path), "--json"]).output)
    target = tmp_path / "scores.json"
    run.invoke(app, ["evaluate-widths", str(path), "--json", str(target)], catch_exceptions=False)
    assert json.loads(target.read_text(encoding="utf-8")) == printed
    wanted = {"n", "mae_px", "bias_px", "median_abs_mm", "within_0.05_mm", "within_0.1_mm"}
    assert wanted | {"interval_coverage", "by_bin"} <= set(printed)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"a,1,wide,0.1,2,{PROFILE}", "line 2: `width_mm` must be a number"),
        (f"a,1,0.2,0,2,{PROFILE}", "line 2: `mm_per_px` must be larger"),
        ("a,1,0.2,0.1,2,1 2 3", "line 2: `profile` must hold at least 9"),
        ("a,1,0.2,0.1,2,1 2 3 4 5 6 7 8 1e999", "line 2: `profile` must hold grey values .* inf"),
        ("a,1,0.2,0.1,2,1 2 3 4 5 6 7 8 -9", "line 2: `profile` must hold grey values .* -9"),
        ("a,1,1e999,0.1,2,1 2 3", "line 2: `width_mm` must be larger than 0"),
        ("a,1,0.2,0.1,2,1 2 x", "line 2: `profile` must be a number, got 'x'"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_field_widths(csv_file(tmp_path, row))


def test_broken_files_are_named(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("site,name\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="width_mm, mm_per_px, profile is missing"):
        read_field_widths(other)
    with pytest.raises(DataError, match="cannot be read"):
        read_field_widths(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no measurements"):
        read_field_widths(csv_file(tmp_path))


def test_profiles_of_any_length_go_together(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"a,1,0.2,0.1,2,{PROFILE}", f"a,2,0.2,0.1,2,120 120 {PROFILE} 120")
    lengths = np.array([len(p) for p in read_field_widths(path).profiles])
    assert lengths.tolist() == [31, 34]
    assert score(read_field_widths(path))["mae_px"] < 0.2
