"""The training loop: it learns, a killed run ends like an undisturbed one, its score is right."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import load_file  # noqa: E402 - optional

from crackseg.errors import ConfigError, DataError  # noqa: E402
from crackseg.networks import build  # noqa: E402
from crackseg.training import fit as module  # noqa: E402
from crackseg.training.augment import AugmentOptions  # noqa: E402
from crackseg.training.curves import read_log  # noqa: E402
from crackseg.training.dataset import Crops, StepNumbers, split_samples  # noqa: E402
from crackseg.training.fit import LEVELS, lr_factor, read_run, score, train  # noqa: E402
from crackseg.training.judge import NO_LINES, judge  # noqa: E402
from crackseg.training.labels import CRACK, EITHER, IGNORED, NOTHING  # noqa: E402
from crackseg.training.manifest import index_folder, read_manifest, write_manifest  # noqa: E402
from crackseg.training.options import DataOptions, FitOptions, TrainOptions  # noqa: E402
from crackseg.training.start import start_from  # noqa: E402

STILL = AugmentOptions(
    native=1, rotate=0, photometric=0, blur=0, noise=0, jpeg=0, shadow=0, hair=0, distract=0
)


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


NARROW = "cdds", "width = 0.03125"  # with dropout and branches, and next to nothing to compute
LIGHT = "cdds_lite", "decoder_channels = [16, 16, 8, 8, 8]"


def _run_file(folder: Path, name: str, network: tuple[str, str] = NARROW, **fit: object) -> Path:
    lines = {"steps": 6, "steps_per_epoch": 2, "warmup_steps": 1, "ema": 0.5, "threads": 1} | fit
    text = "\n".join(f"{k} = {v!r}".replace("'", '"') for k, v in lines.items())
    path = folder / f"{name}.toml"
    path.write_text(
        f"""name = "{name}"
out = "runs/{name}"
network = "{network[0]}"
accelerator = "cpu"
[arguments]
{network[1]}
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


KILLED_IN_SECOND_EPOCH = """
import os, signal, sys
from pathlib import Path
from crackseg.training import dataset, fit

take = dataset.Crops.__getitem__

def take_or_die(self, number):
    if number == 6:  # two crops a step, two steps an epoch: half of the second is done
        os.kill(os.getpid(), signal.SIGKILL)
    return take(self, number)

dataset.Crops.__getitem__ = take_or_die
fit.train(fit.read_run(Path(sys.argv[1])))
"""


def test_a_run_killed_in_mid_epoch_ends_with_the_weights_of_an_undisturbed_one(tiny_set):
    undisturbed = train(read_run(_run_file(tiny_set, "whole")))
    broken = _run_file(tiny_set, "broken")
    command = [sys.executable, "-c", KILLED_IN_SECOND_EPOCH, str(broken)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert (tiny_set / "runs/broken/checkpoints/last.ckpt").exists()
    resumed = train(read_run(broken))
    one, two = _last_weights(undisturbed), _last_weights(resumed)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    assert load_file(resumed / "weights.safetensors").keys()


def test_a_folder_of_another_run_is_refused(tiny_set):
    path = _run_file(tiny_set, "one", steps=1, steps_per_epoch=1)
    stored = train(read_run(path)) / "run.json"
    with pytest.raises(ConfigError, match="holds a run with other options"):
        train(replace(read_run(path), seed=5))
    before = json.loads(stored.read_text())
    before["options"]["data"]["augment"]["an_option_that_was_dropped"] = 0.5
    stored.write_text(json.dumps(before))
    with pytest.raises(ConfigError, match="holds a run with other options"):
        train(read_run(path))


def test_a_cut_checkpoint_and_a_damaged_record_are_named(tiny_set):
    path = _run_file(tiny_set, "one", steps=1, steps_per_epoch=1)
    out = train(read_run(path))
    last = out / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:500])
    options = read_run(path)
    with pytest.raises(ConfigError, match=r"last\.ckpt` is cut or damaged \(500 bytes\)"):
        train(replace(options, fit=replace(options.fit, steps=2)))
    for text in ("{}", "nonsense", "[]", '{"options": {"fit": {}}}'):
        (out / "run.json").write_text(text)
        with pytest.raises(ConfigError, match="does not say which run its folder holds"):
            train(options)


def test_a_folder_of_an_earlier_release_is_known_again(tiny_set):
    path = _run_file(tiny_set, "one", steps=1, steps_per_epoch=1)
    stored = train(read_run(path)) / "run.json"
    before = json.loads(stored.read_text())
    del before["options"]["data"]["augment"]["patch"]  # as if the option were new
    stored.write_text(json.dumps(before))
    train(read_run(path))
    assert json.loads(stored.read_text())["options"]["data"]["augment"]["patch"] == 0
    stored.write_text(json.dumps(before))
    options = read_run(path)
    drawn = replace(options.data, augment=replace(options.data.augment, patch=0.5))
    with pytest.raises(ConfigError, match="holds a run with other options"):
        train(replace(options, data=drawn))


