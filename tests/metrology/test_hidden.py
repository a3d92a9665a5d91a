"""A crack that runs on behind something is one, as far as both sides agree; concrete hides nothing.

Truth: strokes drawn on concrete of uneven tone, with a band laid over the photograph.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from crackseg.metrology.obstacles import hidden_rows
from crackseg.metrology.phantoms import Look, Phantom, Stroke, draw, wandering
from crackseg.records import Branch, Crack

SHAPE = (260, 460)
BAND = (200, 260)  # columns that something covers
MARGIN = 4  # px that the mask ends before it


def wall(seed: int, aside: float = 0.0, background: float = 150.0) -> Phantom:
    """Return a crack from left to right; behind the band it goes on ``aside`` px lower."""
    rng = np.random.default_rng(seed)
    course = wandering((120, 30), 0, 400, 2.5, rng, bend_deg=12, wave_px=80).points
    behind = course[:, 1] > sum(BAND) / 2
    strokes = [
        Stroke(points=part, width_px=np.full(len(part), 2.5))
        for part in (course[~behind], course[behind] + [aside, 0.0])
    ]
    phantom = draw(SHAPE, strokes, Look(blur_px=0.8, contrast=0.6, background=background), rng)
    tone = gaussian_filter(rng.normal(size=SHAPE), 4)
    phantom.picture[...] = np.clip(phantom.picture + 60.0 * tone[..., None], 0, 255)
    return phantom


def cable(picture: np.ndarray, lean: float = 0.0) -> np.ndarray:
    """Return the picture with a dark cable before the wall, shaded across, lit along its middle."""
    rows, cols = np.indices(picture.shape[:2])
    place = (cols - lean * (rows - 120) - BAND[0]) / (BAND[1] - BAND[0])
    shade = 20 + 70 * np.sin(np.pi * np.clip(place, 0, 1)) ** 4
    return np.where(((place >= 0) & (place < 1))[..., None], shade[..., None], picture).astype(
        np.uint8
    )


def burnt(picture: np.ndarray) -> np.ndarray:
    """Return the picture with light that leaves no tone in the band, and less beside it."""
    cols = np.arange(picture.shape[1])
    light = np.clip(1 - np.maximum(BAND[0] - cols, cols - BAND[1]) / 30, 0, 1) * 255
    return np.clip(picture + light[None, :, None], 0, 255).astype(np.uint8)


def pipe(picture: np.ndarray) -> np.ndarray:
    """Return the picture with a bright pipe and its thin shadow before the wall."""
    picture = picture.copy()
    picture[:, BAND[0] : BAND[1]] = 235
    picture[:, BAND[0] : BAND[0] + 4] = 30
    return picture


def shadow(picture: np.ndarray) -> np.ndarray:
    """Return the picture with a sharp shadow over the band: the concrete is still to be seen."""
    picture = picture.astype(float)
    picture[:, BAND[0] : BAND[1]] *= 0.45
    return picture.astype(np.uint8)


def sunlight(picture: np.ndarray) -> np.ndarray:
    """Return the picture with the sun on the band, and shade over all the rest."""
    shade = 0.5 * picture.astype(float)
    shade[:, BAND[0] : BAND[1]] = picture[:, BAND[0] : BAND[1]]
    return shade.astype(np.uint8)


def without_band(mask: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    broken = mask.copy()
    broken[:, BAND[0] - margin : BAND[1] + margin] = False
    return broken


def without_line(phantom: Phantom, seed: int) -> np.ndarray:
    """Return the picture of a wall whose crack stops before the band and begins behind it."""
    plain = draw(SHAPE, [], Look(), np.random.default_rng(seed)).picture
    picture = phantom.picture.copy()
    part = slice(BAND[0] - MARGIN, BAND[1] + MARGIN)
    picture[:, part] = plain[:, part]
    return picture


@pytest.mark.parametrize("cover", [cable, burnt, pipe])
@pytest.mark.parametrize("seed", range(4))
def test_a_crack_goes_on_behind_what_hides_it(cracks_of: Any, cover: Any, seed: int) -> None:
    phantom = wall(seed)
    (crack,) = cracks_of(without_band(phantom.mask), cover(phantom.picture))
    hidden = BAND[1] - BAND[0] + 2 * MARGIN
    assert crack.hidden_length.px == pytest.approx(hidden, rel=0.2)
    assert crack.joined_length.px == 0
    assert {"hidden"} <= set(crack.flags)
    assert crack.length.px == pytest.approx(sum(s.length_px for s in phantom.strokes), rel=0.03)
    assert (crack.tips, crack.junctions) == (2, 0)


@pytest.mark.parametrize("seed", range(4))
def test_what_stands_below_no_data_joins_nothing(cracks_of: Any, seed: int) -> None:
    """An editor keeps the picture below what it made transparent: it is none of the photograph."""
    phantom = wall(seed)
    valid = np.ones(SHAPE, dtype=bool)
    valid[:, slice(*BAND)] = False
    mask = without_band(phantom.mask)
    (crack,) = cracks_of(mask, phantom.picture, valid=valid, declared=valid)
    assert (crack.joined_length.px, "hidden" in crack.flags) == (0, True)
    (seen,) = cracks_of(mask, phantom.picture)
    assert seen.joined_length.px > 0


@pytest.mark.parametrize("lean", [-0.6, 0.4, 0.8])
def test_what_hides_it_may_cross_aslant(cracks_of: Any, lean: float) -> None:
    phantom = wall(1)
    picture = cable(phantom.picture, lean)
    mask = phantom.mask & (picture == phantom.picture).all(axis=2)
    (crack,) = cracks_of(mask, picture)
    assert "hidden" in crack.flags


@pytest.mark.parametrize("cover", [cable, burnt, pipe])
def test_no_width_is_read_where_the_crack_is_hidden(cracks_of: Any, cover: Any) -> None:
    phantom = wall(2)
    mask = without_band(phantom.mask, 12 if cover is burnt else MARGIN)
    (crack,) = cracks_of(mask, cover(phantom.picture))
    (hidden,) = (branch for branch in crack.branches if branch.kind == "hidden")
    assert np.isnan(hidden.width_px).all()
    (whole,) = cracks_of(phantom.mask, phantom.picture)
    assert crack.width_max.px == pytest.approx(whole.width_max.px, abs=1.0)
    assert crack.width_mean.px == pytest.approx(whole.width_mean.px, rel=0.15)


@pytest.mark.parametrize("cover", [cable, burnt, pipe])
@pytest.mark.parametrize("aside", [-70, 70])
def test_cracks_out_of_line_on_both_sides_are_two(cracks_of: Any, cover: Any, aside: float) -> None:
    phantom = wall(3, aside)
    cracks: tuple[Crack, ...] = cracks_of(without_band(phantom.mask), cover(phantom.picture))
    assert len(cracks) == 2
    assert not any("hidden" in crack.flags for crack in cracks)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cover", [lambda picture: picture, shadow, sunlight])
def test_concrete_without_a_line_hides_nothing(cracks_of: Any, cover: Any, seed: int) -> None:
    phantom = wall(seed)
    picture = cover(without_line(phantom, seed))
    assert len(cracks_of(without_band(phantom.mask), picture)) == 2


@pytest.mark.parametrize("seed", range(4))
def test_a_crack_that_is_seen_to_end_before_a_cable_does_not_go_on(
    cracks_of: Any, seed: int
) -> None:
    phantom = wall(seed)
    plain = draw(SHAPE, [], Look(), np.random.default_rng(seed)).picture
    picture = phantom.picture.copy()
    gap = slice(BAND[0] - 25, BAND[1] + 25)
    picture[:, gap] = plain[:, gap]
    assert len(cracks_of(without_band(phantom.mask, 25), cable(picture))) == 2


def test_short_marks_beside_a_cable_say_nothing_of_what_is_behind(cracks_of: Any) -> None:
    phantom = wall(0)
    mask = without_band(phantom.mask)
    mask[:, : BAND[0] - 30] = False
    assert not any("hidden" in crack.flags for crack in cracks_of(mask, cable(phantom.picture)))


def test_joining_can_be_told_off(cracks_of: Any) -> None:
    phantom = wall(1)
    picture = cable(phantom.picture)
    assert len(cracks_of(without_band(phantom.mask), picture, join_px=0)) == 2
    assert len(cracks_of(without_band(phantom.mask), picture, join_px=40)) == 2


@pytest.mark.parametrize("move", [np.flipud, np.fliplr, lambda a: np.swapaxes(a, 0, 1)])
def test_turning_hides_the_same(cracks_of: Any, move: Any) -> None:
    phantom = wall(2)
    mask, picture = without_band(phantom.mask), cable(phantom.picture)
    (one,) = cracks_of(mask, picture)
    (other,) = cracks_of(np.ascontiguousarray(move(mask)), np.ascontiguousarray(move(picture)))
    assert other.hidden_length.px == pytest.approx(one.hidden_length.px, rel=0.02)


def test_rows_are_hidden_between_the_tips_alone() -> None:
    grey = np.full((120, 121), 140.0)
    grey += np.random.default_rng(0).normal(0, 4, grey.shape)
    grey[50:70] = 20
    assert not hidden_rows(grey, 60, slice(80, 100)).any()
    rows = np.flatnonzero(hidden_rows(grey, 60, slice(40, 80)))
    assert (rows[0], rows[-1]) == pytest.approx((47, 72), abs=3)


def test_the_schema_of_reports_knows_every_kind_of_branch() -> None:
    schema = json.loads(
        resources.files("crackseg.exports").joinpath("report.schema.json").read_text("utf-8")
    )
    kinds = schema["properties"]["cracks"]["items"]["properties"]["branch_kinds"]["items"]["enum"]
    assert set(kinds) == set(get_args(get_type_hints(Branch)["kind"]))
