"""A training that goes badly stops with a sentence, keeps what was good, and blocks nothing."""

from __future__ import annotations

import errno
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import save_file  # noqa: E402

from crackseg.config import read_options  # noqa: E402
from crackseg.errors import ConfigError, DataError, ModelError, TrainingError  # noqa: E402
from crackseg.inference.models import SHIPPED, read_card  # noqa: E402
from crackseg.inference.weights import read_weights  # noqa: E402
from crackseg.networks import build  # noqa: E402
from crackseg.records import Sample  # noqa: E402
from crackseg.training import dataset, export_onnx, start  # noqa: E402
from crackseg.training.curves import read_log  # noqa: E402
from crackseg.training.dataset import split_samples  # noqa: E402
from crackseg.training.export_onnx import ExportOptions, export_run, write_graph  # noqa: E402
from crackseg.training.fit import Segmenter, read_run, train  # noqa: E402
from crackseg.training.identity import claim_folder, describe, find_weights  # noqa: E402
from crackseg.training.manifest import index_folder, read_manifest, write_manifest  # noqa: E402
from crackseg.training.options import TrainOptions, differences  # noqa: E402

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a set of three pictures, and give what writes a run file beside it."""
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        grey = np.clip(rng.normal(150, 8, (64, 64)), 0, 255).astype(np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        grey[20 + number : 24 + number], mask[20 + number : 24 + number] = 30, 255
        Image.fromarray(grey).save(tmp_path / "set" / "images" / f"p{number}.png")
        Image.fromarray(mask).save(tmp_path / "set" / "masks" / f"p{number}.png")
    (tmp_path / "set" / "train.txt").write_text("p0\np1\n")
    (tmp_path / "set" / "val.txt").write_text("p2\n")
    write_manifest(index_folder(tmp_path / "set"), tmp_path / "m.csv")

    def run_file(top: str = "", data: str = "", fit: str = "") -> Path:
        named = 'network = "unet"\n[arguments]\nwidth = 0.03125\n'
        path = tmp_path / "run.toml"
        path.write_text(
            f'name = "run"\nout = "run"\naccelerator = "cpu"\n{top}\n'
            f"{'' if 'network' in top else named}"
            f'[data]\nmanifest = "m.csv"\ncrop_px = 64\nbatch = 1\n{data}\n'
            f"[fit]\nsteps = 2\nsteps_per_epoch = 1\nwarmup_steps = 0\nthreads = 1\n{fit}\n"
        )
        return path

    return run_file


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(fit="patience_epochs = 4")
    loss = Segmenter._pixel_loss

    def broken(self: Any, outputs: Any, mask: Any) -> Any:
        return loss(self, outputs, mask) * (float("nan") if self.global_step else 1)

    monkeypatch.setattr(Segmenter, "_pixel_loss", broken)
    with pytest.raises(TrainingError, match=r"step 2, lr .*the loss is nan.*Lower `fit\.lr`"):
        train(read_run(path))
    out = path.parent / "run"
    state = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 1
    assert all(
        torch.isfinite(t).all() for t in state["state_dict"].values() if t.is_floating_point()
    )
    assert not (out / "weights.safetensors").exists()
    monkeypatch.undo()
    assert (train(read_run(path)) / "weights.safetensors").exists()  # it goes on from there


def test_weights_that_are_not_finite_are_never_kept(write: Write) -> None:
    path = write(fit="lr = 1e30\nclip_norm = 0.0\nbranch_weight = 0.0")
    with pytest.raises(TrainingError, match=r"went astray at step .*clip_norm"):
        train(read_run(path))
    for file in (path.parent / "run").rglob("*.ckpt"):
        state = torch.load(file, weights_only=True)["state_dict"]
        assert all(torch.isfinite(t).all() for t in state.values() if t.is_floating_point())
    assert not (path.parent / "run" / "weights.safetensors").exists()


def test_a_start_that_failed_blocks_nothing(write: Write) -> None:
    with pytest.raises(Exception, match="dicee"):
        train(read_run(write(fit='loss = "dicee"')))
    with pytest.raises(DataError, match=r"`data\.val_sets` names nowhere"):
        train(read_run(write(data='val_sets = ["nowhere"]')))
    assert (train(read_run(write(fit='loss = "dice"'))) / "weights.safetensors").exists()


def spoil_data(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0xFF
    file.write_bytes(data)


def without(part: str) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        state = torch.load(file, weights_only=True)
        torch.save({name: value for name, value in state.items() if name != part}, file)

    return spoil


def a_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as parts:
        parts.writestr("a.txt", "hello")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_data, "is cut or damaged"),
        (a_zip, "is no checkpoint of this program"),
        (lambda file: torch.save(torch.zeros(3), file), "is no checkpoint of this program"),
        (without("optimizer_states"), "is no .* it lacks optimizer_states"),
        (without("loops"), "is no .* it lacks loops"),  # it began anew without a word
    ],
)
def test_a_checkpoint_that_no_run_can_go_on_from_is_named(
    spoil: Callable[[Path], None], words: str, write: Write
) -> None:
    last = train(read_run(write())) / "checkpoints" / "last.ckpt"
    spoil(last)
    with pytest.raises(ConfigError, match=rf"last\.ckpt` {words}"):
        train(read_run(write()))


def test_a_full_disk_leaves_the_last_good_checkpoint(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Path.write_bytes

    def fill(self: Path, data: Any) -> int:
        if self.name == "last.ckpt.part" and self.with_name("last.ckpt").exists():
            written(self, bytes(data)[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(self, data)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        train(read_run(write()))
    monkeypatch.undo()
    folder = write().parent / "run" / "checkpoints"
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 1
    assert sorted(file.name for file in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert (train(read_run(write())) / "weights.safetensors").exists()


def test_something_else_in_place_of_the_weights_is_an_error_of_the_disk(write: Write) -> None:
    out = train(read_run(write()))
    (out / "weights.safetensors").unlink()
    (out / "weights.safetensors").mkdir()
    with pytest.raises(OSError, match="directory"):
        train(read_run(write()))


def test_a_log_that_was_cut_stops_no_run(write: Write) -> None:
    out = train(read_run(write()))
    (log,) = out.rglob("metrics.csv")
    log.write_bytes(log.read_bytes() + b'1,"\xff\x00')
    assert read_log(out)["val/score"]
    log.write_bytes(b"\xff\xfe\x00\n1,2\n")
    assert read_log(out) == {}


def test_a_run_that_does_not_say_what_was_trained_is_not_exported(write: Write) -> None:
    out = train(read_run(write()))
    options = ExportOptions(name="m", version="1", threshold=0.5, threshold_low=0.5)
    for text in ("{}", "[]", "x", '{"options": 3, "data": []}'):
        (out / "run.json").write_text(text)
        with pytest.raises(ModelError, match=r"run\.json` does not say what was trained"):
            export_run(out, out.parent / "model", options)


def test_no_sample_of_a_split_says_how_to_get_some(write: Write) -> None:
    options = read_run(write())
    samples = read_manifest(options.data.manifest, root=options.data.root)
    with pytest.raises(DataError, match=r"no sample of split 'test'.* which have train, val"):
        split_samples(samples, "test", ())
    train_only = [sample for sample in samples if sample.split == "train"]
    with pytest.raises(DataError, match=r"no sample of split 'val'.*--hold-out"):
        split_samples(train_only, "val", ())
    with pytest.raises(DataError, match="the manifest has no row"):
        split_samples([], "train", ())


def identity_of(options: TrainOptions) -> dict[str, Any]:
    return describe(options, read_manifest(options.data.manifest, root=options.data.root))


def claim(options: TrainOptions) -> None:
    claim_folder(options.out, identity_of(options), options)


def test_a_run_goes_on_where_nothing_it_depends_on_has_changed(write: Write) -> None:
    options = read_run(write())
    claim(options)
    (options.out / "checkpoints").mkdir()
    (options.out / "checkpoints" / "last.ckpt").write_bytes(b"")
    here = options.data.manifest.parent.resolve()
    moved = replace(options.data, root=here, manifest=here / "m.csv", workers=3)
    fit = replace(options.fit, threads=7, steps=9)
    claim(replace(options, data=moved, fit=fit, accelerator="auto", name="other"))
    changed = replace(options, seed=4, fit=replace(options.fit, lr=0.5))
    with pytest.raises(ConfigError, match=r"`fit\.lr` was 0\.001, is 0\.5; `seed` was 0, is 4"):
        claim(changed)
    file = options.out / "run.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps(before | {"data_sha256": "0"}))
    with pytest.raises(ConfigError, match="other data: the manifest names other"):
        claim(options)
    file.write_text(json.dumps(before))
    (options.out / "checkpoints" / "last.ckpt").unlink()
    claim(changed)  # no checkpoint: the folder is free


def test_a_folder_that_is_not_of_a_run_is_not_written_to(write: Write) -> None:
    options = read_run(write())
    (options.out).mkdir()
    (options.out / "weights.safetensors").write_bytes(b"of another program")
    with pytest.raises(ConfigError, match="not the folder of a run"):
        claim(options)
    assert [p.name for p in options.out.iterdir()] == ["weights.safetensors"]


def test_a_users_own_picture_of_curves_and_record_stay(write: Write) -> None:
    options = read_run(write())
    options.out.mkdir()
    (options.out / "curves.png").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds curves.png and no run.json"):
        train(options)
    (options.out / "run.json").write_text("{}")  # of another program
    with pytest.raises(ConfigError, match=r"run.json` does not say which run"):
        train(options)
    assert (options.out / "curves.png").read_text() == "mine"
    assert (options.out / "run.json").read_text() == "{}"


def test_a_run_is_not_written_among_its_pictures(write: Write) -> None:
    options = read_run(write())
    sample = read_manifest(options.data.manifest, root=options.data.root)[0]
    for folder in (sample.image.parent, sample.mask.parent, sample.image.parent.parent):
        before = sorted(folder.iterdir())
        with pytest.raises(ConfigError, match=r"`out` .* is a folder of the data"):
            train(replace(options, out=folder))
        assert sorted(folder.iterdir()) == before


def test_a_rate_of_nothing_trains_nothing(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"`lr` must be a finite number above 0; .* got 0"):
        read_run(write(fit="lr = 0"))


def test_every_option_can_be_read_back_and_compared(write: Write) -> None:
    options = read_run(write())
    stored = identity_of(options)["options"]
    assert differences(stored, options) == ()
    assert read_options(TrainOptions, stored) == options
    ((name, (old, _)),) = differences({**stored, "colour": "red"}, options)
    assert name == "options"
    assert "colour" in old


@pytest.mark.parametrize(
    ("where", "text", "words"),
    [
        ("top", 'precision = "fp16"', "`precision` must be one of 32-true, 16-mixed"),
        ("top", 'accelerator = "tpu"', "Cannot overwrite|`accelerator` must be one of"),
        ("top", "devices = 0", "`devices` must be at least 1"),
        ("top", "seed = -1", "`seed` must be 0 to 4294967295"),
        ("top", "std = [128.0, 128.0, 0.0]", "`std` must be three positive"),
        ("data", "batch = 0", "`batch` must be at least 1"),
        ("data", "workers = 100000", "`workers` must be 0 to 1024"),
        ("data", "aim = 1.5", "`aim` must be a share"),
        ("data", "weights = { set = -1.0 }", r"`weights\.set` must be a finite number"),
        ("data", "weights = { set = nan }", r"weights\.set` must be a finite number"),
        ("fit", "lr = -0.1", "`lr` must be a finite number"),
        ("fit", "lr = inf", r"lr` must be a (positive|finite)"),
        ("fit", "accumulate = 0", "`accumulate` must be at least 1"),
        ("fit", 'optimizer = "adamm"', "`optimizer` must be one of adamw"),
        ("fit", 'schedule = "wavy"', "`schedule` must be one of constant"),
    ],
)
def test_options_out_of_range_are_a_sentence(
    write: Write, where: str, text: str, words: str
) -> None:
    path = write(**{where: text})
    key = text.split(" =")[0]
    lines = path.read_text().splitlines()
    path.write_text("\n".join(x for x in lines if not x.startswith(f"{key} =") or x == text))
    with pytest.raises(ConfigError, match=words):
        read_run(path)


def test_a_device_that_is_not_there_is_a_sentence(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("gpu", "cuda", "mps"):
        with pytest.raises(ConfigError, match=f"`accelerator` is '{name}'"):
            start.check_machine(replace(read_run(write()), accelerator=name))
    start.check_machine(read_run(write()))
    with pytest.raises(ConfigError, match="'16-mixed' needs a GPU"):
        start.check_machine(replace(read_run(write()), precision="16-mixed"))


@pytest.mark.parametrize("weight", [1.7e308, 5e-324])
def test_weights_of_sets_near_the_ends_of_floats_still_draw(weight: float, write: Write) -> None:
    samples = [Sample(image=Path("a"), mask=Path("b"), source=s, split="train") for s in "ab"]
    options = read_run(write(data=f"weights = {{ a = {weight}, b = {weight} }}")).data
    assert dataset._shares(samples, options).tolist() == [0.5, 0.5]


def test_weights_of_another_network_are_a_sentence(write: Write, tmp_path: Path) -> None:
    save_file(build("unet", width=0.0625).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"do not fit: .*`unet`.*other\.safetensors"):
        train(read_run(write(top='initial_weights = "other.safetensors"')))
    for name, fault in (("other.safetensors", "not safetensors"), ("other.onnx", "not an ONNX")):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(ConfigError, match=f"`initial_weights`: .*{name}` is {fault}"):
            train(read_run(write(top=f'initial_weights = "{name}"')))
    with pytest.raises(ConfigError, match=r"shipped model \(default"):
        train(read_run(write(top='initial_weights = "nothing"')))


def test_a_network_bound_to_a_size_is_a_sentence(write: Write) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    pytest.importorskip("timm")
    options = read_run(write(top='network = "smp:unet:tu-swin_tiny_patch4_window7_224"'))
    with pytest.raises(ConfigError, match=r"cannot take crops of 64 x 64 px.*img_size = 64"):
        start.start_network(options)


def test_weights_are_found_by_name_folder_and_file(tmp_path: Path) -> None:
    default = SHIPPED / "default" / "model.onnx"  # which holds them under their names
    assert find_weights(Path("default"), tmp_path) == default
    assert find_weights(SHIPPED / "default", tmp_path) == default
    assert find_weights(default, tmp_path) == default
    (tmp_path / "old").mkdir()  # of an earlier release: the graph's weights have no names
    for name in ("model.onnx", "weights.safetensors"):
        (tmp_path / "old" / name).touch()
    assert find_weights(Path("old"), tmp_path) == tmp_path / "old" / "weights.safetensors"
    (tmp_path / "default").mkdir()  # a folder of this name comes first
    assert find_weights(Path("default"), tmp_path) == tmp_path / "default" / "weights.safetensors"


def test_the_card_of_a_model_says_whose_weights_and_pictures_it_goes_back_to(write: Write) -> None:
    options = read_run(write(top='network = "cdds_lite"\ninitial_weights = "default"'))
    claim(options)
    save_file(read_weights(options.initial_weights), options.out / "weights.safetensors")
    record = json.loads((options.out / "run.json").read_text())
    parent = read_card(SHIPPED / "default")
    digest = parent.sha256["model.onnx"]
    through = {"name": "default", "version": parent.version, "sha256": digest}
    assert record["started_from"] == through
    own, *inherited = record["data"]
    assert (own["name"], own["pictures"]) == ("set", 2)
    assert inherited == [{"through": through, **row} for row in parent.data]
    grandchild = replace(options, initial_weights=options.out / "weights.safetensors")
    rows = identity_of(grandchild)["data"]
    assert [row["name"] for row in rows] == ["set", *(row["name"] for row in record["data"])]
    assert rows[-1]["through"] == through  # not that of the run between
    with pytest.raises(ConfigError, match="`mean` and `std` must be those"):
        identity_of(replace(options, mean=(0.0, 0.0, 0.0)))


def test_weights_that_are_not_finite_are_not_exported(write: Write, tmp_path: Path) -> None:
    options = read_run(write())
    claim(options)
    weights = build("unet", width=0.03125).state_dict()
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    export = ExportOptions(name="n", version="1", threshold=0.5, threshold_low=0.5)
    for value in (float("nan"), float("inf"), 1e6):  # the last is infinite as float16
        weights[name].fill_(value)
        save_file(weights, options.out / "weights.safetensors")
        with pytest.raises(ModelError, match=f"1 of {len(weights)} weight tensors are not finite"):
            export_run(options.out, tmp_path / "model", export)
    assert not (tmp_path / "model").exists()


def test_a_graph_that_answers_nan_is_no_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answers:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.calls = 0

        def run(self, names: Any, feed: dict[str, Any]) -> list[Any]:
            self.calls += 1
            shape = feed["image"].shape[:3]
            return [np.full(shape, np.nan if self.calls == 2 else 0.5, np.float32)]

    monkeypatch.setattr(export_onnx, "PARITY", 10.0)
    monkeypatch.setattr(export_onnx.onnxruntime, "InferenceSession", Answers)
    network = build("unet", width=0.03125)
    with pytest.raises(ModelError, match="differs from torch by nan"):
        write_graph(network, tmp_path / "g.onnx", mean=[127] * 3, std=[128] * 3, multiple=16)
