"""What is green or blue as no wall is gets a word; moss and the blue of shade get none."""

from __future__ import annotations

import numpy as np
import pytest

from crackseg.imagery.greenery import ColourCounter
from crackseg.records import Array

CONCRETE, MOSS, SHADE = (142, 138, 130), (112, 116, 96), (96, 102, 116)
BRICK, GRASS, SKY = (150, 84, 62), (84, 118, 48), (84, 132, 204)


def picture(left: tuple[int, int, int], right: tuple[int, int, int], share: float) -> Array:
    """Return a noisy picture whose right part has another colour."""
    rng = np.random.default_rng(0)
    pixels = np.empty((320, 400, 3))
    pixels[:] = left
    pixels[:, round(400 * (1 - share)) :] = right
    return (pixels + rng.normal(0, 12, pixels.shape)).clip(0, 255).astype(np.uint8)


def counted(pixels: Array, valid: Array | None = None, rows: int = 400) -> ColourCounter:
    """Return the counter after a picture went by in bands that overlap."""
    counter = ColourCounter()
    for top in range(0, len(pixels), rows):
        low = max(top - 30, 0)
        part = slice(low, top + rows)
        counter.add(low, pixels[part], None if valid is None else valid[part])
    return counter


@pytest.mark.parametrize("colour", [GRASS, SKY])
def test_plants_and_sky_are_told(colour: tuple[int, int, int]) -> None:
    counter = counted(picture(CONCRETE, colour, 0.4))
    assert counter.share() == pytest.approx(0.4, abs=0.01)
    (notice,) = counter.notices()
    assert notice.code == "may_show_no_wall"
    assert notice.message.startswith("40 % of this picture is green or blue")


@pytest.mark.parametrize("colour", [CONCRETE, MOSS, SHADE, BRICK])
def test_walls_are_not_taken_for_plants_or_sky(colour: tuple[int, int, int]) -> None:
    counter = counted(picture(CONCRETE, colour, 1.0))
    assert counter.share() < 0.02
    assert counter.notices() == []


def test_a_strip_of_sky_above_a_wall_gets_no_word() -> None:
    assert counted(picture(CONCRETE, SKY, 0.2)).notices() == []


def test_bands_make_no_difference() -> None:
    pixels = picture(CONCRETE, GRASS, 0.5)
    assert counted(pixels, rows=96).share() == pytest.approx(counted(pixels).share(), abs=0.01)


def test_what_a_region_leaves_out_does_not_count() -> None:
    pixels = picture(CONCRETE, GRASS, 0.5)
    valid = np.zeros(pixels.shape[:2], bool)
    valid[:, :200] = True
    assert counted(pixels, valid).share() < 0.03
    assert counted(pixels, ~valid, rows=96).share() > 0.97
    assert counted(pixels, np.zeros_like(valid)).share() == 0.0
