"""A run on several devices is the run on one: same crops, same weights, same scores, no hang."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import exit_code
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import load_file  # noqa: E402 - optional

from crackseg.config import to_plain  # noqa: E402
from crackseg.errors import ConfigError, TrainingError  # noqa: E402
from crackseg.training.curves import read_log  # noqa: E402
from crackseg.training.dataset import StepNumbers  # noqa: E402
from crackseg.training.manifest import index_folder, write_manifest  # noqa: E402
from crackseg.training.options import DataOptions, TrainOptions, differences  # noqa: E402
from crackseg.training.picture_store import Room  # noqa: E402
from crackseg.training.sharing import (  # noqa: E402
    Dealt,
    crops_of_each,
    dropout_seed,
    gather,
    rank,
    refuse_lost,
    split_batch,
)
from crackseg.training.start import check_machine  # noqa: E402

# A network without batch norm or dropout, whose weights do not hang on how a batch is dealt out.
SCRIPT = """
import os
import signal
import sys
from pathlib import Path
import torch
from crackseg import networks
from crackseg.training import fit, sharing

class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 1)
        )

    def forward(self, x):
        return self.layers(x)

fit.start_network = lambda options: Plain()
options = fit.read_run(Path(sys.argv[1]))
fails = sys.argv[2:]  # the rank that fails, and how
step = fit.Segmenter.training_step

def or_fail(self, batch, number):
    if fails and self.global_step == 1 and sharing.rank(options) == int(fails[0]):
        if fails[1] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError(fails[1])
    return step(self, batch, number)

fit.Segmenter.training_step = or_fail
try:
    fit.train(options)
except Exception as error:
    sys.exit(f"rank {sharing.rank(options)}: {error}")
"""


@pytest.fixture
def tiny_set(tmp_path: Path) -> Path:
    """Nine 64 px pictures with one dark line each, three of them to validate on."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(9):
        mask = np.zeros((64, 64), np.uint8)
        mask[20 + 3 * number : 23 + 3 * number, 5:60] = 255
        grey = 150 + rng.normal(0, 8, mask.shape) - 80 * (mask > 0)
        picture = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    (folder / "val.txt").write_text("1\n4\n7\n")
    (folder / "train.txt").write_text("0\n2\n3\n5\n6\n8\n")
    write_manifest(index_folder(tmp_path), tmp_path / "manifest.csv", root=tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def _run_file(folder: Path, name: str, top: str = "", steps: int = 4) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        f"""name = "run"
out = "runs/{name}"
network = "unet"
accelerator = "cpu"
{top}
[data]
manifest = "manifest.csv"
crop_px = 64
batch = 4
[fit]
steps = {steps}
steps_per_epoch = 2
warmup_steps = 1
ema = 0.5
threads = 1
loss = "bce"
"""
    )
    return path


def _train(folder: Path, run: Path, *fails: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "script.py"), str(run), *fails]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)


def _options(**values: object) -> TrainOptions:
    data = DataOptions(manifest=Path("m.csv"), batch=int(str(values.pop("batch", 8))))
    base = TrainOptions(name="run", out=Path("out"), network="unet", data=data)
    return replace(base, **values)  # type: ignore[arg-type]


def test_machines_that_nobody_starts_are_refused(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"`nodes` is 2.*by torchrun or Slurm"):
        check_machine(_options(nodes=2, accelerator="cpu"))
    monkeypatch.setenv("NODE_RANK", "0")
    check_machine(_options(nodes=2, accelerator="cpu"))


def test_a_batch_is_of_all_devices_together():
    assert crops_of_each(_options(devices=4, nodes=2)) == 1
    with pytest.raises(ConfigError, match=r"`data.batch` must be a multiple of 3.*got 8; take 9"):
        crops_of_each(_options(devices=3))


def test_a_run_goes_on_with_other_devices():
    stored = to_plain(_options(devices=8, nodes=2, batch=16))
    assert differences(stored, _options(batch=16)) == ()
    assert [name for name, _ in differences(stored, _options(batch=8))] == ["data.batch"]


@pytest.mark.parametrize(("count", "sharers"), [(7, 3), (3, 3), (2, 5), (1, 2), (4, 1)])
def test_every_picture_is_read_and_no_device_stands_idle(count, sharers):
    dealt = [list(Dealt(count, number, sharers)) for number in range(sharers)]
    assert {number for part in dealt for number in part} == set(range(count))
    assert all(dealt)
    if count >= sharers:
        assert sum(map(len, dealt)) == count


def test_what_is_found_stands_in_the_order_of_the_pictures():
    assert list(gather({3: "c", 1: "a", 2: "b"}).items()) == [(1, "a"), (2, "b"), (3, "c")]


