"""Fits of many rows at once against curves whose parameters are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from crackseg.metrology.squares import Data, Fit, least_squares
from crackseg.records import Array

LOW, HIGH = np.array([0.1, 0.2, -3.0]), np.array([3.0, 5.0, 3.0])
SCALE = (1.0, 1.0, 1.0)
X = np.linspace(-8, 8, 41)


def bell(x: Array, p: Array) -> tuple[Array, Array]:
    height, width, middle = (column[:, None] for column in p.T)
    off = (x - middle) / width
    shape = np.exp(-0.5 * off**2)
    by = np.stack([shape, height * shape * off**2 / width, height * shape * off / width], axis=-1)
    return height * shape, by


def rows(p: Array, noise: float = 0.0) -> Data:
    x = np.tile(X, (len(p), 1))
    y = bell(x, p)[0] + noise * np.random.default_rng(1).standard_normal(x.shape)
    return Data(x, y, np.ones_like(x))


def fitted(data: Data) -> Fit:
    return least_squares(bell, data, np.tile([1.0, 1.0, 0.0], (len(data.x), 1)), (LOW, HIGH), SCALE)


def test_each_row_gets_its_own_parameters() -> None:
    p = np.column_stack([np.linspace(0.5, 2.5, 9), np.linspace(3, 0.5, 9), np.linspace(-1, 1, 9)])
    fit = fitted(rows(p))
    assert fit.p == pytest.approx(p, abs=1e-4)
    assert fit.cost == pytest.approx(np.zeros(9), abs=1e-9)


def test_a_row_alone_is_fitted_as_among_others() -> None:
    p = np.array([[1.0, 2.0, 0.5], [2.0, 0.7, -1.0], [0.4, 3.0, 1.5]])
    data = rows(p, noise=0.05)
    together = fitted(data)
    for k in range(3):
        alone = fitted(data.chosen(np.array([k])))
        assert alone.p[0] == pytest.approx(together.p[k], abs=1e-9)


def test_no_step_from_where_a_fit_ends_leaves_less() -> None:
    data = rows(np.array([[1.0, 2.0, 0.5], [2.0, 0.7, -1.0]]), noise=0.1)
    fit = fitted(data)
    for k in range(3):
        for off in (-1e-3, 1e-3):
            p = fit.p.copy()
            p[:, k] += off
            left = 0.5 * ((bell(data.x, p)[0] - data.y) ** 2).sum(axis=1)
            assert (left >= fit.cost).all()


def test_parameters_stay_within_their_bounds() -> None:
    fit = fitted(rows(np.array([[6.0, 1.0, 0.0], [1.0, 1.0, 3.5]])))
    assert fit.p[0, 0] == HIGH[0]
    assert fit.p[1, 2] == HIGH[2]
    assert ((fit.p >= LOW) & (fit.p <= HIGH)).all()


def test_each_row_may_have_its_own_bounds() -> None:
    data = rows(np.array([[1.0, 2.0, 0.5]] * 2))
    low, high = np.tile(LOW, (2, 1)), np.tile(HIGH, (2, 1))
    high[0, 1] = 1.5
    fit = least_squares(bell, data, np.tile([1.0, 1.0, 0.0], (2, 1)), (low, high), SCALE)
    within = least_squares(
        bell, data.chosen(np.array([0])), np.array([[1.0, 1.0, 0.0]]), (LOW, high[0]), SCALE
    )
    assert fit.p[0] == pytest.approx(within.p[0], abs=1e-9)
    assert fit.p[0, 1] == 1.5
    assert fit.p[1] == pytest.approx([1.0, 2.0, 0.5], abs=1e-4)


def test_what_has_no_weight_does_not_count() -> None:
    data = rows(np.array([[1.0, 2.0, 0.5]]))
    spoilt, weight = data.y.copy(), data.weight.copy()
    spoilt[0, :10], weight[0, :10] = 99.0, 0.0
    assert fitted(Data(data.x, spoilt, weight)).p == pytest.approx(fitted(data).p, abs=1e-4)


def test_a_row_that_creeps_along_a_valley_is_fitted_by_scipy() -> None:
    asked: list[bytes] = []

    def valley(x: Array, p: Array) -> tuple[Array, Array]:
        asked.append(p.tobytes())
        a, b = p[:, :1], p[:, 1:]
        values = np.concatenate([1 - a, 3e3 * (b - a**3)], axis=1)
        one, none = np.ones_like(a), np.zeros_like(a)
        slopes = [np.stack([-one, none], -1), np.stack([-9e3 * a**2, 3e3 * one], -1)]
        return values, np.concatenate(slopes, axis=1)

    start, flat = np.array([[-9.0, 9.0]]), np.zeros((1, 2))
    bounds = np.full(2, -1e4), np.full(2, 1e4)
    data = Data(flat, flat, np.ones((1, 2)))
    fit = least_squares(valley, data, start, bounds, (1.0, 1.0))
    alone = asked[61:]  # after the start and the steps of all rows together
    assert 1 < len(alone) == len(set(alone))
    theirs = optimize.least_squares(
        lambda p: valley(flat, p[None])[0][0],
        start[0],
        jac=lambda p: valley(flat, p[None])[1][0],
        bounds=bounds,
        max_nfev=40,
    )
    assert fit.p[0].tolist() == theirs.x.tolist()
    assert fit.cost[0] == theirs.cost
