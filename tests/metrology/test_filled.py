"""Cracks that something light fills: the interval of a lip's width holds that of the crack."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.metrology.outline import beyond_px, lopsided_px, stepped_px
from crackseg.records import Crack, Measure

SHAPE, LEVEL, FINE = (160, 360), 150.0, 5
Section = tuple[tuple[float, float], ...]  # (px, grey) from one edge of the crack to the other


def crack_of(
    section: Section,
    *,
    angle: float = 8,
    fat: float = 1.0,
    blur: float = 0.8,
    seed: int = 0,
    lime: float | None = None,
) -> Crack:
    """Return what is measured of a crack with that section, its mask ``fat`` px wider a side.

    Where ``lime`` is given its middle third is filled with something of that grey.
    """
    rng = np.random.default_rng(seed)
    rows, cols = ((np.arange(n * FINE) + 0.5) / FINE for n in SHAPE)
    middle = SHAPE[0] / 2 + (cols - SHAPE[1] / 2) * np.tan(np.radians(angle))
    side = (rows[:, None] - middle - 3 * np.sin(cols / 40)) * np.cos(np.radians(angle))
    long = (cols > 20) & (cols < SHAPE[1] - 20)
    half = sum(px for px, _ in section) / 2
    share, at = np.ones(side.shape), -half
    for px, grey in section:
        share[(side >= at) & (side < at + px) & long] = grey / LEVEL
        at += px
    if lime is not None:
        share[(np.abs(side) < half) & (cols > SHAPE[1] / 3) & (cols < SHAPE[1] / 1.5)] = (
            lime / LEVEL
        )
    share = share.reshape(SHAPE[0], FINE, SHAPE[1], FINE).mean((1, 3))
    stains = gaussian_filter(rng.standard_normal(SHAPE), 2)
    light = LEVEL + 4.0 * stains / stains.std()
    grey = gaussian_filter(light * share, blur) + 2.5 * rng.standard_normal(SHAPE)
    picture = np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    part = slice(FINE // 2, None, FINE)
    found = measure(
        (np.abs(side[part, part]) < half + fat) & long[part],
        image=lambda window: picture[window.slices],
        scale=None,
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )[0]
    return max(found, key=lambda crack: crack.length.px or 0)


def holds(width: Measure, truth: float) -> bool:
    return width.high_px is not None and (width.low_px or 0.0) <= truth <= width.high_px


@pytest.mark.parametrize("fat", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("angle", [3, 20])
@pytest.mark.parametrize(
    "section",
    [
        ((1.5, 40), (9, 135), (1.5, 40)),  # dust between two lips
        ((1.5, 40), (5, 150), (1.5, 40)),  # as light as the concrete
        ((1.2, 40), (3.6, 135), (1.2, 40)),
        ((1.0, 60), (7.5, 175), (1.5, 30)),  # lime between uneven lips
        ((2, 40), (10, 120)),  # one lip and the floor
        ((3, 30), (3, 185)),  # its lit side
    ],
)
def test_the_interval_holds_lip_and_crack(section: Section, angle: float, fat: float) -> None:
    crack = crack_of(section, angle=angle, fat=fat)
    whole = sum(px for px, _ in section)
    lip = min(px for px, grey in section if grey < 100)
    assert holds(crack.width_mean, 0.95 * whole)
    assert holds(crack.width_mean, lip)
    assert holds(crack.width_max, 0.9 * whole)
    assert "filled" in crack.flags


@pytest.mark.parametrize("fat", [0.0, 1.2, 2.0])
@pytest.mark.parametrize("angle", [3, 20])
@pytest.mark.parametrize(
    "section",
    [
        ((2, 15), (2, 80)),
        ((2.5, 15), (2.5, 105)),
        ((3, 15), (3, 90)),
        ((2, 15), (4, 100)),
        ((4, 15), (4, 75)),
        ((4, 15), (4, 110)),
    ],
)
def test_the_interval_holds_a_lit_flank_that_is_darker_than_the_concrete(
    section: Section, angle: float, fat: float
) -> None:
    crack = crack_of(section, angle=angle, fat=fat)
    whole = sum(px for px, _ in section)
    assert holds(crack.width_mean, whole)
    assert holds(crack.width_max, whole)
    assert crack.width_mean.high_px is not None
    assert crack.width_mean.high_px < whole + 2.0


def test_what_fades_beside_a_crack_is_no_lit_flank_of_it() -> None:
    at = np.abs(np.arange(-15, 16))
    for width in (3.0, 6.0):
        line = np.clip((width / 2 + 0.8 - at) / 1.6, 0, 1) * 0.9
        for damp in (0.3, 0.45):
            fading = np.where(np.arange(-15, 16) > 0, damp * np.exp(-at / 5), 0)
            darkness = np.tile(np.maximum(line, fading), (80, 1))
            assert not np.isfinite(stepped_px(darkness, np.full((80, 2), width / 2 + 4))).any()


@pytest.mark.parametrize("fat", [0.0, 0.5, 1.2, 2.0])
@pytest.mark.parametrize("width", [1.5, 3.0, 5.0])
def test_the_width_of_a_mask_may_be_that_of_a_thinner_line_in_it(width: float, fat: float) -> None:
    for seed, grey in enumerate((190, 215, 235)):  # lime, lighter than the wall
        crack = crack_of(((width, grey),), fat=fat, seed=seed)
        if crack.width_mean.status == "measured":
            assert {"width_from_mask", "not_dark"} <= set(crack.flags)
            assert holds(crack.width_mean, width)
            assert holds(crack.width_max, width)


@pytest.mark.parametrize("fat", [1.2, 2.0])
@pytest.mark.parametrize("width", [3.5, 7.0])
def test_lime_along_a_part_leaves_the_width_seen_elsewhere_in_the_largest(
    width: float, fat: float
) -> None:
    for seed, lime in enumerate((130, 140, 148)):
        assert holds(crack_of(((width, 15),), fat=fat, seed=seed, lime=lime).width_max, width)


def test_a_mask_without_a_photograph_is_rather_too_fat_than_too_lean() -> None:
    for width in (3, 6, 15):
        mask = np.zeros((60, 200), dtype=bool)
        mask[20 : 20 + width, 10:190] = True
        found = measure(
            mask, image=None, scale=None, mask_options=MaskOptions(), options=MeasureOptions()
        )[0]
        of_mask = found[0].width_mean
        px, low, high = of_mask.px, of_mask.low_px, of_mask.high_px
        assert px is not None
        assert low is not None
        assert high is not None
        assert low <= max(px - 5, 0)
        assert high < px + 2


@pytest.mark.parametrize("grey", [135, 150, 160])
@pytest.mark.parametrize("angle", [3, 20])
def test_a_mask_with_room_on_one_side_alone_may_be_right(angle: float, grey: float) -> None:
    crack = crack_of(((3, 30), (3, grey)), angle=angle, fat=0.5)
    assert holds(crack.width_mean, 6)
    assert holds(crack.width_mean, 3)
    assert "filled" in crack.flags


def test_a_mask_that_is_moved_is_not_lopsided() -> None:
    sides = np.tile([1.0, 5.0], (100, 1))  # of a line of 4 px about the middle
    assert (lopsided_px(sides, np.zeros(100), np.full(100, 4.0)) == 0).all()
    assert (lopsided_px(sides + 1, np.zeros(100), np.full(100, 4.0)) == 5).all()


@pytest.mark.parametrize("fat", [0.0, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("width", [1.0, 1.5, 3.0, 6.0, 12.0])
def test_a_fat_mask_on_plain_concrete_widens_nothing(width: float, fat: float) -> None:
    crack = crack_of(((width, 20),), fat=fat)
    assert "filled" not in crack.flags
    assert holds(crack.width_mean, width)
    assert crack.width_mean.high_px is not None
    assert crack.width_mean.high_px < width + 2.0


@pytest.mark.parametrize("blur", [0.6, 0.9, 1.2])
@pytest.mark.parametrize("grey", [20, 80, 110])
def test_nor_do_the_flanks_of_a_blurred_pale_hair_crack(grey: float, blur: float) -> None:
    for width in (0.8, 1.2, 2.0):
        for fat in (0.0, 1.0):
            assert "filled" not in crack_of(((width, grey),), fat=fat, blur=blur).flags


def test_a_lip_alone_in_a_mask_that_runs_over_onto_concrete_stays_a_hair_crack() -> None:
    crack = crack_of(((1.5, 40),), fat=5.0)
    assert "filled" not in crack.flags
    assert crack.width_mean.high_px is not None
    assert crack.width_mean.high_px < 4.0


def test_a_place_of_lime_widens_only_itself() -> None:
    outline = np.where(np.arange(400) < 150, 12.0, np.nan)
    beyond = beyond_px(outline, np.full(400, 1.5), np.full(400, 2.0))
    assert (beyond[:120] > 9).all()
    assert (beyond[190:] == 0).all()
