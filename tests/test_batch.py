"""Many images: each name its own folder, no bad file stops the others, a stopped run goes on."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crackseg import batch, pipeline, tasks
from crackseg.config import AnalyzeOptions, ScaleOptions, read_options
from crackseg.errors import ConfigError, DataError, OutputError, UnknownName
from crackseg.exports import EXPORTS
from crackseg.folders import filling
from crackseg.imagery.files import OpenImage
from crackseg.inference.models import read_card, write_card
from crackseg.inference.predictor import Predictor
from crackseg.inputs import find_inputs
from crackseg.records import Prediction, Report
from crackseg.reporting.content import compose
from crackseg.reporting.gather import gather
from crackseg.training.judged import read_judged
from crackseg.verdict_table import read_verdicts
from crackseg.words import read_words

Photo = Callable[..., Path]


@pytest.fixture
def options(dark_model: Path) -> AnalyzeOptions:
    """Options that name the tests' own model."""
    return read_options(AnalyzeOptions, {"model": str(dark_model)})


def states(outcomes: list[tasks.Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def test_inputs_are_files_folders_and_patterns_each_once(photo: Photo, tmp_path: Path) -> None:
    first = photo(tmp_path / "a" / "x.jpg")
    second = photo(tmp_path / "a" / "deep" / "y.PNG")
    photo(tmp_path / "a" / ".hidden" / "z.jpg")
    photo(tmp_path / "a" / "out" / "x" / "overlay.jpg")
    (tmp_path / "a" / "notes.md").write_text("no image")
    out = tmp_path / "a" / "out"
    assert find_inputs([tmp_path / "a"], out).paths == (second, first)
    several = find_inputs([first, tmp_path / "a", str(tmp_path / "a" / "*.jpg")], out)
    assert several.paths == (first, second)
    assert [item.path.name for item in several.passed] == [".hidden"]
    assert find_inputs([tmp_path / "a" / "notes.md"]).paths == (tmp_path / "a" / "notes.md",)


def test_a_folder_or_pattern_without_images_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no image; expected \.jfif, \.jpe, \.jpeg"):
        find_inputs([tmp_path])
    with pytest.raises(ConfigError, match="matches no file"):
        find_inputs([str(tmp_path / "*.jpg")])


def test_brackets_in_a_file_name_are_no_pattern(photo: Photo, tmp_path: Path) -> None:
    path = photo(tmp_path / "wall [1].jpg")
    assert find_inputs([path]).paths == (path,)


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
    paths = [*find_inputs([tmp_path / "in"]).paths, tmp_path / "in" / "missing.jpg"]
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
    names = {path.name for path in out.iterdir() if path.is_dir()}
    assert names == {"Größe 1", "z"}
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


def test_another_analysis_tells_of_edits_and_verdicts_on_the_one_before(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    path, out = photo(tmp_path / "wall.jpg", cracks=1), tmp_path / "out"
    paths = [path, photo(tmp_path / "other.jpg", cracks=2)]
    first, _ = batch.run(paths, out, options)
    assert first.folder is not None
    (out / "verdicts.csv").write_text("image_name,crack,verdict\nwall.jpg,1,reject\n")
    os.utime(out / "verdicts.csv", (0, 0))
    edits = {"image_sha256": first.row["sha256"], "edits": [{"id": "1"}]}
    (first.folder / "corrections.json").write_text(json.dumps(edits))
    again, beside = batch.run(paths, out, options, overwrite=True)
    messages = {notice["code"]: notice["message"] for notice in again.notices}
    assert "`crackseg correct` puts them" in messages["edits_left_behind"]
    assert "verdicts_are_older" not in messages  # its cracks have the numbers that they had
    assert not {"edits_left_behind", "verdicts_are_older"} & {n["code"] for n in beside.notices}
    photo(path, cracks=3)
    for _ in range(2):  # also where nothing is left to do
        other, beside = batch.run(paths, out, options)
        messages = {notice["code"]: notice["message"] for notice in other.notices}
        assert "an earlier photograph of this name" in messages["edits_left_behind"]
        assert "none of the verdicts on it counts" in messages["verdicts_are_older"]
        assert "verdicts_are_older" not in {n["code"] for n in beside.notices}
    assert read_verdicts(out, out) == []
    with pytest.raises(DataError, match="older than the list of cracks of"):
        read_judged(out, out)
    os.utime(out / "verdicts.csv")  # held against the new result and saved again
    assert [one.word for one in read_verdicts(out, out)] == ["reject"]
    (again, _) = batch.run(paths, out, options)
    assert "verdicts_are_older" not in {n["code"] for n in again.notices}


def test_a_file_that_changes_after_its_turn_began_is_analyzed_as_it_was(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo(tmp_path / "wall.jpg", cracks=1)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(batch, "refuse_foreign", lambda folder: photo(path, cracks=2))
        (changed,) = batch.run([path], tmp_path / "out", options)
    assert changed.folder is not None
    report = json.loads((changed.folder / "report.json").read_text(encoding="utf-8"))
    assert (report["image"]["sha256"], changed.row["cracks"]) == (digest, 1)
    (again,) = batch.run([path], tmp_path / "out", options)
    assert again.row["cracks"] == 2


def test_a_later_run_never_writes_over_another_image(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    left, right = photo(tmp_path / "l" / "a.jpg"), photo(tmp_path / "r" / "a.jpg", cracks=2)
    batch.run([left], tmp_path / "out", options)
    outcome = batch.run([right], tmp_path / "out", options)[0]
    assert outcome.folder == tmp_path / "out" / "r_a"
    report = json.loads((tmp_path / "out" / "a" / "report.json").read_text(encoding="utf-8"))
    assert report["image"]["path"] == str(left)


def survey_of(out: Path) -> dict[str, dict[str, Any]]:
    survey = json.loads((out / "survey.json").read_text(encoding="utf-8"))
    assert survey["totals"]["images"] == len(survey["images"])
    return {Path(row["image"]).name: row for row in survey["images"]}


def test_the_survey_tells_of_all_results_in_the_folder(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    batch.run([photo(tmp_path / "a.png", cracks=1)], out, options)
    assert not (out / "survey.json").exists()
    (tmp_path / "bad.png").touch()
    batch.run([photo(tmp_path / "b.png", cracks=2), tmp_path / "bad.png"], out, options)
    rows = survey_of(out)
    assert {n: (r["status"], r["cracks"]) for n, r in rows.items()} == {
        "a.png": ("earlier", 1),
        "b.png": ("analyzed", 2),
        "bad.png": ("failed", None),
    }
    batch.run([photo(tmp_path / "c.png", cracks=0)], out, options)
    rows = survey_of(out)
    assert {n: r["status"] for n, r in rows.items()} == {
        "a.png": "earlier", "b.png": "earlier", "bad.png": "failed", "c.png": "analyzed",
    }  # fmt: skip
    assert "empty (0 bytes)" in rows["bad.png"]["reason"]
    gallery = (out / "index.html").read_text(encoding="utf-8")
    assert all(name in gallery for name in rows)


def test_a_failure_is_told_of_when_its_file_is_gone(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    out, bad, good = tmp_path / "out", tmp_path / "in" / "bad.png", photo(tmp_path / "in" / "a.png")
    bad.touch()
    link = bad.with_name("link.png")
    link.symlink_to("away.png")
    batch.run([good, bad, link], out, options)
    bad.unlink()
    for _ in range(2):
        batch.run([good], out, options)
        row = survey_of(out)["bad.png"]
        assert row["status"] == "failed"
        assert row["reason"].endswith("is empty (0 bytes). The file is no longer there.")
        assert "no longer" in (out / "summary.csv").read_text(encoding="utf-8-sig")
        assert "no longer" in (out / "index.html").read_text(encoding="utf-8")
        assert "no longer" not in survey_of(out)["link.png"]["reason"]
    bad.touch()
    batch.run([good], out, options)
    assert "no longer" not in survey_of(out)["bad.png"]["reason"]
    bad.unlink()
    batch.run([photo(bad.with_suffix(".jpg"))], out, options)  # it was converted
    assert set(survey_of(out)) == {"a.png", "bad.jpg", "link.png"}
    photo(bad)
    batch.run([bad], out, options)
    assert survey_of(out)["bad.png"]["status"] == "analyzed"


def test_sums_are_rounded_as_reports_are(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    paths = [photo(tmp_path / "in" / f"{n}.png", cracks=2) for n in "ab"]
    scaled = replace(options, scale=ScaleOptions(mm_per_px=0.37))
    batch.run(paths, tmp_path / "out", scaled)
    survey = json.loads((tmp_path / "out" / "survey.json").read_text(encoding="utf-8"))
    rows = [survey["totals"], *survey["images"]]
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8-sig", newline="") as file:
        rows += list(csv.DictReader(file))
    assert rows[1]["severity_mm2"] > 0
    for row in rows:
        for name, value in row.items():
            assert not re.fullmatch(r"\d+\.\d{5,}", str(value)), (name, value)


def test_equal_content_under_two_names_is_two_results(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    first = photo(tmp_path / "a" / "x.png")
    second = tmp_path / "b" / "x.png"
    second.parent.mkdir()
    shutil.copyfile(first, second)
    out = tmp_path / "out"
    batch.run([first], out, options)
    batch.run([second], out, options)
    images = [row["image"] for row in json.loads((out / "survey.json").read_text())["images"]]
    assert set(images) == {str(first), str(second)}
    (tmp_path / "drive").mkdir()
    moved = second.parent.rename(tmp_path / "drive" / "b") / "x.png"  # known by its content
    assert states(batch.run([first, moved], out, options)) == ["unchanged"] * 2


@pytest.mark.parametrize("name", ["wall.jpg", "wall.tif"])
def test_a_photograph_is_opened_once_and_hashed_once(
    photo: Photo,
    options: AnalyzeOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    path, opened, hashed = photo(tmp_path / name), [], []
    own, digest = hashlib.sha256(path.read_bytes()).hexdigest(), hashlib.file_digest

    def note(event: str, arguments: tuple[Any, ...]) -> None:  # it stays, and sees this path alone
        if event == "open" and str(arguments[0]) == str(path):
            opened.append(path)

    def counted(file: Any, kind: Any) -> Any:
        made = digest(file, kind)
        hashed.extend([path] if made.hexdigest() == own else [])
        return made

    monkeypatch.setattr(hashlib, "file_digest", counted)
    sys.addaudithook(note)
    for status in ("analyzed", "unchanged"):
        opened.clear()
        hashed.clear()
        assert states(batch.run([path], tmp_path / "out", options)) == [status]
        assert (opened, hashed) == ([path], [path])


@pytest.mark.parametrize("name", ["survey.json", "summary.csv", "index.html"])
def test_survey_files_of_others_stop_the_run_before_it_begins(
    name: str, photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    paths = [photo(tmp_path / f"{n}.png") for n in "ab"]
    with pytest.raises(OutputError, match=f"{name}` was not written by crackseg"):
        batch.run(paths, out, options)
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [(name, "mine")]
    assert states(batch.run(paths[:1], out, options)) == ["analyzed"]  # which needs no survey


def test_a_survey_that_was_edited_stops_the_run(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    out, paths = tmp_path / "out", [photo(tmp_path / f"{n}.png") for n in "ab"]
    batch.run(paths, out, options)
    (out / "summary.csv").write_text("with the inspector's remarks")
    with pytest.raises(OutputError, match=r"summary.csv` was changed since"):
        batch.run(paths, out, options)
    (out / "summary.csv").rename(out / "mine.csv")
    batch.run(paths, out, options)
    assert (out / "mine.csv").read_text() == "with the inspector's remarks"


def test_a_survey_that_one_photograph_will_change_is_looked_at_before_it(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    out, paths = tmp_path / "out", [photo(tmp_path / f"{n}.png") for n in "abc"]
    begun: list[object] = []
    listener = batch.Listener(begin=begun.append)
    batch.run(paths[:1], out, options)  # which needs no survey; two photographs do
    (out / "summary.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"summary.csv` was not written by crackseg"):
        batch.run(paths[1:2], out, options, listener=listener)
    (out / "summary.csv").unlink()
    batch.run(paths[1:2], out, options)
    (out / "summary.csv").write_text("with the inspector's remarks")
    with pytest.raises(OutputError, match=r"summary.csv` was changed since"):
        batch.run(paths[2:], out, options, listener=listener)
    assert begun == []


def test_a_result_that_was_edited_is_kept_and_its_image_fails(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    out, paths = tmp_path / "out", [photo(tmp_path / f"{n}.png") for n in "ab"]
    batch.run(paths, out, options)
    photo(out / "a" / "mask.png")
    assert states(batch.run(paths, out, options)) == ["unchanged"] * 2
    edited = (out / "a" / "mask.png").read_bytes()
    again = batch.run(paths, out, options, overwrite=True)
    assert states(again) == ["failed", "analyzed"]
    assert "mask.png` was changed since crackseg wrote it" in (again[0].reason or "")
    assert (out / "a" / "mask.png").read_bytes() == edited


def test_results_never_take_the_place_of_a_folder_of_others(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    flight = tmp_path / "flight"
    path, detail = photo(flight / "lift.png"), photo(flight / "lift" / "detail.png")
    (outcome,) = batch.run([path], flight, options)
    assert outcome.folder == flight / "flight_lift"
    assert detail.is_file()


def test_a_picture_named_as_a_survey_file(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    paths = [photo(tmp_path / "in" / "index.html.png"), photo(tmp_path / "in" / "b.png")]
    outcomes = batch.run(paths, tmp_path / "out", options)
    assert [o.folder.name for o in outcomes if o.folder] == ["in_index.html", "b"]
    assert (tmp_path / "out" / "index.html").is_file()


def test_a_picture_named_as_a_folder_of_another_command(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [photo(tmp_path / "in" / f"{n}.png") for n in ("Report", "face", "changes")]
    first = batch.run(paths, tmp_path / "out", options)
    names = [o.folder.name for o in first if o.folder]
    assert names == ["in_Report", "in_face", "in_changes"]
    monkeypatch.setattr("crackseg.folder_names.REPORT", "x")  # as an earlier version did
    batch.run(paths[:1], tmp_path / "old", options)
    monkeypatch.undo()
    (again,) = batch.run(paths[:1], tmp_path / "old", options)
    assert (again.status, again.folder) == ("unchanged", tmp_path / "old" / "Report")


def test_files_left_aside_stand_in_the_survey(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    video = tmp_path / "in" / "flight.mp4"
    photo(tmp_path / "in" / "a.png")
    video.write_bytes(b"....ftypmp42")
    inputs, out = find_inputs([tmp_path / "in"]), tmp_path / "out"
    batch.run(inputs.paths, out, options, passed=inputs.passed)
    survey = json.loads((out / "survey.json").read_text(encoding="utf-8"))
    assert survey["totals"]["passed_over"] == 1
    assert survey["passed_over"] == [{"path": str(video), "reason": "a video; take stills from it"}]
    for name in ("summary.csv", "index.html"):
        assert "flight.mp4" in (out / name).read_text(encoding="utf-8")
    batch.run([photo(tmp_path / "b.png")], out, options)
    assert json.loads((out / "survey.json").read_text())["passed_over"] == survey["passed_over"]


def test_a_scale_for_each_picture(photo: Photo, options: AnalyzeOptions, tmp_path: Path) -> None:
    paths = [
        photo(tmp_path / "north" / "a.png"),
        photo(tmp_path / "b.png"),
        photo(tmp_path / "c.png"),
    ]
    values = {
        "model": options.model,
        "scale": {"mm_per_px": 3.0, "mm_per_px_sigma_rel": 0.05},
        "picture_scale": {"north/*.png": {"mm_per_px": 0.5}, "b.png": {"mm_per_px": 2}},
    }
    chosen = read_options(AnalyzeOptions, values)
    outcomes = batch.run(paths, tmp_path / "out", chosen)
    assert [o.row["mm_per_px"] for o in outcomes] == [0.5, 2.0, 3.0]
    values["picture_scale"] |= {"b.png": {"mm_per_px": 1.0}, "d.png": {"mm_per_px": 1.0}}
    changed = read_options(AnalyzeOptions, values)
    again = batch.run(paths, tmp_path / "out", changed)
    assert states(again) == ["unchanged", "analyzed", "unchanged"]
    assert batch.unused_scales(paths, changed) == ["d.png"]
    for wrong in ({"b.png": {"mm": 2}}, {"b.png": 2}, {"b.png": {"mm_per_px": -1}}, {"": {}}):
        with pytest.raises(ConfigError):
            read_options(AnalyzeOptions, {"picture_scale": wrong})


def test_a_stopped_run_goes_on_where_it_was(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [photo(tmp_path / f"{n}.png", cracks=n) for n in (1, 2, 3)]
    out = tmp_path / "out"

    def stop(outcome: tasks.Outcome) -> None:
        if outcome.path == paths[1]:
            raise KeyboardInterrupt

    with pytest.raises(batch.Interrupted) as stopped:
        batch.run(paths, out, options, listener=batch.Listener(end=stop))
    assert states(list(stopped.value.outcomes)) == ["analyzed", "analyzed"]
    rows = survey_of(out)
    assert {n: r["status"] for n, r in rows.items()} == {
        "1.png": "analyzed", "2.png": "analyzed", "3.png": "not_reached",
    }  # fmt: skip
    assert rows["3.png"]["reason"] == batch.STOPPED
    totals = json.loads((out / "survey.json").read_text(encoding="utf-8"))["totals"]
    assert (totals["images"], totals["failed"], totals["not_reached"]) == (3, 0, 1)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "3.png" in page
    assert "One image was not reached yet" in page
    assert "not analyzed" not in page
    content = compose(gather(out), read_words("en"), pictures=False)
    assert ("1 photograph was not reached by the analysis", ("3.png",)) in [
        (finding.sentence.split(",")[0], finding.items) for finding in content.findings
    ]
    assert "not reached" in {cell for row in content.photographs.rows for cell in row}
    batch.run(paths[:2], out, options)  # a run that does not ask for it does not forget it
    assert survey_of(out)["3.png"]["status"] == "not_reached"
    assert states(batch.run(paths, out, options)) == ["unchanged", "unchanged", "analyzed"]
    assert survey_of(out)["3.png"]["status"] == "analyzed"
    assert states(batch.run(paths, out, options, overwrite=True)) == ["analyzed"] * 3
    changed = read_options(AnalyzeOptions, {"model": options.model, "mask": {"threshold": 0.4}})
    assert states(batch.run(paths[:1], out, changed)) == ["analyzed"]
    photo(paths[0], cracks=3)
    assert [o.row["cracks"] for o in batch.run(paths[:1], out, changed)] == [3]
    monkeypatch.setattr(batch, "__version__", "99")
    assert states(batch.run(paths[:1], out, changed)) == ["analyzed"]


def test_a_photograph_is_measured_while_the_network_reads_the_next(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [photo(tmp_path / f"{n}.png", cracks=n) for n in (1, 2)]
    second, found, rank = threading.Event(), Predictor.predict, pipeline.rank
    in_time = []

    def predict(self: Predictor, image: OpenImage, *more: Any) -> Prediction:
        if image.info.path == paths[1]:
            second.set()
        return found(self, image, *more)

    def wait_for_the_second(*cracks: Any) -> Any:
        in_time.append(second.wait(timeout=20))
        return rank(*cracks)

    monkeypatch.setattr(Predictor, "predict", predict)
    monkeypatch.setattr(pipeline, "rank", wait_for_the_second)
    assert states(batch.run(paths, tmp_path / "out", options)) == ["analyzed"] * 2
    assert in_time == [True, True]


def test_a_run_that_is_stopped_tells_of_the_photograph_that_was_being_measured(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [photo(tmp_path / f"{n}.png", cracks=n) for n in (1, 2, 3)]
    found = Predictor.predict

    def predict(self: Predictor, image: OpenImage, *more: Any) -> Prediction:
        if image.info.path == paths[1]:
            raise KeyboardInterrupt
        return found(self, image, *more)

    monkeypatch.setattr(Predictor, "predict", predict)
    with pytest.raises(batch.Interrupted) as stopped:
        batch.run(paths, tmp_path / "out", options)
    assert [outcome.path for outcome in stopped.value.outcomes] == paths[:1]
    assert {n: r["status"] for n, r in survey_of(tmp_path / "out").items()} == {
        "1.png": "analyzed", "2.png": "not_reached", "3.png": "not_reached",
    }  # fmt: skip


@pytest.mark.parametrize("waits", [1, 2, 3])
def test_a_run_that_is_stopped_while_it_waits_for_a_photograph_tells_of_it(
    waits: int,
    photo: Photo,
    options: AnalyzeOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = [photo(tmp_path / f"{n}.png", cracks=n) for n in (1, 2, 3)]
    result, calls = Future.result, []

    def stop(self: Future[Any], *more: Any) -> Any:
        value = result(self, *more)
        if isinstance(value, tasks.Outcome):  # tiles are waited for, too
            calls.append(self)
            if len(calls) == waits:
                raise KeyboardInterrupt
        return value

    monkeypatch.setattr(Future, "result", stop)
    with pytest.raises(batch.Interrupted) as stopped:
        batch.run(paths, tmp_path / "out", options)
    assert [outcome.path for outcome in stopped.value.outcomes] == paths[:waits]
    assert states(list(stopped.value.outcomes)) == ["analyzed"] * waits


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
    out = tmp_path / "out"
    with filling(out / "a") as fresh:
        (fresh / "report.json").write_text("{")
        shutil.copytree(fresh, out / ".crackseg-0123abcd")  # as a kill leaves it
    shutil.rmtree(out / "a")
    assert states(batch.run([photo(tmp_path / "a.jpg")], out, options)) == ["analyzed"]
    assert [p.name for p in out.iterdir()] == ["a"]


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
    outcomes: list[tasks.Outcome] = []
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


@pytest.mark.parametrize("inner", ["", "results", "results/of/today"])
def test_an_output_that_is_a_file_or_lies_in_one_is_wrong_usage(
    inner: str, photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    target = tmp_path / "file"
    target.write_text("x")
    with pytest.raises(OutputError, match="file` is a file, not a folder"):
        batch.run([photo(tmp_path / "a.jpg")], target / inner, options)
    assert target.read_text() == "x"


def test_an_output_that_is_a_link_to_nowhere_is_wrong_usage(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    (tmp_path / "drive").symlink_to(tmp_path / "gone")
    with pytest.raises(OutputError, match="drive` is a link that leads to no folder"):
        batch.run([photo(tmp_path / "a.jpg")], tmp_path / "drive", options)


def test_wrong_names_stop_before_the_first_image(photo: Photo, tmp_path: Path) -> None:
    path, out = photo(tmp_path / "a.jpg"), tmp_path / "out"
    with pytest.raises(UnknownName, match="unknown model `nowhere`"):
        batch.run([path], out, read_options(AnalyzeOptions, {"model": "nowhere"}))
    with pytest.raises(UnknownName, match="unknown export `pdff`"):
        batch.run([path], out, read_options(AnalyzeOptions, {"exports": ["pdff"]}))
    assert not out.exists()
