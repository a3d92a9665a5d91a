"""An option that was written either works, or a sentence says that it has no effect."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import exit_code
from PIL import Image

from crackseg import config
from crackseg.config import AnalyzeOptions, EngineOptions, read_options, to_plain
from crackseg.errors import DataError
from crackseg.idle import idle_in_analysis
from crackseg.training.dataset import read_samples
from crackseg.training.evaluate import load_samples
from crackseg.training.manifest import index_folder, write_manifest
from crackseg.training.options import DataOptions, TrainOptions, idle_in_training

Run = Callable[..., tuple[int, str]]
HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def crackseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command line: exit code and what stood on the error stream."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["crackseg", *map(str, arguments)])
        code = exit_code()
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """A crack across the picture, one of 60 px along the upper edge, and specks of 16 px."""
    pixels = np.zeros((200, 300), np.uint8)
    pixels[100:103] = 255
    pixels[3:6, 20:80] = 255
    pixels[150:152, 20:260:12] = 255
    pixels[152, 20:260:40] = 255
    path = tmp_path / "mask.png"
    Image.fromarray(pixels).save(path)
    return path


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "mask" / "report.json").read_text("utf-8"))
    return report


def test_measure_leaves_out_specks_where_that_is_asked_for(
    crackseg: Run, mask: Path, tmp_path: Path
) -> None:
    dashes = np.zeros((100, 300), np.uint8)
    dashes[50, 10:290] = np.arange(280) % 12 < 9  # a thin line that was made smaller
    Image.fromarray(dashes * 255).save(mask)
    config = tmp_path / "options.toml"
    config.write_text("[mask]\nmin_area_px = 10\n")
    assert crackseg("measure", mask, "-o", tmp_path / "whole")[0] == 0
    assert crackseg("measure", mask, "-o", tmp_path / "out", "--config", config)[0] == 0
    whole, report = report_of(tmp_path / "whole"), report_of(tmp_path / "out")
    assert [round(crack["length_px"]) for crack in whole["cracks"]] == [280]
    assert report["cracks"] == []
    (told,) = [n["message"] for n in report["warnings"] if n["code"] == "mask_specks"]
    assert told.startswith(f"{int(dashes.sum())} px of the mask lie in specks smaller than")


def test_a_border_that_is_ignored_is_left_out_and_cuts(
    crackseg: Run, mask: Path, tmp_path: Path
) -> None:
    config = tmp_path / "options.toml"
    config.write_text("[mask]\nignore_border_px = 20\n")
    assert crackseg("measure", mask, "-o", tmp_path / "out", "--config", config)[0] == 0
    report = report_of(tmp_path / "out")
    (crack,) = [c for c in report["cracks"] if c["length_px"] > 100]
    assert crack["bbox"]["col"] == 20
    assert crack["bbox"]["width"] == 260
    assert "touches_nodata" in crack["flags"]
    shares = {part["code"]: part["share"] for part in report["unjudged"]}
    assert shares["left_out"] == pytest.approx(1 - 160 * 260 / (200 * 300), abs=1e-4)
    assert all(crack["bbox"]["row"] >= 20 for crack in report["cracks"])


def test_an_analysis_leaves_the_border_out_as_well(
    crackseg: Run, photo: Callable[..., Path], dark_model: Path, tmp_path: Path
) -> None:
    photo(tmp_path / "mask.jpg")
    config = tmp_path / "options.toml"
    config.write_text("[mask]\nignore_border_px = 40\n")
    arguments = ("--model", dark_model, "--config", config, "-o", tmp_path / "out")
    assert crackseg("analyze", tmp_path / "mask.jpg", *arguments)[0] == 0
    report = report_of(tmp_path / "out")
    (crack,) = report["cracks"]
    assert crack["bbox"]["col"] == 40
    assert "touches_nodata" in crack["flags"]
    assert "left_out" in {part["code"] for part in report["unjudged"]}


def test_a_border_that_leaves_nothing_is_refused(crackseg: Run, mask: Path, tmp_path: Path) -> None:
    config = tmp_path / "options.toml"
    config.write_text("[mask]\nignore_border_px = 100\n")
    code, told = crackseg("measure", mask, "-o", tmp_path / "out", "--config", config)
    assert code == 2
    assert "`ignore_border_px` of 100 leaves nothing of `mask.png`" in told


def test_a_mask_that_lies_in_the_border_is_no_wall_without_cracks(
    crackseg: Run, mask: Path, tmp_path: Path
) -> None:
    pixels = np.zeros((200, 300), np.uint8)
    pixels[3:6, 20:280] = 255
    Image.fromarray(pixels).save(mask)
    config = tmp_path / "options.toml"
    config.write_text("[mask]\nignore_border_px = 20\n")
    crackseg("measure", mask, "-o", tmp_path / "out", "--config", config)
    report = report_of(tmp_path / "out")
    assert "mask_left_out" in {notice["code"] for notice in report["warnings"]}


def test_measure_takes_scales_by_name_and_limits_of_size(
    crackseg: Run, mask: Path, tmp_path: Path
) -> None:
    config = tmp_path / "options.toml"
    config.write_text('[picture_scale."mask.png"]\nmm_per_px = 0.5\n')
    assert crackseg("measure", mask, "-o", tmp_path / "out", "--config", config)[0] == 0
    assert report_of(tmp_path / "out")["scale"]["mm_per_px"] == 0.5
    config.write_text('max_megapixels = 0.05\n[picture_scale."other.png"]\nmm_per_px = 0.5\n')
    code, told = crackseg("measure", mask, "-o", tmp_path / "out", "--config", config)
    assert code == 2
    assert "`picture_scale` names `other.png`: no photograph is called so." in told
    assert "more than the limit of 0.05" in told


def test_measure_says_what_of_a_file_for_analyses_has_no_effect(
    crackseg: Run, mask: Path, tmp_path: Path
) -> None:
    config = tmp_path / "options.toml"
    config.write_text(
        'model = "default"\n[predict]\nreadings = 4\n[mask]\nthreshold = 0.3\ngap_px = 5\n'
        '[engine]\nname = "ray"\n[scale]\nmm_per_px = 0.5\ndistance_sigma_rel = 0.1\n'
    )
    code, told = crackseg("measure", mask, "-o", tmp_path / "out", "--config", config)
    assert code == 0
    named = set(re.findall("warning: `(.*?)` has no effect: ", told))
    assert named == {
        "model", "predict.readings", "mask.threshold", "engine.name", "scale.distance_sigma_rel"
    }  # fmt: skip


WRITTEN = [
    ({"scale": {"mm_per_px_sigma_rel": 0.01}}, ["scale.mm_per_px_sigma_rel"]),
    ({"scale": {"mm_per_px_sigma_rel": 0.01, "mm_per_px": 1.0}}, []),
    ({"scale": {"mm_per_px_sigma_rel": 0.01}, "picture_scale": {"a.jpg": {"mm_per_px": 1.0}}}, []),
    ({"scale": {"marker_dictionary": "DICT_5X5_50"}}, ["scale.marker_dictionary"]),
    ({"predict": {"reread_from": 0.3}}, ["predict.reread_from"]),
    ({"predict": {"reread_from": 0.3, "readings": 4}}, []),
    ({"region": {"joint_share": 0.5}}, ["region.joint_share"]),
    ({"region": {"joint_share": 0.5, "ignore": "x.json"}}, []),
    ({"engine": {"cpus_per_actor": 2}}, ["engine.cpus_per_actor"]),
    ({"engine": {"cpus_per_actor": 2, "name": "ray"}}, []),
    ({"engine": {"name": "ray"}, "predict": {"workers": 2}}, ["predict.workers"]),
    ({"mask": {"threshold": 0.5}, "predict": {"workers": 2}}, []),
]


@pytest.mark.parametrize(("written", "named"), WRITTEN)
def test_an_analysis_says_what_has_no_effect(written: dict[str, Any], named: list[str]) -> None:
    tables = dict(written)
    engine = read_options(EngineOptions, tables.pop("engine", {}))
    told = idle_in_analysis(written, read_options(AnalyzeOptions, tables), engine)
    assert [re.findall("`(.*?)`", sentence)[0] for sentence in told] == named


def test_a_training_says_what_has_no_effect() -> None:
    written = {
        "name": "n", "out": "o", "network": "unet", "data": {"manifest": "m.csv"},
        "fit": {"schedule": "paper", "decay_share": 0.2, "warmup_steps": 3, "outline_weight": 2.0},
    }  # fmt: skip
    told = idle_in_training(written, read_options(TrainOptions, written))
    assert [re.findall("`(.*?)`", sentence)[0] for sentence in told] == [
        "fit.decay_share", "fit.warmup_steps", "fit.outline_weight"
    ]  # fmt: skip


IDLE = [
    ("train RUN.toml --hold-out 0.3", "--hold-out"),
    ("train RUN.toml --init sets --root sets", "--root"),
    ("export run --int8 --data sets --threshold 0.4", "--threshold"),
    ("export run --out o --name n --version 1 --threshold-low 0.2", "--threshold-low"),
    ("export run --out o --name n --version 1 --every 3", "--every"),
    ("evaluate sets --write", "--write"),
    ("evaluate sets --pod --per-picture p.csv", "--per-picture"),
    ("evaluate sets --choose-threshold --threshold 0.4", "--threshold"),
    ("evaluate sets --inside default", "--inside"),
    ("evaluate-widths widths.csv out.json", "json_file"),
    ("data import a.json --images i --out o --format coco --values 1", "--values"),
    ("data import a.xml --images i --out o --format cvat --holes", "--holes"),
    ("data import a --images i --out o --format masks --line-px 3", "--line-px"),
    ("data tile sets --out o --labels crack", "--labels"),
    ("data tile photos --out o --annotations a.json --format coco --root r", "--root"),
    ("bench --pictures a.jpg --megapixels 3", "--megapixels"),
]


@pytest.mark.parametrize(("line", "option"), IDLE)
def test_an_option_of_another_way_of_a_command_is_refused(
    line: str, option: str, crackseg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    head = "site,name,width_mm,mm_per_px,profile\n"
    grey = " ".join(["190"] * 15 + ["40"] * 3 + ["190"] * 15)
    Path("widths.csv").write_text(f"{head}a,b,1,0.5,{grey}\n")
    code, told = crackseg(*line.split())
    assert code == 2
    assert f"`{option}` has no effect here: it " in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["widths.csv"]


def test_what_stands_on_the_command_line_of_the_service_is_over_the_file(
    crackseg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    monkeypatch.setattr("service.server.serve", taken.append)
    config = tmp_path / "service.toml"
    config.write_text(f'data = "{(tmp_path / "of_file").as_posix()}"\n')
    assert crackseg("serve", "--config", config)[0] == 0
    assert crackseg("serve", "--config", config, "--data", tmp_path / "given")[0] == 0
    assert [Path(settings.data).name for settings in taken] == ["of_file", "given"]


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A folder of one set."""
    for folder in ("images", "masks"):
        (tmp_path / "sets" / "wall" / folder).mkdir(parents=True)
        picture = np.zeros((64, 64), np.uint8)
        picture[30:32] = 255
        cv2.imwrite(str(tmp_path / "sets" / "wall" / folder / "a.png"), picture)
    return tmp_path / "sets"


def test_a_set_that_is_not_there_is_no_wish_that_is_dropped(sets: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    write_manifest(index_folder(sets), manifest)
    with pytest.raises(DataError, match="`licences` names wal, not found"):
        index_folder(sets, licences={"wal": "CC0"})
    with pytest.raises(DataError, match="`sets` names wal, of which there is no picture"):
        load_samples(manifest, split="train", sets=["wall", "wal"])
    for name in ("joints", "outlines", "sets", "val_sets"):
        with pytest.raises(DataError, match=f"`data.{name}` names wal, .* there are: wall"):
            read_samples(DataOptions(manifest=manifest, **{name: ("wal",)}))  # type: ignore[arg-type]


def test_every_option_is_read_somewhere() -> None:
    sources = [*(HERE / "crackseg").rglob("*.py"), *(HERE / "service").rglob("*.py")]
    code = "\n".join(path.read_text("utf-8") for path in sources if path.name != "config.py")
    names = [
        field.name
        for kind in vars(config).values()
        if dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
    ]
    assert len(names) > 40
    assert [name for name in names if f".{name}" not in code] == []
    assert "mm_per_px" in to_plain(AnalyzeOptions())["scale"]
