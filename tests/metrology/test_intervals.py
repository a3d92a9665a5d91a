"""A thin crack does not show how dark it is inside: its interval holds what that leaves open."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from crackseg.errors import ConfigError
from crackseg.metrology.narrowing import halo_of_line
from crackseg.metrology.phantoms import Look, draw, straight
from crackseg.metrology.width import halo_px, look
from crackseg.records import Measure, Scale

BACKGROUND = 190.0


def crack_of(cracks_of: Any, width: Any, interior: float, seed: int = 0) -> Any:
    """Return the crack of a line in concrete of grey 190 whose inside has another grey."""
    stroke = straight((60.2, 180.4), 6, 320, 1.0)
    stroke.width_px[:] = width if np.isscalar(width) else np.linspace(*width, len(stroke.width_px))
    look = Look(background=BACKGROUND, contrast=1 - interior / BACKGROUND, noise=0.013)
    phantom = draw((120, 360), [stroke], look, np.random.default_rng(seed))
    return cracks_of(phantom.mask, phantom.picture)[0]


@pytest.mark.parametrize("interior", [20, 50, 80, 110])
@pytest.mark.parametrize("width", [0.8, 1.0, 1.5, 2.0, 2.25, 2.5, 3.0, 4.0, 6.0])
def test_the_interval_holds_the_width_of_a_grey_crack(
    cracks_of: Any, width: float, interior: float
) -> None:
    mean = crack_of(cracks_of, width, interior).width_mean
    assert mean.low_px <= width <= mean.high_px
    assert mean.high_px - mean.low_px <= 2.6


def sharpened(cracks_of: Any, width: float, amount: float, reach: float, seed: int) -> Any:
    """Return a black crack in a photograph that a camera has sharpened."""
    phantom = draw(
        (120, 360),
        [straight((60.2, 180.4), 6, 320, width)],
        Look(background=160, noise=0.015, blur_px=1.0),
        np.random.default_rng(seed),
    )
    grey = phantom.picture.astype(np.float32)
    grey += amount * (grey - cv2.GaussianBlur(grey, (0, 0), reach))
    return cracks_of(phantom.mask, np.clip(np.rint(grey), 0, 255).astype(np.uint8))[0]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("amount", "reach"), [(1.0, 1.2), (1.0, 2.0), (1.5, 1.2)])
@pytest.mark.parametrize("width", [1.0, 1.5, 2.0])
def test_the_interval_holds_the_width_of_a_crack_that_was_sharpened(
    cracks_of: Any, width: float, amount: float, reach: float, seed: int
) -> None:
    crack = sharpened(cracks_of, width, amount, reach, seed)
    assert crack.width_mean.low_px <= width <= crack.width_mean.high_px
    assert crack.width_max.low_px <= width + 0.1


def test_one_lit_edge_is_no_halo() -> None:
    grey = np.full((40, 41), 160.0)
    grey += np.random.default_rng(0).normal(0, 2, grey.shape)
    grey[:, 19:22] = 20
    lit, both = grey.copy(), grey.copy()
    lit[:, 24:27] += 25
    both[:, [*range(24, 27), *range(14, 17)]] += 25
    halos = [halo_of_line(halo_px(look(profiles))) for profiles in (grey, lit, both)]
    assert halos[0].max() == halos[1].max() == 0
    assert halos[2] == pytest.approx(np.full(40, 150 / 160), abs=0.1)


def test_darkness_seen_elsewhere_on_the_crack_narrows_the_interval(cracks_of: Any) -> None:
    alone = crack_of(cracks_of, 1.2, 90).width_mean
    tapering = crack_of(cracks_of, (7.0, 1.2), 90)
    thin = tapering.branches[0].width_px[np.isfinite(tapering.branches[0].width_px)].min()
    assert alone.px < 0.8
    assert thin == pytest.approx(1.2, abs=0.25)
    wide = tapering.width_mean
    assert wide.high_px - wide.px < 1.3 * (wide.px - wide.low_px)


@pytest.mark.parametrize(
    "wrong",
    [
        {"px": None},
        {"px": 1.0, "status": "below_detection"},
        {"px": -1.0},
        {"px": float("nan")},
        {"px": 1.0, "u_px": -0.2},
        {"px": 1.0, "low_px": 1.2, "high_px": 1.5},
        {"px": 1.0, "low_px": 0.2},
        {"px": None, "mm": 1.0, "status": "not_resolvable"},
        {"px": None, "status": "below_detection"},
        {"px": None, "high_px": 1.0, "status": "not_resolvable"},
        {"px": None, "low_px": 0.1, "high_px": 1.0, "status": "below_detection"},
    ],
)
def test_a_measure_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Measure(**wrong)


def test_a_measure_completes_itself() -> None:
    even = Measure(px=0.5, u_px=0.8)
    assert (even.low_px, even.high_px) == (0, 1.3)
    uneven = Measure(px=1.0, low_px=0.7, high_px=2.2)
    assert uneven.u_px == pytest.approx(1.2)


def test_the_bound_of_a_trace_has_the_local_scale_and_its_error(cracks_of: Any) -> None:
    look = Look(noise=0.01, blur_px=0.6)
    phantom = draw((60, 200), [straight((30, 100), 12, 160, 0.2)], look, np.random.default_rng(5))
    near = ((0.1, 0, 0), (0, 0.1, 0), (0.0, 0.0, 1.0))
    far = ((0.2, 0, 0), (0, 0.2, 0), (0.0, 0.0, 1.0))  # the face there, not at the image centre

    def bound(homography: Any, sigma_rel: float) -> float:
        scale = Scale(mm_per_px=0.1, sigma_rel=sigma_rel, source="plane", homography=homography)
        (crack,) = cracks_of(phantom.mask, phantom.picture, scale)
        assert crack.width_mean.status == "below_detection"
        return float(crack.width_mean.high_mm)

    assert bound(far, 0.01) == pytest.approx(2 * bound(near, 0.01))
    assert bound(near, 0.2) > bound(near, 0.01)
