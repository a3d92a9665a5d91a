"""Detectors learn boxes around pieces of centre line, find them, and have a graph that agrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from crackseg.errors import ConfigError, UnknownName  # noqa: E402 - optional
from crackseg.networks import build  # noqa: E402
from crackseg.networks.boxes import box_map, box_recall, piece_boxes, targets_of  # noqa: E402
from crackseg.networks.detectors import DETECTORS, DefaultBoxes, ReceptiveField  # noqa: E402
from crackseg.training.export_onnx import (  # noqa: E402
    PARITY,
    PixelsToProbability,
    write_graph,
)


def line(shape: tuple[int, int], width: float, slope: float, start: float) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    mask: np.ndarray = np.abs(rows - start - slope * cols) / np.hypot(1, slope) < width / 2
    return mask


def covered(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    inside = np.zeros(shape, bool)
    for left, top, right, bottom in np.rint(boxes).astype(int):
        inside[top:bottom, left:right] = True
    return inside


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0, -0.7])
@pytest.mark.parametrize("width", [2, 5, 11])
def test_boxes_hold_the_crack_and_little_else(slope: float, width: int) -> None:
    shape = 200, 260
    mask = line(shape, width, slope, 180 if slope < 0 else 20)
    boxes = piece_boxes(mask)
    inside = covered(boxes, shape)
    assert inside[mask].mean() > 0.97
    assert inside.mean() < 0.5  # one box around a slanting line would hold nearly all
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.max() <= 64 + width + 10
    assert (boxes >= 0).all()
    assert (boxes <= [260, 200, 260, 200]).all()
    if slope == 0:
        assert len(boxes) == 4  # of 64 px each; what is left at the border is too short
        assert np.ptp(sides[:, 1]) < 3


def test_pieces_of_two_cracks_are_told_apart_and_specks_left_out() -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:13, 5:60] = True
    mask[40:43, 5:60] = True
    mask[60, 60] = True
    boxes = piece_boxes(mask)
    assert len(boxes) == 2
    assert (boxes[0, 3] < boxes[1, 1]) == True  # noqa: E712 - numpy's own kind of truth
    assert piece_boxes(mask & False).shape == (0, 4)
    mask[:] = False
    mask[3, 3] = True  # all there is of a crack
    assert len(piece_boxes(mask)) == 1
    targets = targets_of(torch.zeros(64, 64))
    assert (targets["boxes"].shape, len(targets["labels"])) == ((0, 4), 0)


def test_a_map_has_the_best_score_over_each_pixel() -> None:
    boxes = torch.tensor([[2.0, 3.0, 6.0, 5.0], [4.0, 4.0, 9.0, 8.0]])
    laid = box_map({"boxes": boxes, "scores": torch.tensor([0.4, 0.7])}, 10, 12)
    expected = np.zeros((10, 12))
    expected[3:5, 2:6] = 0.4
    expected[4:8, 4:9] = 0.7
    assert np.allclose(laid[0].numpy(), expected)
    empty = {"boxes": boxes[:0], "scores": torch.zeros(0)}
    assert torch.equal(box_map(empty, 5, 7), torch.zeros(1, 5, 7))


def test_box_recall_against_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 50, (2, 12, 2))
    boxes, wanted = (np.hstack([c, c + rng.uniform(5, 40, c.shape)]) for c in corners)

    def overlap(one: np.ndarray, two: np.ndarray) -> float:
        width = min(one[2], two[2]) - max(one[0], two[0])
        height = min(one[3], two[3]) - max(one[1], two[1])
        shared = max(width, 0) * max(height, 0)
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, two)]
        return shared / (sum(areas) - shared)

    for iou in (0.1, 0.3, 0.5):
        met = [max(overlap(one, two) for one in boxes) >= iou for two in wanted]
        assert box_recall(boxes, wanted, iou) == pytest.approx(np.mean(met))
    assert np.isnan(box_recall(boxes, wanted[:0]))
    assert box_recall(boxes[:0], wanted) == 0


def test_default_boxes_lie_in_a_grid_and_are_as_large_in_every_picture() -> None:
    boxes = DefaultBoxes(8, ((2,), (2, 3)))
    maps = [torch.zeros(1, 4, 4, 6), torch.zeros(1, 4, 2, 3)]

    class Pictures:
        image_sizes = ((32, 48), (32, 48))

    one, two = boxes(Pictures, maps)
    assert torch.equal(one, two)
    assert one.shape == (4 * 6 * 4 + 2 * 3 * 6, 4)
    middles = (one[:, :2] + one[:, 2:]) / 2
    assert middles[0].tolist() == [4, 4]
    assert middles[4].tolist() == [12, 4]  # along the row first, four sizes at each place
    sides = (one[:, 2:] - one[:, :2]).numpy()
    assert np.allclose(sides[0], 21)
    assert np.allclose(sides[2] / sides[3][::-1], 1)
    assert sides[2][0] / sides[2][1] == pytest.approx(2)
    large = boxes(Pictures, [torch.zeros(1, 4, 8, 12), torch.zeros(1, 4, 4, 6)])[0]
    assert {tuple(np.round(s, 2)) for s in sides} == {
        tuple(np.round(s, 2)) for s in (large[:, 2:] - large[:, :2]).numpy()
    }


def test_a_receptive_field_block_reaches_seventeen_pixels_and_keeps_the_size() -> None:
    torch.manual_seed(0)
    block = ReceptiveField(16)
    for weight in block.parameters():
        torch.nn.init.constant_(weight, 0.1)  # so that no unit is silent
    x = torch.zeros(1, 16, 31, 33)
    x.requires_grad_()
    answer = block(x + 1)
    assert answer.shape == x.shape
    answer[0, :, 15, 16].sum().backward()
    rows, cols = np.nonzero(x.grad[0].abs().sum(0).numpy())
    assert (np.ptp(rows), np.ptp(cols)) == (14, 14)  # a kernel of 5, and 3 that are 5 apart


def test_a_detector_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownName, match="ssdlite"):
        build("detector:ssdlit")
    with pytest.raises(ConfigError, match="wings"):
        build("detector:ssdlite", wings=2)
    with pytest.raises(ConfigError, match="call `loss`"):
        build("detector:ssdlite").train()(torch.zeros(1, 3, 64, 64))


def striped(rng: np.random.Generator, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Return two pictures (2, size, size, 3) uint8 with a dark band in one, and the masks."""
    mask = np.zeros((2, size, size), bool)
    mask[0] = line((size, size), 5, rng.uniform(-0.3, 0.3), rng.uniform(40, size - 40))
    grey = rng.normal(150, 12, (2, size, size, 3)) - 100 * mask[..., None]
    return np.clip(grey, 0, 255).astype(np.uint8), mask


