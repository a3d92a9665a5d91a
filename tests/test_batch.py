"""Many images: each name its own folder, no bad file stops the others, a stopped run goes on."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crackseg import batch
from crackseg.config import AnalyzeOptions, read_options
from crackseg.errors import ConfigError, UnknownName
from crackseg.exports import EXPORTS
from crackseg.imagery.files import OpenImage
from crackseg.inference.models import read_card, write_card
from crackseg.records import Report

Photo = Callable[..., Path]


@pytest.fixture
def options(dark_model: Path) -> AnalyzeOptions:
    """Options that name the tests' own model."""
    return read_options(AnalyzeOptions, {"model": str(dark_model)})


def states(outcomes: list[batch.Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def test_inputs_are_files_folders_and_patterns_each_once(photo: Photo, tmp_path: Path) -> None:
    first = photo(tmp_path / "a" / "x.jpg")
    second = photo(tmp_path / "a" / "deep" / "y.PNG")
    photo(tmp_path / "a" / ".hidden" / "z.jpg")
    photo(tmp_path / "a" / "out" / "x" / "overlay.jpg")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    out = tmp_path / "a" / "out"
    assert batch.find_inputs([tmp_path / "a"], out) == [second, first]
    assert batch.find_inputs([first, tmp_path / "a", str(tmp_path / "a" / "*.jpg")], out) == [
        first,
        second,
    ]
    assert batch.find_inputs([tmp_path / "a" / "notes.txt"]) == [tmp_path / "a" / "notes.txt"]


def test_a_folder_or_pattern_without_images_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no image; expected \.jpeg, \.jpg"):
        batch.find_inputs([tmp_path])
    with pytest.raises(ConfigError, match="matches no file"):
        batch.find_inputs([str(tmp_path / "*.jpg")])


def test_brackets_in_a_file_name_are_no_pattern(photo: Photo, tmp_path: Path) -> None:
    path = photo(tmp_path / "wall [1].jpg")
    assert batch.find_inputs([path]) == [path]


def test_one_bad_file_never_stops_the_others(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    good = [photo(tmp_path / "in" / "Größe 1.jpg"), photo(tmp_path / "in" / "z.png", cracks=2)]
    empty = tmp_path / "in" / "empty.jpg"
    empty.touch()
    cut = tmp_path / "in" / "cut.jpg"
    cut.write_bytes(good[0].read_bytes()[: good[0].stat().st_size // 2])
    wrong = tmp_path / "in" / "text.jpg"
    wrong.write_text("this is no picture")
    paths = [*batch.find_inputs([tmp_path / "in"]), tmp_path / "in" / "missing.jpg"]
    out = tmp_path / "out"
    outcomes = {o.path.name: o for o in batch.run(paths, out, options)}

    reasons = {name: o.reason or "" for name, o in outcomes.items() if o.status == "failed"}
    assert set(reasons) == {"empty.jpg", "cut.jpg", "text.jpg", "missing.jpg"}
    assert "empty (0 bytes)" in reasons["empty.jpg"]
    assert "damaged or cut" in reasons["cut.jpg"]
    assert "expected JPEG, PNG or TIFF" in reasons["text.jpg"]
    assert "does not exist" in reasons["missing.jpg"]

    survey = json.loads((out / "survey.json").read_text(encoding="utf-8"))
    assert survey["totals"] | {"images": 6, "failed": 4, "cracks": 3} == survey["totals"]
    named = {Path(row["image"]).name: row["reason"] for row in survey["images"] if row["reason"]}
    assert named == reasons
    with (out / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {Path(row["image"]).name: row for row in csv.DictReader(file)}
    assert rows["cut.jpg"]["cracks"] == ""  # nothing is known, which is not "no crack"
    assert rows["z.png"]["cracks"] == "2"
    gallery = (out / "index.html").read_text(encoding="utf-8")
    assert gallery.index("cut.jpg") < gallery.index("z.png")
    assert "4 images were not analyzed" in gallery.replace("\n", " ")
    kept = {path.name for path in out.iterdir() if path.is_dir()}
    assert kept == {"Größe 1", "z"}
    assert {"report.json", "page.html"} <= {p.name for p in (out / "Größe 1").iterdir()}


def test_same_stem_in_two_folders_and_two_forms(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    paths = [
        photo(tmp_path / "left" / "wall.jpg", cracks=1),
        photo(tmp_path / "right" / "wall.jpg", cracks=2),
        photo(tmp_path / "right" / "wall.png", cracks=3),
    ]
    first = batch.run(paths, tmp_path / "out", options)
    folders = [o.folder.name for o in first if o.folder]
    assert folders == ["wall", "right_wall", "wall_png"]
    assert [o.row["cracks"] for o in first] == [1, 2, 3]
    again = batch.run(paths[::-1], tmp_path / "out", options)
    assert states(again) == ["unchanged"] * 3
    assert [o.folder.name for o in again if o.folder] == ["wall_png", "right_wall", "wall"]


def test_a_later_run_never_writes_over_another_image(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    left, right = photo(tmp_path / "l" / "a.jpg"), photo(tmp_path / "r" / "a.jpg", cracks=2)
    batch.run([left], tmp_path / "out", options)
    outcome = batch.run([right], tmp_path / "out", options)[0]
    assert outcome.folder == tmp_path / "out" / "r_a"
    report = json.loads((tmp_path / "out" / "a" / "report.json").read_text(encoding="utf-8"))
    assert report["image"]["path"] == str(left)


def test_a_stopped_run_goes_on_where_it_was(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [photo(tmp_path / f"{n}.png", cracks=n) for n in (1, 2, 3)]
    out = tmp_path / "out"

    def stop(outcome: batch.Outcome) -> None:
        if outcome.path == paths[1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.run(paths, out, options, listener=batch.Listener(end=stop))
    assert states(batch.run(paths, out, options)) == ["unchanged", "unchanged", "analyzed"]
    assert states(batch.run(paths, out, options, overwrite=True)) == ["analyzed"] * 3
    changed = read_options(AnalyzeOptions, {"model": options.model, "mask": {"threshold": 0.4}})
    assert states(batch.run(paths[:1], out, changed)) == ["analyzed"]
    photo(paths[0], cracks=3)
    assert [o.row["cracks"] for o in batch.run(paths[:1], out, changed)] == [3]
    monkeypatch.setattr(batch, "__version__", "99")
    assert states(batch.run(paths[:1], out, changed)) == ["analyzed"]


def test_other_thresholds_in_the_model_card_are_another_model(
    photo: Photo, options: AnalyzeOptions, dark_model: Path, tmp_path: Path
) -> None:
    path, folder = photo(tmp_path / "wall.png"), tmp_path / "model"
    shutil.copytree(dark_model, folder)
    chosen = replace(options, model=str(folder))
    assert states(batch.run([path], tmp_path / "out", chosen)) == ["analyzed"]
    write_card(folder, replace(read_card(folder), threshold_low=0.1))
    (again,) = batch.run([path], tmp_path / "out", chosen)
    assert again.status == "analyzed"
    assert again.folder
    report = json.loads((again.folder / "report.json").read_text(encoding="utf-8"))
    assert report["model"]["threshold_low"] == 0.1
    assert states(batch.run([path], tmp_path / "out", chosen)) == ["unchanged"]


def test_half_written_leftovers_are_cleared(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    leftover = tmp_path / "out" / ".a.new"
    leftover.mkdir(parents=True)
    (leftover / "report.json").write_text("{")
    assert states(batch.run([photo(tmp_path / "a.jpg")], tmp_path / "out", options)) == ["analyzed"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"]


def test_a_full_disk_fails_the_image_and_leaves_no_half_file(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
        if "b" in report.image.path.stem:
            (folder / "page.html").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return []

    monkeypatch.setitem(EXPORTS, "page", full)
    paths = [photo(tmp_path / f"{name}.jpg") for name in "abc"]
    outcomes = batch.run(paths, tmp_path / "out", options)
    assert states(outcomes) == ["analyzed", "failed", "analyzed"]
    assert "disk is full" in (outcomes[1].reason or "")
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()} == {"a", "c"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(
    photo: Photo, options: AnalyzeOptions, small_disk: Path, tmp_path: Path
) -> None:
    paths = [photo(tmp_path / f"{n}.png", cracks=1, size=(900, 700)) for n in range(9)]
    outcomes: list[batch.Outcome] = []
    with contextlib.suppress(OSError):  # the survey itself may find no room
        batch.run(paths, small_disk, options, listener=batch.Listener(end=outcomes.append))
    assert len(outcomes) == len(paths)
    assert outcomes[0].status == "analyzed"
    assert "disk is full" in (outcomes[-1].reason or "")
    for folder in (path for path in small_disk.iterdir() if path.is_dir()):
        assert not folder.name.startswith(".")
        json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_no_permission_is_a_sentence(photo: Photo, options: AnalyzeOptions, tmp_path: Path) -> None:
    closed = photo(tmp_path / "closed.jpg")
    closed.chmod(0)
    outcome = batch.run([closed], tmp_path / "out", options)[0]
    assert "permission denied" in (outcome.reason or "")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="cannot be written"):
        batch.run([photo(tmp_path / "b.jpg")], tmp_path / "locked" / "out", options)


def test_an_output_that_is_a_file_is_wrong_usage(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    target = tmp_path / "file"
    target.write_text("x")
    with pytest.raises(ConfigError, match="cannot be written"):
        batch.run([photo(tmp_path / "a.jpg")], target, options)


def test_wrong_names_stop_before_the_first_image(photo: Photo, tmp_path: Path) -> None:
    path, out = photo(tmp_path / "a.jpg"), tmp_path / "out"
    with pytest.raises(UnknownName, match="unknown model `nowhere`"):
        batch.run([path], out, read_options(AnalyzeOptions, {"model": "nowhere"}))
    with pytest.raises(UnknownName, match="unknown export `pdff`"):
        batch.run([path], out, read_options(AnalyzeOptions, {"exports": ["pdff"]}))
    assert not out.exists()
