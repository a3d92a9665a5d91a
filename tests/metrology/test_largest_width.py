"""The largest width is the crack's own: not that of a stain, an edge or a pore on its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from crackseg.metrology.consistency import Evidence, Reading, judge
from crackseg.metrology.phantoms import Look, Stroke, draw, straight, wandering

SHAPE = (160, 360)
Field = np.ndarray


def spot(row: float, col: float, size: tuple[float, float], soft_px: float, dark: float) -> Field:
    """Return the light that an elliptic spot leaves, 0..1: its edge is ``soft_px`` wide."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = np.hypot((rows - row) / size[0], (cols - col) / size[1]) <= 1
    light: Field = 1 - dark * gaussian_filter(inside.astype(float), soft_px)
    return light


def shade(line: float, soft_px: float, dark: float, axis: int = 0) -> Field:
    """Return the light of a picture that lies in shade from a row or a column on."""
    inside = (np.indices(SHAPE)[axis] > line).astype(float)
    light: Field = 1 - dark * gaussian_filter(inside, soft_px)
    return light


def measured(
    cracks_of: Any,
    strokes: list[Stroke],
    light: Field | float = 1.0,
    *,
    seed: int = 0,
    contrast: float = 0.85,
    masked: list[Stroke] | None = None,
) -> Any:
    """Return the longest crack of strokes in some light, its mask two pixels fat."""
    rng = np.random.default_rng(seed)
    phantom = draw(SHAPE, strokes, Look(noise=0, contrast=contrast, blur_px=0.8), rng)
    mask = draw(SHAPE, masked or strokes, Look(noise=0), rng).mask
    grey = phantom.picture[..., 0] * light + rng.normal(0, 3, SHAPE)
    picture = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    cracks = cracks_of(binary_dilation(mask, iterations=1), picture)
    return max(cracks, key=lambda crack: crack.length.px)


def hair(width: float = 1.2, seed: int = 1) -> Stroke:
    rng = np.random.default_rng(seed)
    return wandering((80, 30), 0, 300, width, rng, bend_deg=4)


STAINS = {
    "soft": [spot(80, 180, (9, 12), 3.0, 0.35)],
    "sharp": [spot(80, 180, (7, 10), 0.8, 0.3)],
    "sharp, beside": [spot(74, 180, (6, 9), 0.8, 0.3)],
    "small": [spot(78, 180, (4, 5), 0.8, 0.3)],
    "long": [spot(80, 180, (8, 90), 1.0, 0.25)],
    "as dark as the crack looks": [spot(80, 180, (6, 7), 1.0, 0.45)],
    "many": [spot(80 + 3 * (-1) ** k, 60 + 30 * k, (5, 6), 1.0, 0.3) for k in range(8)],
    "an edge of tone": [shade(80, 0.8, 0.25)],
    "a shadow across": [shade(180, 2.0, 0.5, axis=1)],
}


@pytest.mark.parametrize("width", [0.8, 1.2, 2.0])
@pytest.mark.parametrize("stain", STAINS)
def test_a_stain_is_not_the_width_of_the_crack_in_it(
    cracks_of: Any, stain: str, width: float
) -> None:
    for seed in range(3):
        light = np.prod(STAINS[stain], axis=0)
        crack = measured(cracks_of, [hair(width, seed)], light, seed=seed)
        assert crack.width_mean.px == pytest.approx(width, abs=0.35)
        assert crack.width_max.status == "below_detection" or crack.width_max.px <= 2 * width + 1


@pytest.mark.parametrize("dark", [0.35, 0.5])
@pytest.mark.parametrize("size", [(6, 40), (8, 30), (12, 30)])
@pytest.mark.parametrize("width", [1.2, 2.0])
def test_a_mask_that_holds_a_stain_as_well_leaves_both_open(
    cracks_of: Any, width: float, size: tuple[float, float], dark: float
) -> None:
    """The largest width may be the stain's, but then its interval reaches down to the crack's."""
    light = spot(80, 180, size, 2.0, dark)
    blot = straight((80, 180), 0, 1.6 * size[1], 1.4 * size[0])
    crack = measured(
        cracks_of,
        [straight((80, 180), 0, 300, width)],
        light,
        masked=[straight((80, 180), 0, 300, width), blot],
    )
    assert (crack.width_max.low_px or 0) <= width + 0.6
    assert crack.width_mean.low_px <= width + 0.3 <= crack.width_mean.high_px


