"""A dark place or the edge of a shadow beside a crack is no part of its width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from crackseg.metrology.phantoms import Look, draw, straight, wandering

SHAPE = (240, 320)
_ROWS, _COLS = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)


def drawn(
    cracks_of: Any,
    width_px: float,
    *,
    dark: Any = None,
    grey: float = 0.0,
    soft_px: float = 0.8,
    light: Any = 1.0,
    angle_deg: float = 0.0,
) -> Any:
    """Return the longest crack of a wall with a dark place of one grey, in some light."""
    rng = np.random.default_rng(0)
    stroke = straight((120, 160), -angle_deg, 260, width_px)
    phantom = draw(SHAPE, [stroke], Look(noise=0, blur_px=0), rng)
    wall = gaussian_filter(150 * (1 - 0.75 * phantom.coverage) * light, 0.8)
    mask = binary_dilation(phantom.mask)
    if dark is not None:
        share = gaussian_filter(dark.astype(float), soft_px)
        wall = wall * (1 - share) + grey * share
    wall = np.clip(wall + rng.normal(0, 3, SHAPE), 0, 255).astype(np.uint8)
    cracks = cracks_of(mask & (True if dark is None else ~dark), np.repeat(wall[..., None], 3, 2))
    return max(cracks, key=lambda crack: crack.length.px)


def across(angle_deg: float) -> Any:
    """Return the distance of each pixel from the crack's middle."""
    slope = np.tan(np.radians(angle_deg))
    return (_ROWS - 120 - slope * (_COLS - 160)) * np.cos(np.radians(angle_deg))


@pytest.mark.parametrize("grey", [20, 30, 45, 60])
@pytest.mark.parametrize("soft_px", [0.8, 3.0])
@pytest.mark.parametrize("width_px", [2.0, 3.5, 6.0])
@pytest.mark.parametrize("place", ["ahead", "slanted", "beside", "beside, apart", "far beside"])
def test_a_dark_place_adds_nothing(
    cracks_of: Any, place: str, width_px: float, soft_px: float, grey: float
) -> None:
    for angle_deg in (0.0, 8.0):
        off = across(angle_deg) - width_px / 2
        dark = {
            "ahead": _COLS >= 230,
            "slanted": _ROWS + _COLS > 330,
            "beside": (off > 2.5) & (_COLS > 180),
            "beside, apart": (off > 7) & (_COLS > 180),
            "far beside": (off > 12) & (_COLS > 180),
        }[place]
        crack = drawn(
            cracks_of, width_px, dark=dark, grey=grey, soft_px=soft_px, angle_deg=angle_deg
        )
        assert crack.width_median.px == pytest.approx(width_px, abs=0.15 * width_px + 0.3)
        assert (crack.width_max.px or 0) <= 1.25 * width_px + 1  # or below detection there
        assert crack.width_max.low_px <= 1.1 * width_px


@pytest.mark.parametrize("penumbra_px", [5, 10, 20, 40])
@pytest.mark.parametrize("width_px", [1.0, 2.0, 3.0, 4.0, 6.0])
@pytest.mark.parametrize("course", [-10, 0, 10, "across", "slanting"])
def test_the_soft_edge_of_a_shadow_adds_nothing(
    cracks_of: Any, course: Any, width_px: float, penumbra_px: float
) -> None:
    turn = np.radians({"across": 90, "slanting": 45}.get(course, 0))
    off = (_ROWS - 120) * np.cos(turn) + (_COLS - 160) * np.sin(turn)
    off = off - (course if isinstance(course, int) else 0)
    light = 1 - 0.5 * np.clip(off / penumbra_px + 0.5, 0, 1)
    crack = drawn(cracks_of, width_px, light=light)
    if crack.width_max.px is None:  # as thin as its blur, where the light falls by half in 5 px
        assert crack.width_max.status != "measured"
        return
    assert crack.width_max.low_px <= width_px
    assert crack.width_max.px <= 1.3 * width_px + 1
    assert crack.width_median.low_px <= width_px <= crack.width_median.high_px


@pytest.mark.parametrize("angle_deg", [0, 12, 40])
@pytest.mark.parametrize("width_px", [2.0, 3.0, 4.0])
def test_a_shadow_that_begins_two_pixels_beside_takes_nothing_off(
    cracks_of: Any, width_px: float, angle_deg: float
) -> None:
    """Held against the mean of light and shadow 3 px read 2.0 px (1.4 to 2.8)."""
    light = np.where(across(angle_deg) > width_px / 2 + 2, 0.5, 1.0)
    crack = drawn(cracks_of, width_px, light=light, angle_deg=angle_deg)
    assert crack.width_mean.low_px <= width_px <= crack.width_mean.high_px


@pytest.mark.parametrize("angle", [13.0, 20.0, 30.0])
@pytest.mark.parametrize("width", [4.0, 6.0, 9.0])
@pytest.mark.parametrize("joint", [4.0, 10.0])
def test_what_crosses_a_crack_is_not_its_width_for_sure(
    cracks_of: Any, joint: float, width: float, angle: float
) -> None:
    """A dark joint along a crack, at a small angle, makes one dark stretch with it."""
    rng = np.random.default_rng(int(angle + width))
    crack = wandering((100, 40), 0, 320, width, rng, bend_deg=8, wave_px=60)
    marked = draw((200, 400), [crack], Look(), rng).mask
    across = straight((float(crack.points[160][0]), 200), angle, 500, joint)
    look = Look(blur_px=0.8, contrast=0.7, noise=0.015)
    picture = draw((200, 400), [crack, across], look, rng).picture
    (found,) = cracks_of(marked, picture)
    assert found.width_max.low_px < width + 0.3
    assert found.width_mean.low_px < width < found.width_mean.high_px
