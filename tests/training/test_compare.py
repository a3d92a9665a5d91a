"""A comparison keeps what is finished, names what failed, and gives means with their spread."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lightning")
pytest.importorskip("matplotlib")

from crackseg.errors import ConfigError, ModelError
from crackseg.training import compare as module
from crackseg.training.compare import Contestant, compare, read_compare, run_options
from crackseg.training.compare_table import (
    COLUMNS,
    as_markdown,
    mean_over_sets,
    spread,
    write_tables,
)
from crackseg.training.evaluate import LEAKY
from crackseg.training.manifest import index_folder, write_manifest
from crackseg.training.speed import Speed, measure_speed

TEXT = """
out = "out"
seeds = [1, 2]
runtimes = ["onnx"]
tile_px = 64

[protocol.data]
manifest = "all.csv"
crop_px = 32
batch = 2

[protocol.fit]
steps = 4
steps_per_epoch = 2
branch_weight = 0.5

[[network]]
name = "narrow"
network = "unet"
arguments = { width = 0.03125 }

[[network]]
name = "CDDS / no branches"
network = "cdds"
arguments = { width = 0.03125 }
fit = { branch_weight = 0.0 }

[[published]]
name = "somebody"
protocol = "other data"
f1 = 0.8
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "compare.toml").write_text(TEXT)
    return tmp_path / "compare.toml"


SPEED = Speed(s_per_megapixel=0.5, peak_mb=300.0)


def figures(f1, *, images=4, free=0):
    """The figures of a set in which every score is ``f1``."""
    scores = dict.fromkeys(("precision", "recall", "f1", "iou"), f1)
    way = {"pooled": scores, "per_image": scores}
    return {
        "images": images,
        "strict": way,
        "tolerant": way,
        "cldice": {"pooled": f1},
        "crack_free": {"images": free, "alarm_rate": 0.25 if free else None},
    }


def cell(run, f1):
    return {
        "parameters": 1_500_000,
        "gmac": 2.0 if run.network == "unet" else 13.0,
        "choice": {"threshold": 0.5},
        "sets": {"wall": figures(f1), "free": figures(None, free=4)},
    }


@pytest.fixture(autouse=True)
def timed(request, monkeypatch):
    """Replace timing by an answer, except where it is what is tested; return what was timed."""
    folders = []
    if "slow" not in request.keywords:
        monkeypatch.setattr(
            module, "measure_speed", lambda folder, *_, **__: folders.append(folder) or SPEED
        )
    return folders


@pytest.fixture
def runs(monkeypatch):
    """Replace training by an answer that depends on network and seed; return who was trained."""
    trained = []

    def run_cell(run, options):
        trained.append((run.name, run.seed))
        run.out.mkdir(parents=True)
        return cell(run, (0.7 if run.network == "unet" else 0.8) + 0.02 * run.seed)

    monkeypatch.setattr(module, "_run_cell", run_cell)
    return trained


def test_a_finished_cell_is_not_run_again(file, runs, timed):
    options = read_compare(file)
    said = []
    first = compare(options, said.append)
    assert runs == [
        ("narrow", 1),
        ("CDDS / no branches", 1),
        ("narrow", 2),
        ("CDDS / no branches", 2),
    ]
    runs.clear()
    (options.out / "narrow-seed2" / "cell.json").unlink()
    (options.out / "narrow-seed2").rmdir()
    assert compare(options, said.append) == first
    assert runs == [("narrow", 2)]
    assert len(timed) == 2  # once for all
    assert {folder.parent.name for folder in timed} == {"narrow-seed1", "CDDS___no_branches-seed1"}
    earlier = options.out / "narrow-seed1" / "cell.json"
    cell = json.loads(earlier.read_text())
    del cell["identity"]["run"]["data"]["augment"]["patch"]  # as if the option were new
    earlier.write_text(json.dumps(cell))
    runs.clear()
    compare(options, said.append)
    assert runs == []
    earlier.write_text(json.dumps(cell | {"identity": "a digest, as cells once had"}))
    with pytest.raises(ConfigError, match=r"narrow-seed1.*other options"):
        compare(options, said.append)
    earlier.write_text(json.dumps(cell))
    changed = replace(options, tile_px=128)
    with pytest.raises(ConfigError, match=r"narrow-seed1.*other options"):
        compare(changed, said.append)


def test_tables_give_mean_and_spread(file, runs):
    options = read_compare(file)
    compare(options, lambda text: None)
    text = (options.out / "compare.md").read_text()
    assert "| narrow | 2 | 0.730 ± 0.010 |" in text
    assert "| narrow | 0.730 ± 0.010 |" in text  # the mean of one set is that set
    assert "| CDDS / no branches | 2 | 0.830 ± 0.010 |" in text
    assert "| narrow | 1.50 | 2.0 | 0.250 ± 0.000 | 0.50 | 300 |" in text
    assert "| somebody |  |  | 0.800 |  | other data |" in text
    assert "### free" not in text
    with (options.out / "compare.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["network"], r["seed"], r["set"], r["F1"]) for r in rows[:2]] == [
        ("narrow", "1", "wall", "0.72000"),
        ("CDDS / no branches", "1", "wall", "0.82000"),
    ]
    assert (options.out / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_a_failed_cell_is_named_and_tried_again(file, monkeypatch):
    def fail(run, options):
        if run.network == "cdds":
            raise ModelError("no room")
        return cell(run, 0.5)

    options = read_compare(file)
    for contestant in options.network:
        for seed in options.seeds:
            run_options(contestant, seed, options).out.mkdir(parents=True)
    monkeypatch.setattr(module, "_run_cell", fail)
    cells = compare(options, lambda text: None)
    assert [c.get("failed") for c in cells] == [None, "no room", None, "no room"]
    assert "- CDDS / no branches, seed 1: no room" in (options.out / "compare.md").read_text()
    monkeypatch.setattr(module, "_run_cell", lambda run, options: cell(run, 0.9))
    again = compare(options, lambda text: None)
    assert not any("failed" in c for c in again)
    assert again[0]["sets"]["wall"]["strict"]["pooled"]["f1"] == 0.5  # kept


def test_rows_differ_from_the_protocol_only_where_they_say_so(file):
    options = read_compare(file)
    plain, bare = (run_options(c, 2, options) for c in options.network)
    assert (plain.fit.branch_weight, bare.fit.branch_weight) == (0.5, 0.0)
    assert (plain.fit.steps, plain.seed, plain.data) == (4, 2, bare.data)
    assert bare.out.name == "CDDS___no_branches-seed2"
    assert plain.data.manifest == file.parent / "all.csv"
    assert read_compare(file, Path("/pictures")).protocol["data"]["root"] == "/pictures"


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('name = "narrow"', 'name = "CDDS / no branches"', "different names"),
        ("seeds = [1, 2]", "seeds = []", "at least one"),
        ("[protocol.data]", "[protocol]\nseed = 3\n[protocol.data]", "seed"),
        ("tile_px", "tile_pixels", "tile_px"),
    ],
)
def test_odd_comparisons_are_refused(file, old, new, word):
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError, match=word):
        read_compare(file)


