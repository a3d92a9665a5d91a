"""A crack whose mask stops short of the edge of the picture, or of its data, is said to be cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure


def flags_of(mask: Any, valid: Any = None) -> tuple[bool, tuple[str, ...]]:
    (crack,), _ = measure(mask, valid=valid, mask_options=MaskOptions(), options=MeasureOptions())
    return crack.touches_border, crack.flags


def line(ends_at: int, width: int = 5) -> Any:
    """Return a mask of a line along a row of 200 px that ends before column ``ends_at``."""
    mask = np.zeros((80, 200), bool)
    mask[40 : 40 + width, 60:ends_at] = True
    return mask


@pytest.mark.parametrize("short", [0, 1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("width", [1, 3, 6])
def test_a_mask_that_ends_before_the_edge(short: int, width: int) -> None:
    cut, flags = flags_of(line(200 - short, width))
    assert cut
    assert "touches_border" in flags
    assert "touches_nodata" not in flags


@pytest.mark.parametrize("turn", range(4))
def test_on_every_side(turn: int) -> None:
    assert flags_of(np.ascontiguousarray(np.rot90(line(197), turn)))[0]


@pytest.mark.parametrize("short", [0, 2, 4, 6])
def test_a_mask_that_ends_before_no_data(short: int) -> None:
    valid = np.ones((80, 200), bool)
    valid[:, 150:] = False
    cut, flags = flags_of(line(150 - short), valid)
    assert cut
    assert "touches_nodata" in flags
    assert "touches_border" not in flags


def photograph_of(crack_to: int, turn_px: float = 0.0) -> tuple[Any, Any]:
    """Return a photograph of a crack that ends before a column, and its course (200,) in rows."""
    course = 40 + turn_px * np.linspace(0, 1, 200) ** 2
    across = np.abs(np.arange(80)[:, None] - course)
    along = (np.arange(200) >= 60) & (np.arange(200) < crack_to)
    dark = np.clip(2 - across, 0, 1) * along
    grey = gaussian_filter(150 * (1 - 0.9 * dark), 0.8)
    grey += np.random.default_rng(1).normal(0, 2, grey.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2), (
        across <= 1.5
    ) & along


def cut_in(picture: Any, mask: Any, valid: Any = None) -> tuple[bool, tuple[str, ...]]:
    read = lambda window: np.asarray(picture[window.slices])  # noqa: E731
    options = {"mask_options": MaskOptions(), "options": MeasureOptions()}
    (crack,), _ = measure(mask, image=read, valid=valid, **options)
    return crack.touches_border, crack.flags


@pytest.mark.parametrize("short", [5, 8, 12])
@pytest.mark.parametrize("turn_px", [0.0, 25.0])
def test_the_photograph_shows_it_run_on_to_the_edge(short: int, turn_px: float) -> None:
    picture, mask = photograph_of(200, turn_px)
    mask[:, 200 - short :] = False
    assert cut_in(picture, mask)[0]


@pytest.mark.parametrize("short", [5, 8, 12])
def test_the_photograph_shows_it_run_on_to_no_data(short: int) -> None:
    picture, mask = photograph_of(200)
    picture[:, 150:] = 0
    valid = np.arange(200) < np.full((80, 1), 150)
    mask[:, 150 - short :] = False
    assert "touches_nodata" in cut_in(picture, mask, valid)[1]


@pytest.mark.parametrize("short", [6, 8, 12])
def test_the_photograph_shows_it_end_before_the_edge(short: int) -> None:
    picture, mask = photograph_of(200 - short)
    mask[:, 200 - short :] = False
    assert not cut_in(picture, mask)[0]


def test_where_the_photograph_shows_nothing_only_what_ends_close_by_is_cut() -> None:
    picture = np.full((80, 200, 3), 150, np.uint8)
    assert not cut_in(picture, line(190))[0]
    assert cut_in(picture, line(195))[0]


def test_a_crack_that_ends_farther_off_or_runs_beside_it_is_whole() -> None:
    assert flags_of(line(190)) == (False, ("width_from_mask",))
    valid = np.ones((80, 200), bool)
    valid[:38] = False  # beside the line, not ahead of it
    assert not flags_of(line(150), valid)[0]


def test_along_its_course_not_straight_to_the_edge() -> None:
    """A slanted crack reaches the edge later than the shortest way: six pixels of its course."""
    rows = np.arange(80)
    mask = np.zeros((80, 200), bool)
    for k in range(3):
        mask[rows[10:75], rows[10:75] + 30 + k] = True
    assert flags_of(mask)[0] is False
    mask[75:77, 105:109] = True
    assert flags_of(mask)[0]
