"""A large picture lies in files, band by band, and a killed run goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crackseg.config import PredictOptions
from crackseg.disk import OnDisk
from crackseg.imagery.files import open_image
from crackseg.inference import band_files, choosing, tile_rows
from crackseg.inference.models import Model
from crackseg.inference.predictor import Predictor
from crackseg.records import Array, Prediction

MakeModel = Callable[..., Model]
MakePicture = Callable[..., tuple[Path, Array]]


class Killed(BaseException):
    """Stands for a signal that nobody catches."""


@pytest.fixture
def picture(make_picture: MakePicture) -> Path:
    """A picture of seven rows of tiles, with a hole that shows nothing."""
    alpha = np.full((700, 300), 255, np.uint8)
    alpha[150:420, 40:200] = 0
    return make_picture(700, 300, alpha=alpha)[0]


@pytest.fixture
def run(
    picture: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Prediction]:
    """A function that predicts the picture and counts tiles; it may be killed after some."""
    model = make_model()
    tiles_read: list[int] = []
    true_open = choosing.open_forward

    def run(folder: Path | None = None, *, after: int = 10**6, **options: object) -> Prediction:
        tiles_read.clear()

        def opened(*arguments: object, **more: object) -> Callable[[Array], Array]:
            forward = true_open(*arguments, **more)  # type: ignore[arg-type]

            def counted(tiles: Array) -> Array:
                if sum(tiles_read) >= after:
                    raise Killed
                tiles_read.append(len(tiles))
                answer = forward(tiles)
                return np.stack([answer, 1 - answer], axis=3)  # a second plane

            return counted

        monkeypatch.setattr(choosing, "open_forward", opened)
        chosen = PredictOptions(threads=1, runtime="onnx", precision="float", overlap_px=32,
                                **options)  # type: ignore[arg-type]  # fmt: skip
        with open_image(picture) as image:
            return Predictor(model, chosen).predict(image, folder=folder)

    run.tiles = tiles_read  # type: ignore[attr-defined]
    return run


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every picture one that lies in files."""
    monkeypatch.setattr(band_files, "IN_MEMORY_PX", 1000)


def same(one: Prediction, other: Prediction) -> bool:
    planes = (one.probability, other.probability), (one.other, other.other)
    valid = np.array_equal(np.asarray(one.valid), np.asarray(other.valid))
    return valid and all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in planes)


def test_in_files_is_as_in_memory(
    run: Callable[..., Prediction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = run(tmp_path / "kept")
    assert isinstance(memory.probability, np.ndarray)
    assert not (tmp_path / "kept").exists()  # a photograph is read in seconds
    monkeypatch.setattr(band_files, "IN_MEMORY_PX", 1000)
    monkeypatch.setattr(tile_rows, "_LOADED_PX", 70)
    files = run(tmp_path / "kept")
    assert isinstance(files.probability, OnDisk)
    assert same(files, memory)
    assert same(run(None), memory)  # in a temporary file


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("after", [1, 4, 9, 14])
def test_a_killed_run_goes_on(run: Callable[..., Prediction], tmp_path: Path, after: int) -> None:
    whole = run(tmp_path / "undisturbed")
    tiles = sum(run.tiles)  # type: ignore[attr-defined]
    with pytest.raises(Killed):
        run(tmp_path / "kept", after=after)
    assert same(run(tmp_path / "kept"), whole)
    again = sum(run.tiles)  # type: ignore[attr-defined]
    assert again <= tiles - after + 2 * 3  # a row under way, and one that reaches into the next
    run(tmp_path / "kept")
    assert sum(run.tiles) == 0  # type: ignore[attr-defined]


@pytest.mark.usefixtures("large")
def test_a_band_that_was_damaged_is_read_again(
    run: Callable[..., Prediction], tmp_path: Path
) -> None:
    whole = run(tmp_path / "kept")
    plane = tmp_path / "kept" / "plane1.bin"
    data = bytearray(plane.read_bytes())
    data[400 * 300] ^= 1
    plane.write_bytes(data)
    assert same(run(tmp_path / "kept"), whole)
    assert sum(run.tiles) > 0  # type: ignore[attr-defined]
    (tmp_path / "kept" / "progress.json").write_text("{")
    assert same(run(tmp_path / "kept"), whole)


@pytest.mark.usefixtures("large")
def test_other_options_begin_anew(run: Callable[..., Prediction], tmp_path: Path) -> None:
    run(tmp_path / "kept")
    tiles = sum(run.tiles)  # type: ignore[attr-defined]
    run(tmp_path / "kept", tile_px=96)
    assert sum(run.tiles) > tiles  # type: ignore[attr-defined]
    note = json.loads((tmp_path / "kept" / "progress.json").read_text(encoding="utf-8"))
    assert note["made_of"]["tiles"] == [96, 32]


@pytest.mark.usefixtures("large")
def test_a_folder_that_another_process_uses_is_left_to_it(
    run: Callable[..., Prediction], tmp_path: Path
) -> None:
    pytest.importorskip("fcntl")
    whole = run(tmp_path / "other")
    folder = tmp_path / "kept"
    first = band_files.BandFiles((700, 300), folder, {})
    assert same(run(folder), whole)
    assert not (folder / "progress.json").exists()
    del first
    run(folder)
    assert (folder / "progress.json").exists()
