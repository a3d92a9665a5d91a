"""A model's marks go to a labelling tool, most doubtful photographs first, and come back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crackseg import batch
from crackseg.commands import app
from crackseg.config import AnalyzeOptions, read_options
from crackseg.errors import DataError, OutputError, UnknownName
from crackseg.metrology.phantoms import Look, draw, wandering
from crackseg.reporting.command import write_report
from crackseg.reporting.gather import gather
from crackseg.reporting.pre_annotations import write_pre_annotations
from crackseg.training.annotations import ImportOptions, import_annotations
from crackseg.training.areas import LEFT_OUT, read_areas
from crackseg.training.manifest import read_pair

NAMES = ("sure.png", "doubtful.png", "free.png")
TOOLS = ("cvat", "labelstudio", "yolo")


def _photograph(number: int, cracks: int) -> Any:
    rng = np.random.default_rng(number)
    strokes = [wandering((60 + 150 * k, 20), 5, 260, 5.0, rng, bend_deg=5) for k in range(cracks)]
    return draw((300, 320), strokes, Look(), rng).picture


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, (name, cracks) in enumerate(zip(NAMES, (2, 2, 0), strict=True)):
        Image.fromarray(_photograph(number, cracks)).save(folder / name)
    return folder


@pytest.fixture
def results(tmp_path: Path, photographs: Path, dark_model: Path) -> Path:
    """Three photographs, analyzed; the marks of one are doubtful, one of them in section two."""
    folder = tmp_path / "results"
    options = read_options(AnalyzeOptions, {"model": str(dark_model)})
    batch.run(sorted(photographs.iterdir()), folder, options)
    for name, certainties in (("sure", (0.99, 0.97)), ("doubtful", (0.8, 0.4))):
        path = folder / name / "report.json"
        report = json.loads(path.read_text(encoding="utf-8"))
        for crack, certainty in zip(report["cracks"], certainties, strict=True):
            crack["certainty"] = certainty
            crack["section"] = "main" if certainty > 0.7 else "also_marked"
        path.write_text(json.dumps(report), encoding="utf-8")
    return folder


def _labelled(path: Path, change: Callable[[Any], None]) -> None:
    """Do what somebody does in Label Studio: take the predictions over and change some."""
    tasks = json.loads(path.read_text(encoding="utf-8"))
    for task in tasks:
        task["data"]["image"] = f"/data/upload/7/0a1b2c3d-{task['data']['image']}"
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    change(tasks)
    path.write_text(json.dumps(tasks), encoding="utf-8")


def _import(tool: str, out: Path, photographs: Path, to: Path) -> Any:
    source = {"cvat": out / "cvat.xml", "labelstudio": out / "labelstudio.json", "yolo": out}[tool]
    options = ImportOptions(labels=("crack",), left_out=("unsure",))
    return import_annotations(source, photographs, to, format=tool, options=options)


@pytest.mark.parametrize("tool", TOOLS)
def test_marks_come_back_to_the_pixel(
    tool: str, results: Path, photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "task"
    write_pre_annotations(results, out, tool)
    if tool == "labelstudio":
        _labelled(out / "labelstudio.json", lambda tasks: None)
    done = _import(tool, out, photographs, tmp_path / "set")
    assert sorted(sample.image.name for sample in done.samples) == sorted(NAMES)
    for sample in done.samples:
        picture, mask = read_pair(sample)
        areas = read_areas(sample, mask.shape)
        left_out = np.zeros(mask.shape, bool) if areas is None else areas == LEFT_OUT
        with Image.open(results / sample.image.stem / "mask.png") as image:  # noqa: TID251
            marked = np.asarray(image) > 127
        assert np.array_equal(mask | left_out, marked)
        assert left_out.any() == (sample.image.name == "doubtful.png")
        assert mask.any() == (sample.image.name != "free.png")
        assert np.array_equal(picture, _photograph(NAMES.index(sample.image.name), 2)) or (
            sample.image.name == "free.png"
        )


def _order(tool: str, out: Path) -> list[str]:
    if tool == "cvat":
        text = (out / "cvat.xml").read_text(encoding="utf-8")
        return [part.split('"')[0] for part in text.split(' name="')[1:]]
    if tool == "labelstudio":
        tasks = json.loads((out / "labelstudio.json").read_text(encoding="utf-8"))
        assert [task["data"]["doubt"] for task in tasks] == [0.6, 0.04, 0.0]
        return [task["data"]["image"] for task in tasks]
    listed = (out / "images.txt").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("images/") for line in listed]


@pytest.mark.parametrize("tool", TOOLS)
def test_the_most_doubtful_photograph_comes_first(tool: str, results: Path, tmp_path: Path) -> None:
    write_pre_annotations(results, tmp_path / "task", tool)
    expected = ["doubtful.png", "sure.png", "free.png"]
    assert _order(tool, tmp_path / "task") == expected
    with (tmp_path / "task" / "order.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [Path(row["image"]).name for row in rows] == expected
    assert [(row["doubt"], row["cracks"], row["also_marked"]) for row in rows] == [
        ("0.600", "1", "1"),
        ("0.040", "2", "0"),
        ("0.000", "0", "0"),
    ]


def test_a_name_that_a_spreadsheet_would_run_is_text(
    photographs: Path, dark_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photographs / "free.png").rename(photographs / "=1+1.png")
    monkeypatch.chdir(photographs)
    options = read_options(AnalyzeOptions, {"model": str(dark_model)})
    batch.run([Path("=1+1.png")], tmp_path / "results", options)
    write_pre_annotations(tmp_path / "results", tmp_path / "task", "cvat")
    with (tmp_path / "task" / "order.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["image"] for row in csv.DictReader(stream)] == ["'=1+1.png"]


def test_what_was_judged_is_not_doubtful_and_what_was_rejected_is_left_out(
    results: Path, photographs: Path, tmp_path: Path
) -> None:
    about = json.loads((results / "survey.json").read_text(encoding="utf-8"))
    name = next(row["image"] for row in about["images"] if row["folder"] == "doubtful")
    report = json.loads((results / "doubtful" / "report.json").read_text(encoding="utf-8"))
    first, second = (crack["id"] for crack in report["cracks"])
    about["verdicts"] = [
        {"image_name": name, "crack": first, "verdict": "reject", "by": "A", "note": ""},
        {"image_name": name, "crack": second, "verdict": "accept", "by": "A", "note": ""},
    ]
    (results / "survey.json").write_text(json.dumps(about), encoding="utf-8")
    write_pre_annotations(results, tmp_path / "task", "yolo")
    assert _order("yolo", tmp_path / "task") == ["sure.png", "doubtful.png", "free.png"]
    lines = (tmp_path / "task" / "labels" / "doubtful.txt").read_text("utf-8").splitlines()
    assert [line.split()[0] for line in lines] == ["0"]


@pytest.mark.parametrize("twin", ["sure.jpg", "SURE.PNG"])
def test_photographs_that_would_share_a_label_file_are_refused(
    twin: str, results: Path, tmp_path: Path
) -> None:
    """Of sure.png beside sure.jpg the marks of one were written over those of the other."""
    about = json.loads((results / "survey.json").read_text(encoding="utf-8"))
    for row in about["images"]:
        path = Path(row["image"])
        if path.name == "doubtful.png":
            row["image"] = str(path.with_name(twin))
    (results / "survey.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(DataError, match="would have one label file"):
        write_pre_annotations(results, tmp_path / "task", "yolo")
    assert not (tmp_path / "task").exists()
    with pytest.raises(DataError, match="would have one label file"):
        write_report(results, formats=["yolo"])
    write_pre_annotations(results, tmp_path / "task", "cvat")


def test_a_table_of_verdicts_beside_the_results_counts(results: Path, tmp_path: Path) -> None:
    report = json.loads((results / "doubtful" / "report.json").read_text(encoding="utf-8"))
    first, second = (crack["id"] for crack in report["cracks"])
    table = results / "verdicts.csv"
    rows = f"doubtful.png,{first},reject\ndoubtful.png,{second},accept\n"
    table.write_text(f"image_name,crack,verdict\n{rows}", encoding="utf-8")
    write_pre_annotations(results, tmp_path / "task", "yolo")
    assert _order("yolo", tmp_path / "task") == ["sure.png", "doubtful.png", "free.png"]
    lines = (tmp_path / "task" / "labels" / "doubtful.txt").read_text("utf-8").splitlines()
    assert [line.split()[0] for line in lines] == ["0"]
    gathered = gather(results)
    assert [crack.id for crack in gathered.rejected] == [first]
    row = next(p.row for p in gathered.photographs if p.name == "doubtful.png")
    assert (row["cracks"], row["rejected"]) == (1, 1)
    assert row["length_px"] == pytest.approx(report["cracks"][1]["length_px"], abs=0.01)
    table.write_text("image_name,crack,verdict\ndoubtful.png,77,reject\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no crack 77"):
        gather(results)


def test_a_task_that_nobody_labelled_is_no_crack_free_picture(
    results: Path, photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "task"
    write_pre_annotations(results, out, "labelstudio")
    _labelled(out / "labelstudio.json", lambda tasks: tasks[0].pop("annotations"))
    done = _import("labelstudio", out, photographs, tmp_path / "set")
    assert "doubtful.png" not in {sample.image.name for sample in done.samples}


def test_the_command_refuses_what_it_does_not_know(results: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="cvat, labelstudio, yolo"):
        write_pre_annotations(results, tmp_path / "task", "paint")
    arguments = ["data", "pre-annotate", str(results), "--out", str(tmp_path / "task")]
    done = CliRunner().invoke(app, [*arguments, "--format", "cvat"])
    assert done.exit_code == 0, done.output
    assert "order.csv says in which order to look" in done.output
    with pytest.raises(OutputError, match="not empty"):
        write_pre_annotations(results, tmp_path / "task", "cvat")
