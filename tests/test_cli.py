"""The command line: exit codes, what is printed where, options from flags and files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import exit_code
from PIL import Image

from crackseg import screen
from crackseg.tasks import Outcome

Photo = Callable[..., Path]


@pytest.fixture
def crackseg(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that runs the command line and returns its exit code."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["crackseg", *map(str, arguments)])
        return exit_code()

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
    assert "[1/2] a.jpg: 1 crack, 86 mm, widest" in shown.err
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
        ".crackseg", "report.json", "cracks.csv", "mask.png", "mask.pgw",
    }  # fmt: skip
    report = json.loads((out / "a" / "report.json").read_text(encoding="utf-8"))
    assert report["scale"]["mm_per_px"] == 0.5  # a flag beats the file
    assert report["options"]["mask"]["gap_px"] == 5.0


@pytest.mark.parametrize(
    ("flags", "readings"), [([], 2), (["--thorough"], 4), (["--fast"], 1)], ids=["file", "4", "1"]
)
def test_thorough_and_fast_say_how_often_a_tile_is_read(
    crackseg: Run, photo: Photo, dark_model: Path, tmp_path: Path, flags: list[str], readings: int
) -> None:
    path = photo(tmp_path / "a.jpg")
    config = tmp_path / "options.toml"
    config.write_text("[predict]\nreadings = 2\n", encoding="utf-8")
    out = tmp_path / "out"
    common = ["--out", out, "--model", dark_model, "--config", config, "--exports", "json"]
    assert crackseg("analyze", path, *common, *flags) == 0
    options = json.loads((out / "a" / "report.json").read_text(encoding="utf-8"))["options"]
    assert options["predict"]["readings"] == readings


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["analyze", "IN", "--out", "OUT", "--model", "nowhere"], "unknown model `nowhere`"),
        (["analyze", "EMPTY", "--out", "OUT"], "holds no image"),
        (["analyze", "IN", "--out", "OUT", "--threshold", "7"], "between 0 and 1, got 7.0"),
        (["analyze", "IN", "--out", "OUT", "--mm-per-px", "-1"], "larger than 0, got -1.0"),
        (["analyze", "IN", "--out", "OUT", "--exports", "pdff"], "unknown export `pdff`"),
        (["analyze", "IN", "--out", "OUT", "--config", "no.toml"], "cannot be read"),
        (["analyze", "IN", "--out", "OUT", "--exports", ""], "names none; known: coco, csv,"),
        (["analyze", "IN", "--out", "/proc/xx"], "`--out /proc/xx` cannot be written"),
        (["measure", "IN/in/a.jpg", "--out", "/proc/xx"], "`--out /proc/xx` cannot be written"),
        (["diff", "IN", "IN", "--out", "/proc/xx"], "`--out /proc/xx` cannot be written"),
        (["face", "IN", "--out", "/proc/xx"], "`--out /proc/xx` cannot be written"),
        (["report", "IN", "--out", "/proc/xx"], "`--out /proc/xx` cannot be written"),
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
    words = [str(places.get(word, word)).replace("IN/", f"{tmp_path}/") for word in arguments]
    assert crackseg(*words) == 2
    shown = capsys.readouterr()
    assert sentence in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert not (tmp_path / "out").exists()


def test_a_file_where_a_folder_is_needed_is_one_sentence(
    crackseg: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert crackseg("survey", "init", tmp_path / "file" / "north") == 1
    assert f"`{tmp_path / 'file' / 'north'}" in (shown := " ".join(capsys.readouterr().err.split()))
    assert "a folder where a file stands" in shown


@pytest.mark.parametrize("option", ["--region", "--ignore"])
@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("r.geojson", b"", "is not GeoJSON"),
        ("r.geojson", b'{"type": "FeatureCollection", "features": []}', "holds no polygon"),
        ("r.json", b"\xff\xfe", "is not GeoJSON"),
        ("r.png", b"", "is empty (0 bytes)"),
        ("r.txt", b"hello", "is not an image"),
        ("r", None, "holds no file for any photograph"),
    ],
)
def test_an_unusable_region_is_refused_before_the_work(
    option: str,
    name: str,
    content: bytes | None,
    sentence: str,
    crackseg: Run,
    photo: Photo,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / name
    file.mkdir() if content is None else file.write_bytes(content)
    path = photo(tmp_path / "a.jpg")
    assert crackseg("analyze", path, "--out", tmp_path / "out", option, file) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert f"`{option} {file}`" in shown
    assert sentence in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["analyze", "measure"])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[scale]\nmm_per_px = nan", "`options.scale.mm_per_px` must be a finite number larger th"),
        ("[picture_scale.a]\ndistance_m = inf", "`picture_scale.a.distance_m` must be a finite"),
        ("[measure]\nmin_length_px = nan", "`options.measure.min_length_px` must lie between 0"),
        ("[scale]\nmm_per_px = -1.0", "`mm_per_px` must be a finite number larger than 0, got -1"),
        ("[scale]\nmm_per_pixel = 1.0", "unknown key `options.scale.mm_per_pixel`"),
    ],
)
def test_what_is_wrong_in_a_file_names_the_file(
    command: str,
    text: str,
    sentence: str,
    crackseg: Run,
    photo: Photo,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(text)
    path = photo(tmp_path / "a.jpg")
    assert crackseg(command, path, "--out", tmp_path / "out", "--config", config) == 2
    assert f"in `{config}`: {sentence}" in " ".join(capsys.readouterr().err.split())


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


def test_two_masks_of_one_name_are_two_results(
    crackseg: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, row in (("a", 20), ("b", 50)):
        mask = np.zeros((80, 240), np.uint8)
        mask[row : row + 3, 20:220] = 255
        (tmp_path / name).mkdir()
        Image.fromarray(mask).save(tmp_path / name / "mask.png")
        assert crackseg("measure", tmp_path / name / "mask.png", "--out", tmp_path / "out") == 0
        assert str(tmp_path / "out" / ("mask" if name == "a" else "b_mask")) in (
            capsys.readouterr().out.replace("\n", "")
        )
    crackseg("measure", tmp_path / "a" / "mask.png", "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mask", "b_mask"}


def test_measure_says_that_there_is_no_crack(
    crackseg: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((80, 240), np.uint8)).save(tmp_path / "mask.png")
    assert crackseg("measure", tmp_path / "mask.png", "--out", tmp_path / "out") == 0
    assert "mask.png: no crack" in capsys.readouterr().out


def test_a_scale_that_was_asked_for_and_not_found_is_on_the_screen(
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [f"{n}.jpg" for n in "abcde"]
    for number, name in enumerate(names):
        photo(tmp_path / "in" / name, size=(260 + number, 180))
    common = ["--out", tmp_path / "out", "--model", dark_model, "--marker-mm", 100]
    assert crackseg("analyze", tmp_path / "in", *common) == 0
    shown = capsys.readouterr().err
    assert (
        "warning: 5 of 5 photographs (a.jpg, b.jpg, c.jpg, ...): no scale came of `marker_mm`"
        in shown
    )
    assert "no marker of `DICT_4X4_50` was found in the picture" in shown
    assert crackseg("analyze", tmp_path / "in" / "a.jpg", *common, "--quiet") == 0
    shown = capsys.readouterr()
    assert shown.err == "warning: a.jpg: no scale came of `marker_mm`: nothing is given in mm.\n"
    assert shown.out == ""
    assert crackseg("analyze", tmp_path / "in" / "a.jpg", *common, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["images"]
    assert "marker_not_found" in {notice["code"] for notice in row["notices"]}


def test_how_more_than_8_bits_were_read_is_on_the_screen(
    crackseg: Run, dark_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = np.random.default_rng(0).normal(30000, 3000, (200, 200))
    for name, values in (("whole", deep), ("counts", 30000 + deep / 100)):
        Image.fromarray(values.clip(0, 65535).astype(np.uint16)).save(tmp_path / f"{name}.png")
    paths = [tmp_path / "counts.png", tmp_path / "whole.png"]
    assert crackseg("analyze", *paths, "--out", tmp_path / "out", "--model", dark_model) == 0
    shown = capsys.readouterr().err
    assert "warning: whole.png: holds 16-bit values; its range 0 to 65535 was scaled" in shown
    assert "was stretched to 8 bit: how dark a crack is cannot be told" in shown


def test_no_scale_at_all_is_one_line(
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = [photo(tmp_path / f"{n}.jpg", size=(260, w)) for n, w in (("a", 180), ("b", 190))]
    assert crackseg("analyze", *paths, "--out", tmp_path / "out", "--model", dark_model) == 0
    shown = capsys.readouterr().err
    assert "no scale is known for 2 of 2 (a.jpg, b.jpg): figures there are in px." in shown


def test_photographs_of_one_name_are_told_apart_on_the_screen(
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder, width in (("north", 260), ("south", 270)):
        photo(tmp_path / folder / "550.jpg", size=(width, 180))
    (tmp_path / "north" / "flight.mp4").write_bytes(b"....ftypmp42")
    out = tmp_path / "out"
    assert crackseg("analyze", tmp_path / "*th", "--out", out, "--model", dark_model) == 0
    shown = capsys.readouterr()
    assert "[1/2] north/550.jpg: 1 crack" in shown.err
    assert "[2/2] south/550.jpg: 1 crack" in shown.err
    assert "passed over: flight.mp4: a video" in shown.err
    rows = [line.split() for line in shown.out.splitlines()]
    assert {row[0] for row in rows} >= {"north/550.jpg", "south/550.jpg"}
    assert shown.out.startswith("From which width on")
    assert len(rows) == 5  # that, head, two cracks, where the report lies: no line is broken


def test_copies_of_a_photograph_are_named_on_the_screen(
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "other.png", cracks=2)
    (tmp_path / "in" / "b.png").write_bytes(first.read_bytes())
    command = ["analyze", tmp_path / "in", "--out", tmp_path / "out", "--model", dark_model]
    crackseg(*command)
    sentence = "1 photograph is the very file of another and counts once with it: b.png is a.png."
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "no scale is known for 2 of 2 (a.png, other.png)" in shown.err
    totals = json.loads((tmp_path / "out" / "survey.json").read_text())["totals"]
    in_table = [line for line in shown.out.splitlines() if ".png" in line]
    assert len(in_table) == totals["cracks"] == 3, "one of a.png, two of other.png"
    assert (totals["without_scale"], totals["copies"]) == (2, 1)
    for n in range(12):
        (tmp_path / "in" / f"c{n:02}.png").write_bytes(first.read_bytes())
    crackseg(*command)
    shown = capsys.readouterr().err
    assert "13 photographs are the very files of others and count once with them: b.png" in shown
    assert "c08.png is a.png and 3 more." in shown
    crackseg(*command, "--quiet")
    assert "very file" not in capsys.readouterr().err


def test_a_name_in_picture_scale_that_no_photograph_has(
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "c.toml"
    config.write_text('\ufeff[picture_scale]\r\n"b.jpg" = { mm_per_px = 0.5 }\r\n', "utf-8")
    path = photo(tmp_path / "a.jpg")
    common = ["--out", tmp_path / "out", "--model", dark_model, "--config", config]
    assert crackseg("analyze", path, *common) == 0
    assert "`picture_scale` names `b.jpg`: no photograph is called so" in capsys.readouterr().err


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_says_what_is_done_and_how_to_go_on(
    by: signal.Signals,
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from crackseg import tasks

    for name in "abc":
        photo(tmp_path / "in" / f"{name}.jpg")
    plain, before = tasks.look, signal.getsignal(signal.SIGTERM)
    hung_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def stop(image: Any, *rest: Any) -> Any:
        if image.info.path.stem == "b":
            os.kill(os.getpid(), by)
        return plain(image, *rest)

    monkeypatch.setattr(tasks, "look", stop)
    out = tmp_path / "out"
    assert crackseg("analyze", tmp_path / "in", "--out", out, "--model", dark_model) == 130
    signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGHUP, hung_up)
    shown = capsys.readouterr().err
    assert "Stopped: 1 of 3 photographs are done" in shown
    assert "the same command goes on" in shown
    rows = json.loads((out / "survey.json").read_text(encoding="utf-8"))["images"]
    assert [row["status"] for row in rows] == ["analyzed", "not_reached", "not_reached"]
    monkeypatch.undo()
    monkeypatch.setenv("COLUMNS", "120")
    assert crackseg("analyze", tmp_path / "in", "--out", out, "--model", dark_model) == 0
    assert "px, as before" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8", "utf-16"])
def test_any_terminal_shows_the_results(
    encoding: str, photo: Photo, dark_model: Path, tmp_path: Path
) -> None:
    path = photo(tmp_path / "Mauer_ß_壁.png")
    broken = Path(os.fsdecode(os.fsencode(tmp_path) + b"/wall_\xff.png"))
    try:
        photo(broken)
    except OSError:  # a disk that takes text alone
        broken = path
    command = [
        sys.executable, "-m", "crackseg.cli", "analyze", path, broken, "--out", tmp_path / "out",
        "--model", dark_model,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    text = done.stdout.decode(encoding)
    assert done.returncode == 0, done.stderr
    assert "Mauer_" in text
    assert ("±" if encoding not in ("ascii",) else "+-") in text
    done = subprocess.run([*command, "--json"], capture_output=True, check=False, env=environment)
    rows = json.loads(done.stdout.decode(encoding))["images"]
    assert Path(rows[0]["image"]).name == path.name
    assert json.loads((tmp_path / "out" / "survey.json").read_text(encoding="utf-8"))


def test_a_file_name_breaks_no_line_and_steers_no_terminal(
    crackseg: Run,
    photo: Photo,
    dark_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "wall\n[2] all well\x1b[2J.png"
    try:
        photo(tmp_path / name)
    except OSError:
        pytest.skip("this disk takes no such names")
    crackseg("analyze", tmp_path / name, "--out", tmp_path / "out", "--model", dark_model)
    text = capsys.readouterr()
    assert "\x1b[2J" not in text.out + text.err
    assert r"wall\n[2] all well\x1b[2J.png" in text.err.splitlines()[0]
    assert r"wall\n[2]" in text.out


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


def test_what_cannot_be_judged_is_said_beside_its_cracks_and_each_has_its_own_figures(
    crackseg: Run, dark_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    texture = np.random.default_rng(0).integers(200, 240, (300, 300))
    for rows, name in enumerate("abcd"):
        burnt = np.full((300, 300), 255, np.uint8)
        burnt[: 9 * rows] = texture[: 9 * rows]
        burnt[200:204, 40:260] = 20
        Image.fromarray(burnt).save(tmp_path / "in" / f"{name}.png")
    out = ["--out", tmp_path / "out", "--model", dark_model]
    assert crackseg("analyze", tmp_path / "in", *out) == 0
    shown = capsys.readouterr().err
    assert shown.count("1 crack") == 4
    assert shown.count("; as a whole it cannot be judged: it shows too little") == 4
    assert (
        "warning: 4 of 4 photographs (a.png, b.png, c.png, ...), each by figures of its own in "
        "its report; a.png: This picture cannot be judged" in shown
    )
    gallery = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "4 images show too little to be judged" in gallery


def test_a_photograph_with_two_warnings_of_a_kind_counts_once(
    crackseg: Run, dark_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    zero = Image.Exif()
    zero.get_ifd(0x8769).update({0x920A: 0.0, 0xA405: 0})  # both focal lengths
    for name, colour in (("a", "white"), ("b", "black")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / "in" / f"{name}.jpg", exif=zero)
    out = ["--out", tmp_path / "out", "--model", dark_model]
    assert crackseg("analyze", tmp_path / "in", *out) == 0
    shown = capsys.readouterr().err
    assert "4 of 2" not in shown
    for name in ("a.jpg", "b.jpg"):
        assert f"warning: {name}: `FocalLength` must lie" in shown
        assert f"warning: {name}: `FocalLengthIn35mmFilm` must lie" in shown


def test_doubtful_marks_of_a_picture_that_cannot_be_judged_are_told_in_words_that_fit() -> None:
    row = {"cracks": 0, "also_marked": 1, "judged": False, "other_lines": 0}
    blank = Outcome(path=Path("a.png"), status="analyzed", folder=None, row=row)
    assert "too little; 1 doubtful mark" in screen._result(blank)
    seen = replace(blank, row={**row, "judged": True})
    assert screen._result(seen) == "no crack in the main list; 1 doubtful mark"
