"""Tiled prediction gives what the network gives on the whole picture, wherever tiles meet."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crackseg.config import PredictOptions
from crackseg.errors import ConfigError, ModelError, UnknownName
from crackseg.imagery.files import open_image
from crackseg.inference import choosing as room
from crackseg.inference import predictor as predictor_room
from crackseg.inference.models import Model
from crackseg.inference.predictor import Predictor
from crackseg.inference.runtimes import Forward
from crackseg.records import Array, Prediction

MakeModel = Callable[..., Model]
MakePicture = Callable[..., tuple[Path, Array]]


def run(
    path: Path, model: Model, *, readings: int = 1, threads: int = 1, **options: object
) -> Prediction:
    plain = PredictOptions(threads=threads, readings=readings, **options)  # type: ignore[arg-type]
    with open_image(path) as image:
        return Predictor(model, plain).predict(image)


@pytest.mark.parametrize(
    ("height", "width"),
    [(500, 700), (129, 128), (33, 640), (512, 512), (257, 129), (128, 1), (1, 300), (7, 5)],
)
def test_every_pixel_is_what_the_whole_picture_gives(
    make_model: MakeModel,
    make_picture: MakePicture,
    expected_probability: Callable[[Array, int], Array],
    height: int,
    width: int,
) -> None:
    path, pixels = make_picture(height, width)
    prediction = run(path, make_model(radius=3), overlap_px=32).probability
    assert prediction.shape == (height, width)
    # A picture smaller than a tile is continued by reflection, where the plain sum has zeros.
    inner = (slice(None, -3 if height < 128 else None), slice(None, -3 if width < 128 else None))
    expected = expected_probability(pixels, 3) * 255
    assert np.abs(prediction - expected)[inner].max(initial=0) <= 0.51


@pytest.mark.parametrize("tile", [64, 96, 256, 512])
def test_the_tile_size_changes_nothing(
    make_model: MakeModel, make_picture: MakePicture, tile: int
) -> None:
    path, _ = make_picture(530, 611)
    model = make_model(radius=4)
    base = run(path, model, tile_px=128, overlap_px=32).probability
    other = run(path, model, tile_px=tile, overlap_px=32).probability
    assert np.abs(base.astype(int) - other).max() <= 1  # a tie of rounding
    assert (base != other).mean() < 1e-3


def test_a_batch_changes_nothing(make_model: MakeModel, make_picture: MakePicture) -> None:
    path, _ = make_picture(300, 700)
    model = make_model()
    one, three = (run(path, model, batch=n).probability for n in (1, 3))
    assert np.abs(one.astype(int) - three).max() <= 1


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(
    make_model: MakeModel, make_picture: MakePicture, threads: int
) -> None:
    """Whether a tile is read by each or one after the other, beside rows without data as well."""
    alpha = np.full((700, 300), 255, np.uint8)
    alpha[:150] = alpha[300:460] = alpha[640:] = 0
    path, _ = make_picture(700, 300, alpha=alpha)
    model = make_model()
    alone, shared = (run(path, model, overlap_px=32, threads=n) for n in (1, threads))
    assert np.array_equal(alone.probability, shared.probability)
    assert np.array_equal(np.asarray(alone.valid), np.asarray(shared.valid))
    assert shared.forward_s > 0


def test_pixels_that_do_not_count_are_zero_and_not_run(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha = np.full((300, 700), 255, np.uint8)
    alpha[:, :450] = 0
    path, _ = make_picture(300, 700, alpha=alpha)
    tiles = spy(monkeypatch)
    prediction = run(path, make_model(), overlap_px=32)
    assert prediction.valid is not None
    assert np.array_equal(prediction.valid, alpha > 0)
    assert not prediction.probability[:, :450].any()
    assert prediction.probability[:, 450:].any()
    assert sum(tiles) == 3 * 3  # of 3 x 7 tiles, those that reach beyond column 450
    assert prediction.forward_s > 0


def test_the_border_of_no_data_is_no_crack(make_model: MakeModel, tmp_path: Path) -> None:
    pixels = np.full((300, 400, 4), 190, np.uint8)
    pixels[..., 3] = 255
    pixels[:, 200:] = 0  # black and transparent, as a mosaic is outside its photographs
    path = tmp_path / "mosaic.png"
    Image.fromarray(pixels).save(path)
    prediction = run(path, make_model()).probability
    assert np.ptp(prediction[8:-8, 8:200].astype(int)) <= 1


def test_a_picture_without_a_single_valid_pixel_needs_no_network(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = make_picture(200, 200, alpha=np.zeros((200, 200), np.uint8))
    tiles = spy(monkeypatch)
    prediction = run(path, make_model())
    assert not tiles
    assert not prediction.probability.any()
    assert prediction.valid is not None
    assert not prediction.valid.any()


def test_many_pictures_open_the_model_once(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    onnx = importlib.import_module("crackseg.inference.onnx_runtime")
    true_open = onnx.open_runtime
    monkeypatch.setattr(
        onnx, "open_runtime", lambda *a, **k: opened.append(1) or true_open(*a, **k)
    )
    predictor = Predictor(make_model(), PredictOptions(threads=1))
    assert not opened
    for _ in range(3):
        with open_image(make_picture(64, 64)[0]) as image:
            predictor.predict(image)
    assert len(opened) == 1


@pytest.mark.parametrize("axis", [1, 2])
def test_many_readings_side_with_no_side(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch, axis: int
) -> None:
    def surer_to_one_side(tiles: Array) -> Array:
        ramp = np.linspace(0, 1, tiles.shape[axis], dtype=np.float32)
        across = ramp[:, None] if axis == 1 else ramp
        return np.broadcast_to(across, tiles.shape[:3])

    monkeypatch.setattr(room, "open_forward", lambda *_, **__: surer_to_one_side)
    path, _ = make_picture(128, 128)
    model = make_model()
    once, mirrored, four = (run(path, model, readings=n).probability for n in (1, 2, 4))
    assert (once[0, 0], once[-1, -1]) == (0, 255)
    assert np.ptp(four) <= 1
    assert abs(int(four[0, 0]) - 127.5) <= 0.5
    assert np.ptp(mirrored) == 255 if axis == 1 else np.ptp(mirrored) <= 1


def test_every_reading_is_turned_back(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def brightness(tiles: Array) -> Array:
        return tiles.mean(axis=3, dtype=np.float32) / 255

    monkeypatch.setattr(room, "open_forward", lambda *_, **__: brightness)
    path, _ = make_picture(150, 200)
    model = make_model()
    once, four = (run(path, model, readings=n).probability for n in (1, 4))
    assert np.ptp(once) > 50
    assert np.abs(once.astype(int) - four).max() <= 1


@pytest.mark.parametrize(("reread_from", "read"), [(0.0, 16), (0.2, 7), (0.9, 4)])
def test_only_tiles_in_which_something_is_seen_are_read_again(
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reread_from: float,
    read: int,
) -> None:
    """Of four tiles one holds a spot of 0.8, which the other readings see as well."""
    tiles_read: list[int] = []

    def brightness(tiles: Array) -> Array:
        tiles_read.append(len(tiles))
        return tiles[..., 0].astype(np.float32) / 255

    monkeypatch.setattr(room, "open_forward", lambda *_, **__: brightness)
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[30:40, 200:210] = 204
    path = tmp_path / "spot.png"
    Image.fromarray(pixels).save(path)
    model, plan = make_model(), {"overlap_px": 0, "batch": 4}
    prediction = run(path, model, readings=4, reread_from=reread_from, **plan)
    assert sum(tiles_read) == read
    assert np.array_equal(prediction.probability, pixels[..., 0])


def test_progress_rises_to_one(make_model: MakeModel, make_picture: MakePicture) -> None:
    shares: list[float] = []
    path, _ = make_picture(300, 300)
    with open_image(path) as image:
        Predictor(make_model(), PredictOptions(threads=1)).predict(image, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert len(shares) > 4


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"tile_px": 500}, ConfigError, "multiple of 32.*got 500; 480 and 512 fit"),
        ({"overlap_px": 65}, ConfigError, "half of `tile_px`"),
        ({"readings": 3}, ConfigError, "1, 2 or 4, got 3"),
        ({"runtime": "onx"}, UnknownName, "known: onnx"),
        ({"device": "cuda:99"}, ConfigError, "cuda:99 is not there"),
        ({"device": "tpu"}, ConfigError, "tpu is not there.*cpu"),
    ],
)
def test_wrong_options_are_named(
    make_model: MakeModel,
    make_picture: MakePicture,
    options: dict[str, object],
    error: type[Exception],
    words: str,
) -> None:
    path, _ = make_picture(200, 200)
    with pytest.raises(error, match=words):
        run(path, make_model(), **options)


def spy(monkeypatch: pytest.MonkeyPatch, fits: Callable[[str, Array], bool] | None = None) -> list:
    """Record the batch sizes that reach the runtime; ``fits`` says whether one has room there."""
    real, batches = room.open_forward, []

    def opened(model: Model, *, runtime: str, device: str, **how: Any) -> Forward:
        forward = real(model, runtime=runtime, device="cpu", threads=how["threads"])

        def limited(tiles: Array) -> Array:
            if fits and not fits(device, tiles):
                raise MemoryError("injected")
            batches.append(len(tiles))
            return forward(tiles)

        return limited

    monkeypatch.setattr(room, "open_forward", opened)
    return batches


def codes(prediction: Prediction) -> list[str]:
    """Return the codes of what was noticed, but for the colours: the picture's are drawn by lot."""
    return [n.code for n in prediction.notices if n.code != "may_show_no_wall"]