def learn(name: str, steps: int, lr: float = 1e-3) -> tuple[torch.nn.Module, list[float]]:
    torch.manual_seed(0)
    network, rng = build(f"detector:{name}"), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        image, mask = striped(rng)
        x = (torch.from_numpy(image).permute(0, 3, 1, 2).float() - 127) / 64
        loss = network.train().loss(x, torch.from_numpy(mask)[:, None].float())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return network.eval(), losses


BRISK = ("ssdlite",)
STEPS = {"faster_rcnn": 3, "rfbnet": 12, "ssd": 12, "ssdlite": 60}


@pytest.mark.parametrize(
    "name", [n if n in BRISK else pytest.param(n, marks=pytest.mark.slow) for n in DETECTORS]
)
def test_a_detector_learns_and_its_graph_agrees(name: str, tmp_path: Path) -> None:
    network, losses = learn(name, STEPS[name], 1e-3 if name in BRISK else 1e-4)
    third = len(losses) // 3
    assert np.mean(losses[-third:]) < np.mean(losses[:third])
    mean, std = (127.0,) * 3, (64.0,) * 3
    judge = getattr(network.model, "roi_heads", network.model)
    judge.score_thresh = 0.001  # of a training this short nothing is sure
    file = tmp_path / "model.onnx"
    assert write_graph(network, file, mean=mean, std=std, multiple=32) <= PARITY
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    module, most = PixelsToProbability(network, mean, std).eval(), 0.0
    for seed, size in enumerate((128, 96)):
        image = striped(np.random.default_rng(seed), size)[0]
        with torch.inference_mode():
            expected = module(torch.from_numpy(image)).numpy()
        answers = session.run(None, {"image": image})[0]
        assert answers.shape == (2, size, size)
        assert np.abs(answers - expected).max() <= PARITY
        most = max(most, float(expected.max()))
    assert most > 0.001  # something is found, so that the boxes are compared


