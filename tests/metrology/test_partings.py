"""Where two cracks cross or fork, the place where both are one dark stretch is no width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from crackseg.metrology.phantoms import Look, Stroke, draw, straight

SHAPE = (240, 320)


def measured(cracks_of: Any, strokes: list[Stroke], rng: np.random.Generator) -> Any:
    """Return the one crack that crossing strokes are."""
    phantom = draw(SHAPE, strokes, Look(noise=0.02), rng)
    (crack,) = cracks_of(phantom.mask, phantom.picture)
    return crack


@pytest.mark.parametrize("between_deg", [20, 30, 45, 90])
@pytest.mark.parametrize("width_px", [1.0, 2.0, 3.0])
def test_a_crossing_is_no_wider_than_its_cracks(
    cracks_of: Any, rng: np.random.Generator, between_deg: float, width_px: float
) -> None:
    """Read through the crossing the largest width was up to 4.9 px more, outside its interval."""
    first_deg = float(rng.uniform(0, 90))
    strokes = [straight((120, 160), first_deg + a, 200, width_px) for a in (0, between_deg)]
    crack = measured(cracks_of, strokes, rng)
    for width in (crack.width_mean, crack.width_p95, crack.width_max):
        assert width.px == pytest.approx(width_px, abs=0.15 * width_px + 0.25)
        assert width.low_px <= width_px <= width.high_px


@pytest.mark.parametrize("between_deg", [10, 15])
@pytest.mark.parametrize("width_px", [1.0, 2.0, 3.0])
def test_of_two_cracks_side_by_side_for_long_little_is_added(
    cracks_of: Any, rng: np.random.Generator, between_deg: float, width_px: float
) -> None:
    """The largest width was both cracks together, and up to 4.4 px more than either."""
    strokes = [straight((120, 160), 35 + a, 200, width_px) for a in (0, between_deg)]
    crack = measured(cracks_of, strokes, rng)
    assert crack.width_max.px <= width_px + 0.8


@pytest.mark.parametrize("between_deg", [12, 25])
def test_a_fork_is_no_wider_than_the_crack_that_it_leaves(
    cracks_of: Any, rng: np.random.Generator, between_deg: float
) -> None:
    whole = straight((120, 160), 20, 240, 3.0)
    turn = np.radians(20 + between_deg)
    way = np.array([-np.sin(turn), np.cos(turn)])
    points = np.array([120.0, 160.0]) + np.linspace(0, 100, 101)[:, None] * way
    branch = Stroke(points=points, width_px=np.full(101, 1.5))
    crack = measured(cracks_of, [whole, branch], rng)
    assert crack.width_max.px == pytest.approx(3.0, abs=0.6)
    assert crack.width_max.low_px <= 3.0 <= crack.width_max.high_px


def test_a_net_too_fine_to_tell_its_lines_apart_still_has_a_width(
    cracks_of: Any, rng: np.random.Generator
) -> None:
    strokes = [straight((60, 60), angle, 24, 2.0) for angle in (0, 12, 24, 36)]
    (crack,) = cracks_of(draw((120, 120), strokes, Look(), rng).mask, None)
    assert crack.width_max.px is not None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("between_deg", [20, 30, 45])
@pytest.mark.parametrize("width_px", [1.0, 1.5, 4.0])
def test_where_two_cracks_are_one_stretch_they_tell_no_interior(
    cracks_of: Any, seed: int, between_deg: float, width_px: float
) -> None:
    """Read there as pale, hair cracks were twice as wide all along: 1 px read 1.9 px."""
    rng = np.random.default_rng(seed)
    first_deg = float(rng.uniform(0, 90))
    strokes = [straight((120.4, 160.2), first_deg + a, 200, width_px) for a in (0, between_deg)]
    phantom = draw(SHAPE, strokes, Look(noise=0.02, blur_px=0.9), rng)
    mask = binary_dilation(phantom.mask, np.ones((3, 3))) if seed % 2 else phantom.mask
    (crack,) = cracks_of(mask, phantom.picture)
    assert crack.width_mean.px == pytest.approx(width_px, abs=0.3)
    assert crack.width_max.low_px <= width_px
