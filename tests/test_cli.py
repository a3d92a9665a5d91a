"""The command line: exit codes, what is printed where, options from flags and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crackseg.cli import main

Photo = Callable[..., Path]


@pytest.fixture
def crackseg(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that runs the command line and returns its exit code."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["crackseg", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


Run = Callable[..., int]


def test_analyze_prints_lines_a_table_and_where_the_report_lies(
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "in" / "b.jpg", cracks=2)
    out = tmp_path / "out"
    code = crackseg(
        "analyze", tmp_path / "in", "--out", out, "--model", dark_model, "--mm-per-px", 0.5
    )
    shown = capsys.readouterr()
    assert code == 0
    assert "[1/2] a.jpg: 1 crack, 0.09 m, widest" in shown.err
    assert "[2/2] b.jpg: 2 cracks" in shown.err
    assert "largest width" in shown.out
    assert shown.out.count("single") == 3
    assert f"Report: {out / 'index.html'}" in shown.out
    report = json.loads((out / "b" / "report.json").read_text(encoding="utf-8"))
    assert report["scale"]["source"] == "given"
    assert report["scale"]["mm_per_px"] == 0.5


def test_a_failed_image_is_exit_code_1_also_when_quiet(
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "b.jpg").touch()
    out = tmp_path / "out"
    code = crackseg("analyze", tmp_path / "in", "--out", out, "--model", dark_model, "--quiet")
    shown = capsys.readouterr()
    assert code == 1
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "b.jpg: not analyzed." in shown.err
    assert "empty (0 bytes)" in shown.err
    assert (out / "a" / "report.json").exists()
    assert "empty (0 bytes)" in (out / "survey.json").read_text(encoding="utf-8")


def test_json_is_the_only_thing_on_stdout(
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = photo(tmp_path / "a.jpg")
    code = crackseg("analyze", path, "--out", tmp_path / "out", "--model", dark_model, "--json")
    shown = capsys.readouterr()
    assert code == 0
    assert shown.err == ""
    answer = json.loads(shown.out)
    assert answer["images"][0]["cracks"] == 1
    assert answer["images"][0]["length_mm"] is None


def test_exports_and_a_configuration_file(
    crackseg: Run, photo: Photo, dark_model: Path, tmp_path: Path
) -> None:
    config = tmp_path / "options.toml"
    config.write_text('exports = ["page"]\n[scale]\nmm_per_px = 2.0\n[mask]\ngap_px = 5.0\n')
    path, out = photo(tmp_path / "a.jpg"), tmp_path / "out"
    code = crackseg(
        "analyze", path, "--out", out, "--model", dark_model, "--config", config,
        "--mm-per-px", 0.5, "--exports", "csv,mask",
    )  # fmt: skip
    assert code == 0
    assert {p.name for p in (out / "a").iterdir()} == {
        ".crackseg", "report.json", "cracks.csv", "mask.png",
    }  # fmt: skip
    report = json.loads((out / "a" / "report.json").read_text(encoding="utf-8"))
    assert report["scale"]["mm_per_px"] == 0.5  # a flag beats the file
    assert report["options"]["mask"]["gap_px"] == 5.0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["analyze", "IN", "--out", "OUT", "--model", "nowhere"], "unknown model `nowhere`"),
        (["analyze", "EMPTY", "--out", "OUT"], "holds no image"),
        (["analyze", "IN", "--out", "OUT", "--threshold", "7"], "between 0 and 1, got 7.0"),
        (["analyze", "IN", "--out", "OUT", "--mm-per-px", "-1"], "larger than 0, got -1.0"),
        (["analyze", "IN", "--out", "OUT", "--exports", "pdff"], "unknown export `pdff`"),
        (["analyze", "IN", "--out", "OUT", "--config", "no.toml"], "cannot be read"),
        (["analyze", "IN"], "Missing option"),
        (["analyse"], "No such command"),
        (["measure", "IN/none.png", "--out", "OUT"], "does not exist"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_sentence(
    arguments: list[str],
    sentence: str,
    crackseg: Run,
    photo: Photo,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo(tmp_path / "in" / "a.jpg")
    (tmp_path / "empty").mkdir()
    places = {"IN": tmp_path / "in", "OUT": tmp_path / "out", "EMPTY": tmp_path / "empty"}
    given = [str(places.get(word, word)).replace("IN/", f"{tmp_path}/") for word in arguments]
    assert crackseg(*given) == 2
    shown = capsys.readouterr()
    assert sentence in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert not (tmp_path / "out").exists()


def test_measure_prints_and_writes(
    crackseg: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((80, 240), np.uint8)
    mask[40:43, 20:220] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    code = crackseg("measure", tmp_path / "mask.png", "--out", tmp_path / "out", "--mm-per-px", 0.1)
    assert code == 0
    assert "page.html" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "mask" / "report.json").read_text(encoding="utf-8"))
    assert report["model"] is None
    assert report["cracks"][0]["length_mm"] == pytest.approx(20, rel=0.03)


def test_version(crackseg: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from crackseg import __version__

    assert crackseg("--version") == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_selfcheck_fails_loudly_on_an_altered_model(
    crackseg: Run,
    dark_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from crackseg import selfcheck
    from crackseg.inference import models

    monkeypatch.setattr(models, "SHIPPED", dark_model.parent)
    assert crackseg("selfcheck") == 0
    assert "FAILED" not in capsys.readouterr().out
    altered = tmp_path / "models" / "dark"
    altered.mkdir(parents=True)
    for file in dark_model.iterdir():
        (altered / file.name).write_bytes(file.read_bytes())
    (altered / "model.onnx").write_bytes(b"other")
    monkeypatch.setattr(models, "SHIPPED", altered.parent)
    assert crackseg("selfcheck") == 1
    shown = capsys.readouterr().out
    assert "FAILED model dark" in shown
    assert "was altered" in shown
    monkeypatch.setattr(selfcheck, "WIDTH_BOUND_PX", 0.0)
    assert not selfcheck._phantom()[0]