@pytest.mark.slow
def test_half_a_minute_of_training_finds_the_band_and_leaves_the_sound_wall() -> None:
    network, _ = learn("ssdlite", 250)
    recalls, alarms = [], 0
    for seed in range(100, 106):
        image, mask = striped(np.random.default_rng(seed))
        x = (torch.from_numpy(image).permute(0, 3, 1, 2).float() - 127) / 64
        with torch.inference_mode():
            pictures = network.find(x)
        sure = [one["boxes"][one["scores"] > 0.5].numpy() for one in pictures]
        recalls.append(box_recall(sure[0], piece_boxes(mask[0])))
        alarms += len(sure[1])
    assert np.mean(recalls) >= 0.35
    assert alarms <= 1


def test_boxes_are_scored_by_what_they_hold(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A double for a detector marks dark pixels: a square around the crack, by its blur."""
    from dark_model import write_dark_model
    from PIL import Image
    from typer.testing import CliRunner

    from crackseg.commands import app

    for name, crack in (("a", True), ("b", False)):
        mask = np.zeros((96, 96), bool)
        mask[40:43, 10:80] = crack
        grey = np.where(mask, 40, 200).astype(np.uint8)
        if crack:
            grey[30:54, 58:96] = 60  # dark all around the second half of the crack
        for kind, pixels in (("images", grey), ("masks", mask.astype(np.uint8) * 255)):
            (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "set" / kind / f"{name}.png")
    (tmp_path / "set" / "test.txt").write_text("a\nb\n")
    detector = write_dark_model(tmp_path / "detector")
    card = json.loads((detector / "card.json").read_text())
    (detector / "card.json").write_text(json.dumps(card | {"network": "detector:ssdlite"}))
    command = ["evaluate", str(tmp_path / "set"), "--model", str(detector), "--json"]
    answer = CliRunner().invoke(app, [*command, str(tmp_path / "s.json"), "--inside", "default"])
    assert answer.exit_code == 0, answer.output
    (of_set,) = json.loads((tmp_path / "s.json").read_text())["sets"].values()
    assert (of_set["pieces"], of_set["found_pieces"]) == (2, 1)  # the second lies in the dark
    assert of_set["held_px"] == pytest.approx(of_set["line_px"], abs=2)
    assert (of_set["free"], of_set["alarms"], of_set["pixels"]) == (1, 0, 2 * 96 * 96)
    assert of_set["inside"]["marked_px"] <= of_set["alone"]["marked_px"]


def test_a_detector_is_not_taken_for_a_measure(tmp_path: Path, samples: Path) -> None:
    from dark_model import write_dark_model
    from typer.testing import CliRunner

    from crackseg.commands import app

    detector = write_dark_model(tmp_path / "detector")
    card = json.loads((detector / "card.json").read_text())
    (detector / "card.json").write_text(json.dumps(card | {"network": "detector:ssd"}))
    picture = next(iter(sorted(samples.glob("*.jpg"))))
    command = ["analyze", str(picture), "--model", str(detector), "--out", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code != 0
    text = answer.output + str(answer.exception)
    assert "finds boxes and draws no cracks" in text


@pytest.mark.slow
def test_a_detector_is_trained_exported_and_scored_like_any_other(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from PIL import Image
    from typer.testing import CliRunner

    from crackseg.commands import app
    from crackseg.training.manifest import index_folder, write_manifest

    rng = np.random.default_rng(0)
    for split, count in {"train": 3, "val": 2, "test": 2}.items():
        images, masks = striped(rng, 96) if count == 2 else striped(rng, 128)
        for number in range(2):
            for kind, pixels in (("images", images), ("masks", masks.astype(np.uint8) * 255)):
                (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels[number]).save(
                    tmp_path / "set" / kind / f"{split}{number}.png"
                )
        (tmp_path / "set" / f"{split}.txt").write_text(f"{split}0\n{split}1\n")
    write_manifest(index_folder(tmp_path / "set"), tmp_path / "m.csv")
    (tmp_path / "run.toml").write_text(
        'name = "boxes"\nout = "run"\nnetwork = "detector:ssdlite"\naccelerator = "cpu"\n'
        '[data]\nmanifest = "m.csv"\ncrop_px = 96\nbatch = 2\n'
        "[fit]\nsteps = 2\nsteps_per_epoch = 2\nthreads = 1\n"
    )
    model = tmp_path / "model"
    for command in (
        ["train", str(tmp_path / "run.toml")],
        ["export", str(tmp_path / "run"), "--out", str(model), "--name", "b", "--version", "1",
         "--threshold", "0.01"],
        ["evaluate", str(tmp_path / "m.csv"), "--model", str(model), "--inside", "default"],
    ):  # fmt: skip
        answer = CliRunner().invoke(app, command)
        assert answer.exit_code == 0, (command, answer.output, answer.exception)
    assert "in boxes" in answer.output
