"""Folds part no photograph, hold every picture out once, and choose thresholds over all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crackseg.errors import ConfigError, DataError
from crackseg.records import Sample

pytest.importorskip("lightning")
pytest.importorskip("matplotlib")

from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.training.cross_validate import cross_validate, deal_folds
from crackseg.training.evaluate import (
    EvaluateOptions,
    best_thresholds,
    choose_threshold,
    tally_thresholds,
)
from crackseg.training.fit import read_run
from crackseg.training.manifest import read_manifest

RUN = """
name = "small"
out = "small"
network = "unet"
arguments = { width = 0.03125 }

[data]
manifest = "all.csv"
root = "data"
sets = ["wall"]
crop_px = 32
batch = 2

[fit]
steps = 2
steps_per_epoch = 2
branch_weight = 0.0
"""


def sample(stem, *, source="a", split="train", site=""):
    picture = Path(source) / f"{stem}.jpg"
    return Sample(
        image=picture, mask=picture.with_suffix(".png"), source=source, split=split, site=site
    )


def held_out(folds):
    return [sorted(s.image.stem for s in fold if s.split == "val") for fold in folds]


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_picture_is_held_out_once_and_the_folds_are_alike(folds):
    samples = [sample(f"p{n:03}", source=source) for source in "ab" for n in range(90)]
    dealt = deal_folds(samples, folds)
    assert len(dealt) == folds
    for fold in dealt:
        assert [s.image for s in fold] == [s.image for s in samples]
        for source in "ab":
            val = [n for n in range(90) if fold[(source == "b") * 90 + n].split == "val"]
            assert len(val) == pytest.approx(90 / folds, abs=3)
            breaks = sum(b - a > 1 for a, b in pairwise(val))
            assert breaks == 2  # three stretches of neighbours
    assert all(sum(f[n].split == "val" for f in dealt) == 1 for n in range(180))


def test_crops_of_one_photograph_and_pictures_of_one_site_stay_together():
    crops = [sample(f"{n}-{k}") for n in range(100, 112) for k in range(1, 1 + n % 4)]
    crops += [sample(str(n)) for n in range(100, 112)]
    of_photograph = [
        {stem.split("-")[0] for stem in stems} for stems in held_out(deal_folds(crops, 3))
    ]
    assert not set.intersection(*of_photograph)
    assert sum(map(len, of_photograph)) == 12
    walls = [sample(f"DJI_{n}", site="NESW"[n % 4]) for n in range(40)]
    by_site = [{s.site for s in fold if s.split == "val"} for fold in deal_folds(walls, 2)]
    assert by_site[0] | by_site[1] == set("NESW")
    assert not by_site[0] & by_site[1]


def test_what_cannot_be_dealt_is_refused():
    with pytest.raises(DataError, match="at least 2, got 1"):
        deal_folds([sample("x"), sample("y")], 1)
    with pytest.raises(DataError, match="`a` has 2 photographs or sites, too few for 3 folds"):
        deal_folds([sample("x-1"), sample("x-2"), sample("y")], 3)
    heavy = [sample(f"b-{n}") for n in range(97)] + [sample("a"), sample("c"), sample("d")]
    with pytest.raises(DataError, match="got no picture of set `a`"):
        deal_folds(heavy, 4)


@pytest.fixture
def run(tmp_path):
    """A run over nine small pictures of dark lines, two of them val and one test."""
    rng = np.random.default_rng(0)
    lists = {"train": range(6), "val": (6, 7), "test": (8,)}
    for kind in ("images", "masks"):
        (tmp_path / "data" / "wall" / kind).mkdir(parents=True)
    for k in range(9):
        mask = np.zeros((64, 80), np.uint8)
        mask[5 + 6 * k : 8 + 6 * k, 5:70] = 255
        grey = np.clip(rng.normal(180, 9, (64, 80, 3)) - 0.5 * mask[..., None], 0, 255)
        for kind, values in (("images", grey.astype(np.uint8)), ("masks", mask)):
            Image.fromarray(values).save(tmp_path / "data" / "wall" / kind / f"{k}.png")
    for split, stems in lists.items():
        (tmp_path / "data" / "wall" / f"{split}.txt").write_text("\n".join(map(str, stems)))
    result = CliRunner().invoke(
        app, ["data", "index", str(tmp_path / "data"), "--out", str(tmp_path / "all.csv")]
    )
    assert result.exit_code == 0, result.output
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path / "run.toml"


def test_thresholds_come_from_all_held_out_pictures_and_finished_folds_are_kept(run):
    lines = []
    result = cross_validate(read_run(run), 2, lines.append)
    out = run.parent / "small-folds"
    fold = json.loads((out / "fold0" / "run.json").read_text())
    assert fold["options"]["fit"]["keep"] == "last"  # held-out pictures choose thresholds alone
    record = json.loads((out / "cross_validation.json").read_text())
    assert record["pictures"] == result.pictures == 8  # the test picture takes no part
    assert record["together"]["threshold"] == result.together.threshold
    held = [
        [
            s
            for s in read_manifest(out / f"fold{k}.csv", root=run.parent / "data")
            if s.split == "val"
        ]
        for k in range(2)
    ]
    options = [EvaluateOptions(model=str(out / f"fold{k}" / "model")) for k in range(2)]
    tallies = [tally_thresholds(*pair) for pair in zip(held, options, strict=True)]
    assert best_thresholds(tallies) == result.together
    assert result.folds == tuple(
        choose_threshold(*pair) for pair in zip(held, options, strict=True)
    )
    listed = {
        s.image
        for s in read_manifest(run.parent / "all.csv", root=run.parent / "data")
        if s.split == "val"
    }
    own = [
        (tuple(s for s in pictures if s.image in listed), option)
        for pictures, option in zip(held, options, strict=True)
    ]
    assert best_thresholds([tally_thresholds(*pair) for pair in own]) == result.val
    assert record["val_pictures"] == len(listed) == 2
    weights = out / "fold1" / "weights.safetensors"
    before = weights.read_bytes()
    last = (out / "fold1" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    again = CliRunner().invoke(app, ["cross-validate", str(run), "--folds", "2"])
    assert again.exit_code == 0, again.output
    assert "together: threshold" in again.output
    assert "val alone: threshold" in again.output
    assert weights.read_bytes() == before
    assert (out / "fold1" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == last


def test_a_run_with_validation_sets_of_its_own_is_refused(run):
    options = read_run(run)
    other = replace(options, data=replace(options.data, val_sets=("wall",)))
    with pytest.raises(ConfigError, match="val_sets"):
        cross_validate(other, 2)
