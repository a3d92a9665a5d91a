"""Black that no file declares as no-data (a collar, a turned picture) is no part of a width."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.records import Crack

_WIDTH_PX = 6.0
_ROWS, _COLS = np.mgrid[:300, :400]
_MIDDLE = 150 + 36 * np.sin(_COLS / 70) + 0.2 * (_COLS - 200)
_ACROSS = np.abs(_ROWS - _MIDDLE) / np.sqrt(1.04)


def crack_of(black: Any, *, bleeds: bool, jpeg: bool) -> Crack:
    """Return the crack of a drawn wall; its mask ends with the wall, or four pixels later."""
    grey = 150 + np.random.default_rng(0).normal(0, 4, _ROWS.shape)
    inside = np.clip(_WIDTH_PX / 2 + 0.5 - _ACROSS, 0, 1)
    grey = np.where(black, 0, grey * (1 - inside) + 40 * inside)
    picture = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if jpeg:
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], 1)
    ends = black & np.roll(black, 4, axis=1) if bleeds else black
    mask = (_ACROSS <= _WIDTH_PX / 2) & ~ends
    cracks, _ = measure(
        mask,
        image=lambda window: picture[window.slices],
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )
    return cracks[0]


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("bleeds", [False, True])
@pytest.mark.parametrize(
    "black",
    [
        pytest.param(_COLS >= 320, id="collar"),
        pytest.param(_COLS - 250 > 0.9 * _ROWS, id="wedge"),
        pytest.param(_ROWS + _COLS > 560, id="corner"),
        pytest.param(_ROWS > 170 + 0.05 * (_COLS - 200), id="shallow"),
        pytest.param((_ROWS > _MIDDLE + 3) & (_COLS > 250), id="along one edge"),
    ],
)
def test_black_that_a_crack_runs_into_is_not_its_width(
    black: Any, bleeds: bool, jpeg: bool
) -> None:
    crack = crack_of(black, bleeds=bleeds, jpeg=jpeg)
    assert crack.width_max.px == pytest.approx(_WIDTH_PX, abs=0.8)
    assert crack.width_median.px == pytest.approx(_WIDTH_PX, abs=0.6)


def test_the_length_without_a_width_is_told() -> None:
    beside = (_ROWS > _MIDDLE + 3) & (_COLS > 250)
    assert crack_of(beside, bleeds=False, jpeg=False).width_left_out_px > 120


def test_black_beyond_a_strip_of_concrete_takes_no_width() -> None:
    crack = crack_of(_ROWS > _MIDDLE + 12, bleeds=False, jpeg=False)
    assert crack.width_left_out_px == 0
    assert crack.width_max.px is not None
