"""Pictures made to judge hair cracks by: thin enough, and labelled where the crack is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.errors import OutputError
from crackseg.training.evaluate import load_samples
from crackseg.training.hair_sets import draw, shrink
from crackseg.training.manifest import index_folder, read_pair


def _cracked(thick: int, size: int = 320):
    rng = np.random.default_rng(1)
    rows, cols = np.mgrid[:size, :size]
    mask = np.abs(rows - size / 2 - 30 * np.sin(cols / 60)) < thick / 2
    grey = 165 + rng.normal(0, 5, (size, size)) - 95 * mask
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), mask


def test_a_shrunk_picture_is_as_much_smaller_as_its_crack_was_wide():
    small, mask = shrink(*_cracked(8))
    assert small.shape[:2] == mask.shape
    assert small.shape[0] == pytest.approx(320 * 2 / 8, rel=0.15)
    dark, wall = small[..., 0][mask].mean(), small[..., 0][~mask].mean()
    assert dark < wall - 40
    assert mask.any(axis=0).all(), "the crack goes from side to side"


def test_a_thin_crack_is_not_shrunk_and_a_huge_one_not_to_a_stamp():
    assert shrink(*_cracked(2)) is None
    assert shrink(*_cracked(30, 200)) is None


def test_a_drawn_crack_is_thin_and_darker_than_the_wall():
    rng = np.random.default_rng(2)
    picture = np.clip(rng.normal(150, 4, (300, 300, 1)), 0, 255).astype(np.uint8).repeat(3, 2)
    for seed in range(12):
        cracked, mask = draw(picture, np.random.default_rng(seed))
        if mask.any():
            assert cracked[mask].mean() < 146
            assert mask.mean() < 0.03


def test_the_command_writes_two_val_sets_of_what_val_holds(tmp_path):
    for name, (picture, mask) in {
        "wall": _cracked(8),
        "free": (_cracked(8)[0], np.zeros((320, 320), bool)),
    }.items():
        for kind, pixels in (("images", picture), ("masks", mask.astype(np.uint8) * 255)):
            (tmp_path / "data" / name / kind).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / "data" / name / kind / "a.png")
        (tmp_path / "data" / name / "val.txt").write_text("a\n")
    out = tmp_path / "hair"
    command = ["data", "hair", str(tmp_path / "data"), "--out", str(out)]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    made = load_samples(out, split="val")
    assert {sample.source for sample in made} == {"hair_shrunk", "hair_drawn"}
    assert all(read_pair(sample)[1].any() for sample in made)
    assert len(index_folder(out)) == len(made)
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, OutputError)
