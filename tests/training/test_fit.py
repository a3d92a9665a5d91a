"""The training loop: it learns, a killed run ends like an undisturbed one, its score is right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import load_file  # noqa: E402 - optional

from crackseg.errors import ConfigError, DataError  # noqa: E402
from crackseg.metrics import histogram  # noqa: E402
from crackseg.training.dataset import Crops, StepNumbers, split_samples  # noqa: E402
from crackseg.training.fit import ALARM_SHARE, lr_factor, read_run, score, train  # noqa: E402
from crackseg.training.manifest import index_folder, write_manifest  # noqa: E402
from crackseg.training.options import DataOptions, FitOptions  # noqa: E402


@pytest.fixture
def tiny_set(tmp_path: Path) -> Path:
    """Twelve 64 px pictures: dark wavy lines on noisy grey, some crack-free; a manifest beside."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 8, "val": 4}.items():
        for number in range(count):
            rows, cols = np.mgrid[:64, :64]
            course = 32 + 12 * np.sin(cols / 9 + number) + rng.uniform(-8, 8)
            mask = (np.abs(rows - course) < 2) & (number % 4 != 3)
            grey = 150 + rng.normal(0, 8, (64, 64)) - 80 * mask
            folder = tmp_path / "set"
            (folder / "images").mkdir(parents=True, exist_ok=True)
            (folder / "masks").mkdir(exist_ok=True)
            stem = f"{split}{number}"
            pixels = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
            Image.fromarray(pixels).save(folder / "images" / f"{stem}.png")
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{stem}.png")
            with (folder / f"{split}.txt").open("a") as stream:
                stream.write(stem + "\n")
    write_manifest(index_folder(tmp_path), tmp_path / "manifest.csv", root=tmp_path)
    return tmp_path


def _run_file(folder: Path, name: str, **fit: object) -> Path:
    lines = {"steps": 6, "steps_per_epoch": 2, "warmup_steps": 1, "ema": 0.5, "threads": 1} | fit
    text = "\n".join(f"{k} = {v!r}".replace("'", '"') for k, v in lines.items())
    path = folder / f"{name}.toml"
    path.write_text(
        f"""name = "{name}"
out = "runs/{name}"
network = "cdds_lite"
accelerator = "cpu"
[arguments]
decoder_channels = [16, 16, 8, 8, 8]
[data]
manifest = "manifest.csv"
crop_px = 64
batch = 2
[fit]
{text}
"""
    )
    return path


def _last_weights(folder: Path) -> dict[str, np.ndarray]:
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {k: v.numpy() for k, v in state.items()}


def test_a_run_killed_in_mid_epoch_ends_with_the_weights_of_an_undisturbed_one(tiny_set):
    undisturbed = train(read_run(_run_file(tiny_set, "whole")))
    broken = _run_file(tiny_set, "broken")
    code = f"from crackseg.training.fit import *; train(read_run(Path({str(broken)!r})))"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    last = tiny_set / "runs/broken/checkpoints/last.ckpt"
    deadline = time.monotonic() + 240
    while not last.exists() and child.poll() is None and time.monotonic() < deadline:
        os.sched_yield()
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert last.exists()
    resumed = train(read_run(broken))
    one, two = _last_weights(undisturbed), _last_weights(resumed)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    assert load_file(resumed / "weights.safetensors").keys()


def test_a_folder_of_another_run_is_refused(tiny_set):
    path = _run_file(tiny_set, "one", steps=1, steps_per_epoch=1)
    train(read_run(path))
    with pytest.raises(ConfigError, match="holds a run with other options"):
        train(replace(read_run(path), seed=5))


@pytest.mark.slow
def test_two_minutes_of_training_find_the_lines(tiny_set):
    path = _run_file(tiny_set, "learn", steps=240, steps_per_epoch=60, ema=0.9, threads=2)
    out = train(read_run(path))
    rows = next(out.glob("log/**/metrics.csv")).read_text().splitlines()
    column = rows[0].split(",").index("val/f1_set")
    scores = [float(r.split(",")[column]) for r in rows[1:] if r.split(",")[column]]
    assert max(scores) > 0.7, scores  # an untrained network marks noise: below 0.2 here


def test_crops_depend_on_seed_and_number_alone(tiny_set):
    samples = split_samples(index_folder(tiny_set), "train", ())
    options = DataOptions(manifest=tiny_set / "manifest.csv", crop_px=48)
    one, two = Crops(samples, options, 3), Crops(samples, options, 3)
    _ = [two[i] for i in range(5)]
    assert torch.equal(one[7][0], two[7][0])
    assert not torch.equal(one[7][0], one[8][0])
    assert one[7][0].shape == (3, 48, 48)
    assert one[7][1].shape == (1, 48, 48)


def test_steps_number_the_crops_without_repeat_and_share_them_over_devices():
    whole = [i for step in (0, 2, 4) for i in StepNumbers(2, 4, lambda s=step: s)]
    assert whole == list(range(24))
    shared = [list(StepNumbers(3, 4, lambda: 5, rank, 2)) for rank in (0, 1)]
    assert sorted(shared[0] + shared[1]) == list(range(20, 32))
    assert len(shared[0]) == len(StepNumbers(3, 4, lambda: 5, 0, 2))


def test_unknown_set_in_weights_is_refused(tiny_set):
    samples = split_samples(index_folder(tiny_set), "train", ())
    options = DataOptions(manifest=tiny_set / "manifest.csv", weights={"sett": 1.0})
    with pytest.raises(DataError, match="sett"):
        Crops(samples, options, 0)


def test_schedules_reach_their_rates():
    fit = FitOptions(steps=100, warmup_steps=10, schedule="wsd", decay_share=0.5)
    assert lr_factor(0, fit) == pytest.approx(0.1)
    assert lr_factor(30, fit) == 1
    assert lr_factor(75, fit) == pytest.approx(0.5)
    assert lr_factor(100, fit) == 0
    paper = replace(fit, schedule="paper")
    assert [lr_factor(s, paper) for s in (0, 50, 99)] == pytest.approx([1, 0.1, 0.01])
    with pytest.raises(ConfigError, match="linear"):
        lr_factor(0, replace(fit, schedule="linear"))


def test_score_equals_a_loop_over_thresholds():
    rng = np.random.default_rng(1)
    cracks = [(rng.integers(0, 256, (9, 9)).astype(np.uint8), rng.random((9, 9)) < 0.2)] * 2
    free = [(rng.integers(0, 120, (9, 9)).astype(np.uint8), np.zeros((9, 9), bool))]
    found = score({"a": [histogram(*c) for c in cracks], "free": [histogram(*c) for c in free]})
    best = -np.inf
    for level in range(1, 256):
        hits = sum(((p >= level) & m).sum() for p, m in cracks)
        both = sum((p >= level).sum() + m.sum() for p, m in cracks)
        alarms = np.mean([(p >= level).mean() > ALARM_SHARE for p, _ in free])
        best = max(best, 2 * hits / both - 0.5 * alarms)
    assert found["val/score"] == pytest.approx(best)
