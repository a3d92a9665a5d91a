"""The area of a crack is length times mean width, whatever the mask covers beside the line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from crackseg.metrology.phantoms import Look, Phantom, draw, straight
from crackseg.records import Scale


def phantom_of(width: float, noise: float = 0.02) -> Phantom:
    stroke = straight((60.3, 150.4), 13, 220, width)
    return draw((120, 300), [stroke], Look(noise=noise), np.random.default_rng(4))


@pytest.mark.parametrize("width", [0.7, 1.0, 2.0, 5.0, 12.0])
def test_the_area_is_that_of_the_crack_under_a_mask_that_is_wider(
    cracks_of: Any, width: float
) -> None:
    phantom = phantom_of(width)
    mask = binary_dilation(phantom.mask, np.ones((3, 3)))
    (crack,) = cracks_of(mask, phantom.picture, Scale(mm_per_px=0.5, sigma_rel=0, source="given"))
    assert crack.area_px2 == pytest.approx(float(phantom.coverage.sum()), rel=0.06)
    assert crack.area_px2 == pytest.approx(crack.length.px * crack.width_mean.px)
    assert crack.area_mm2 == pytest.approx(crack.area_px2 / 4)
    assert crack.mask_area_px2 == mask.sum()


def test_without_a_width_there_is_no_area(cracks_of: Any) -> None:
    phantom = phantom_of(0.15, noise=0.01)
    (faint,) = cracks_of(phantom.mask, phantom.picture)
    assert faint.width_mean.status == "below_detection"
    (alone,) = cracks_of(phantom_of(1.0).mask)
    assert alone.width_mean.status == "not_resolvable"
    for crack in (faint, alone):
        assert crack.area_px2 is None
        assert crack.area_mm2 is None
        assert crack.mask_area_px2 > 0