def test_ranks_draw_other_dropout_and_the_first_what_it_drew_alone(monkeypatch):
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    options = replace(_options(devices=2), seed=3)
    assert rank(options) == 0
    alone = dropout_seed(options, 5)
    assert alone == 3_000_014
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert rank(options) == 1
    assert dropout_seed(options, 5) != alone
    monkeypatch.setenv("RANK", "6")  # over all machines
    assert rank(options) == 6
    assert rank(_options()) == 0  # a run of its own among others of a job


def test_a_device_without_room_is_told_what_makes_the_same_steps():
    error = RuntimeError("can't allocate memory")
    alone = split_batch(_options(batch=6), error)
    assert (alone.data.batch, alone.fit.accumulate) == (3, 2)
    with pytest.raises(ConfigError, match=r"its 4 crops.*`data.batch` to 4 and .*accumulate` to 2"):
        split_batch(_options(devices=2), error)
    with pytest.raises(ConfigError, match="even with a batch of 1"):
        split_batch(_options(devices=8), error)


def test_pictures_may_take_the_share_of_each_process():
    room = Room(folder=Path("x"), memory_bytes=1000, sharers=4)
    assert room.allowed_bytes == 250


def test_steps_are_dealt_out_without_repeat():
    parts = [list(StepNumbers(2, 6, lambda: 1, number, 3)) for number in range(3)]
    assert sorted(number for part in parts for number in part) == list(range(6, 18))


@pytest.mark.slow
def test_a_run_on_two_devices_is_the_run_on_one(tiny_set):
    for name, top in {"one": "", "two": "devices = 2"}.items():
        done = _train(tiny_set, _run_file(tiny_set, name, top))
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (load_file(tiny_set / f"runs/{name}/weights.safetensors") for name in ("one", "two"))
    for name, values in one.items():
        assert torch.allclose(values, two[name], atol=1e-5), name
    logs = [read_log(tiny_set / f"runs/{name}") for name in ("one", "two")]
    scores = [{k: v for k, v in log.items() if k.startswith("val/")} for log in logs]
    assert scores[0] == scores[1]
    assert len(list((tiny_set / "runs/two/log").iterdir())) == 1  # one of the two writes


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["0", "1"])
@pytest.mark.parametrize("reason", ["can't allocate memory", "broken"])
def test_where_one_device_fails_all_end(tiny_set, failing, reason):
    done = _train(tiny_set, _run_file(tiny_set, "fails", "devices = 2"), failing, reason)
    assert done.returncode != 0
    expected = "`data.batch` to 2 and `fit.accumulate` to 2" if reason != "broken" else "broken"
    assert f"rank {failing}: " in done.stderr
    assert expected in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_process_is_killed_the_other_says_so(tiny_set, killed):
    done = _train(tiny_set, _run_file(tiny_set, "fails", "devices = 2"), str(killed), "killed")
    assert done.returncode != 0
    assert f"rank {1 - killed}: another process of the run has ended" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_exchange_that_fails_is_no_fault_of_a_run_alone():
    error = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    for lost in (error, torch.distributed.DistBackendError("NCCL error")):
        with pytest.raises(TrainingError, match="another process of the run has ended"):
            refuse_lost(_options(devices=2), lost)
    refuse_lost(_options(), error)
    refuse_lost(_options(devices=2), RuntimeError("broken"))


@pytest.mark.parametrize(("number", "told"), [("0", "finished: out\n"), ("1", "")])
def test_one_process_says_that_a_run_is_finished(number, told, tmp_path, monkeypatch, capsys):
    run = _run_file(tmp_path, "two", "devices = 2")
    monkeypatch.setenv("LOCAL_RANK", number)
    monkeypatch.setattr("crackseg.training.fit.train", lambda options: Path("out"))
    monkeypatch.setattr("sys.argv", ["crackseg", "train", str(run)])
    assert exit_code() == 0
    assert capsys.readouterr().out == told


@pytest.mark.slow
def test_machines_share_a_run_that_torchrun_starts(tiny_set):
    run = _run_file(tiny_set, "nodes", "nodes = 2")
    alone = _run_file(tiny_set, "alone")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:29553", "--rdzv-id=run"]
    command = [*torchrun, *meeting, str(tiny_set / "script.py"), str(run)]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    nodes = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    for node in nodes:
        _, text = node.communicate(timeout=400)
        assert node.returncode == 0, text[-2000:]
    assert _train(tiny_set, alone).returncode == 0
    shared = load_file(tiny_set / "runs/nodes/weights.safetensors")
    for name, values in load_file(tiny_set / "runs/alone/weights.safetensors").items():
        assert torch.allclose(values, shared[name], atol=1e-5), name
