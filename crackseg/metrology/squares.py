"""Fit a curve of a few bounded parameters to many short rows of data at once.

Levenberg's and Marquardt's damped steps, taken for all rows together: with one row at a time most
of the time would go into calls. A parameter at a bound that pushes outward is held there. A row
that creeps along a valley is left to SciPy, which turns into it sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from crackseg.records import Array

# (L, P) places and (L, K) parameters become (L, P) values and their (L, P, K) derivatives.
Curve = Callable[[Array, Array], tuple[Array, Array]]

_STEPS = 60  # tried at most: most rows are settled after five to forty
_EVALUATIONS = 40  # of a row by itself, at most: one that creeps on then tells nothing
_SETTLED = 1e-10  # of the cost: a step that gains less ends a row
_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-9, 1e9
_LESS, _MORE = 0.2, 5.0  # damping after a step that gained, and after one that did not
_INSIDE = 1e-3  # from a bound to where a fit may begin


@dataclass(frozen=True, slots=True)
class Data:
    """Rows that a curve is fitted to."""

    x: Array  # (L, P)
    y: Array  # (L, P)
    weight: Array  # (L, P) 1, or 0 where there is no value

    def chosen(self, rows: Array) -> Data:
        """Return some of the rows."""
        return Data(self.x[rows], self.y[rows], self.weight[rows])


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted to L rows."""

    p: Array  # (L, K) parameters
    cost: Array  # (L,) half the sum of squares that they leave
    slope: Array  # (L, P, K) derivatives there, 0 where there is no value


def least_squares(
    curve: Curve,
    data: Data,
    start: Array,
    bounds: tuple[Array, Array],
    scale: Sequence[float] | None,
) -> Fit:
    """Return the parameters that leave the least sum of squares, near where they start.

    Args:
        curve: the curve and its derivatives.
        data: L >= 1 rows.
        start: (L, K) parameters; moved inside of the bounds.
        bounds: lowest and highest values, (K,) of all rows or (L, K) of each.
        scale: of each parameter, how much of it is much, for rows that creep along a valley; None
            leaves those where they are.
    """
    low, high = (np.broadcast_to(bound, start.shape) for bound in bounds)
    begin = np.clip(start, low + _INSIDE, high - _INSIDE)
    p = begin.copy()
    rest, slope, cost = _left(curve, data, p)
    damping = np.full(len(p), _DAMPING)
    open_rows = np.arange(len(p))
    for _ in range(_STEPS):
        some = data.chosen(open_rows)
        before, least, most = p[open_rows], low[open_rows], high[open_rows]
        step = _step(before, rest[open_rows], slope[open_rows], damping[open_rows], (least, most))
        tried = np.clip(before + step, least, most)
        rest_after, slope_after, cost_after = _left(curve, some, tried)
        gain = cost[open_rows] - cost_after
        better = gain > 0
        damping[open_rows] *= np.where(better, _LESS, _MORE)
        np.maximum(damping, _LEAST_DAMPING, out=damping)
        settled = (better & (gain <= _SETTLED * cost[open_rows])) | (
            damping[open_rows] > _MOST_DAMPING
        )
        won = open_rows[better]
        p[won], cost[won] = tried[better], cost_after[better]
        rest[won], slope[won] = rest_after[better], slope_after[better]
        open_rows = open_rows[~settled]
        if not len(open_rows):
            break
    if scale is not None:
        for row in open_rows:
            one, within = data.chosen(np.array([row])), (low[row], high[row])
            p[row], cost[row], slope[row] = _alone(curve, one, begin[row], within, scale)
    return Fit(p=p, cost=cost, slope=slope)


def _alone(
    curve: Curve, data: Data, start: Array, bounds: tuple[Array, Array], scale: Sequence[float]
) -> tuple[Array, float, Array]:
    """Return parameters, cost and derivatives of one row, fitted by itself."""
    seen: dict[bytes, tuple[Array, Array, Array]] = {}

    def left(p: Array) -> tuple[Array, Array, Array]:
        if p.tobytes() not in seen:  # SciPy asks for the derivatives where it just was
            seen.clear()
            seen[p.tobytes()] = _left(curve, data, p[None])
        return seen[p.tobytes()]

    solution = optimize.least_squares(
        lambda p: left(p)[0][0],
        start,
        jac=lambda p: left(p)[1][0],
        bounds=bounds,
        x_scale=scale,
        max_nfev=_EVALUATIONS,
    )
    return solution.x, float(solution.cost), solution.jac


def _left(curve: Curve, data: Data, p: Array) -> tuple[Array, Array, Array]:
    """Return what a curve leaves of each value, its derivatives, and half the sum of squares."""
    rest, slope = curve(data.x, p)
    rest -= data.y
    rest *= data.weight
    slope *= data.weight[..., None]
    return rest, slope, 0.5 * (rest**2).sum(axis=1)


def _step(
    p: Array, rest: Array, slope: Array, damping: Array, bounds: tuple[Array, Array]
) -> Array:
    """Return the (L, K) damped step of each row; none where a bound is in the way."""
    low, high = bounds
    turned = np.swapaxes(slope, 1, 2)
    fall = (turned @ rest[..., None])[..., 0]
    held = ((p <= low) & (fall > 0)) | ((p >= high) & (fall < 0))
    curvature = turned @ slope
    curvature[held[:, :, None] | held[:, None, :]] = 0.0
    diagonal = np.einsum("lkk->lk", curvature)
    diagonal += damping[:, None] * np.maximum(diagonal, 1e-12)
    diagonal[held] = 1.0
    step: Array = -np.linalg.solve(curvature, np.where(held, 0.0, fall)[..., None])[..., 0]
    return step
