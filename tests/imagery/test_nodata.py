"""No-data is believed at the border and over areas, never where a crack's core holds its value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import pillow, tiff
from PIL import Image
from scipy.ndimage import gaussian_filter

from crackseg.imagery.files import open_image
from crackseg.imagery.nodata import AREA_PX, smeared
from crackseg.records import Array, Window

SHAPE = (260, 300)


def wall(core: int) -> tuple[Array, Array, Array]:
    """Return (H, W, 3) uint8 concrete, where a crack's core lies, and where data are missing.

    The missing: a wedge at the right, a strip of 3 px at the bottom, an area of 60 px within.
    """
    rng = np.random.default_rng(0)
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    pixels = np.repeat(rng.normal(140, 6, SHAPE)[..., None], 3, axis=2)
    crack = np.abs(row - 120 - 12 * np.sin(col / 25)) < 3
    missing = (col + row / 3 > 290) | (row >= SHAPE[0] - 3)
    missing |= (np.abs(row - 200) <= 30) & (np.abs(col - 70) <= 30)
    pixels[crack] = core
    return pixels.clip(1, 254).astype(np.uint8), crack & ~missing, missing


def marked(value: int) -> tuple[Array, Array, Array]:
    """Return the wall with one value in the crack's core and in what is missing."""
    pixels, crack, missing = wall(value)
    pixels[crack | missing] = value
    return pixels, crack, missing


def valid_of(path: Path) -> Array:
    with open_image(path) as image:
        valid = image.load()[1]
        assert valid is not None
        for window in (
            Window(row=90, col=120, height=70, width=90),
            Window(row=180, col=0, height=80, width=300),
            Window(row=119, col=299, height=1, width=1),
        ):
            part = image.load(window)[1]
            expected = valid[window.slices]
            assert expected.all() if part is None else np.array_equal(part, expected)
        return valid


def nodata(value: int) -> list[Any]:
    return [(42113, 2, 0, str(value), True)]


def rgba(pixels: Array, hidden: Array) -> Array:
    return np.dstack([pixels, np.where(hidden, 0, 255).astype(np.uint8)])


