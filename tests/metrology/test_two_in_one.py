"""A dark stretch that is two cracks, or a crack and the tone beside it: the interval holds both."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.metrology.phantoms import Look, Stroke, draw, straight
from crackseg.metrology.twins import carried_on, lesser_of_two
from crackseg.records import Array, Crack, Measure

SHAPE, LEVEL = (220, 220), 150.0
ANGLES_DEG = (0, 33, 70)


def cracks_of(
    strokes: list[Stroke],
    angle: float,
    tone: Callable[[Array], Array] | None = None,
    fat_px: int = 1,
) -> list[Crack]:
    """Return the cracks of strokes in even concrete, on which ``tone`` of the distance lies.

    Args:
        strokes: what is drawn, and marked wider by ``fat_px`` on either side.
        angle: of the strokes, deg.
        tone: light by the distance from them, px.
        fat_px: see ``strokes``.
    """
    rng = np.random.default_rng(int(angle))
    phantom = draw(SHAPE, strokes, Look(blur_px=0, noise=0), rng)
    rows, cols = np.indices(SHAPE) - 110.2
    side = rows * np.cos(np.radians(angle)) + cols * np.sin(np.radians(angle))
    light = np.full(SHAPE, LEVEL) if tone is None else LEVEL * tone(side)
    grey = gaussian_filter(light * (1 - 0.93 * phantom.coverage), 0.8, mode="nearest")
    grey += 2.0 * rng.standard_normal(SHAPE)
    picture = np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    found = measure(
        binary_dilation(phantom.mask, np.ones((3, 3)), iterations=fat_px),
        image=lambda window: picture[window.slices],
        scale=None,
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )[0]
    return [crack for crack in found if (crack.length.px or 0) > 60]


def beside(width: float, angle: float, gap: float) -> list[Stroke]:
    """Return two parallel strokes with so many px of concrete between them."""
    half = 0.5 * (width + gap) * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    return [
        straight((110.2 + s * half[0], 110.2 + s * half[1]), angle, 150, width) for s in (-1, 1)
    ]


def holds(width: Measure, truth: float) -> bool:
    return width.high_px is not None and (width.low_px or 0.0) <= truth <= width.high_px


@pytest.mark.parametrize("angle", ANGLES_DEG)
@pytest.mark.parametrize("width", [1.0, 1.5, 3.0, 6.0])
def test_two_cracks_under_one_mask(width: float, angle: float) -> None:
    cracks = cracks_of(beside(width, angle, 2.0), angle)
    assert cracks
    for crack in cracks:
        assert holds(crack.width_mean, width)
        assert (crack.width_max.low_px or 0.0) <= width


@pytest.mark.parametrize("angle", ANGLES_DEG)
@pytest.mark.parametrize("width", [1.0, 2.0, 4.0])
def test_a_dark_strip_that_touches_the_crack(width: float, angle: float) -> None:
    def strip(side: Array) -> Array:
        return np.where((side > width / 2) & (side < width / 2 + 12), 0.55, 1.0)

    (crack,) = cracks_of([straight((110.2, 110.2), angle, 150, width)], angle, strip)
    assert holds(crack.width_mean, width)
    assert (crack.width_max.low_px or 0.0) <= width


@pytest.mark.parametrize("angle", ANGLES_DEG)
@pytest.mark.parametrize("width", [4.0, 6.0, 8.0])
@pytest.mark.parametrize("reach", [4.0, 5.5])
def test_a_dark_strip_around_the_crack_all_along(width: float, angle: float, reach: float) -> None:
    """Its outline is the crack's, or flanks of its own are seen within the strip."""

    def strip(side: Array) -> Array:
        return np.where(np.abs(side) < width / 2 + reach, 0.55, 1.0)

    (crack,) = cracks_of([straight((110.2, 110.2), angle, 150, width)], angle, strip)
    assert crack.width_mean.low_px is not None
    assert crack.width_mean.low_px <= width
    assert (crack.width_max.low_px or 0.0) <= width


@pytest.mark.parametrize("angle", ANGLES_DEG)
@pytest.mark.parametrize("width", [1.0, 2.0, 3.0])
def test_a_crack_in_a_damp_strip_that_the_mask_holds_as_well(width: float, angle: float) -> None:
    """A line all along it, darker than the strip: whichever is the crack, both are held.

    In the shade of the strip a hair crack's own width is told to a tenth.
    """

    def strip(side: Array) -> Array:
        return np.where(np.abs(side) < width / 2 + 6, 0.6, 1.0)

    (crack,) = cracks_of([straight((110.2, 110.2), angle, 150, width)], angle, strip, fat_px=6)
    assert crack.width_mean.low_px is not None
    assert crack.width_mean.low_px <= width + 0.1
    assert (crack.width_max.low_px or 0.0) <= width + 0.1