def test_a_batch_without_room_is_halved(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = make_picture(300, 700)
    model = make_model()
    base = run(path, model).probability
    batches = spy(monkeypatch, lambda _, tiles: len(tiles) <= 2)
    prediction = run(path, model, batch=8)
    assert max(batches) == 2
    assert np.array_equal(prediction.probability, base)
    assert codes(prediction) == []


def test_a_tile_without_room_is_made_smaller_and_flagged(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = make_picture(600, 700)
    model = make_model()
    base = run(path, model, tile_px=512).probability
    spy(monkeypatch, lambda _, tiles: tiles.shape[1] <= 256)
    prediction = run(path, model, tile_px=512)
    assert prediction.tile_px == 256
    assert codes(prediction) == ["smaller_tiles"]
    assert np.array_equal(prediction.probability > 127, base > 127)


def test_a_device_without_room_hands_over_to_the_cpu_and_is_flagged(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = make_picture(300, 300)
    model = make_model()
    base = run(path, model).probability
    spy(monkeypatch, lambda device, _: device == "cpu")
    prediction = run(path, model, device="cuda")
    assert prediction.device == "cpu"
    assert codes(prediction) == ["device_fallback"]
    assert np.array_equal(prediction.probability, base)


def test_a_device_is_tried_once_for_the_batch_that_pays(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = make_picture(200, 900)
    model = make_model()
    base = run(path, model).probability
    spy(monkeypatch)
    tried: list[int] = []

    def three(_: Forward, tile_px: int) -> int:
        tried.append(tile_px)
        return 3

    monkeypatch.setattr(predictor_room, "batch_that_pays", three)
    predictor = Predictor(model, PredictOptions(device="cuda", overlap_px=0))
    for _ in range(2):
        with open_image(path) as image:
            assert np.array_equal(predictor.predict(image).probability > 127, base > 127)
    assert tried == [model.card.tile_px]


def test_a_device_is_released_before_the_next_one_is_opened(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[str] = []

    class Session:
        def __init__(self, device: str) -> None:
            assert not alive
            alive.append(device)

        def __del__(self) -> None:
            alive.clear()

        def __call__(self, tiles: Array) -> Array:
            if alive == ["cuda"]:
                raise MemoryError("injected")
            return np.zeros(tiles.shape[:3], np.float32)

    monkeypatch.setattr(room, "open_forward", lambda *_, device, **__: Session(device))
    prediction = run(make_picture(200, 200)[0], make_model(), device="cuda")
    assert prediction.device == "cpu"


def test_no_room_at_all_is_an_error(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = make_picture(300, 300)
    spy(monkeypatch, lambda *_: False)
    with pytest.raises(ModelError, match="not even a small tile"):
        run(path, make_model())


def test_an_answer_that_is_not_finite_is_an_error(
    make_model: MakeModel, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Forward:
        return lambda tiles: np.full(tiles.shape[:3], np.nan, np.float32)

    monkeypatch.setattr(room, "open_forward", broken)
    path, _ = make_picture(200, 200)
    with pytest.raises(ModelError, match="not finite"):
        run(path, make_model())
