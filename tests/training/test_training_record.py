"""What a training keeps and shows, what it needs of memory, and how it goes on elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from crackseg.errors import ConfigError, MissingExtra  # noqa: E402 - optional
from crackseg.networks import build  # noqa: E402
from crackseg.training import fit as module  # noqa: E402
from crackseg.training import loggers, memory, picture_store  # noqa: E402
from crackseg.training.dataset import Crops, WholePictures, split_samples  # noqa: E402
from crackseg.training.fit import Segmenter, read_run, train  # noqa: E402
from crackseg.training.loggers import draw_sample, sample_numbers, window_of  # noqa: E402
from crackseg.training.manifest import index_folder, read_manifest, write_manifest  # noqa: E402
from crackseg.training.memory import bytes_per_crop, require_room  # noqa: E402
from crackseg.training.picture_store import Room  # noqa: E402

RUN = """name = "tiny"
out = "runs/tiny"
network = "cdds"
arguments = { width = 0.03125 }
accelerator = "cpu"
[data]
manifest = "manifest.csv"
crop_px = 64
batch = 2
[fit]
steps = 4
steps_per_epoch = 2
warmup_steps = 1
ema = 0.5
threads = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight pictures of a dark line, one val picture without; a manifest and run.toml beside."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 5, "val": 3}.items():
        for number in range(count):
            rows, cols = np.mgrid[:80, :96]
            mask = np.abs(rows - 30 - 9 * np.sin(cols / 9 + number)) < 2
            mask &= (split, number) != ("val", 2)
            pixels = np.clip(rng.normal(150, 8, (80, 96, 3)) - 80 * mask[..., None], 0, 255)
            for kind, array in (("images", pixels), ("masks", mask * 255)):
                (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
                file = tmp_path / "set" / kind / f"{split}{number}.png"
                Image.fromarray(array.astype(np.uint8)).save(file)
            with (tmp_path / "set" / f"{split}.txt").open("a") as stream:
                stream.write(f"{split}{number}\n")
    write_manifest(index_folder(tmp_path), tmp_path / "manifest.csv")
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path


def weights_of(run: Path, name: str = "last") -> dict[str, np.ndarray]:
    state = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return {key: value.numpy() for key, value in state.items()}


def assert_equal(one: Path, two: Path) -> None:
    first, second = weights_of(one), weights_of(two)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_tensorboard_shows_curves_and_sample_predictions(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = train(read_run(folder / "run.toml"))
    (file,) = (out / "tensorboard").rglob("events.*")
    events = EventAccumulator(str(file), size_guidance={"images": 0})
    events.Reload()
    assert {"loss", "val/score", "val/f1_set"} <= set(events.Tags()["scalars"])
    shown = [tag for tag in events.Tags()["images"] if tag.startswith("val/set/val")]
    assert len(shown) == 3
    pictures = events.Images(shown[0])
    assert [picture.step for picture in pictures] == [2, 4]
    assert (pictures[0].height, pictures[0].width) == (80, 2 * 96 + 4)


def test_samples_are_marked_at_the_threshold_of_their_validation(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = []

    def draw(picture: np.ndarray, label: np.ndarray, marked: np.ndarray) -> np.ndarray:
        shares.append(float(marked.mean()))
        return picture

    monkeypatch.setattr(loggers, "draw_sample", draw)
    levels = iter([0.0, 1.01])
    monkeypatch.setattr(
        module, "score", lambda counted: {"val/threshold": next(levels), "val/score": 0.5}
    )
    train(read_run(folder / "run.toml"))
    assert shares == [1, 1, 1, 0, 0, 0]


def test_a_sample_says_what_is_right_invented_and_missed() -> None:
    label = np.zeros((60, 90), bool)
    label[20, 10:40] = True
    marked = np.zeros_like(label)
    marked[21, 10:30] = True  # beside the label
    marked[50, 60:70] = True
    image = draw_sample(np.full((60, 90, 3), 100, np.uint8), label, marked)
    assert image.shape == (60, 184, 3)
    right = image[:, 94:]
    assert tuple(right[21, 20]) == (0, 170, 80)
    assert tuple(right[50, 65]) == (230, 40, 40)
    assert tuple(right[20, 38]) == (40, 90, 255)
    assert tuple(image[20, 20]) == (40, 90, 255)
    assert tuple(right[5, 5]) == (146, 146, 146)


@pytest.mark.parametrize("place", [(0, 0), (1500, 2500), (1999, 2999), None])
def test_the_part_of_a_large_picture_that_is_shown_holds_the_crack(
    place: tuple[int, int] | None,
) -> None:
    label = np.zeros((2000, 3000), bool)
    if place:
        label[place] = True
    window = window_of(label)
    assert label[window].shape == (512, 512)
    assert label[window].any() == bool(place)


@pytest.mark.parametrize(("count", "numbers"), [(1, (0,)), (3, (0, 1, 2)), (101, (0, 33, 67, 100))])
def test_samples_are_spread_over_val(count: int, numbers: tuple[int, ...]) -> None:
    assert sample_numbers(count) == numbers


@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_mlflow_gets_curves_options_and_pictures_and_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra `track` is not installed")
    pytest.importorskip("sqlalchemy", reason="the local store of MLflow is a data base")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    options = replace(read_run(folder / "run.toml"), loggers=("mlflow",))
    out = train(options)
    number = (out / "mlflow.id").read_text()
    train(replace(options, fit=replace(options.fit, steps=6)))  # prolonged: the same run
    assert (out / "mlflow.id").read_text() == number
    client = mlflow.tracking.MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    run = client.get_run(number)
    assert (run.data.params["fit.lr"], run.data.params["fit.steps"]) == ("0.001", "4")
    assert run.data.tags["fit.steps"] == "6"
    steps = {metric.step for metric in client.get_metric_history(number, "val/score")}
    assert {2, 4, 6} <= {step + 1 for step in steps} | steps
    assert list((out / "mlflow").rglob("*.png")) or list((out / "mlflow").rglob("*.webp"))


def test_wandb_writes_into_the_folder_of_the_run_and_nothing_leaves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra `track` is not installed")
    opened = []

    class Double:
        """Stands for Lightning's logger, whose process would outlive a test."""

        def __init__(self, **facts: object) -> None:
            opened.append(facts)

        def log_hyperparams(self, values: dict[str, object]) -> None:
            opened.append(values)

    monkeypatch.setattr(loggers, "WandbLogger", Double)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    options = replace(read_run(folder / "run.toml"), loggers=("wandb",))
    options.out.mkdir(parents=True)
    for _ in range(2):
        loggers.open_loggers(options)
    (first, values, again, _) = opened
    assert (first["offline"], first["save_dir"]) == (True, options.out)
    assert first["id"] == again["id"]
    assert values["data.crop_px"] == 64
    monkeypatch.setenv("WANDB_MODE", "online")
    loggers.open_loggers(options)
    assert opened[-2]["offline"] is False


def test_the_library_advertises_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = read_run(folder / "run.toml")
    with caplog.at_level("INFO"):
        module._trainer(options)
    texts = [record.getMessage() for record in caplog.records]
    assert any("GPU available" in text for text in texts)  # what it says of the machine stays
    assert not any("Tip" in text for text in texts)


def test_a_logger_that_is_not_known_or_not_there_is_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = read_run(folder / "run.toml")
    with pytest.raises(ConfigError, match=r"`loggers` must be of mlflow, wandb, got 'neptune'"):
        replace(options, loggers=("neptune",))

    def missing(name: str, *, extra: str) -> None:
        raise MissingExtra(f"`{name}` is missing; pip install 'crackseg[{extra}]'.")

    monkeypatch.setattr(loggers, "require", missing)
    with pytest.raises(MissingExtra, match=r"crackseg\[track\]"):
        train(replace(options, loggers=("mlflow",)))
    monkeypatch.undo()
    train(options)  # and the folder is free for a start without it


def test_the_record_names_code_packages_device_and_parent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = read_run(folder / "run.toml")
    out = train(options)
    first = json.loads((out / "run.json").read_text())
    root = Path(module.__file__).parents[2]
    if (root / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{40}\+?", first["commit"])
    assert {"crackseg", "python", "torch", "numpy", "timm", "lightning"} <= set(first["versions"])
    assert first["versions"]["numpy"] == np.__version__
    assert first["device"]["processor"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00", first["started_at"])
    assert "earlier_starts" not in first
    monkeypatch.setattr("crackseg.training.identity.platform.python_version", lambda: "9.9")
    train(replace(options, fit=replace(options.fit, steps=6)))
    second = json.loads((out / "run.json").read_text())
    assert second["versions"]["python"] == "9.9"
    (earlier,) = second["earlier_starts"]
    assert earlier == {key: first[key] for key in earlier}
    assert earlier["versions"]["python"] == first["versions"]["python"]
    child = replace(
        options, out=folder / "runs" / "child", initial_weights=out / "weights.safetensors"
    )
    record = json.loads((train(child) / "run.json").read_text())
    import hashlib

    digest = hashlib.sha256((out / "weights.safetensors").read_bytes()).hexdigest()
    assert record["started_from"]["sha256"] == digest


def test_a_record_outside_of_a_checkout_has_no_commit(tmp_path: Path) -> None:
    from crackseg.training.identity import _commit

    assert _commit(tmp_path) is None


def test_pictures_that_do_not_fit_into_memory_give_the_same_weights(folder: Path) -> None:
    options = read_run(folder / "run.toml")
    inside = train(options)
    data = replace(options.data, memory_gb=1e-9, cache=folder / "disk")
    calls = []
    write = picture_store._write

    def count(*arguments: object) -> object:
        calls.append(arguments)
        return write(*arguments)

    picture_store._write = count
    try:
        outside = train(replace(options, out=folder / "runs" / "mapped", data=data))
    finally:
        picture_store._write = write
    assert len(calls) == 8  # each of train and val
    assert_equal(inside, outside)
    train(replace(options, data=data))  # and a run goes on with either


def test_a_crop_reads_its_window_from_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = read_run(folder / "run.toml").data
    samples = split_samples(read_manifest(options.manifest), "train", ())
    room = Room(folder=folder / "cache", memory_bytes=0)
    inside, outside = Crops(samples, options, 3), Crops(samples, options, 3, room=room)
    assert isinstance(outside.pairs[0][0], np.memmap)
    for number in range(8):
        for one, two in zip(inside[number], outside[number], strict=True):
            assert torch.equal(one, two)
    before = {file: file.stat().st_mtime_ns for file in (folder / "cache").iterdir()}
    monkeypatch.setattr(picture_store, "open_image", picture_store.open_image)
    again = Crops(samples, options, 3, room=room)  # of a run that goes on: nothing is decoded
    assert {file: file.stat().st_mtime_ns for file in (folder / "cache").iterdir()} == before
    assert torch.equal(again[0][0], inside[0][0])
    other = replace(options, joints=("set",))  # other labels, other files
    Crops(samples, other, 3, room=room)
    assert len(list((folder / "cache").iterdir())) == 2 * len(before)


def test_validation_reads_the_same_from_the_disk(folder: Path) -> None:
    options = read_run(folder / "run.toml").data
    samples = split_samples(read_manifest(options.manifest), "val", ())
    room = Room(folder=folder / "cache", memory_bytes=0)
    inside, outside = WholePictures(samples), WholePictures(samples, room)
    for number in range(len(samples)):  # the last without any line, which cannot be mapped
        one, two = inside.truth(number), outside.truth(number)
        for name in ("line", "width_class", "right", "picture"):
            assert np.array_equal(getattr(one, name), getattr(two, name)), name
        assert one.counts is two.counts is None
        assert torch.equal(inside[number][0], outside[number][0])


def test_a_disk_that_is_too_small_is_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = read_run(folder / "run.toml").data
    samples = split_samples(read_manifest(options.manifest), "train", ())
    usage = shutil.disk_usage(folder)._replace(free=1000)
    monkeypatch.setattr(picture_store.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ConfigError, match=r"`data\.cache`, or cut the photographs"):
        Crops(samples, options, 3, room=Room(folder=folder / "cache", memory_bytes=0))
    assert not list((folder / "cache").iterdir())


def test_a_large_picture_is_validated_in_tiles(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(read_run(folder / "run.toml"), arguments={"width": 0.0625})
    torch.manual_seed(2)
    monkeypatch.setattr(Segmenter, "lr", 0.0)  # that of a trainer
    segmenter = Segmenter(options).eval()
    image = torch.randint(0, 255, (1, 3, 200, 330), dtype=torch.uint8)
    with torch.inference_mode():
        whole = segmenter.predict_grey(image)
        monkeypatch.setattr(module, "WHOLE_PX", 10_000)
        monkeypatch.setattr(module, "VAL_TILE_PX", 256)
        sizes = []
        ask = Segmenter._probability
        monkeypatch.setattr(
            Segmenter,
            "_probability",
            lambda self, tile: sizes.append(tile.shape[-2:]) or ask(self, tile),
        )
        tiled = segmenter.predict_grey(image)
    assert sizes == [(200, 256), (200, 256)]
    assert tiled.shape == whole.shape == (200, 330)
    assert np.abs(tiled.astype(int) - whole).mean() < 2
    assert np.abs(tiled[:, :100].astype(int) - whole[:, :100]).max() <= 1


def test_what_a_crop_keeps_is_counted() -> None:
    layers = [torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 1)]
    count = bytes_per_crop(torch.nn.Sequential(*layers), 32)
    plane = 32 * 32 * 4
    assert count == (3 + 4) * plane + 4 * plane  # input, the one map between; picture and labels


@pytest.mark.parametrize("name", ["unet", "cdds", "fcn"])
def test_the_count_grows_with_the_crop_and_changes_nothing(name: str) -> None:
    network = build(name, width=0.03125).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    small, large = bytes_per_crop(network, 64), bytes_per_crop(network, 128)
    assert 3 < large / small < 4.5
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_batch_that_cannot_fit_is_refused_before_a_picture_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = read_run(folder / "run.toml")
    large = replace(options, data=replace(options.data, batch=100_000_000))

    def never(*_: object) -> None:
        raise AssertionError("a picture was read")

    monkeypatch.setattr("crackseg.training.dataset.read_pair", never)
    with pytest.raises(ConfigError) as refused:
        train(large)
    text = str(refused.value)
    match = re.search(
        r"needs about ([\d.,]+) TB with `cdds`, and this machine has [\d.]+ [GT]B", text
    )
    assert match, text
    assert re.search(r"about (\d+) fit; take a smaller `data\.batch`, and `fit\.accumulate`", text)


def test_what_fits_is_said_and_close_calls_are_warned_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = read_run(folder / "run.toml")
    network = build(options.network, **options.arguments)
    weights = 5 * sum(4 * p.numel() for p in network.parameters())
    needed = weights + 2 * bytes_per_crop(network, 64)
    monkeypatch.setattr(memory, "total_bytes", lambda _: needed)
    monkeypatch.setattr(memory, "free_bytes", lambda: needed)
    require_room(network, options)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(memory, "free_bytes", lambda: needed - 1)
    require_room(network, options)
    assert "free: close other programs" in capsys.readouterr().err
    monkeypatch.setattr(memory, "total_bytes", lambda _: needed - 1)
    with pytest.raises(ConfigError, match="about 1 fit"):
        require_room(network, options)
    monkeypatch.setattr(memory, "total_bytes", lambda _: 1000)
    with pytest.raises(ConfigError, match="not even one fits"):
        require_room(network, options)
    monkeypatch.setattr(memory, "total_bytes", lambda _: None)  # nobody tells
    require_room(network, options)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    monkeypatch.setattr(memory, "_INFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal:  8000 kB\nMemAvailable:    6000 kB\n")
    assert (memory.total_bytes(), memory.free_bytes()) == (8000 * 1024, 6000 * 1024)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.total_bytes() == 8000 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert (memory.total_bytes(), memory.free_bytes()) == (1_000_000, 600_000)


def scores(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Let the validations of a run have these scores."""
    left = list(values)

    def of(counted: object) -> dict[str, float]:
        return {"val/threshold": 0.5, "val/score": left.pop(0)}

    monkeypatch.setattr(module, "score", of)


def step_of(run: Path, name: str) -> int:
    file = run / "checkpoints" / f"{name}.ckpt"
    return int(torch.load(file, weights_only=True)["global_step"])


def test_a_run_goes_on_on_another_machine_and_keeps_what_was_best(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = read_run(folder / "run.toml")
    scores(monkeypatch, 0.9, 0.3)
    first = train(options)
    assert (step_of(first, "best"), step_of(first, "last")) == (2, 4)
    best = (first / "weights.safetensors").read_bytes()
    elsewhere = tmp_path / "other machine" / "mount"
    elsewhere.mkdir(parents=True)
    for name in ("set", "runs", "manifest.csv", "run.toml"):
        shutil.move(folder / name, elsewhere / name)
    there = read_run(elsewhere / "run.toml")
    longer = replace(there, fit=replace(there.fit, steps=8))
    scores(monkeypatch, 0.5, 0.6)  # better than the last one, not than the best
    moved = train(longer)
    assert (step_of(moved, "best"), step_of(moved, "last")) == (2, 8)
    assert (moved / "weights.safetensors").read_bytes() == best
    scores(monkeypatch, 0.95)
    train(replace(longer, fit=replace(longer.fit, steps=10)))
    assert step_of(moved, "best") == 10


def test_a_run_of_an_earlier_release_is_taken_up(folder: Path) -> None:
    from lightning.pytorch import callbacks

    from crackseg.training.checkpoints import make_checkpoints

    best = make_checkpoints(read_run(folder / "run.toml"))[0]
    before = callbacks.ModelCheckpoint(
        folder, "best", monitor="val/score", mode="max", save_on_train_epoch_end=False
    )
    assert best.state_key == before.state_key


def test_a_folder_without_its_best_checkpoint_is_refused(folder: Path) -> None:
    options = read_run(folder / "run.toml")
    out = train(options)
    (out / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ConfigError, match="copy the whole folder of the run"):
        train(replace(options, fit=replace(options.fit, steps=6)))


STOPPED_IN_SECOND_EPOCH = """
import os, signal, sys
from crackseg.training import dataset
from crackseg import cli

take = dataset.Crops.__getitem__
name = sys.argv.pop()

def take_and_stop(self, number):
    if number == 6:
        os.kill(os.getpid(), getattr(signal, name))
    return take(self, number)

dataset.Crops.__getitem__ = take_and_stop
cli.main()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_run_that_is_told_to_stop_says_so_and_goes_on(folder: Path, name: str) -> None:
    whole = train(replace(read_run(folder / "run.toml"), out=folder / "runs" / "whole"))
    command = [sys.executable, "-c", STOPPED_IN_SECOND_EPOCH, "train", str(folder / "run.toml")]
    child = subprocess.run(
        [*command, name], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert child.returncode == 130, child.stderr[-2000:]
    assert "stopped: the training goes on with the same command" in child.stderr
    assert "Traceback" not in child.stderr
    assert_equal(whole, train(read_run(folder / "run.toml")))