@pytest.mark.parametrize("row", [77, 79, 80, 82, 85])
@pytest.mark.parametrize("soft_px", [0.8, 2.0])
def test_nor_is_the_edge_of_a_shadow_along_it(cracks_of: Any, soft_px: float, row: float) -> None:
    crack = measured(cracks_of, [straight((80, 180), 0, 300, 1.2)], shade(row, soft_px, 0.35))
    assert crack.width_mean.low_px <= 1.6
    assert crack.width_mean.high_px >= 1.1
    assert crack.width_max.px <= 3


@pytest.mark.parametrize("apart", [5.0, 7.0, 10.0])
def test_a_second_crack_beside_it_does_not_count(cracks_of: Any, apart: float) -> None:
    one = straight((80, 180), 3, 300, 1.2)
    other = straight((80 + apart, 180), 3, 120, 1.5)
    crack = measured(cracks_of, [one, other], masked=[one])
    assert crack.width_mean.px == pytest.approx(1.2, abs=0.4)
    assert crack.width_max.px <= 3.5


@pytest.mark.parametrize(("across", "along"), [(3.5, 3.5), (5.0, 5.0), (4.0, 9.0)])
def test_a_pore_is_a_place(cracks_of: Any, across: float, along: float) -> None:
    crack = measured(
        cracks_of, [straight((80, 180), 3, 300, 1.0)], spot(80, 180, (across, along), 0.7, 0.9)
    )
    assert crack.width_mean.px == pytest.approx(1.0, abs=0.3)
    assert crack.width_max.px <= 3.5
    (place,) = crack.openings
    assert np.hypot(place.row - 80, place.col - 180) < along + 4
    assert place.width.px == pytest.approx(2 * across, abs=1.6)
    assert place.length.px == pytest.approx(2 * along, abs=5)


def test_the_widest_place_stands_first(cracks_of: Any) -> None:
    light = spot(84, 100, (3.5, 4), 0.7, 0.9) * spot(76, 250, (5, 6), 0.7, 0.9)
    crack = measured(cracks_of, [straight((80, 180), 3, 300, 1.0)], light)
    assert [round(place.col, -1) for place in crack.openings] == [250, 100]


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "to one end": lambda t: 1.5 + 6.5 * t,
    "to the middle": lambda t: 1.5 + 6.5 * (1 - np.abs(2 * t - 1)),
    "within a third": lambda t: 1.5 + 6.5 * np.clip(1 - np.abs(6 * t - 3), 0, 1),
    "to one end, late": lambda t: 1.5 + 6.5 * np.clip(3 * t - 2, 0, 1),
    "and stays wide": lambda t: np.where(t > 0.6, 8.0, 1.5),
}


@pytest.mark.parametrize("contrast", [0.5, 0.85])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_crack_that_widens_has_its_largest_width(
    cracks_of: Any, shape: str, contrast: float
) -> None:
    for seed in range(3):
        stroke = hair(1.5, seed)
        share = np.linspace(0, 1, len(stroke.points))
        wide = Stroke(points=stroke.points, width_px=SHAPES[shape](share))
        crack = measured(cracks_of, [wide], seed=seed, contrast=contrast)
        assert crack.width_max.px == pytest.approx(8, abs=0.8)
        assert crack.width_max.low_px <= 8 <= crack.width_max.high_px
        assert crack.openings == ()


def test_a_wide_crack_may_be_wider_than_a_lean_mask(cracks_of: Any) -> None:
    wide, lean = straight((80, 180), 3, 300, 9), straight((80, 180), 3, 300, 5)
    crack = measured(cracks_of, [wide], masked=[lean])
    assert crack.width_mean.px == pytest.approx(9, abs=0.3)
    assert crack.width_left_out_px == 0


