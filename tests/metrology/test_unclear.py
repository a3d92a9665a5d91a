"""A crack in a blurred place keeps its width, with an interval that holds what blur may hide."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.metrology.phantoms import Look, draw, straight
from crackseg.metrology.unclear import FLAG, doubt_blurred_widths
from crackseg.records import Array, Crack, Scale, Unjudged

SIDE = 320


def crack_of(*, moved: bool) -> Crack:
    """Return a crack of 1 px along a row, photographed by a still or a moving camera."""
    stroke = straight((160, 160), 0, 280, 1.0)
    phantom = draw((SIDE, SIDE), [stroke], Look(noise=0.01), np.random.default_rng(0))
    picture, mask = phantom.picture, phantom.mask
    if moved:
        picture = cv2.blur(picture, (1, 5))
        mask = cv2.dilate(mask.astype(np.uint8), np.ones((5, 1), np.uint8)) > 0
    (crack,), _ = measure(
        mask,
        image=lambda window: picture[window.slices],
        scale=Scale(mm_per_px=0.5, sigma_rel=0.01, source="given"),
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )
    return crack


def blurred(*boxes: tuple[int, int, int, int]) -> tuple[Unjudged, ...]:
    """Return a part of the picture made of boxes: top, left, bottom, right."""
    outlines = tuple(box_of(*box) for box in boxes)
    return (Unjudged(code=FLAG, share=0.5, outlines=outlines),)


def box_of(top: int, left: int, bottom: int, right: int) -> Array:
    return np.array([[top, left], [bottom, left], [bottom, right], [top, right]], float)


def test_motion_makes_a_hair_crack_read_wide() -> None:
    width = crack_of(moved=True).width_max
    assert width.low_px is not None
    assert width.low_px > 3.0  # four times its width: why such an interval must not be given


@pytest.mark.parametrize("moved", [False, True])
def test_in_a_blurred_place_the_interval_holds_the_true_width(moved: bool) -> None:
    crack = crack_of(moved=moved)
    (left,) = doubt_blurred_widths([crack], blurred((0, 0, SIDE, SIDE)), (SIDE, SIDE))
    for width, before in zip(left.widths, crack.widths, strict=True):
        assert (width.px, width.mm) == (before.px, before.mm)
        assert width.low_px is not None
        assert width.high_px is not None
        assert width.low_px <= 1.0 <= width.high_px
        assert width.high_px >= before.px + 4  # out of focus, wider ones read thin
        assert width.low_mm == pytest.approx(0.5 * width.low_px)
    assert left.length == crack.length
    assert left.width_max_at == crack.width_max_at
    assert left.width_classes == ()
    assert FLAG in left.flags


def test_beside_a_blurred_place_nothing_changes() -> None:
    crack = crack_of(moved=False)
    parts = blurred((0, 0, 128, SIDE), (192, 0, SIDE, SIDE))
    assert doubt_blurred_widths([crack], parts, (SIDE, SIDE)) == (crack,)
    assert doubt_blurred_widths([crack], (), (SIDE, SIDE)) == (crack,)
    dark = (Unjudged(code="dark", share=1.0, outlines=(box_of(0, 0, SIDE, SIDE),)),)
    assert doubt_blurred_widths([crack], dark, (SIDE, SIDE)) == (crack,)


def test_a_hole_in_a_blurred_place_is_sharp() -> None:
    crack = crack_of(moved=False)
    parts = blurred((0, 0, SIDE, SIDE), (128, 0, 192, SIDE))
    assert doubt_blurred_widths([crack], parts, (SIDE, SIDE)) == (crack,)


def test_a_fifth_of_the_course_is_enough() -> None:
    crack = crack_of(moved=False)
    (left,) = doubt_blurred_widths([crack], blurred((0, 0, SIDE, 128)), (SIDE, SIDE))
    assert FLAG in left.flags


def test_a_slight_blur_is_doubted_less_than_a_strong_one() -> None:
    crack = crack_of(moved=True)
    strong = blurred((0, 0, SIDE, 128))
    slight = (Unjudged(code="soft", share=0.5, outlines=(box_of(0, 128, SIDE, SIDE),)),)

    def interval(parts: tuple[Unjudged, ...]) -> tuple[float, float]:
        (left,) = doubt_blurred_widths([crack], parts, (SIDE, SIDE))
        assert FLAG in left.flags
        assert left.width_mean.low_px is not None
        assert left.width_mean.high_px is not None
        return left.width_mean.low_px, left.width_mean.high_px

    assert interval(slight)[0] <= 1.0 <= interval(slight)[1]
    assert interval(strong)[1] > interval(slight)[1]
    assert interval((*slight, *strong)) == interval(strong)  # the worse of two places counts
