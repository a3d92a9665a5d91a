"""A crack in a blurred place keeps its width, with an interval that holds what blur may hide."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.classes import classify, read_documents
from crackseg.metrology.cracks import measure
from crackseg.metrology.phantoms import Look, draw, straight
from crackseg.metrology.unclear import FLAG, doubt_blurred_widths, doubt_moved_widths
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


def test_in_a_blurred_place_the_interval_holds_the_true_width() -> None:
    crack = crack_of(moved=True)
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
    crack = crack_of(moved=True)
    parts = blurred((0, 0, 128, SIDE), (192, 0, SIDE, SIDE))
    assert doubt_blurred_widths([crack], parts, (SIDE, SIDE)) == (crack,)
    assert doubt_blurred_widths([crack], (), (SIDE, SIDE)) == (crack,)
    dark = (Unjudged(code="dark", share=1.0, outlines=(box_of(0, 0, SIDE, SIDE),)),)
    assert doubt_blurred_widths([crack], dark, (SIDE, SIDE)) == (crack,)


def test_a_hole_in_a_blurred_place_is_sharp() -> None:
    crack = crack_of(moved=True)
    parts = blurred((0, 0, SIDE, SIDE), (128, 0, 192, SIDE))
    assert doubt_blurred_widths([crack], parts, (SIDE, SIDE)) == (crack,)


def test_a_crack_that_is_sharp_by_its_own_look_is_believed() -> None:
    crack = crack_of(moved=False)
    assert crack.sharp
    assert not crack_of(moved=True).sharp
    assert doubt_blurred_widths([crack], blurred((0, 0, SIDE, SIDE)), (SIDE, SIDE)) == (crack,)


def test_a_fifth_of_the_course_is_enough() -> None:
    crack = crack_of(moved=True)
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


def line_of(width: float, contrast: float, motion_px: int) -> Crack:
    """Return a crack along a row, photographed under a motion across it."""
    stroke = straight((160.3, 160), 0, 280, width)
    look = Look(noise=0.01, contrast=contrast)
    phantom = draw((SIDE, SIDE), [stroke], look, np.random.default_rng(3))
    picture = cv2.blur(phantom.picture, (1, motion_px))
    (crack,), _ = measure(
        phantom.mask,
        image=lambda window: picture[window.slices],
        scale=Scale(mm_per_px=0.1, sigma_rel=0.01, source="given"),
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )
    return crack


def whole(code: str = "unsteady") -> tuple[Unjudged, ...]:
    return (Unjudged(code=code, share=1.0, outlines=(box_of(0, 0, SIDE, SIDE),)),)


@pytest.mark.parametrize("motion_px", [1, 3, 4, 5])
@pytest.mark.parametrize("contrast", [0.5, 0.75, 0.93])
@pytest.mark.parametrize("width", [1.0, 1.5, 2.0, 3.0, 4.0])
def test_where_motion_is_not_excluded_the_interval_holds_what_it_spread(
    width: float, contrast: float, motion_px: int
) -> None:
    crack = line_of(width, contrast, motion_px)
    documents = read_documents()
    (left,) = doubt_moved_widths([crack], whole(), (SIDE, SIDE), documents)
    for after, before in zip(left.widths, crack.widths, strict=True):
        assert after.low_px is not None
        assert after.high_px is not None
        assert after.low_px <= width <= after.high_px
        assert (after.px, after.mm, after.high_px) == (before.px, before.mm, before.high_px)
        assert after.low_mm == pytest.approx(0.1 * after.low_px, rel=0.03)
    assert left.width_classes == classify(left.width_p95, documents)


@pytest.mark.parametrize("motion_px", [7, 9, 11])
@pytest.mark.parametrize("width", [1.0, 2.0, 3.0])
def test_where_long_motion_is_told_or_hidden_by_noise_the_interval_holds_what_it_spread(
    width: float, motion_px: int
) -> None:
    crack = line_of(width, 0.93, motion_px)
    assert crack.width_max.px > 6
    size = (SIDE, SIDE)
    for left in (
        *doubt_blurred_widths([crack], whole("blurred"), size),
        *doubt_blurred_widths([crack], whole("soft"), size),
        *doubt_moved_widths([crack], whole("grainy"), size, read_documents()),
    ):
        for after, before in zip(left.widths, crack.widths, strict=True):
            assert after.low_px <= width <= after.high_px
            assert after.low_mm == pytest.approx(0.1 * after.low_px, abs=0.02)
            assert after.px == before.px


def test_a_black_line_cannot_be_one_that_motion_spread() -> None:
    crack = line_of(4.0, 0.93, 1)
    (left,) = doubt_moved_widths([crack], whole(), (SIDE, SIDE), read_documents())
    for after, before in zip(left.widths, crack.widths, strict=True):
        assert after.low_px == pytest.approx(before.low_px, abs=0.15)


def test_where_the_photograph_is_steady_nothing_is_doubted() -> None:
    crack = line_of(1.0, 0.93, 4)
    assert doubt_moved_widths([crack], (), (SIDE, SIDE), read_documents()) == (crack,)
