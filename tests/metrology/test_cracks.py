"""What measure returns at the edges: nothing, everything, borders, no scale, thin, bright."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from skimage.morphology import skeletonize

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.errors import ConfigError
from crackseg.metrology.cracks import measure
from crackseg.metrology.phantoms import Look, draw, straight, wandering
from crackseg.records import Scale, Window


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (40, 1), (30, 50)], ids=["pixel", "row", "column", "full"]
)
def test_full_masks_of_any_shape(cracks_of: Any, shape: tuple[int, int]) -> None:
    cracks = cracks_of(np.ones(shape, bool), np.full((*shape, 3), 90, np.uint8))
    for crack in cracks:
        assert crack.touches_border
        assert np.isfinite(crack.length.px)
        assert crack.mask.sum() == crack.mask_area_px2


def test_an_empty_mask_has_no_cracks() -> None:
    cracks, notices = measure(
        np.zeros((20, 30), bool), mask_options=MaskOptions(), options=MeasureOptions()
    )
    assert cracks == ()
    assert [notice.code for notice in notices] == ["no_scale"]


def test_short_pieces_are_counted_not_reported() -> None:
    mask = np.zeros((60, 100), bool)
    mask[20:22, 10:60] = mask[40:42, 10:18] = True
    cracks, notices = measure(mask, mask_options=MaskOptions(), options=MeasureOptions())
    assert len(cracks) == 1
    assert (
        "1 piece shorter"
        in {notice.code: notice.message for notice in notices}["short_pieces_dropped"]
    )


@pytest.mark.parametrize("mask", [np.zeros((4, 4)), np.zeros((4, 4, 3), bool)])
def test_other_masks_are_refused(mask: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="bool"):
        measure(mask, mask_options=MaskOptions(), options=MeasureOptions())


def test_a_probability_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        measure(
            np.zeros((4, 4), bool),
            probability=np.zeros((4, 5), np.uint8),
            mask_options=MaskOptions(),
            options=MeasureOptions(),
        )


def test_a_crack_across_the_picture_ends_at_its_border(cracks_of: Any) -> None:
    rng = np.random.default_rng(1)
    phantom = draw((80, 150), [straight((40, 75), 8, 260, 4)], Look(), rng)
    (crack,) = cracks_of(phantom.mask, phantom.picture)
    assert crack.touches_border
    assert "touches_border" in crack.flags
    assert crack.length.px == pytest.approx(150 / np.cos(np.radians(8)), rel=0.02)


def test_records_hold_together(cracks_of: Any) -> None:
    rng = np.random.default_rng(1)
    phantom = draw((150, 250), [wandering((70, 30), 0, 190, (7, 2), rng)], Look(), rng)
    scale = Scale(mm_per_px=0.2, sigma_rel=0.03, source="given")
    probability = np.where(phantom.mask, 204, 10).astype(np.uint8)
    (crack,) = cracks_of(phantom.mask, phantom.picture, scale, probability)
    assert crack.id == 1
    assert crack.probability_mean == pytest.approx(0.8, abs=1e-6)
    assert crack.mask_area_px2 == phantom.mask.sum()
    assert np.array_equal(crack.mask, phantom.mask[crack.window.slices])
    assert crack.paper_width_px == pytest.approx(crack.mask_area_px2 / crack.paper_length_px)
    assert crack.width_median.px <= crack.width_p95.px <= crack.width_max.px
    row, col = crack.width_max_at
    wide = phantom.strokes[0].points[0]
    assert np.hypot(row - wide[0], col - wide[1]) < 50
    (branch,) = crack.branches
    assert len(branch.centre_line) == len(branch.width_px) == len(branch.edges)
    opening = np.hypot(*(branch.edges[:, 1] - branch.edges[:, 0]).T)
    good = np.isfinite(branch.width_px)
    assert opening[good] == pytest.approx(branch.width_px[good], abs=1e-6)
    assert branch.length_mm == pytest.approx(0.2 * branch.length_px)
    share = 2 * 0.03 * crack.length.mm
    assert crack.length.u_mm == pytest.approx(np.hypot(0.2 * crack.length.u_px, share))
    assert {entry.document for entry in crack.width_classes} >= {"bins", "ACI 224R"}


def test_thin_cracks_of_a_mask_are_not_resolvable(cracks_of: Any) -> None:
    scale = Scale(mm_per_px=0.2, sigma_rel=0.03, source="given")
    mask = np.zeros((40, 120), bool)
    mask[20, 10:110] = True
    (crack,) = cracks_of(mask, None, scale)
    assert crack.width_mean.status == "not_resolvable"
    assert crack.width_mean.px is None
    assert crack.width_mean.mm is None
    assert crack.width_classes == ()
    assert crack.length.px == pytest.approx(100, abs=1)
    assert crack.flags == ("width_from_mask",)


def test_a_trace_below_detection_gets_a_bound(cracks_of: Any) -> None:
    rng = np.random.default_rng(5)
    scale = Scale(mm_per_px=0.1, sigma_rel=0.01, source="given")
    look = Look(noise=0.01, blur_px=0.6)
    phantom = draw((60, 200), [straight((30, 100), 12, 160, 0.2)], look, rng)
    (crack,) = cracks_of(phantom.mask, phantom.picture, scale)
    assert crack.width_mean.status == "below_detection"
    assert crack.width_mean.px is None
    assert crack.width_mean.low_px == 0
    # 0.2 px of black are as dark as 0.75 px of grey 110 in such concrete
    assert 0.75 < crack.width_mean.high_px < 0.9
    assert crack.width_mean.high_mm == pytest.approx(0.1 * crack.width_mean.high_px, rel=0.01)
    labels = {entry.document: entry.label for entry in crack.width_classes}
    assert labels["bins"] == "up to 0.1 mm"


def test_a_bright_line_is_not_measured_as_dark(cracks_of: Any) -> None:
    rng = np.random.default_rng(5)
    phantom = draw((80, 200), [straight((40, 100), 5, 150, 5)], Look(background=90), rng)
    lime = np.clip(180 - phantom.picture.astype(int), 0, 255).astype(np.uint8)
    (crack,) = cracks_of(phantom.mask, lime)
    assert {"width_from_mask", "not_dark"} <= set(crack.flags)
    assert crack.width_mean.px == pytest.approx(5, abs=0.5)
    assert crack.width_mean.u_px > 1


def test_documents_can_be_chosen(cracks_of: Any) -> None:
    rng = np.random.default_rng(5)
    phantom = draw((80, 200), [straight((40, 100), 5, 150, 8)], Look(), rng)
    scale = Scale(mm_per_px=0.5, sigma_rel=0.01, source="given")
    (crack,) = cracks_of(phantom.mask, phantom.picture, scale, documents=("GB 50010",))
    assert [(c.document, c.label) for c in crack.width_classes] == [("GB 50010", "over the limit")]


@pytest.mark.slow
def test_measuring_takes_at_most_twice_a_thinning() -> None:
    rng = np.random.default_rng(0)
    strokes = [
        wandering(
            (rng.uniform(100, 3900), rng.uniform(100, 4900)),
            rng.uniform(0, 180),
            rng.uniform(300, 2500),
            (rng.uniform(2, 9), rng.uniform(1, 5)),
            rng,
            wave_px=100,
        )
        for _ in range(60)
    ]
    phantom = draw((4000, 5000), strokes, Look(noise=0), rng)
    assert 0.01 < phantom.mask.mean() < 0.02

    def best(call: Any) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
        return min(times)

    def read(window: Window) -> np.ndarray:
        return phantom.picture[window.slices]

    options = {"mask_options": MaskOptions(), "options": MeasureOptions()}
    thinning = best(lambda: skeletonize(phantom.mask))
    assert best(lambda: measure(phantom.mask, **options)) <= 2 * thinning
    assert best(lambda: measure(phantom.mask, image=read, **options)) <= 8 * thinning