def test_spread_is_empty_where_a_seed_has_no_figure():
    assert spread([0.5, None]) == spread([]) == ""
    assert spread([0.5]) == "0.500"
    assert as_markdown([], {}, []).startswith("Crack class")


def test_the_mean_counts_a_set_once_and_without_its_leaky_pictures():
    sets = {"a": figures(0.6), f"a {LEAKY}": figures(0.9), "b": figures(0.2), "c": figures(None)}
    assert mean_over_sets({"sets": sets}, COLUMNS["F1"]) == pytest.approx(0.8 / 3)


def test_tables_of_nothing_are_written(tmp_path):
    write_tables([{"name": "a", "seed": 1, "failed": "x"}], {}, [], tmp_path)
    assert "seed 1: x" in (tmp_path / "compare.md").read_text()


def test_the_model_alone_is_measured_not_its_parent_nor_its_libraries(dark_model):
    held = np.ones(40_000_000)  # 320 MB that a child of this process inherits in its ru_maxrss
    speed = measure_speed(dark_model, "onnx", tile_px=64)
    assert speed.s_per_megapixel > 0
    assert 0 <= speed.peak_mb < 100
    assert held[-1] == 1
    with pytest.raises(ModelError, match="cannot be timed on `abacus`"):
        measure_speed(dark_model, "abacus", tile_px=64)


def test_timing_on_onnx_loads_no_torch(dark_model):
    code = """
import sys
from pathlib import Path
from crackseg.training.speed import time_here
time_here(Path(sys.argv[1]), "onnx", 64)
print([name for name in ("torch", "lightning", "matplotlib") if name in sys.modules])
"""
    command = [sys.executable, "-c", code, str(dark_model)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.fixture
def pictures(tmp_path):
    """Four small pictures of a line, indexed in the manifest that the comparison names."""
    rng = np.random.default_rng(0)
    for k, split in enumerate(["train", "train", "val", "test"]):
        for kind in ("images", "masks"):
            (tmp_path / "data" / "wall" / kind).mkdir(parents=True, exist_ok=True)
        mask = np.zeros((64, 80), np.uint8)
        mask[10 + 10 * k : 13 + 10 * k, 5:70] = 255
        picture = np.clip(rng.normal(180, 9, (64, 80, 3)) - 0.5 * mask[..., None], 0, 255)
        Image.fromarray(picture.astype(np.uint8)).save(
            tmp_path / "data" / "wall" / "images" / f"{k}.png"
        )
        Image.fromarray(mask).save(tmp_path / "data" / "wall" / "masks" / f"{k}.png")
        with (tmp_path / "data" / "wall" / f"{split}.txt").open("a") as stream:
            stream.write(f"{k}\n")
    write_manifest(index_folder(tmp_path / "data"), tmp_path / "all.csv")


@pytest.mark.slow
def test_one_real_cell_from_pictures_to_table(file, pictures):
    options = replace(read_compare(file), seeds=(1,), runtimes=("onnx", "torch"))
    cells = compare(options, lambda text: None)
    assert not any("failed" in c for c in cells), cells
    for made in cells:
        assert made["sets"]["wall"]["images"] == 1
    speeds = json.loads((options.out / "speed.json").read_text())["speeds"]
    assert speeds.keys() == {"narrow", "CDDS / no branches"}
    for speed in (speed for own in speeds.values() for speed in own.values()):
        assert speed["s_per_megapixel"] > 0
        assert 0 < speed["peak_mb"] < 150  # what torch's libraries take does not count
    kept = json.loads((options.out / "narrow-seed1" / "cell.json").read_text())
    assert kept == cells[0]
    assert (options.out / "narrow-seed1" / "curves.png").exists()


@pytest.mark.slow
def test_a_cell_of_mask_rcnn_is_trained_exported_and_scored(file, pictures):
    options = read_compare(file)
    few = {"steps": 1, "steps_per_epoch": 1, "ema": 0.0}
    masks = Contestant(name="Mask R-CNN", network="mask_rcnn", arguments={"instances": 5}, fit=few)
    cells = compare(replace(options, seeds=(1,), network=(masks,)), lambda text: None)
    assert "failed" not in cells[0], cells[0]
    assert cells[0]["sets"]["wall"]["images"] == 1
    assert "| Mask R-CNN | 43" in (options.out / "compare.md").read_text()
