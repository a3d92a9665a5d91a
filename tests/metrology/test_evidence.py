"""A crack is darker than both sides; an edge is not."""

from __future__ import annotations

import numpy as np
import pytest

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.records import Array, Crack


def measured(picture: Array, mask: Array) -> Crack:
    """Return the one crack of a mask."""
    cracks, _ = measure(
        mask,
        image=lambda window: np.repeat(picture[window.slices][..., None], 3, axis=2),
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )
    (crack,) = cracks
    return crack


def line(left: int, crack: int, right: int, width: int = 4) -> tuple[Array, Array]:
    """Return a picture of an upright line between two greys, and its mask."""
    picture = np.full((120, 90), left, np.uint8)
    picture[:, 45:] = right
    mask = np.zeros(picture.shape, bool)
    mask[20:100, 45 : 45 + width] = True
    picture[mask] = crack
    return picture, mask


@pytest.mark.parametrize("width", [2, 4, 9])
def test_a_dark_line_in_one_concrete(width: int) -> None:
    crack = measured(*line(180, 36, 180, width))
    assert crack.contrast == pytest.approx(0.8, abs=0.05)
    assert crack.step == pytest.approx(0.0, abs=0.01)


def test_the_edge_of_something_dark_has_a_step_and_little_contrast() -> None:
    crack = measured(*line(180, 60, 70))
    assert crack.contrast is not None
    assert crack.contrast < 0.1
    assert crack.step == pytest.approx(110 / 180, abs=0.03)


def test_a_light_line_has_less_than_no_contrast() -> None:
    crack = measured(*line(100, 220, 100))
    assert crack.contrast is not None
    assert crack.contrast < -0.5


def test_without_a_photograph_neither_is_known() -> None:
    mask = line(180, 36, 180)[1]
    cracks, _ = measure(mask, mask_options=MaskOptions(), options=MeasureOptions())
    assert (cracks[0].contrast, cracks[0].step) == (None, None)


def test_turning_the_picture_changes_nothing() -> None:
    picture, mask = line(180, 40, 150)
    upright, turned = measured(picture, mask), measured(picture.T.copy(), mask.T.copy())
    assert upright.contrast == pytest.approx(turned.contrast, abs=1e-3)
    assert upright.step == pytest.approx(turned.step, abs=1e-3)
