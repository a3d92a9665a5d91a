"""What goes by in bands and parcels is measured as if it were whole: no seam cuts anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crackseg import runs as room
from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology import cracks as cracks_room
from crackseg.metrology.cracks import measure
from crackseg.metrology.masks import fill_pinholes, mark, probability_to_mask, without_pinholes
from crackseg.metrology.other_lines import _apart
from crackseg.metrology.phantoms import Look, Phantom, draw, wandering
from crackseg.records import Array, Window
from crackseg.runs import Runs, bands

SHAPE = (420, 640)


@pytest.fixture
def small_bands(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that makes bands of some rows and parcels of some pixels from then on."""

    def shrink() -> None:
        monkeypatch.setattr(room, "_BAND_PX", 23 * SHAPE[1])
        monkeypatch.setattr(cracks_room, "_PARCEL_PX", 300)
        monkeypatch.setattr(cracks_room, "_PARCEL_STATIONS", 100)
        assert len(list(bands(*SHAPE))) > 10

    return shrink


@pytest.fixture(scope="module")
def wall() -> Phantom:
    """A picture with cracks over many bands, one across all of it."""
    rng = np.random.default_rng(4)
    strokes = [
        wandering((5, 10), -32, 700, 4.0, rng, bend_deg=10),
        wandering((40, 400), -20, 200, 3.0, rng),
        wandering((300, 60), 10, 260, (2.0, 5.0), rng),
        wandering((150, 560), -85, 150, 3.5, rng),
    ]
    return draw(SHAPE, strokes, Look(), rng)


def test_hysteresis_goes_on_over_seams(wall: Phantom, small_bands: Callable[[], None]) -> None:
    noise = np.random.default_rng(0).integers(0, 120, SHAPE)
    probability = np.clip(wall.coverage * 220 + noise, 0, 255).astype(np.uint8)
    valid = np.ones(SHAPE, bool)
    valid[100:140, :300] = False
    options = MaskOptions()
    limits = {"threshold": 0.99, "threshold_low": 0.35, "options": options}
    whole = probability_to_mask(probability, valid=valid, **limits)  # type: ignore[arg-type]
    assert 1000 < whole.sum() < whole.size / 3
    small_bands()
    parts = mark(probability, valid=Runs.of(valid), **limits)  # type: ignore[arg-type]
    assert np.array_equal(np.asarray(parts), whole)


def test_pinholes_are_filled_over_seams(small_bands: Callable[[], None]) -> None:
    mask = np.random.default_rng(1).random(SHAPE) < 0.8
    whole = fill_pinholes(mask, 12)
    assert (whole & ~mask).sum() > 1000
    small_bands()
    assert np.array_equal(np.asarray(without_pinholes(mask, 12)), whole)


def test_what_is_near_a_crack_is_found_over_seams(small_bands: Callable[[], None]) -> None:
    rng = np.random.default_rng(2)
    mask, cracks = Runs.of(rng.random(SHAPE) < 0.3), Runs.of(rng.random(SHAPE) < 0.01)
    whole = np.asarray(_apart(mask, cracks))
    small_bands()
    assert np.array_equal(np.asarray(_apart(mask, cracks)), whole)


def test_cracks_over_many_bands_are_measured_once(
    wall: Phantom, small_bands: Callable[[], None]
) -> None:
    def read(window: Window) -> Array:
        return wall.picture[window.slices]

    def cracks_of(mask: Any) -> list[dict[str, Any]]:
        probability = np.where(np.asarray(mask), 200, 3).astype(np.uint8)
        cracks, _ = measure(
            mask,
            image=read,
            probability=probability,
            mask_options=MaskOptions(),
            options=MeasureOptions(),
        )
        return [
            {
                "length": crack.length.px,
                "area": crack.mask_area_px2,
                "window": crack.window,
                "probability": crack.probability_mean,
                "shape": (crack.tips, crack.junctions, crack.loops),
                "mask": crack.mask.pixels().tolist(),
            }
            for crack in cracks
        ]

    whole = cracks_of(wall.mask)
    assert len(whole) == 4
    assert whole[0]["window"].height > 200
    small_bands()
    assert cracks_of(Runs.of(wall.mask)) == whole


def test_widths_do_not_depend_on_bands(wall: Phantom, small_bands: Callable[[], None]) -> None:
    def widths() -> list[float]:
        cracks, _ = measure(
            wall.mask,
            image=lambda window: wall.picture[window.slices],
            mask_options=MaskOptions(),
            options=MeasureOptions(),
        )
        return [crack.width_mean.px or 0.0 for crack in cracks]

    whole = widths()
    small_bands()
    assert widths() == pytest.approx(whole, abs=0.02)