@pytest.mark.parametrize("fat_px", [1, 3])
@pytest.mark.parametrize("reach", [2.5, 4.0])
@pytest.mark.parametrize("width", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("tone", [0.45, 0.7])
def test_a_hair_crack_in_a_narrow_strip(
    width: float, reach: float, tone: float, fat_px: int
) -> None:
    """No single profile parts them; the mean over a piece of the line does."""

    def strip(side: Array) -> Array:
        return np.where(np.abs(side - 0.7) < width / 2 + reach, tone, 1.0)

    for angle in ANGLES_DEG:
        stroke = straight((110.2, 110.2), angle, 150, width)
        (crack,) = cracks_of([stroke], angle, strip, fat_px=fat_px)
        assert crack.width_mean.low_px is not None
        assert crack.width_mean.low_px <= width
        assert (crack.width_max.low_px or 0.0) <= width


@pytest.mark.parametrize("width", [4.0, 8.0])
def test_a_crack_without_a_strip_is_no_line_in_one(width: float) -> None:
    for angle in ANGLES_DEG:
        (crack,) = cracks_of([straight((110.2, 110.2), angle, 150, width)], angle)
        assert crack.width_mean.low_px is not None
        assert crack.width_mean.low_px > width - 1.5


@pytest.mark.parametrize("width", [1.0, 4.0, 6.0])
def test_a_crossing_at_a_sharp_angle(width: float) -> None:
    for first in (5.0, 40.0, 75.0):
        lines = [straight((110.2, 110.4), first + turn, 180, width) for turn in (0, 15)]
        (crack,) = cracks_of(lines, first)
        assert holds(crack.width_mean, width)
        assert (crack.width_max.low_px or 0.0) <= width


def test_half_of_it_is_filled_with_something_pale() -> None:
    for seed, angle in enumerate(ANGLES_DEG):
        middle, way = np.array([110.2, 110.2]), np.radians(angle)
        along = 40 * np.array([-np.sin(way), np.cos(way)])
        black, pale = (straight(tuple(middle + s * along), angle, 80, 4.0) for s in (-1, 1))
        rng = np.random.default_rng(seed)
        dark, light = (
            draw(SHAPE, [stroke], Look(blur_px=0, noise=0), rng) for stroke in (black, pale)
        )
        taken = 0.93 * dark.coverage + 0.27 * light.coverage * (dark.coverage == 0)
        grey = gaussian_filter(LEVEL * (1 - taken), 0.8, mode="nearest")
        grey += 2.0 * rng.standard_normal(SHAPE)
        picture = np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        found, *_ = measure(
            dark.mask | light.mask,
            image=lambda window, picture=picture: picture[window.slices],
            scale=None,
            mask_options=MaskOptions(),
            options=MeasureOptions(),
        )
        assert holds(found[0].width_mean, 4.0)


@pytest.mark.parametrize("width", [1.0, 3.0, 6.0, 12.0])
def test_one_crack_keeps_its_interval(width: float) -> None:
    for angle in ANGLES_DEG:
        (crack,) = cracks_of([straight((110.2, 110.2), angle, 150, width)], angle)
        mean = crack.width_mean
        assert mean.px is not None
        assert mean.low_px is not None
        assert mean.px - mean.low_px < 0.25 * width + 0.4


def test_the_lesser_of_two_is_told_by_the_ridge_between_them() -> None:
    at = np.arange(21.0)
    bells = [np.exp(-0.5 * ((at - place) / 0.9) ** 2) for place in (8.0, 12.0)]
    darkness = np.stack([bells[0] + 0.5 * bells[1], bells[0], bells[0] + bells[1]])
    stretch = darkness > 0.1
    noise, width = np.array([0.01, 0.01, 0.3]), np.full(3, 5.0)
    lesser = lesser_of_two(darkness, stretch, noise, width)
    assert lesser[0] == pytest.approx(0.5 * bells[1].sum(), rel=0.1)
    assert np.isnan(lesser[1:]).all()  # one line; a ridge that noise may be


def test_noise_hides_ridges_and_debris_makes_some() -> None:
    some, few = np.full(200, np.nan), np.full(200, np.nan)
    some[::2], few[90:100] = 1.0, 1.0
    assert np.isfinite(carried_on(some, np.full(200, 5.0))).all()
    assert np.isnan(carried_on(some, np.full(200, 20.0))).all()
    assert np.isfinite(carried_on(few, np.full(200, 5.0))).sum() == 10
    assert np.isnan(carried_on(np.full(9, np.nan), np.full(9, 5.0))).all()