def _idle_run(folder: Path, name: str) -> TrainOptions:
    """Options of a run that never learns."""
    return read_run(_run_file(folder, name, steps_per_epoch=1, lr=1e-30, weight_decay=0.0))


def test_a_run_folder_tells_all_and_a_run_without_progress_stops_early(tiny_set, capsys):
    run = _idle_run(tiny_set, "told")
    samples = read_manifest(run.data.manifest)
    flat = [s for s in samples if s.split == "train" or s.image.stem == "val3"]
    write_manifest(flat, tiny_set / "manifest.csv", root=tiny_set)  # val without crack: score 0
    run = replace(run, fit=replace(run.fit, steps=50, patience_epochs=2, ema=0.0))
    out = train(run)
    assert re.search(r"step 3  lr \S+  listed 0\.000", capsys.readouterr().out)
    record = json.loads((out / "run.json").read_text())
    assert record["options"]["seed"] == 0
    assert record["options"]["fit"]["patience_epochs"] == 2
    assert record["data"] == [{"name": "set", "licence": "unstated", "pictures": 8}]
    assert set(record["versions"]) >= {"crackseg", "python", "torch", "lightning"}
    assert len(record["data_sha256"]) == 64
    curves = read_log(out)
    assert list(curves["val/score"].values()) == [0, 0, 0]  # the first, and two no better: not 50
    assert len(curves["loss"]) == 3
    (rates,) = [curve.values() for name, curve in curves.items() if "lr-" in name]
    assert max(rates) <= 1e-30
    assert list((out / "tensorboard").rglob("events.*"))
    with Image.open(out / "curves.png") as picture:  # noqa: TID251 - an independent reader
        assert picture.width > 600


def test_a_run_ends_with_the_best_weights_or_with_the_last(tiny_set):
    runs = {
        keep: read_run(_run_file(tiny_set, keep, ema=0.0, keep=keep)) for keep in ("best", "last")
    }
    samples = read_manifest(runs["best"].data.manifest)
    flat = [s for s in samples if s.split == "train" or s.image.stem == "val3"]
    write_manifest(flat, tiny_set / "manifest.csv", root=tiny_set)  # val without crack: score 0
    ended = {keep: load_file(train(run) / "weights.safetensors") for keep, run in runs.items()}
    first = train(read_run(_run_file(tiny_set, "short", ema=0.0, steps=2, decay_share=0.0)))
    alike = {"best": load_file(first / "weights.safetensors")}  # the first of equals is the best
    alike["last"] = {
        name.removeprefix("network."): torch.from_numpy(values)
        for name, values in _last_weights(tiny_set / "runs/best").items()
        if name.startswith("network.")
    }
    for keep, weights in ended.items():
        assert weights.keys() == alike[keep].keys()
        for name, values in weights.items():
            torch.testing.assert_close(values, alike[keep][name], rtol=0, atol=0, msg=name)
    assert any((ended["best"][name] != ended["last"][name]).any() for name in ended["best"])


def test_another_checkpoint_to_keep_is_refused():
    with pytest.raises(ConfigError, match="best or last"):
        FitOptions(keep="newest")
    with pytest.raises(ConfigError, match=r"`steps_per_epoch` must be at most `steps`, 3, got 250"):
        FitOptions(steps=3)
    with pytest.raises(ConfigError, match="`threads` must be 1 to 1024"):
        FitOptions(threads=10**6)  # the system would end the process
    with pytest.raises(ConfigError, match=r"`rotate` must be a share of crops from 0 to 1"):
        AugmentOptions(rotate=-1.0)
    for width in (float("inf"), "x"):
        with pytest.raises(
            ConfigError,
            match=r"`cdds` must be a number from 0\.01 to 4",
        ):
            build("cdds", width=width)
    with pytest.raises(ConfigError, match="`other_weight` must be a finite number from 0 on"):
        FitOptions(other_weight=-1.0)


