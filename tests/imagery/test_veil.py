"""Fog, flare or a wet lens lift the darkest pixels of a picture to the others; that gets a word."""

from __future__ import annotations

import numpy as np
import pytest

from crackseg.imagery.veil import VeilCounter
from crackseg.records import Array


def wall(contrast: float, pores: float = 0.004, size: tuple[int, int] = (320, 400)) -> Array:
    """Return a wall with pores of which a veil leaves a share of the light."""
    rng = np.random.default_rng(0)
    light = rng.normal(0.3, 0.02, size)
    light[rng.random(size) < pores] = 0.05
    seen = contrast * light + (1 - contrast) * 0.5
    grey = 255 * seen.clip(0, 1) ** (1 / 2.2) + rng.normal(0, 1.5, size)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def counted(pixels: Array, valid: Array | None = None, rows: int = 400) -> VeilCounter:
    """Return the counter after a picture went by in bands that overlap."""
    counter = VeilCounter()
    for top in range(0, len(pixels), rows):
        low = max(top - 30, 0)
        part = slice(low, top + rows)
        counter.add(low, pixels[part], None if valid is None else valid[part])
    return counter


@pytest.mark.parametrize("contrast", [0.1, 0.2, 0.3])
def test_a_veil_is_told(contrast: float) -> None:
    (notice,) = counted(wall(contrast)).notices()
    assert notice.code == "veiled"
    assert "as behind fog, flare" in notice.message


@pytest.mark.parametrize("contrast", [0.9, 1.0])
def test_a_wall_with_pores_is_clear(contrast: float) -> None:
    assert counted(wall(contrast)).notices() == []


def test_bands_make_no_difference() -> None:
    depth = counted(wall(0.3)).depth()
    assert counted(wall(0.3), rows=96).depth() == pytest.approx(depth, abs=0.02)


def test_what_does_not_count_and_what_is_burnt_out_tells_nothing() -> None:
    veiled = wall(0.2)
    veiled[:, :100] = 0
    inside = np.ones(veiled.shape[:2], bool)
    assert counted(veiled, inside).notices() == []
    inside[:, :100] = False
    assert len(counted(veiled, inside).notices()) == 1
    veiled[:, :100] = 255
    assert len(counted(veiled).notices()) == 1


@pytest.mark.parametrize("size", [(90, 100), (1, 5), (400, 90)])
def test_a_small_picture_tells_nothing(size: tuple[int, int]) -> None:
    assert counted(wall(0.1, size=size)).depth() is None


@pytest.mark.parametrize("grey", [0, 40, 249, 255])
def test_a_picture_all_of_one_grey_is_told_of_elsewhere(grey: int) -> None:
    assert counted(np.full((300, 300, 3), grey, np.uint8)).notices() == []
