"""A comparison tunes on val, keeps what is finished, names what failed, and repeats to the bit."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lightning")
pytest.importorskip("matplotlib")

import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.errors import ConfigError, ModelError, OutputError, TrainingError
from crackseg.training import compare_cell, contest
from crackseg.training.compare import Task, compare, run_tasks, tasks_of
from crackseg.training.compare_options import only, read_compare, run_options, shortened
from crackseg.training.manifest import index_folder, write_manifest

TEXT = """
out = "out"
seeds = [1, 2]
tune_steps = 2
score_every = 2
tile_px = 64
pictures = ["wall/3"]

[protocol]
accelerator = "cpu"

[protocol.data]
manifest = "all.csv"
crop_px = 32
batch = 2

[protocol.fit]
steps = 4
steps_per_epoch = 2
threads = 1
branch_weight = 0.5

[[network]]
name = "narrow"
network = "unet"
arguments = { width = 0.03125 }

[[network]]
name = "CDDS / tuned"
network = "cdds"
arguments = { width = 0.03125, dropout = 0.2 }
fit = { branch_weight = 0.1 }
tune = { lr = [1e-3, 3e-3], dropout = [0.0, 0.2] }

[[published]]
name = "somebody"
protocol = "other data"
f1 = 0.8
"""


@pytest.fixture
def file(tmp_path):
    """Four small pictures of a line and two without, and a comparison that names them."""
    rng = np.random.default_rng(0)
    splits = ["train", "train", "val", "test", "val", "test"]
    for k, split in enumerate(splits):
        folder = tmp_path / "data" / ("wall" if k < 4 else "sound")
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        mask = np.zeros((64, 80), np.uint8)
        if k < 4:
            mask[10 + 10 * k : 13 + 10 * k, 5:70] = 255
        picture = np.clip(rng.normal(180, 9, (64, 80, 3)) - 0.5 * mask[..., None], 0, 255)
        Image.fromarray(picture.astype(np.uint8)).save(folder / "images" / f"{k}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{k}.png")
        with (folder / f"{split}.txt").open("a") as stream:
            stream.write(f"{k}\n")
    write_manifest(index_folder(tmp_path / "data"), tmp_path / "all.csv")
    (tmp_path / "compare.toml").write_text(TEXT)
    return tmp_path / "compare.toml"


def quiet(text):
    pass


def test_every_row_is_tuned_trained_and_scored_once(file, monkeypatch):
    options = read_compare(file)
    cells = compare(options, quiet)
    assert [(c["name"], c["seed"]) for c in cells] == [
        ("narrow", 1),
        ("CDDS / tuned", 1),
        ("narrow", 2),
        ("CDDS / tuned", 2),
    ]
    assert not any("failed" in cell for cell in cells), cells
    assert [mark["step"] for mark in cells[0]["curve"]] == [2, 4]
    tuned = json.loads((options.out / "CDDS___tuned-tuned.json").read_text())
    assert [(t["option"], t["value"]) for t in tuned["trials"]] == [
        ("lr", 1e-3),
        ("lr", 3e-3),
        ("dropout", 0.0),
    ]  # the other value of dropout was tried with the first option
    assert {t["run"]["seed"] for t in tuned["trials"]} == {0}
    assert {t["run"]["fit"]["steps"] for t in tuned["trials"]} == {2}
    made = cells[1]["run"]
    assert (made["fit"]["lr"], made["arguments"]["dropout"]) == (
        tuned["best"]["lr"],
        tuned["best"]["dropout"],
    )
    counts = np.load(options.out / "narrow-seed1" / "counts.npy")
    assert cells[0]["pictures"] == ["sound/5", "wall/3"]
    assert counts[:, 1].tolist() == [0, 3 * 65]  # labelled pixels
    assert counts[:, 7].tolist() == [64 * 80] * 2
    text = (options.out / "compare.md").read_text()
    assert "| CDDS / tuned | `lr` | 0.001: " in text
    assert "| somebody |  |  | 0.800 |  | other data |" in text
    assert "### Ahead of narrow by" in text
    with (options.out / "compare.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["network"], r["seed"]) for r in rows][:2] == [("narrow", "1"), ("CDDS / tuned", "1")]
    for picture in ("scores.png", "sheet.png"):
        assert (options.out / picture).read_bytes().startswith(b"\x89PNG")

    def nothing(*_):
        raise AssertionError("a finished cell is run again")

    for name in ("learn", "prepare_truths", "write_chunk"):
        monkeypatch.setattr(compare_cell, name, nothing)
    assert compare(options, quiet) == cells
    (options.out / "narrow-seed1" / "cell.json").unlink()
    again = compare(options, quiet)  # trained before: only scored
    assert again[0] == cells[0]


@pytest.mark.slow
def test_one_cell_alone_repeats_to_the_last_bit_elsewhere_and_side_by_side(file, tmp_path):
    options = read_compare(file)
    first = compare(only(options, ["CDDS / tuned"], [2]), quiet)
    other = replace(options, out=tmp_path / "other")
    lines = []
    second = compare(only(other, ["CDDS / tuned"], [2]), lines.append, workers=2)
    assert [c["seed"] for c in second] == [2]
    assert first[0]["weights_sha256"] == second[0]["weights_sha256"]
    assert first[0]["curve"] == second[0]["curve"]
    files = [o.out / "CDDS___tuned-seed2" / "counts.npy" for o in (options, other)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert any(text.startswith("CDDS / tuned, seed 2: val ") for text in lines)


def test_a_short_trial_of_all_has_a_folder_of_its_own(file):
    options = shortened(read_compare(file), 1)
    assert options.out.name == "out-1-steps"
    call = ["compare", str(file), "--steps", "1", "--seed", "2"]
    shas = []
    for name in ("one", "two"):
        result = CliRunner().invoke(app, [*call, "--out", str(file.parent / name)])
        assert result.exit_code == 0, result.output
        assert f"{name}-1-steps" in result.output
        with (file.parent / f"{name}-1-steps" / "compare.csv").open() as stream:
            shas.append([row["weights_sha256"] for row in csv.DictReader(stream)])
        cell = json.loads((file.parent / f"{name}-1-steps/narrow-seed2/cell.json").read_text())
        assert [mark["step"] for mark in cell["curve"]] == [1]
    assert len(set(shas[0])) == 2  # of two networks
    assert shas[0] == shas[1]
    assert not options.out.exists()


def test_truths_that_lie_there_from_before_are_made_anew(file):
    options = only(read_compare(file), ["narrow"], [1])
    options.out.mkdir()
    for split in ("val", "test"):  # as an earlier release wrote them, and a disk that was full
        np.savez(options.out / f"truths-{split}.npz", names=np.array(["sound/5", "wall/3"]))
    (options.out / "truths-test.npz").write_bytes(b"PK")
    cells = compare(options, quiet)
    assert not any("failed" in cell for cell in cells), cells
    counts = np.load(options.out / "narrow-seed1" / "counts.npy")
    assert counts[:, 1].tolist() == [0, 3 * 65]


def test_tuning_and_curves_never_read_the_test_list(file, monkeypatch):
    options = read_compare(file)
    read = []
    real = compare_cell.read_exam

    def noted(samples, *rest):
        read.append({sample.split for sample in samples})
        return real(samples, *rest)

    monkeypatch.setattr(compare_cell, "read_exam", noted)
    for task in tasks_of(options):
        if "seed 1" in task.name and not task.name.startswith("crops"):
            break
        task.function(*task.arguments)
    assert read == [{"val"}]


def test_a_failed_cell_is_named_and_tried_again(file, monkeypatch):
    options = only(read_compare(file), ["narrow"], [1])

    def fail(*_):
        raise ModelError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(compare_cell, "_run", fail)
        cells = compare(options, quiet)
        assert cells[0]["failed"] == "no room"
        assert "- narrow, seed 1: no room" in (options.out / "compare.md").read_text()
    assert "failed" not in compare(options, quiet)[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sheet.png", "sheet.png` is there without `compare.md`"),
        ("compare.md", "compare.md` is there and holds no comparison"),
        ("narrow-tuned.json", "narrow-tuned.json` is there and holds no trials"),
        ("narrow-seed1/notes.txt", "narrow-seed1` is there and not empty"),
    ],
)
def test_a_file_of_somebody_else_is_not_replaced(file, name, words):
    options = only(read_compare(file), ["narrow"], [1])
    foreign = options.out / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    with pytest.raises(OutputError, match=words):
        compare(options, quiet)
    assert foreign.read_text() == "mine"
    assert [path for path in options.out.rglob("*") if path.is_file()] == [foreign]


def test_a_cell_of_other_options_is_refused_and_one_of_before_an_option_is_not(file):
    options = only(read_compare(file), ["narrow"], [1])
    compare(options, quiet)
    made = options.out / "narrow-seed1" / "cell.json"
    cell = json.loads(made.read_text())
    del cell["run"]["data"]["augment"]["patch"]  # as if the option were new
    made.write_text(json.dumps(cell))
    compare(options, quiet)
    longer = {**options.protocol, "fit": {**options.protocol["fit"], "steps": 6}}
    with pytest.raises(ConfigError, match=r"narrow-seed1.*other options"):
        compare(replace(options, protocol=longer), quiet)


def test_rows_differ_from_the_protocol_only_where_they_say_so(file):
    options = read_compare(file)
    plain, bare = (run_options(row, 2, options) for row in options.network)
    assert (plain.fit.branch_weight, bare.fit.branch_weight) == (0.5, 0.1)
    assert (plain.fit.steps, plain.seed, plain.data) == (4, 2, bare.data)
    assert bare.out.name == "CDDS___tuned-seed2"
    assert plain.data.manifest == file.parent / "all.csv"
    assert read_compare(file, Path("/pictures")).protocol["data"]["root"] == "/pictures"
    chosen = run_options(options.network[1], 2, options, {"lr": 0.5, "dropout": 0.0})
    assert (chosen.fit.lr, chosen.arguments["dropout"]) == (0.5, 0.0)


def test_every_second_picture_of_a_test_list_can_be_left_unread(file):
    options = replace(read_compare(file), test_every={"wall": 2})
    assert [s.image.stem for s in compare_cell._samples(options, "test")] == ["5", "3"]
    for k in (6, 7):
        for kind in ("images", "masks"):
            folder = file.parent / "data" / "wall" / kind
            (folder / f"{k}.png").write_bytes((folder / "3.png").read_bytes())
    with (file.parent / "data" / "wall" / "test.txt").open("a") as stream:
        stream.write("6\n7\n")
    write_manifest(index_folder(file.parent / "data"), file.parent / "more.csv")
    data = {**options.protocol["data"], "manifest": str(file.parent / "more.csv")}
    more = replace(options, protocol={**options.protocol, "data": data})
    assert [s.image.stem for s in compare_cell._samples(more, "test")] == ["5", "3", "7"]


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('name = "narrow"', 'name = "CDDS / tuned"', "different names"),
        ("seeds = [1, 2]", "seeds = []", "at least one"),
        ("[protocol]", "[protocol]\nseed = 3", "seed"),
        ("tile_px", "tile_pixels", "tile_px"),
    ],
)
def test_odd_comparisons_are_refused(file, old, new, word):
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError, match=word):
        read_compare(file)


def test_a_row_that_is_not_there_is_refused(file):
    with pytest.raises(ConfigError, match=r"narrow, CDDS / tuned, got 'wide'"):
        only(read_compare(file), ["wide"], [])


def test_a_precision_that_needs_scaled_losses_is_refused(file):
    cells = compare(only(in_precision(read_compare(file), "16-mixed"), ["narrow"], [1]), quiet)
    assert "`32-true` or `bf16-mixed`, got `precision` '16-mixed'" in cells[0]["failed"]


def test_bf16_is_what_the_network_computes_in(file, monkeypatch):
    options = only(in_precision(read_compare(file), "bf16-mixed"), ["narrow"], [1])
    kinds = []
    real = contest.Segmenter.loss_of

    def noted(module, *batch):
        module.network.register_forward_hook(lambda *call: kinds.append(call[-1].dtype))
        return real(module, *batch)

    monkeypatch.setattr(contest.Segmenter, "loss_of", noted)
    (rough,) = compare(options, quiet)
    assert "failed" not in rough, rough
    assert set(kinds) == {torch.bfloat16}
    weights = load_file(options.out / "narrow-seed1" / "weights.safetensors")
    assert {tensor.dtype for tensor in weights.values()} <= {torch.float32, torch.int64}
    full = replace(in_precision(options, "32-true"), out=options.out / "full")
    assert compare(full, quiet)[0]["weights_sha256"] != rough["weights_sha256"]


class Killed(BaseException):
    """What a test ends a training with, as no handler of ours may catch it."""


@pytest.mark.parametrize(
    ("stop_after", "precision"), [(1, "32-true"), (2, "bf16-mixed"), (3, "32-true")]
)
def test_a_training_stopped_on_the_way_ends_as_one_that_was_not(
    file, monkeypatch, stop_after, precision
):
    options = only(in_precision(read_compare(file), precision), ["CDDS / tuned"], [1])
    options = replace(options, network=(replace(options.network[0], tune={}),))
    whole = compare(replace(options, out=options.out / "whole"), quiet)
    monkeypatch.setattr(contest, "STATE_S", -1.0)  # a state after every step
    steps, real = [], contest._gradients

    def counted(module, batch):
        if len(steps) == stop_after:
            raise Killed
        steps.append(1)
        return real(module, batch)

    with monkeypatch.context() as patch:
        patch.setattr(contest, "_gradients", counted)
        with pytest.raises(Killed):
            compare(options, quiet)
        steps.clear()
        stop_after = 4 - stop_after  # those that are left, and not one more
        again = compare(options, quiet)
    assert len(steps) == stop_after
    assert again[0]["weights_sha256"] == whole[0]["weights_sha256"]
    assert again[0]["curve"] == whole[0]["curve"]
    names = {path.name for path in (options.out / "CDDS___tuned-seed1").iterdir()}
    assert names == {"cell.json", "counts.npy", "curve.json", "pictures", "weights.safetensors"}


def test_a_training_stopped_under_other_options_is_refused(file, monkeypatch):
    options = only(read_compare(file), ["narrow"], [1])
    monkeypatch.setattr(contest, "STATE_S", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(compare_cell, "mark_on", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            compare(options, quiet)
    longer = {**options.protocol, "fit": {**options.protocol["fit"], "steps": 6}}
    with pytest.raises(ConfigError, match=r"narrow-seed1.*curve.json was made with other options"):
        compare(replace(options, protocol=longer), quiet)


@pytest.mark.slow
def test_a_process_that_is_ended_from_outside_is_a_sentence():
    ended = Task(name="cell", function=os._exit, arguments=(9,))  # as the kernel does
    with pytest.raises(TrainingError, match="the same command goes on"):
        run_tasks([ended], 1, lambda *_: None)


def in_precision(options, precision):
    return replace(options, protocol={**options.protocol, "precision": precision})
