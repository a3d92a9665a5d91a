"""Rounding of whole arrays against ``round``."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from crackseg.exports.tables import round_all


def rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_each_number_is_rounded_as_by_itself(digits: int) -> None:
    rng = np.random.default_rng(0)
    halves = np.concatenate([np.arange(-500, 5000) / 8, np.arange(-2000, 2000) / 200])
    odd = [np.nan, np.inf, -np.inf, 0.0, -0.0, -0.001, 2.675, 1.005, 1e15 + 0.5, 1e300]
    plain = rng.uniform(-10, 6000, 5000)
    values = np.concatenate([plain, np.round(plain, 3), halves, odd])
    expected = [rounded(float(value), digits) for value in values]
    assert json.dumps(round_all(values, digits)) == json.dumps(expected)


def test_rows_stay_rows() -> None:
    points = np.array([[1.004, 2.006], [np.nan, 4.0], [5.125, 6.375]])
    assert round_all(points, 2) == [[1.0, 2.01], [None, 4.0], [5.12, 6.38]]
    assert round_all(np.zeros((0, 2)), 2) == []
    assert round_all(np.zeros(0), 2) == []
