"""A model learns a few photographs: parted by photograph, stopped and gone on, with its card."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dark_model import write_dark_model
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import save_file  # noqa: E402 - optional

from crackseg.config import AnalyzeOptions, read_options  # noqa: E402
from crackseg.errors import ConfigError, DataError, ModelError, TrainingError  # noqa: E402
from crackseg.imagery.files import open_image  # noqa: E402
from crackseg.imagery.masks import encode_mask  # noqa: E402
from crackseg.inference.models import read_card, write_card  # noqa: E402
from crackseg.inference.predictor import Predictor  # noqa: E402
from crackseg.networks import build  # noqa: E402
from crackseg.networks.cdds_site import describe  # noqa: E402
from crackseg.pipeline import analyze  # noqa: E402
from crackseg.records import Certainty  # noqa: E402
from crackseg.training.areas import NO_CRACK, encode_areas, read_areas  # noqa: E402
from crackseg.training.export_onnx import ExportOptions, export_run  # noqa: E402
from crackseg.training.fine_tune import (  # noqa: E402
    FineTuneOptions,
    best_near,
    fine_tune,
)
from crackseg.training.fine_tune_scores import (  # noqa: E402
    as_loss,
    as_table,
    require_no_worse,
)
from crackseg.training.identity import find_weights  # noqa: E402
from crackseg.training.judge import LineCounts  # noqa: E402
from crackseg.training.labels import CRACK, LEFT_OUT, UNKNOWN  # noqa: E402
from crackseg.training.manifest import photograph_of, read_pair  # noqa: E402
from crackseg.training.options import DataOptions, TrainOptions  # noqa: E402
from crackseg.training.own_pictures import (  # noqa: E402
    draw_on_held_out,
    part_photographs,
)
from crackseg.training.rendered import render  # noqa: E402
from crackseg.training.site_loop import verdict_loss  # noqa: E402
from crackseg.training.start import start_network  # noqa: E402

SIDE = 128
CERTAINTY = Certainty(intercept=0.0, weights={"probability": 1.0}, limit=0.5, fitted_on="old ones")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a small decoder that learned from a set with a licence."""
    folder = tmp_path_factory.mktemp("parent")
    torch.manual_seed(1)
    (folder / "run").mkdir()
    small = {"decoder_channels": [8, 8, 8, 8, 8], "outputs": 2}
    network = build("cdds_lite", **small)
    save_file(network.state_dict(), folder / "run" / "weights.safetensors")
    options = {"network": "cdds_lite", "arguments": small, "data": {"crop_px": 64}}
    options |= {"mean": [127.0] * 3, "std": [128.0] * 3}
    data = [{"name": "old", "licence": "CC BY 4.0", "pictures": 3}]
    text = json.dumps({"options": options, "data": data})
    (folder / "run" / "run.json").write_text(text, encoding="utf-8")
    levels = {"threshold": 0.6, "threshold_low": 0.4}
    card = export_run(
        folder / "run", folder / "model", ExportOptions(name="old", version="7", **levels)
    )
    write_card(folder / "model", replace(card, certainty=CERTAINTY))
    return folder / "model"