def test_what_tells_no_width_is_counted(cracks_of: Any) -> None:
    """A line that fades is not given the width of its mask, and the reader is told how much."""
    stroke = hair(1.0)
    faded = np.ones(SHAPE)
    faded[:, 150:210] = np.nan
    rng = np.random.default_rng(3)
    phantom = draw(SHAPE, [stroke], Look(noise=0, blur_px=0.8), rng)
    grey = np.where(np.isnan(faded), 150.0, phantom.picture[..., 0]) + rng.normal(0, 4, SHAPE)
    picture = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    (crack,) = cracks_of(binary_dilation(phantom.mask, iterations=1), picture)
    assert crack.width_max.px <= 2
    assert 25 < crack.width_left_out_px < 75


def evidence(width: list[float], *, dark: float = 0.8, mask: float = 4.0) -> Evidence:
    """Return what a line shows whose thin stations are half as dark as its wide ones."""
    px = np.array(width)
    thin = px < 3
    return Evidence(
        width_px=px,
        narrow_px=np.where(thin, px, 0.8),
        core=np.where(thin, 1.0, 0.2),
        mask_px=np.full(len(px), mask),
        dark=px > 0,
        clear=px > 0,
        deepest=np.where(thin, 0.4, dark),
        middle=np.where(thin, 0.4, dark),
        blind=np.zeros(len(px), dtype=bool),
        flank_px=px,
        two=px > 0,
        even=np.ones(len(px)),
        inner_px=np.full(len(px), np.nan),
    )


def test_the_rules_of_a_station() -> None:
    jump = [1.0] * 40 + [9.0] * 6 + [1.0] * 40
    readings = {
        "a dark hole": judge([evidence(jump)])[0].reading[42],
        "a grey stain": judge([evidence(jump, dark=0.3)])[0].reading[42],
        "a long stay": judge([evidence([1.0] * 40 + [9.0] * 40, mask=10)])[0].reading[70],
        "nothing dark": judge([evidence([1.0] * 40 + [0.0] * 3)])[0].reading[42],
        "hardly anything dark": judge([evidence([1.0] * 10 + [0.0] * 30)])[0].reading[30],
    }
    assert readings == {
        "a dark hole": Reading.OPENING,
        "a grey stain": Reading.NARROW,
        "a long stay": Reading.WHOLE,
        "nothing dark": Reading.LEFT_OUT,
        "hardly anything dark": Reading.MASK,
    }


@pytest.mark.parametrize("soft_px", [0.7, 1.2])
def test_the_way_into_a_pore_is_not_the_largest_width(cracks_of: Any, soft_px: float) -> None:
    pore = spot(80, 180, (5.0, 5.0), soft_px, 0.9)
    crack = measured(cracks_of, [straight((80, 180), 3, 300, 1.5)], pore)
    assert crack.openings
    assert crack.width_max.low_px <= 1.5 <= crack.width_max.high_px


@pytest.mark.parametrize("width", [4.0, 6.0, 8.0])
@pytest.mark.parametrize("radius", [4.0, 6.0, 9.0])
def test_a_pore_in_the_mask_of_a_wide_crack_is_not_its_width_for_sure(
    cracks_of: Any, radius: float, width: float
) -> None:
    rng = np.random.default_rng(int(width + radius))
    phantom = draw((160, 300), [straight((80, 150), 0, 260, width)], Look(), rng)
    rows, cols = np.mgrid[:160, :300]
    pore = np.hypot(rows - 80 - 0.4 * (width / 2 + radius), cols - 150) < radius
    picture = phantom.picture.copy()
    picture[pore] = 0.35 * picture[20, 20]
    crack = cracks_of(phantom.mask | pore, picture)[0]
    assert crack.width_max.low_px < width + 0.1
    assert crack.width_mean.low_px < width < crack.width_mean.high_px
