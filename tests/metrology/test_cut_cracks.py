"""A crack whose mask stops short of the edge of the picture, or of its data, is said to be cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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


@pytest.mark.parametrize("short", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("width", [1, 3, 6])
def test_a_mask_that_ends_before_the_edge(short: int, width: int) -> None:
    cut, flags = flags_of(line(200 - short, width))
    assert cut
    assert "touches_border" in flags
    assert "touches_nodata" not in flags


@pytest.mark.parametrize("turn", range(4))
def test_on_every_side(turn: int) -> None:
    assert flags_of(np.ascontiguousarray(np.rot90(line(197), turn)))[0]


@pytest.mark.parametrize("short", [0, 2, 4])
def test_a_mask_that_ends_before_no_data(short: int) -> None:
    valid = np.ones((80, 200), bool)
    valid[:, 150:] = False
    cut, flags = flags_of(line(150 - short), valid)
    assert cut
    assert "touches_nodata" in flags
    assert "touches_border" not in flags


def test_a_crack_that_ends_farther_off_or_runs_beside_it_is_whole() -> None:
    assert flags_of(line(190)) == (False, ("width_from_mask",))
    valid = np.ones((80, 200), bool)
    valid[:38] = False  # beside the line, not ahead of it
    assert not flags_of(line(150), valid)[0]


def test_along_its_course_not_straight_to_the_edge() -> None:
    """A slanted crack reaches the edge later than the shortest way: four pixels of its course."""
    rows = np.arange(80)
    mask = np.zeros((80, 200), bool)
    for k in range(3):
        mask[rows[10:76], rows[10:76] + 30 + k] = True
    assert flags_of(mask)[0] is False
    mask[76:78, 106:110] = True
    assert flags_of(mask)[0]