def _write_set(folder: Path, photographs: int, *, marks: int = 3, val: int = 0) -> Path:
    """Photographs with one crack and ``marks`` - 1 lines that are none."""
    for name in ("images", "masks", "areas"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(photographs):
        grey = 160 + rng.normal(0, 6, (SIDE, SIDE))
        mask, areas = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), np.uint8)
        for k in range(marks):
            rows = slice(12 + 36 * k, 16 + 36 * k)
            grey[rows] -= 100
            if k:
                areas[rows] = NO_CRACK
            else:
                mask[rows] = True
        picture = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        Image.fromarray(picture).save(folder / "images" / f"p{number}.png")
        (folder / "masks" / f"p{number}.png").write_bytes(encode_mask(mask))
        (folder / "areas" / f"p{number}.png").write_bytes(encode_areas(areas))
    (folder / "origin.json").write_text(json.dumps({"licence": "ours"}), encoding="utf-8")
    if val:
        for name, part in (("train", range(val, photographs)), ("val", range(val))):
            text = "".join(f"p{k}\n" for k in part)
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def small(tmp_path: Path, parent: Path) -> FineTuneOptions:
    return FineTuneOptions(
        data=_write_set(tmp_path / "site", 6), out=tmp_path / "new", name="ours",
        parent=str(parent), steps=6, rendered=3, crop_px=64, batch=2, threads=1,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def few_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crackseg.training.fine_tune.RENDERED_VAL", 2)
    monkeypatch.setattr("crackseg.training.site_gate.TILES", 12)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, parent: Path) -> tuple[FineTuneOptions, str]:
    """What was asked for, done, and what was said."""
    folder = tmp_path_factory.mktemp("tuned")
    options = FineTuneOptions(
        data=_write_set(folder / "site", 6), out=folder / "new", name="ours",
        parent=str(parent), steps=6, rendered=3, crop_px=64, batch=2, threads=1,
        check=_write_set(folder / "visible", 3, val=2),
    )  # fmt: skip
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crackseg.training.fine_tune.RENDERED_VAL", 2)
        patch.setattr("crackseg.training.site_gate.TILES", 12)
        fine_tune(options, lines.append)
    return options, "\n".join(lines)


@pytest.mark.slow
def test_a_model_folder_with_parent_data_and_licences(tuned: tuple[FineTuneOptions, str]) -> None:
    small, text = tuned
    card = read_card(small.out)
    assert (card.name, card.version, card.network) == ("ours", "1", "cdds_site")
    rows = {row["name"]: row for row in card.data}
    assert rows["site"] == {"name": "site", "licence": "ours", "pictures": 4}
    assert rows["rendered"]["licence"] == "rendered by crackseg (MIT)"
    assert rows["old"]["licence"] == "CC BY 4.0"
    assert (rows["old"]["through"]["name"], rows["old"]["through"]["version"]) == ("old", "7")
    assert "Fine-tuned from old 7 on 4 photographs" in card.limits
    assert card.intended_use.startswith("The site that it learned from")
    assert card.certainty is not None
    assert card.certainty.fitted_on == (
        "carried over from old 7, not fitted anew; fitted on old ones"
    )
    assert card.detection is None
    assert card.scores["fine_tuning"]["before"]["own"]["pictures"] == 2
    assert card.scores["fine_tuning"]["after"]["visible"]["pictures"] == 2
    drawn = card.scores["fine_tuning"]["before"]["drawn"]
    assert drawn["pictures"] >= 30
    assert 0 <= drawn["sets"]["drawn"]["recall"] <= 1
    assert "4 photographs to learn from, 2 held out; from old 7" in text
    assert "own, held out, 2 pictures" in text
    assert "visible lists, 2 pictures" in text
    assert not small.folder.exists()  # nothing of the work is left
    predictor = Predictor.open(str(small.out), AnalyzeOptions().predict)
    with open_image(small.data / "images" / "p0.png") as image:
        options = read_options(AnalyzeOptions, {"model": str(small.out)})
        assert analyze(image, predictor, options).model == card


def test_photographs_held_out_are_not_learned_from(small: FineTuneOptions) -> None:
    own = part_photographs(small.data, None, 0.25)
    assert [s.image.stem for s in own.held_out] == ["p4", "p5"]
    assert {s.split for s in own.held_out} == {"val"}
    listed = _write_set(small.out.parent / "listed", 6, val=1)
    own = part_photographs(listed, None, 0.25)
    assert [s.image.stem for s in own.held_out] == ["p0"]


