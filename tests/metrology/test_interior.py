"""How dark a crack is inside, told by the shape of its profile or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from crackseg.metrology import stations
from crackseg.metrology.interior import fit_interior
from crackseg.metrology.phantoms import Look, draw, straight
from crackseg.metrology.sampling import normals, read_profiles

MIDDLE = np.column_stack([np.full(120, 40.3), np.arange(40, 160.0)])  # along the drawn crack


def profiles_of(width: float, contrast: float, blur_px: float, seed: int) -> np.ndarray:
    stroke = straight((40.3, 100.0), 0, 160, width)
    look = Look(contrast=contrast, blur_px=blur_px)
    picture = draw((80, 200), [stroke], look, np.random.default_rng(seed)).picture
    shape = picture.shape[:2]
    return read_profiles(lambda w: picture[w.slices], shape, MIDDLE, normals(MIDDLE), 16)


@pytest.mark.parametrize("contrast", [0.4, 0.7, 0.93])
@pytest.mark.parametrize("width", [3.0, 4.0, 6.0])
def test_a_crack_wide_for_its_blur_shows_its_darkness(width: float, contrast: float) -> None:
    for seed in range(5):
        profiles = profiles_of(width, contrast, 0.7, seed)
        interior = fit_interior(profiles, np.zeros(len(profiles)), width)
        assert interior.darkness == pytest.approx(contrast, rel=0.05)
        assert interior.sure == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("width", "blur_px"), [(0.5, 0.7), (1.0, 1.0), (1.5, 1.5), (2.0, 1.5)])
def test_a_bell_tells_nothing(width: float, blur_px: float) -> None:
    for seed in range(10):
        profiles = profiles_of(width, 0.6, blur_px, seed)
        assert fit_interior(profiles, np.zeros(len(profiles)), width).sure < 0.1


def test_plain_concrete_and_short_profiles_tell_nothing(rng: np.random.Generator) -> None:
    noise = rng.normal(150, 5, (40, 33))
    assert fit_interior(noise, np.zeros(40), 3.0).sure == 0
    assert fit_interior(noise[:, :9], np.zeros(40), 3.0).sure == 0


@pytest.mark.parametrize("contrast", [0.5, 0.7, 0.93])
def test_the_width_follows_the_darkness_that_is_shown(cracks_of: Any, contrast: float) -> None:
    rng = np.random.default_rng(4)
    look = Look(contrast=contrast, blur_px=0.8)
    phantom = draw((120, 240), [straight((60.2, 120.4), 20, 180, 4)], look, rng)
    mean = cracks_of(phantom.mask, phantom.picture)[0].width_mean
    assert mean.px == pytest.approx(4, abs=0.15)


@pytest.mark.parametrize("blur_px", [0.6, 0.9, 1.2])
@pytest.mark.parametrize("width", [1.0, 1.5, 2.0, 2.5])
def test_the_interval_holds_a_thin_crack_of_a_pale_interior(
    cracks_of: Any, width: float, blur_px: float
) -> None:
    """Grey 110 in concrete of 150: it looks like a hair crack of black, and may be one."""
    for seed in range(3):
        look = Look(background=150, contrast=1 - 110 / 150, blur_px=blur_px, noise=0.015)
        stroke = straight((60.2, 120.4), 20, 180, width)
        phantom = draw((120, 240), [stroke], look, np.random.default_rng(seed))
        mean = cracks_of(phantom.mask, phantom.picture)[0].width_mean
        assert mean.low_px <= width <= mean.high_px


@pytest.mark.parametrize("blur_px", [0.8, 1.2, 1.5])
@pytest.mark.parametrize("contrast", [0.4, 0.55, 0.75])
def test_a_pale_wide_crack_out_of_focus_is_no_soft_stain(
    cracks_of: Any, contrast: float, blur_px: float
) -> None:
    """It has no dark core all along its way, as a stain has none: 6 px read 3.4 px (2.6 to 6.0)."""
    for seed, width in enumerate((4.0, 5.0, 6.0, 8.0)):
        look = Look(contrast=contrast, blur_px=blur_px, noise=0.012)
        stroke = straight((60.2, 120.4), (20, 45)[seed % 2], 120, width)
        phantom = draw((150, 240), [stroke], look, np.random.default_rng(seed))
        for mask in (phantom.mask, binary_dilation(phantom.mask, np.ones((3, 3)))):
            mean = cracks_of(mask, phantom.picture)[0].width_mean
            assert mean.low_px <= width <= mean.high_px
            assert mean.px == pytest.approx(width, abs=0.3)


@pytest.mark.parametrize("width", [1.0, 1.5, 2.0, 3.0])
def test_a_crack_that_is_filled_on_one_half_is_not_read_as_thin_there(
    cracks_of: Any, width: float
) -> None:
    """Half black, half grey 110: the black half's interior does not hold for the other."""
    rng = np.random.default_rng(int(10 * width))
    stroke = straight((60.2, 120.4), 20, 200, width)
    coverage = draw((120, 240), [stroke], Look(blur_px=0, noise=0), rng).coverage
    darkness = np.where(np.arange(240) < 120, 0.93, 1 - 110 / 150)
    grey = gaussian_filter(150 * (1 - darkness * coverage), 0.8) + rng.normal(0, 2, coverage.shape)
    picture = np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    mean = cracks_of(coverage >= 0.5 if width > 1 else coverage > 0.3, picture)[0].width_mean
    assert mean.low_px <= width <= mean.high_px


@pytest.mark.parametrize("gap", [1.0, 1.5])
@pytest.mark.parametrize("width", [1.0, 1.25, 1.5])
def test_two_black_lines_are_no_pale_one(width: float, gap: float) -> None:
    off = 0.5 * (width + gap)
    strokes = [straight((40.3 + side, 100.0), 0, 160, width) for side in (-off, off)]
    for seed in range(3):
        picture = draw((80, 200), strokes, Look(blur_px=0.8), np.random.default_rng(seed)).picture
        read = lambda w, picture=picture: picture[w.slices]  # noqa: E731
        profiles = read_profiles(read, picture.shape[:2], MIDDLE, normals(MIDDLE), 16)
        assert fit_interior(profiles, np.zeros(len(profiles)), 2 * width + gap).two


@pytest.mark.parametrize("contrast", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("width", [2.0, 3.0, 4.0, 6.0])
def test_a_pale_line_is_no_two(width: float, contrast: float) -> None:
    for seed in range(4):
        profiles = profiles_of(width, contrast, 0.7, seed)
        assert not fit_interior(profiles, np.zeros(len(profiles)), width).two


def test_lines_of_a_crack_are_read_once_whichever_tells_the_interior(
    cracks_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, thin = straight((120.2, 180.4), 6, 320, 7.0), straight((60.2, 180.4), 86, 130, 1.5)
    phantom = draw((240, 360), [wide, thin], Look(noise=0.01), np.random.default_rng(0))
    of_lines = stations.read_lines
    told: list[int] = []

    def read(lines: Any, normal: Any, across: Any, shown: Any, interiors: Any) -> Any:
        told.extend(id(line) for line in lines)
        assert all(one.sure == pytest.approx(1, abs=0.05) for one in interiors)
        return of_lines(lines, normal, across, shown, interiors)

    monkeypatch.setattr(stations, "read_lines", read)
    (crack,) = cracks_of(phantom.mask, phantom.picture)
    assert len(crack.branches) >= 3
    assert len(told) == len(set(told)) == len(crack.branches)
