"""A picture too large for memory or for a PNG comes out as a small one; a kill loses little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from crackseg import batch, pipeline
from crackseg.config import AnalyzeOptions, read_options
from crackseg.exports import mask, outlines
from crackseg.exports.outlines import draw_outline
from crackseg.exports.reading import read_report
from crackseg.imagery.files import open_image
from crackseg.inference import band_files
from crackseg.metrology.masks import mark
from crackseg.records import Array, Report

Photo = Callable[..., Path]
KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 25832)


@pytest.fixture
def raster(photo: Photo, tmp_path: Path) -> Path:
    """A GeoTIFF in tiles with three cracks and a corner without data."""
    with Image.open(photo(tmp_path / "wall.png", cracks=3)) as picture:  # noqa: TID251
        pixels = np.asarray(picture.convert("RGB"))
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    alpha[:60, :80] = 0
    path = tmp_path / "mosaic.tif"
    tags = [(33550, 12, 3, (0.001, 0.001, 0.0)), (33922, 12, 6, (0, 0, 0, 6e5, 5.1e6, 0))]
    tifffile.imwrite(
        path, np.dstack([pixels, alpha]), tile=(64, 64), photometric="rgb",
        extrasamples=("unassalpha",), compression="zlib", metadata=None,
        extratags=[(*tag, True) for tag in [*tags, (34735, 3, len(KEYS), KEYS)]],
    )  # fmt: skip
    return path


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every picture one that is too large."""
    monkeypatch.setattr(band_files, "IN_MEMORY_PX", 1000)
    monkeypatch.setattr(mask, "LARGEST_PNG_PX", 1000)
    monkeypatch.setattr(outlines, "_LOOKED_AT_PX", 120)


def run(raster: Path, out: Path, model: Path) -> Report:
    values: dict[str, Any] = {"model": str(model), "scale": {"geotiff_unit_m": 1.0}}
    (outcome,) = batch.run([raster], out, read_options(AnalyzeOptions, values))
    assert outcome.folder is not None, outcome.reason
    return read_report(outcome.folder)


def test_a_large_raster_is_measured_as_a_small_one(
    raster: Path, dark_model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    small = run(raster, tmp_path / "small", dark_model)
    request.getfixturevalue("large")
    large = run(raster, tmp_path / "large", dark_model)
    assert small.totals.cracks == 3
    assert large.totals == small.totals
    assert large.cracks[0].branches[0].centre_line.tolist() == [
        *map(list, small.cracks[0].branches[0].centre_line)
    ]
    folder, plain = tmp_path / "large" / "mosaic", tmp_path / "small" / "mosaic"
    assert not (folder / "mask.png").exists()
    with tifffile.TiffFile(folder / "mask.tif") as file, tifffile.TiffFile(raster) as source:
        page = file.pages[0]
        assert page.is_tiled
        assert page.compression.name == "ADOBE_DEFLATE"
        for tag in (33550, 33922, 34735):
            assert page.tags[tag].value == source.pages[0].tags[tag].value
        marked = page.asarray()
    with Image.open(plain / "mask.png") as picture:  # noqa: TID251 - a reader not ours
        assert np.array_equal(marked, np.asarray(picture))
    for picture in ("overlay.jpg", "thumb.jpg"):
        assert _alike(*(np.asarray(Image.open(at / picture)) for at in (folder, plain)))  # noqa: TID251
    assert [path.name for path in (tmp_path / "large").iterdir()] == ["mosaic"]


@pytest.mark.usefixtures("large")
def test_a_raster_without_a_place_has_a_mask_without_one(
    raster: Path, dark_model: Path, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", tifffile.imread(raster)[..., :3], rowsperstrip=7)
    report = run(tmp_path / "plain.tif", tmp_path / "out", dark_model)
    assert report.image.transform is None
    assert report.totals.cracks == 3
    folder = tmp_path / "out" / "plain"
    with tifffile.TiffFile(folder / "mask.tif") as file:
        assert not {33550, 33922, 34735} & {tag.code for tag in file.pages[0].tags}
    assert (folder / "mask.tfw").read_text().split()[:4] == [
        "1.000000000000", "0.000000000000", "0.000000000000", "-1.000000000000"
    ]  # fmt: skip


@pytest.mark.usefixtures("large")
def test_a_run_killed_while_it_measures_reads_nothing_again(
    raster: Path, dark_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr(pipeline, "mark", killed)
    with pytest.raises(SystemExit):
        run(raster, tmp_path / "out", dark_model)
    (left,) = (tmp_path / "out").glob(".crackseg-part-*")
    assert (left / "progress.json").is_file()
    monkeypatch.setattr(pipeline, "mark", mark)
    monkeypatch.setattr(band_files.OnDisk, "write", killed)  # nothing is left to be written
    assert run(raster, tmp_path / "out", dark_model).totals.cracks == 3
    assert not left.exists()


def test_an_outline_is_drawn_in_parts_as_in_one(
    raster: Path, dark_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run(raster, tmp_path / "out", dark_model)
    with open_image(raster) as image:
        pixels = image.read()

    def drawn(factor: float) -> Array:
        size = [round(side * factor) for side in pixels.shape[:2]]
        picture = np.zeros((*size, 3), np.uint8)
        for crack in report.cracks:
            draw_outline(picture, crack, factor, thickness=2)
        assert picture.any()
        return picture

    whole = [drawn(factor) for factor in (1.0, 0.37, 2.0)]
    monkeypatch.setattr(outlines, "_LOOKED_AT_PX", 90)
    parts = [drawn(factor) for factor in (1.0, 0.37, 2.0)]
    assert all(map(_alike, parts, whole))


def _alike(one: Array, other: Array) -> bool:
    """Return whether pictures differ by no more than where a smooth line is cut."""
    off = np.abs(one.astype(int) - other).max(axis=2)
    return bool((off > 40).mean() < 3e-3 and (off > 0).mean() < 0.03)