@pytest.mark.parametrize(
    ("photographs", "marks", "sentence"),
    [
        (3, 3, "has 3 photographs to learn from; expected at least 4"),
        (6, 1, "has 4 marks that somebody decided, cracks or none, on the 4 photographs"),
        (6, 0, "has 0 marks that somebody decided"),
    ],
)
def test_too_little_is_refused_with_how_much_there_is(
    photographs: int, marks: int, sentence: str, small: FineTuneOptions, tmp_path: Path
) -> None:
    data = _write_set(tmp_path / "little", photographs, marks=marks)
    with pytest.raises(DataError, match=sentence):
        fine_tune(replace(small, data=data), print)
    assert not small.out.exists()
    assert not small.folder.exists()


def test_nothing_decided_on_what_is_held_out_is_refused(small: FineTuneOptions) -> None:
    for stem in ("p4", "p5"):
        (small.data / "masks" / f"{stem}.png").write_bytes(
            encode_mask(np.zeros((SIDE, SIDE), bool))
        )
        (small.data / "areas" / f"{stem}.png").unlink()
    with pytest.raises(DataError, match=r"held out \(p4.png, p5.png\)"):
        fine_tune(small, print)


def test_what_is_in_the_way_is_refused(small: FineTuneOptions) -> None:
    small.out.mkdir()
    (small.out / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds other files and no model"):
        fine_tune(small, print)
    shutil.rmtree(small.out)
    write_dark_model(small.out)
    with pytest.raises(ModelError, match=rf"holds the model .* which {small.name} 1 would replace"):
        fine_tune(small, print)
    shutil.rmtree(small.out)
    small.folder.mkdir()
    (small.folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="the work of another fine-tuning"):
        fine_tune(small, print)
    assert (small.folder / "notes.txt").is_file()


def test_two_runs_do_not_work_in_one_folder(
    small: FineTuneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(*_: Any) -> None:
        with pytest.raises(ConfigError, match="worked in by another run"):
            fine_tune(small, print)
        raise TrainingError("seen")

    monkeypatch.setattr("crackseg.training.fine_tune._prepare", again)
    with pytest.raises(TrainingError, match="seen"):
        fine_tune(small, print)


def test_a_parent_of_another_network_is_refused(small: FineTuneOptions, tmp_path: Path) -> None:
    card = json.loads((Path(small.parent) / "card.json").read_text(encoding="utf-8"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "card.json").write_text(json.dumps({**card, "network": "unet"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="must be a model of the network `cdds_lite`"):
        fine_tune(replace(small, parent=str(other)), print)


def _command(options: FineTuneOptions, steps: int) -> list[str]:
    code = (
        "import crackseg.training.fine_tune as f; f.RENDERED_VAL = 2; "
        "import crackseg.training.site_gate as g; g.TILES = 12; "
        "from crackseg.cli import main; main()"
    )
    return [
        *(sys.executable, "-c", code, "fine-tune", str(options.data), "--out", str(options.out)),
        *("--name", "ours", "--parent", options.parent, "--steps", str(steps), "--threads", "1"),
    ]


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_with_the_same_command(small: FineTuneOptions) -> None:
    command = _command(small, 40)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    last = small.folder / "run" / "checkpoint.pt"
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not last.is_file():
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, text = running.communicate()
    assert running.returncode == 130, text
    assert "stopped: the fine-tuning goes on with the same command" in text
    assert "Traceback" not in text
    assert not small.out.exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cutting tiles" not in done.stdout  # what was done is not done again
    assert read_card(small.out).name == "ours"
    again = replace(small, out=small.out.with_name("again"))
    subprocess.run(_command(again, 40), env=environment, capture_output=True, check=True)
    first, second = (_weights(options.out, "cdds_site") for options in (small, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_of_the_parent_nothing_changes(tuned: tuple[FineTuneOptions, str]) -> None:
    small, _ = tuned
    before = _weights(Path(small.parent), "cdds_lite")
    after = _weights(small.out, "cdds_site")
    assert all(torch.equal(value, after[f"parent.{name}"]) for name, value in before.items())
    of_site = {k: v for k, v in before.items() if not k.startswith("encoder.")}
    running = [name for name in of_site if "running_" in name]
    assert running
    assert all(torch.equal(of_site[name], after[f"site.{name}"]) for name in running)
    assert any(not torch.equal(value, after[f"site.{name}"]) for name, value in of_site.items())
    assert not any(name.startswith("site.encoder.") for name in after)


def _weights(folder: Path, network: str) -> dict[str, Any]:
    """Return the tensors of a model folder, by way of the network that a training starts from."""
    card = read_card(folder)
    assert card.network == network
    options = TrainOptions(
        name="", out=folder, network=network, arguments=card.network_arguments,
        initial_weights=find_weights(folder, Path()),
        data=DataOptions(manifest=folder, crop_px=64),
    )  # fmt: skip
    return dict(start_network(options).state_dict())


def test_a_tile_that_does_not_look_like_the_site_is_answered_by_the_parent() -> None:
    torch.manual_seed(3)
    network = build("cdds_site", base={"decoder_channels": (8, 8, 8, 8, 8)}, axes=3).eval()
    walls = 0.2 * torch.randn(16, 3, 64, 64)
    other = torch.linspace(-3, 3, 64).expand(2, 3, 64, 64)
    with torch.inference_mode():
        network.set_gate(describe(network.parent.encoder(walls)))
        network.limit.fill_(3.0)
        x = torch.cat([walls[:2], other])
        of_site, of_parent, gate = network.both(x)
        assert torch.all(gate[:2] > 0.99)
        assert torch.all(gate[2:] < 1e-6)
        answer = network(x)
    assert torch.allclose(answer[:2], of_site[:2], atol=0.05)
    assert torch.allclose(answer[2:], of_parent[2:], atol=1e-4)
    assert not torch.allclose(of_site, of_parent, atol=0.05)  # fresh decoders differ


def test_the_loss_asks_for_silence_at_what_was_rejected_and_for_the_old_answer_elsewhere() -> None:
    before = torch.full((1, 1, 40, 40), -6.0)
    before[..., 10, :] = 6.0  # a mark that was rejected
    before[..., 30, :] = 6.0  # one that nobody spoke of
    labels = torch.zeros(1, 1, 40, 40, dtype=torch.uint8)
    labels[..., 10, :] = UNKNOWN
    silent = before.clone()
    silent[..., 10, :] = -6.0
    forgotten = silent.clone()
    forgotten[..., 30, :] = 4.0  # still above a threshold of 0.95, no longer of 0.99
    invented = silent.clone()
    invented[..., 20, :] = 2.0
    best, stays, forgets, invents = (
        float(verdict_loss(logits, before, labels))
        for logits in (silent, before, forgotten, invented)
    )
    assert best < 0.05
    assert stays > best + 0.5
    assert forgets > best + 0.1
    assert invents > best + 0.5
    labels[..., 20, :] = CRACK  # somebody drew it
    assert float(verdict_loss(invented, before, labels)) < float(
        verdict_loss(silent, before, labels)
    )
    labels[..., 10, :] = LEFT_OUT  # nobody decided, and no answer is asked for
    labels[..., 20, :] = 0
    assert float(verdict_loss(silent, before, labels)) == 0


def _counts(right: int, invented: int) -> list[LineCounts]:
    return [
        LineCounts(
            marked_px=right + invented, right_px=right, labelled_px=(0, 0, 1000, 0, 0, 0),
            found_px=(0, 0, right, 0, 0, 0), pixels=10_000,
        )
    ]  # fmt: skip


def test_thresholds_stay_unless_the_site_gains_and_the_walls_do_not_lose() -> None:
    start, other = (70, 99), (60, 95)
    walls = {"rendered": _counts(900, 0)}
    gain = {start: {"site": _counts(700, 0), **walls}, other: {"site": _counts(800, 0), **walls}}
    assert best_near(gain, start) == other
    little = {start: gain[start], other: {"site": _counts(705, 0), **walls}}
    assert best_near(little, start) == start
    harm = {start: gain[start], other: {**gain[other], "rendered": _counts(900, 200)}}
    assert best_near(harm, start) == start


@pytest.mark.slow
def test_a_model_that_is_worse_than_its_parent_is_refused(
    small: FineTuneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = {"own": {"score": 0.5}, "rendered": {"score": 0.9}}
    require_no_worse(fine, {"own": {"score": 0.7}, "rendered": {"score": 0.895}})
    with pytest.raises(TrainingError, match=r"on rendered walls, 0\.880 after 0\.900"):
        require_no_worse(fine, {"own": {"score": 0.7}, "rendered": {"score": 0.88}})

    def refuse(before: Any, after: Any) -> None:
        raise TrainingError("worse")

    monkeypatch.setattr("crackseg.training.fine_tune.require_no_worse", refuse)
    with pytest.raises(TrainingError, match="worse"):
        fine_tune(small, lambda line: None)
    assert not small.out.exists()


def test_the_table_says_what_was_gained_and_forgotten() -> None:
    def one(score: float, precision: float | None, listed: int) -> dict[str, Any]:
        facts = {"score": score, "precision": precision, "recall": 0.5, "pictures": 3, "free": 2}
        facts |= {"listed": listed, "false_px_per_megapixel": 1439.2}
        return {"pictures": 3, "score": score, "sets": {"site": facts}}

    lines = as_table({"own": one(-0.32, 0.1, 2)}, {"own": one(0.8, None, 0)})
    assert lines[1].split() == ["own,", "held", "out,", "3", "pictures", "-0.320", "0.800"]
    assert " ".join(lines[2].split()) == (
        "site -0.320 0.800 0.100 - 0.500 0.500 1439 1439 2 0 of 2"
    )


def test_a_loss_of_what_looks_like_the_rejected_is_said() -> None:
    def one(recall: float) -> dict[str, Any]:
        return {"drawn": {"sets": {"drawn": {"recall": recall}}}}

    assert as_loss(one(0.86), one(0.82)) == ""
    text = as_loss(one(0.86), one(0.42))
    assert "finds 42% of the length, its parent 86%" in text


def test_cracks_are_drawn_on_what_is_held_out_and_judged_alone(
    small: FineTuneOptions, tmp_path: Path
) -> None:
    own = part_photographs(small.data, None, 0.25)
    samples = draw_on_held_out(own, tmp_path / "drawn")
    assert {photograph_of(s) for s in samples} == {photograph_of(s) for s in own.held_out}
    for sample in samples[:6]:
        picture, crack = read_pair(sample)
        areas = read_areas(sample, crack.shape)
        assert areas is not None
        assert crack.any()
        assert (areas[crack] == 0).all()
        assert (areas == 255).any() or crack.mean() > 0.01
        plain = [read_pair(s)[0] for s in own.held_out if s.image.stem in str(sample.site)]
        changed = [(abs(picture.astype(int) - p) > 0).any(axis=2) for p in plain]
        assert min(c.mean() for c in changed) < 0.2  # the photograph, but for a line
    again = draw_on_held_out(own, tmp_path / "again")
    assert [s.image.read_bytes() for s in samples] == [s.image.read_bytes() for s in again]


def test_a_rendered_photograph_depends_on_its_number_alone() -> None:
    first, again, other = render(4), render(4), render(5)
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.picture, other.picture)
    assert not render(0).mask.any()  # each third is without a crack
    shown = [render(number) for number in (1, 2, 4, 5)]
    grey = [scene.picture.mean(axis=2) for scene in shown if scene.mask.any()]
    masks = [scene.mask for scene in shown if scene.mask.any()]
    assert len(grey) >= 3
    for picture, mask in zip(grey, masks, strict=True):
        assert np.median(picture[mask]) < np.median(picture[~mask]) - 15
