"""Phantoms are what they claim: covered area, place, light, oblique view."""

from __future__ import annotations

import numpy as np
import pytest
from oblique_phantoms import oblique_homography, seen_through

from crackseg.metrology.phantoms import Look, draw, straight, wandering
from crackseg.records import Scale


@pytest.mark.parametrize("width", [0.3, 1.0, 3.7, 25.0])
@pytest.mark.parametrize("angle", [0.0, 11.0, 45.0, 90.0, 160.0])
def test_the_covered_area_is_length_times_width(
    width: float, angle: float, rng: np.random.Generator
) -> None:
    stroke = straight((90.3, 100.8), angle, 120, width)
    phantom = draw((181, 202), [stroke], Look(), rng)
    assert phantom.coverage.sum() == pytest.approx(120 * width, rel=0.003)
    rows, cols = np.mgrid[:181, :202]
    centre = [(phantom.coverage * axis).sum() / phantom.coverage.sum() for axis in (rows, cols)]
    # a line thinner than a pixel pulls the centre to that of its pixels
    assert centre == pytest.approx([90.3, 100.8], abs=0.03 if width > 1 else 0.31)


def test_light_contrast_blur_and_noise_are_as_asked(rng: np.random.Generator) -> None:
    look = Look(background=120, contrast=0.6, blur_px=0, noise=0, gradient=0.4)
    picture = draw((60, 200), [straight((30, 100), 90, 200, 10)], look, rng).picture[..., 0]
    assert picture[30, [0, 199]] == pytest.approx([96, 144], abs=1)
    assert picture[30, 100] == pytest.approx(120 * 0.4, abs=1)
    noisy = draw((300, 300), [], Look(background=120, noise=0.05), rng).picture[..., 0]
    assert noisy.std() == pytest.approx(6, rel=0.03)


def test_a_seed_gives_one_picture() -> None:
    def one() -> np.ndarray:
        rng = np.random.default_rng(3)
        return draw((80, 90), [wandering((40, 5), 0, 70, (3, 1), rng)], Look(), rng).picture

    assert np.array_equal(one(), one())


def test_wandering_keeps_its_length_and_tapers(rng: np.random.Generator) -> None:
    stroke = wandering((50, 10), 20, 300, (6, 1), rng)
    assert stroke.length_px == pytest.approx(300, rel=1e-9)
    assert (stroke.width_px[0], stroke.width_px[-1]) == (6, 1)
    assert stroke.width_px.mean() == pytest.approx(3.5, rel=1e-3)
    assert np.ptp(stroke.points[:, 0]) > 10


def test_the_mask_of_a_thin_crack_is_a_whole_line(rng: np.random.Generator) -> None:
    mask = draw((120, 120), [straight((60, 60), 33, 80, 0.3)], Look(), rng).mask
    assert 80 * np.cos(np.radians(33)) <= mask.sum() + 1 <= 90


def test_branches_join_without_doubling(rng: np.random.Generator) -> None:
    cross = [straight((60, 60), 0, 80, 6), straight((60, 60), 90, 80, 6)]
    coverage = draw((121, 121), cross, Look(), rng).coverage
    assert coverage.max() <= 1
    assert coverage.sum() == pytest.approx(2 * 80 * 6 - 36, rel=0.005)


def test_the_oblique_view_goes_there_and_back() -> None:
    homography = oblique_homography((400, 600), 0.5, 35)
    scale = Scale(mm_per_px=0.5, sigma_rel=0, source="marker", homography=homography)
    face = straight((5.0, -20.0), 25, 120, 2.0)  # mm
    view = seen_through(face, homography)
    assert scale.to_mm(view.points) == pytest.approx(face.points, abs=1e-6)
    assert scale.to_mm(np.array([[199.5, 299.5]])) == pytest.approx(np.zeros((1, 2)), abs=1e-9)
    down = np.diff(scale.to_mm(np.array([[199.0, 299.5], [200.0, 299.5]])), axis=0)[0]
    assert np.hypot(*down) == pytest.approx(0.5, rel=1e-3)
    across = np.diff(scale.to_mm(np.array([[199.5, 299.0], [199.5, 300.0]])), axis=0)[0]
    assert np.hypot(*across) == pytest.approx(0.5 / np.cos(np.radians(35)), rel=1e-3)