def test_curves_of_a_resumed_run_join_their_logs(tmp_path):
    for number, rows in enumerate(("0,1,,9.0\n0,3,,7.0\n0,3,0.5,\n", "1,3,,6.0\n1,5,0.7,\n")):
        log = tmp_path / "log" / f"version_{number}"
        log.mkdir(parents=True)
        (log / "metrics.csv").write_text("epoch,step,val/score,loss\n" + rows)
        os.utime(log / "metrics.csv", (number, number))
    assert read_log(tmp_path) == {
        "loss": {1: 9.0, 3: 6.0},
        "val/score": {3: 0.5, 5: 0.7},
    }


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("x: can't allocate memory: y")],
)
def test_a_batch_that_does_not_fit_is_split_into_parts_of_the_same_step(
    tiny_set, monkeypatch, capsys, error
):
    run = _idle_run(tiny_set, "large")
    run = replace(run, data=replace(run.data, batch=6), fit=replace(run.fit, accumulate=2))
    tried = []

    def fit(options, samples):
        tried.append((options.data.batch, options.fit.accumulate))
        if options.data.batch > 2:
            raise error
        return options.out

    monkeypatch.setattr(module, "_fit", fit)
    assert train(run) == run.out
    assert tried == [(6, 2), (3, 4), (1, 12)]
    assert "out of memory with a batch of 6: continuing with 3" in capsys.readouterr().err


def test_a_single_crop_that_does_not_fit_is_an_error_with_advice(tiny_set, monkeypatch):
    def fit(options, samples):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "_fit", fit)
    with pytest.raises(ConfigError, match="smaller crops"):
        train(_idle_run(tiny_set, "huge"))


def test_other_errors_of_a_training_are_not_taken_for_a_lack_of_memory(tiny_set, monkeypatch):
    def fit(options, samples):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(module, "_fit", fit)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(_idle_run(tiny_set, "odd"))


def test_half_precision_learns_what_full_precision_learns(tiny_set):
    """In bfloat16, which a CPU computes too: masters and the exported weights stay single."""
    runs = {}
    for precision in ("32-true", "bf16-mixed"):
        run = read_run(_run_file(tiny_set, precision, network=LIGHT, steps=4))
        folder = train(replace(run, precision=precision))
        runs[precision] = load_file(folder / "weights.safetensors")
    full, half = runs.values()
    assert all(tensor.dtype == full[name].dtype for name, tensor in half.items())
    moved = [name for name in full if name.endswith("weight")]
    assert any(not torch.equal(full[name], half[name]) for name in moved)  # it was used
    for name in moved:
        torch.testing.assert_close(half[name], full[name], rtol=0.05, atol=0.02)


def test_a_run_is_validated_on_the_sets_it_names(tiny_set):
    samples = read_manifest(tiny_set / "manifest.csv")
    renamed = [replace(s, source="other") if s.image.stem == "val0" else s for s in samples]
    write_manifest(renamed, tiny_set / "manifest.csv", root=tiny_set)
    run = read_run(_run_file(tiny_set, "named", steps=1, steps_per_epoch=1))
    for names, expected in {("other",): {"other"}, (): {"other", "set"}}.items():
        out = tiny_set / f"on {len(names)}"
        folder = train(replace(run, out=out, data=replace(run.data, val_sets=names)))
        columns = set(read_log(folder))
        sets = {c.removeprefix("val/f1_") for c in columns if c.startswith("val/f1_")}
        assert sets == expected


@pytest.mark.slow
def test_two_devices_share_a_run(tiny_set):
    network = "smp:pspnet:mobilenet_v2", ""  # its encoder has layers that nobody uses
    path = _run_file(tiny_set, "pair", network, steps=2, steps_per_epoch=1)
    path.write_text(
        path.read_text().replace('accelerator = "cpu"', 'accelerator = "cpu"\ndevices = 2')
    )
    command = [sys.executable, "-m", "crackseg.cli", "train", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list((tiny_set / "runs/pair/log").iterdir())) == 1  # one of the two writes
    assert load_file(tiny_set / "runs/pair/weights.safetensors").keys()


@pytest.mark.slow
@pytest.mark.timeout(0)  # the steps are bounded; a busy machine may take its time
def test_two_minutes_of_training_find_the_lines(tiny_set):
    def best_f1(name: str, **fit: object) -> float:
        run = _run_file(tiny_set, name, LIGHT, ema=0.9, threads=2, **fit)
        return max(read_log(train(read_run(run)))["val/f1_set"].values())

    untrained = best_f1("untrained", steps=1, steps_per_epoch=1, lr=1e-30)
    learned = best_f1("learned", steps=240, steps_per_epoch=60)
    assert untrained < 0.4 < 0.7 < learned


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


def test_sets_are_drawn_by_their_weights_and_crops_laid_on_cracks(tmp_path):
    for name, grey in (("dark", 40), ("bright", 200)):
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        mask = np.zeros((160, 160), np.uint8)
        mask[5:8, 5:60] = 255
        Image.fromarray(np.full((160, 160, 3), grey, np.uint8)).save(folder / "images" / "a.png")
        Image.fromarray(mask).save(folder / "masks" / "a.png")
    samples = split_samples(index_folder(tmp_path), "train", ())

    def draw(aim: float) -> tuple[float, float]:
        """Return the shares of bright crops and of crops with crack."""
        options = DataOptions(
            manifest=tmp_path, crop_px=32, weights={"bright": 3.0}, aim=aim, augment=STILL
        )
        crops = [Crops(samples, options, 1)[number] for number in range(200)]
        bright = [float(image.float().mean()) > 120 for image, _ in crops]
        return float(np.mean(bright)), float(
            np.mean([bool((labels == CRACK).any()) for _, labels in crops])
        )

    bright, with_crack = draw(1.0)
    assert 0.65 < bright < 0.85  # 3 of 4
    assert with_crack > 0.95
    assert draw(0.0)[1] < 0.4