BLACK, CRACK, MISSING = marked(0)
AWAY = np.arange(SHAPE[1])[None] < 235  # a crack that runs into the missing ends just before it
WHITE = marked(255)[0]
HIDDEN = CRACK | MISSING
KINDS: dict[str, Callable[[Path], Path]] = {
    "value 0": lambda p: tiff(p, BLACK, extratags=nodata(0), tile=(64, 64), compression="zlib"),
    "value 255": lambda p: tiff(p, WHITE, extratags=nodata(255)),
    "value 0 of 16 bit": lambda p: tiff(p, BLACK.astype(np.uint16) * 200, extratags=nodata(0)),
    "value 0 of one band": lambda p: tiff(p, BLACK[..., 0], extratags=nodata(0)),
    "alpha made of the value": lambda p: tiff(p, rgba(BLACK, HIDDEN), extrasamples=["unassalpha"]),
    "alpha of a png": lambda p: pillow(p, Image.fromarray(rgba(BLACK, HIDDEN)), "PNG"),
    "a colour key of a png": lambda p: pillow(
        p, Image.fromarray(BLACK), "PNG", transparency=(0, 0, 0)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_core_of_a_crack_is_no_hole(kind: str, tmp_path: Path) -> None:
    valid = valid_of(KINDS[kind](tmp_path / "p"))
    assert not valid[MISSING].any()
    assert valid[CRACK & AWAY].all()
    assert (~valid & ~MISSING).sum() < 60


def test_what_was_hidden_by_hand_stays_hidden(tmp_path: Path) -> None:
    """A thin thing painted out over a picture that is not black: nothing to doubt."""
    pixels, crack, _ = wall(90)
    valid = valid_of(tiff(tmp_path / "p", rgba(pixels, crack), extrasamples=["unassalpha"]))
    assert np.array_equal(valid, ~crack)


def test_values_that_no_picture_holds_are_always_missing(tmp_path: Path) -> None:
    pixels, crack, _ = wall(90)
    values = np.where(crack, -9999.0, pixels[..., 0]).astype(np.float32)
    assert np.array_equal(valid_of(tiff(tmp_path / "p", values, extratags=nodata(-9999))), ~crack)
    values[crack] = np.nan
    assert np.array_equal(valid_of(tiff(tmp_path / "p", values, extratags=nodata(0))), ~crack)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("level", [60, 90])
def test_a_collar_that_jpeg_smeared_is_missing_to_its_edge(
    value: int, level: int, tmp_path: Path
) -> None:
    pixels, crack, missing = wall(40)
    pixels[missing] = value
    rng = np.random.default_rng(1)
    noisy = np.abs(value - rng.integers(0, 5, pixels.shape)).astype(np.uint8)
    pixels = np.where(missing[..., None], noisy, pixels)
    path = tiff(
        tmp_path / "p",
        pixels,
        extratags=nodata(value),
        compression="jpeg",
        compressionargs={"level": level},
        tile=(64, 64),
    )
    valid = valid_of(path)
    assert valid[missing].mean() < 0.002
    assert (~valid & ~missing).sum() < 0.03 * missing.sum()
    assert valid[crack & AWAY].all()
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    beside = crack & (col + row / 3 > 280) & (col + row / 3 < 287)  # dark, but no ringing
    assert valid[beside].mean() > 0.7


@pytest.mark.parametrize("kind", ["alpha", "number"])
def test_a_gap_between_photographs_is_missing_and_a_clipped_crack_is_not(
    kind: str, tmp_path: Path
) -> None:
    """The gap tapers from 50 px, no area any more; the core is 20 px of pure black."""
    rng = np.random.default_rng(2)
    row, col = np.mgrid[:300, :500]
    gap = np.abs(row - 60) < 25 * (1 - col / 500)
    across = np.abs(row - 200 - 10 * np.sin(col / 40))
    light = gaussian_filter(1 - np.clip(12 - across, 0, 1), 0.8)
    grey = (light * rng.normal(150, 5, light.shape)).clip(0, 254).astype(np.uint8)
    core = across < 10
    grey[core | gap] = 0
    pixels = np.repeat(grey[..., None], 3, axis=2)
    if kind == "alpha":
        tiff(tmp_path / "m.tif", rgba(pixels, grey == 0), extrasamples=["unassalpha"])
    else:
        tiff(tmp_path / "m.tif", pixels, extratags=nodata(0))
    with open_image(tmp_path / "m.tif") as image:
        valid = image.load()[1]
        assert valid is not None
        for window in (
            Window(row=20, col=130, height=80, width=90),
            Window(row=60, col=0, height=9, width=500),
        ):
            part = image.load(window)[1]
            assert part is not None
            assert np.array_equal(part, valid[window.slices])
    assert not valid[gap & (col < 370)].any()  # 13 px wide there
    assert valid[core].all()


@pytest.mark.parametrize("value", [0, 255])
def test_a_large_window_is_read_in_parts(
    value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells the missing from a crack's core takes many bytes a pixel."""
    path = tiff(tmp_path / "a.tif", marked(value)[0], compression="jpeg", extratags=nodata(value))
    with open_image(path) as image:
        pixels, valid = image.load()
    monkeypatch.setattr("crackseg.imagery.tiff._PART_PX", 70)
    with open_image(path) as image:
        again, counts = image.load()
    assert valid is not None
    assert counts is not None
    assert np.array_equal(again, pixels)
    assert np.array_equal(counts, valid)


@pytest.mark.parametrize(
    ("first", "side", "is_area"),
    [
        ((100, 100), AREA_PX, True),
        ((100, 100), AREA_PX - 1, False),  # within the picture
        ((0, 100), AREA_PX, True),
        ((100, 0), 3, False),  # too narrow where it crosses the border
        ((0, 0), 3, True),  # the corner of a square that lies beyond the picture
        ((SHAPE[0] - 3, SHAPE[1] - 3), 3, True),
    ],
)
def test_an_area_is_a_square_that_may_go_on_beyond_the_picture(
    first: tuple[int, int], side: int, is_area: bool
) -> None:
    distance = np.full(SHAPE, 200, np.uint8)
    part = np.s_[first[0] : first[0] + side, first[1] : first[1] + side]
    distance[part] = 0
    whole = Window(row=0, col=0, height=SHAPE[0], width=SHAPE[1])
    found = smeared(distance, whole, *SHAPE)
    assert found.any() == is_area
    assert found[part].all() == is_area
