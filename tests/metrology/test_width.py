"""Widths from profiles: analytic blurred slits, light, noise, and what is no crack."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import erf

from crackseg.metrology.width import INTERIOR, widths_from_profiles

X = np.arange(-25, 26)


def slit(
    width: float,
    *,
    blur: float = 0.8,
    at: float = 0.0,
    contrast: float = INTERIOR,
    level: float = 140.0,
    slope: float = 0.0,
) -> np.ndarray:
    """Return the grey profile of a blurred slit."""
    left, right = (X - at + width / 2) / blur, (X - at - width / 2) / blur
    darkness = 0.5 * (erf(left / np.sqrt(2)) - erf(right / np.sqrt(2)))
    profile: np.ndarray = level * (1 + slope * X / len(X)) * (1 - contrast * darkness)
    return profile


def offsets(width: float, **kwargs: float) -> np.ndarray:
    return np.array([slit(width, at=at, **kwargs) for at in np.linspace(-0.5, 0.5, 11)])


@pytest.mark.parametrize("blur", [0.6, 0.9, 1.2, 1.6])
@pytest.mark.parametrize("width", [0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0])
def test_a_slit_of_known_width(width: float, blur: float) -> None:
    widths = widths_from_profiles(offsets(width, blur=blur), np.full(11, width))
    assert abs(widths.width_px.mean() - width) < 0.02 + 0.025 * min(width, 4)
    assert np.abs(widths.width_px - width).max() < 0.05 + 0.03 * min(width, 4)
    assert widths.dark.all()


@pytest.mark.parametrize("slope", [-0.5, 0.3, 0.6])
@pytest.mark.parametrize("width", [0.8, 3.0, 10.0])
def test_a_slope_of_the_light_is_no_darkness(width: float, slope: float) -> None:
    widths = widths_from_profiles(offsets(width, slope=slope), np.full(11, width))
    assert widths.width_px.mean() == pytest.approx(width, abs=0.12)


@pytest.mark.parametrize("level", [40.0, 220.0])
def test_exposure_changes_nothing(level: float) -> None:
    bright = widths_from_profiles(offsets(2.0, level=140.0)).width_px
    assert widths_from_profiles(offsets(2.0, level=level)).width_px == pytest.approx(bright, 1e-4)


def test_a_wide_crack_shows_how_dark_it_is() -> None:
    widths = widths_from_profiles(offsets(12.0, contrast=0.5), np.full(11, 12.0))
    assert widths.width_px.mean() == pytest.approx(12, abs=0.1)
    assert widths.shown.min() == 1
    assert widths.interior.mean() == pytest.approx(0.5, abs=0.02)


def test_a_thin_crack_does_not_but_can_be_told() -> None:
    profiles = offsets(1.0, contrast=0.5)
    alone = widths_from_profiles(profiles)
    helped = widths_from_profiles(profiles, None, np.full(11, 0.5))
    assert alone.width_px.mean() == pytest.approx(0.5 / INTERIOR, abs=0.05)
    assert helped.width_px.mean() == pytest.approx(1, abs=0.05)
    assert helped.model_u_px.mean() <= alone.model_u_px.mean() + 1e-6 + 0.11 * 0.5


def test_bright_lines_are_not_dark() -> None:
    profiles = 140 + (140 - offsets(3.0, level=140, contrast=0.4))
    assert not widths_from_profiles(profiles, np.full(11, 3.0)).dark.any()


def test_plain_concrete_is_not_dark(rng: np.random.Generator) -> None:
    profiles = 140 * (1 + 0.03 * rng.standard_normal((2000, 41)))
    assert widths_from_profiles(profiles).dark.mean() < 0.25
    averaged = profiles.reshape(400, 5, 41).mean(axis=1)
    assert np.median(widths_from_profiles(averaged).width_px) < 0.15


@pytest.mark.parametrize("width", [0.5, 1.5, 4.0, 9.0])
def test_noise_is_covered_by_its_uncertainty(width: float, rng: np.random.Generator) -> None:
    profiles = np.repeat(slit(width)[None], 600, axis=0)
    widths = widths_from_profiles(profiles + 4 * rng.standard_normal(profiles.shape))
    error = widths.width_px - widths_from_profiles(profiles[:1]).width_px
    assert np.median(widths.noise_u_px) == pytest.approx(error.std(), rel=0.6)
    assert np.mean(np.abs(widths.width_px - width) <= 2 * widths.u_px) >= 0.95


def test_a_pore_beside_the_crack_does_not_count() -> None:
    profiles = offsets(2.0)
    profiles[:, (X >= 11) & (X <= 16)] = 20
    widths = widths_from_profiles(profiles, np.full(11, 3.0))
    assert widths.width_px.mean() == pytest.approx(2, abs=0.25)


def test_the_middle_is_found() -> None:
    widths = widths_from_profiles(np.array([slit(4.0, at=1.3), slit(4.0, at=-2.0)]))
    assert widths.centre_px == pytest.approx([1.3, -2.0], abs=0.05)


def test_a_crack_at_the_end_of_the_profile_keeps_one_background() -> None:
    profile = slit(2.0)[16:]  # nine samples on one side
    assert widths_from_profiles(profile[None]).width_px[0] == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("value", [0.0, 255.0])
def test_a_flat_profile_has_no_width(value: float) -> None:
    widths = widths_from_profiles(np.full((3, 31), value))
    assert not widths.dark.any()
    assert np.isfinite(widths.width_px).all()
    assert np.isfinite(widths.u_px).all()
