"""A drive that goes away while a folder is analyzed: named for each photograph, nothing untrue."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crackseg import batch, tasks
from crackseg.config import AnalyzeOptions, read_options

Photo = Callable[..., Path]


@pytest.fixture
def options(dark_model: Path) -> AnalyzeOptions:
    return read_options(AnalyzeOptions, {"model": str(dark_model)})


def after(path: Path, action: Callable[[], Any]) -> batch.Listener:
    """Return a listener that does something once a photograph is done."""

    def end(outcome: tasks.Outcome) -> None:
        if outcome.path == path:
            action()

    return batch.Listener(end=end)


def states(outcomes: list[tasks.Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def test_photographs_that_go_away_are_named_and_the_rest_stays(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    drive, out = tmp_path / "drive", tmp_path / "out"
    paths = [photo(drive / f"{n}.png", cracks=n) for n in (1, 2, 3, 4)]
    gone = after(paths[0], lambda: drive.rename(tmp_path / "away"))
    outcomes = batch.run(paths, out, options, listener=gone)
    # the second is read by then
    assert states(outcomes) == ["analyzed", "analyzed", "failed", "failed"]
    assert all("png" in str(outcome.reason) for outcome in outcomes[2:])
    rows = json.loads((out / "survey.json").read_text(encoding="utf-8"))["images"]
    assert [row["status"] for row in rows] == ["analyzed", "analyzed", "failed", "failed"]
    (tmp_path / "away").rename(drive)
    again = batch.run(paths, out, options)
    assert states(again) == ["unchanged", "unchanged", "analyzed", "analyzed"]


def test_results_that_go_away_are_no_results(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    paths = [photo(tmp_path / "in" / f"{n}.png", cracks=n) for n in (1, 2, 3)]
    out = tmp_path / "drive" / "out"
    gone = after(paths[1], lambda: out.parent.rename(tmp_path / "away"))
    outcomes = batch.run(paths, out, options, listener=gone)
    assert states(outcomes) == ["failed"] * 3
    assert "are gone" in str(outcomes[0].reason)
    assert "has gone or was replaced" in str(outcomes[2].reason)
    assert not out.exists()
    (tmp_path / "away").rename(out.parent)
    assert states(batch.run(paths, out, options)) == ["unchanged", "unchanged", "analyzed"]


def test_another_folder_in_the_place_of_the_results_is_not_filled(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    """As the empty folder below the place of a drive that was taken out."""
    paths = [photo(tmp_path / "in" / f"{n}.png", cracks=n) for n in (1, 2)]
    out = tmp_path / "out"

    def swap() -> None:
        out.rename(tmp_path / "away")
        out.mkdir()

    assert states(batch.run(paths, out, options, listener=after(paths[0], swap))) == ["failed"] * 2
    assert list(out.iterdir()) == []
    out.rmdir()
    (tmp_path / "away").rename(out)
    assert states(batch.run(paths, out, options)) == ["unchanged", "analyzed"]


def test_one_result_that_was_removed_is_in_no_survey(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path
) -> None:
    paths = [photo(tmp_path / "in" / f"{n}.png", cracks=n) for n in (1, 2)]
    out = tmp_path / "out"
    removed = after(paths[0], lambda: shutil.rmtree(out / "1"))
    assert states(batch.run(paths, out, options, listener=removed)) == ["failed", "analyzed"]
    rows = json.loads((out / "survey.json").read_text(encoding="utf-8"))["images"]
    assert {row["status"] for row in rows if row["folder"] != "2"} == {"failed"}


def test_an_error_of_reading_is_not_one_of_writing(
    photo: Photo, options: AnalyzeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo(tmp_path / "wall.png")

    def broken(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(tasks, "look", broken)
    (outcome,) = batch.run([path], tmp_path / "out", options)
    assert "cannot be read: Input/output error" in str(outcome.reason)
