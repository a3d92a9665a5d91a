"""A network's mask is fat, lean, ragged or broken: the photograph sets length and width right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from crackseg.metrology.phantoms import Look, Phantom, draw, straight, wandering

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def grown(by: int) -> Change:
    return lambda mask, rng: ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=by)


def shrunk(by: int) -> Change:
    return lambda mask, rng: ndimage.binary_erosion(mask, iterations=by)


def ragged(px: float, shift: float, wave: float) -> Change:
    """Move the edge by correlated noise of standard deviation ``px`` about ``shift``."""

    def change(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = ndimage.gaussian_filter(rng.normal(size=mask.shape), wave)
        edge = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
        moved = edge - 0.5 * np.sign(edge) + px * noise / noise.std() + shift
        label, _ = ndimage.label(moved > 0, np.ones((3, 3)))
        return np.isin(label, np.unique(label[mask & (label > 0)]))

    return change


CHANGES = {
    "grown 1": (grown(1), 1.0),
    "grown 3": (grown(3), 1.0),
    "shrunk 1": (shrunk(1), 4.0),
    "ragged": (ragged(0.6, 0.0, 2.0), 4.0),
    "ragged fat": (ragged(0.8, 2.0, 2.0), 2.0),
    "ragged lean": (ragged(0.6, -1.0, 2.0), 8.0),
}


def phantom_of(width: float, seed: int) -> Phantom:
    rng = np.random.default_rng(seed)
    if seed % 2:
        stroke = wandering((150, 40), (0, 8, 15, -20)[seed], 240, width, rng, bend_deg=15)
    else:
        stroke = straight((150, 160), (0, 8, 37, -20)[seed], 200, width)
    return draw((300, 320), [stroke], Look(blur_px=1.0), rng)


@pytest.mark.parametrize("width", [2.0, 4.0, 8.0, 15.0])
@pytest.mark.parametrize("change", CHANGES)
def test_length_and_width_hold(cracks_of: Any, change: str, width: float) -> None:
    alter, thinnest = CHANGES[change]
    if width < thinnest:
        pytest.skip("nothing would be left of this mask")
    for seed in range(4):
        phantom = phantom_of(width, seed)
        mask = alter(phantom.mask, np.random.default_rng(seed))
        crack = cracks_of(mask, phantom.picture)[0]
        assert crack.length.px == pytest.approx(phantom.strokes[0].length_px, rel=0.02)
        assert crack.width_mean.px == pytest.approx(width, abs=0.2)


@pytest.mark.parametrize("width", [2.0, 6.0])
def test_a_broken_mask_is_one_crack(cracks_of: Any, width: float) -> None:
    rng = np.random.default_rng(4)
    stroke = wandering((150, 40), 10, 240, width, rng, bend_deg=12, wave_px=80)
    phantom = draw((300, 320), [stroke], Look(blur_px=0.8), rng)
    mask = phantom.mask.copy()
    for start in (90, 150, 210):
        mask[:, start : start + 8] = False
    (crack,) = cracks_of(mask, phantom.picture)
    assert crack.length.px == pytest.approx(240, rel=0.02)
    assert crack.bridged_length.px == pytest.approx(24, abs=5)
    assert crack.tips == 2
    assert crack.junctions == 0
    assert "bridged" in crack.flags
    assert crack.width_mean.px == pytest.approx(width, abs=0.2)


def test_gaps_are_bridged_only_ahead_and_only_so_far(cracks_of: Any) -> None:
    from crackseg.config import MaskOptions

    mask = np.zeros((60, 200), bool)
    mask[29:32, 10:90] = mask[29:32, 100:190] = True
    assert len(cracks_of(mask)) == 1
    assert len(cracks_of(mask, mask_options=MaskOptions(gap_px=5))) == 2
    assert len(cracks_of(mask, mask_options=MaskOptions(gap_px=0))) == 2
    beside = np.zeros((60, 200), bool)
    beside[25:28, 10:100] = beside[34:37, 92:190] = True
    assert len(cracks_of(beside)) == 2


@pytest.mark.parametrize("gap", [8, 10, 12])
@pytest.mark.parametrize("width", [1.5, 3.0, 6.0, 12.0])
def test_a_short_gap_is_bridged_only_where_the_photograph_shows_the_crack(
    cracks_of: Any, width: float, gap: int
) -> None:
    rng = np.random.default_rng(gap)
    ends = [straight((100, 80), 0, 100, width), straight((100, 180 + gap), 0, 100, width)]
    apart = draw((200, 320), ends, Look(blur_px=0.8, noise=0.02), rng)
    cracks = cracks_of(apart.mask, apart.picture)
    assert len(cracks) == 2
    assert all(crack.bridged_length.px == crack.joined_length.px == 0 for crack in cracks)
    whole = draw(
        (200, 320),
        [straight((100, 130 + gap / 2), 0, 200, width)],
        Look(blur_px=0.8, noise=0.02),
        rng,
    )
    mask = whole.mask.copy()
    mask[:, 125 : 125 + gap] = False
    (crack,) = cracks_of(mask, whole.picture)
    assert crack.bridged_length.px + crack.joined_length.px == pytest.approx(gap, abs=5)


@pytest.mark.parametrize("gap", [20, 30])
def test_a_long_gap_is_bridged_where_the_photograph_shows_the_crack(
    cracks_of: Any, gap: int
) -> None:
    rng = np.random.default_rng(4)
    whole = wandering((100, 30), 3, 240, 3, rng, bend_deg=12, wave_px=30)
    phantom = draw((200, 300), [whole], Look(blur_px=0.8), rng)
    mask = phantom.mask.copy()
    mask[:, 140 : 140 + gap] = False
    (crack,) = cracks_of(mask, phantom.picture)
    assert crack.length.px == pytest.approx(240, rel=0.02)
    assert len(cracks_of(mask)) == 2
    ends = [straight((100, 80), 0, 100, 3), straight((100, 180 + gap), 0, 100, 3)]
    apart = draw((200, 300), ends, Look(blur_px=0.8), rng)
    assert len(cracks_of(apart.mask, apart.picture)) == 2


def test_pinholes_make_no_loops(cracks_of: Any) -> None:
    rng = np.random.default_rng(3)
    phantom = draw((100, 220), [straight((50, 110), 7, 180, 8)], Look(), rng)
    mask = phantom.mask.copy()
    rows, cols = np.nonzero(mask)
    for k in rng.integers(0, len(rows), 25):
        mask[rows[k] : rows[k] + 2, cols[k] : cols[k] + 1] = False
    (crack,) = cracks_of(mask, phantom.picture)
    assert crack.loops == 0
    assert crack.junctions == 0
    assert crack.length.px == pytest.approx(180, rel=0.01)