def test_unknown_set_in_weights_is_refused(tiny_set):
    samples = split_samples(index_folder(tiny_set), "train", ())
    options = DataOptions(manifest=tiny_set / "manifest.csv", weights={"sett": 1.0})
    with pytest.raises(DataError, match="sett"):
        Crops(samples, options, 0)


def test_weights_that_leave_nothing_to_draw_from_are_refused(tiny_set):
    samples = split_samples(index_folder(tiny_set), "train", ())
    weights = {sample.source: 0.0 for sample in samples}
    options = DataOptions(manifest=tiny_set / "manifest.csv", weights=weights)
    with pytest.raises(DataError, match="must leave one set to draw from"):
        Crops(samples, options, 0)


def test_schedules_reach_their_rates():
    fit = FitOptions(
        steps=100, steps_per_epoch=50, warmup_steps=10, schedule="wsd", decay_share=0.5
    )
    assert lr_factor(0, fit) == pytest.approx(0.1)
    assert lr_factor(30, fit) == 1
    assert lr_factor(75, fit) == pytest.approx(0.5)
    assert lr_factor(100, fit) == 0
    paper = replace(fit, schedule="paper")
    assert [lr_factor(s, paper) for s in (0, 50, 99)] == pytest.approx([1, 0.1, 0.01])
    with pytest.raises(ConfigError, match="linear"):
        lr_factor(0, replace(fit, schedule="linear"))


def test_the_score_is_the_judges_at_its_best_threshold():
    line = {"labelled_px": (0, 100, 0, 0, 0, 0), "found_px": (0, 60, 0, 0, 0, 0)}
    at = {
        level: replace(NO_LINES, marked_px=100, right_px=level[1], pixels=1, **line)
        for level in LEVELS
    }
    free = {level: replace(NO_LINES, pixels=1, free=1, listed=level[1] < 50) for level in LEVELS}
    sets = score({"a": [at, at], "free": [free]})
    best = max(LEVELS, key=lambda level: judge({"a": [at[level]], "free": [free[level]]}))
    assert sets["val/threshold"] == best[1] / 100 == 0.9
    assert sets["val/f1_a"] == pytest.approx(2 * 0.9 * 0.6 / (0.9 + 0.6))
    assert sets["val/score"] == pytest.approx(sets["val/f1_a"])
    assert sets["val/listed"] == 0


def _two_outputs(tiny_set, name, **fit):
    path = _run_file(tiny_set, name, LIGHT, **fit)
    path.write_text(path.read_text().replace("[arguments]", "[arguments]\noutputs = 2"))
    return read_run(path)


def test_a_second_output_is_trained_from_the_weights_of_a_network_with_one(tiny_set):
    one = train(read_run(_run_file(tiny_set, "one", LIGHT, steps=1, steps_per_epoch=1)))
    run = _two_outputs(tiny_set, "two", steps=1, steps_per_epoch=1, lr=1e-30)
    run = replace(run, initial_weights=one / "weights.safetensors")
    network = module.Segmenter(run).network.eval()
    before = build("cdds_lite", decoder_channels=[16, 16, 8, 8, 8])
    before.load_state_dict(load_file(one / "weights.safetensors"))
    picture = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(picture)[:, :1], before.eval()(picture))
    weights = load_file(train(run) / "weights.safetensors")
    assert weights["main.weight"].shape[0] == 2
    with pytest.raises(ConfigError, match="no place"):
        start_from(before, weights)


def test_labels_that_say_nothing_give_no_loss_and_either_needs_one_of_two(tiny_set):
    segmenter = module.Segmenter(_two_outputs(tiny_set, "loss"))
    labels = torch.full((1, 1, 32, 32), NOTHING, dtype=torch.uint8)
    labels[..., :16] = IGNORED
    quiet = torch.full((1, 2, 32, 32), -6.0)
    loud = quiet.clone()
    loud[..., :16] = 6.0
    same = segmenter._pixel_loss(quiet, labels), segmenter._pixel_loss(loud, labels)
    torch.testing.assert_close(*same)
    labels[..., :16] = EITHER
    silent = segmenter._pixel_loss(quiet, labels)
    for channel in (0, 1):
        one = quiet.clone()
        one[:, channel, :, :16] = 6.0
        assert segmenter._pixel_loss(one, labels) < silent - 1
