"""Read how dark a crack's interior is from the shape of its blurred profile.

A crack of even darkness seen through a Gaussian blur is told by its width, its darkness and the
blur. In one noisy profile they trade against each other; in the mean over a line they part as soon
as the crack is about two and a half times as wide as the blur. The fit says how far it knows the
darkness: not at all where the profile is a bell, wholly where it has a floor, and in between in
part, so that two pieces of one crack are not read by two rules.

One pale crack and two black ones a pixel apart look much the same; the fit says where two explain
the profile better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from crackseg.metrology.squares import Data, Fit, least_squares
from crackseg.records import Array

_BACKGROUND_PX = 10  # of concrete on either side that take part in the fit
# Pixel, lens and sampling spread an edge by 0.6 px at least: a sharper fit follows the noise.
_LOW = np.array([0.1, 0.6, 0.05, -3.0, 0.5, -0.05])
_HIGH = np.array([20.0, 5.0, 1.05, 3.0, 1.5, 0.05])
_SCALE = (1.0, 0.5, 0.2, 0.5, 0.3, 0.01)
# Ratio of width to blur, and width in px, below which the profile is a bell whatever the darkness,
# and above which its shape tells it (phantoms).
_RATIO, _THINNEST_PX = (1.5, 2.55), (1.2, 2.5)
# Relative standard uncertainty down to which the darkness counts as known, and not at all.
_SURE, _UNSURE = 0.04, 0.12
# A line paler than this and up to so wide may be two as dark as usual: where these leave less than
# this share of what it leaves, and less by more than what the model of a slit itself errs by (0.2 %
# of the concrete in the mean).
_PALE, _TWO_WIDEST_PX, _TWO_BETTER, _TWO_BETTER_BY = 0.75, 8.0, 0.8, 4e-5
BLACK = 0.93  # as ``width.INTERIOR``
_TWO_GAPS_PX = (0.6, 1.2)  # to start from
_TWO_LOW = np.array([0.1, 0.4, 0.5, -3.0, 0.5, -0.05])
_TWO_HIGH = np.array([10.0, 3.0, 3.0, 3.0, 1.5, 0.05])
_TWO_SCALE = (0.5, 0.5, 0.5, 0.5, 0.3, 0.01)


@dataclass(frozen=True, slots=True)
class Interior:
    """What profiles across one line say of its inside."""

    darkness: float = float("nan")  # 1 = black; nan: they do not tell it
    sure: float = 0.0  # how far it is known, 0..1
    two: bool = False  # two black lines side by side explain them better than one pale one


def fit_interior(profiles: Array, centre_px: Array, guess_px: float) -> Interior:
    """Return how dark the interior of a crack is, and whether it is rather two cracks.

    Args:
        profiles: (N, P) grey values at 1-px spacing, across the same crack.
        centre_px: (N,) middle of the crack from the middle of each profile.
        guess_px: width to start from.
    """
    return fit_interiors([mean_profile(profiles, centre_px, guess_px)])[0]


@dataclass(frozen=True, slots=True)
class MeanProfile:
    """The mean of the profiles across one line."""

    x: Array  # (P,) px from the middle of the line
    grey: Array  # (P,) over that of the concrete
    guess_px: float  # width to start from


def mean_profile(profiles: Array, centre_px: Array, guess_px: float) -> MeanProfile:
    """Return the mean of profiles that are moved onto each other; see ``fit_interior``."""
    half = (profiles.shape[1] - 1) / 2
    place = np.arange(profiles.shape[1]) - half
    x = place[np.abs(place) <= min(half - np.abs(centre_px).max(), guess_px / 2 + _BACKGROUND_PX)]
    if not len(x):
        return MeanProfile(x, x, guess_px)
    at = x + centre_px[:, None] + half
    below = np.clip(np.floor(at).astype(np.intp), 0, profiles.shape[1] - 2)
    rows = np.arange(len(profiles))[:, None]
    left, right = profiles[rows, below], profiles[rows, below + 1]
    grey = ((right - left) * (at - below) + left).mean(axis=0)
    level = max(float(np.median(np.r_[grey[:5], grey[-5:]])), 1.0)
    return MeanProfile(x, grey / level, guess_px)


def fit_interiors(means: Sequence[MeanProfile]) -> list[Interior]:
    """Return for each of some lines how dark its interior is, and whether it is rather two."""
    result = [Interior()] * len(means)
    long = [k for k, mean in enumerate(means) if len(mean.x) >= 2 * len(_LOW)]
    if not long:
        return result
    data = stacked([means[k] for k in long])
    one = fit_slits(data, [means[k].guess_px for k in long])
    width, blur, darkness = one.p[:, :3].T
    noise2 = 2 * one.cost / (data.weight.sum(axis=1) - len(_LOW))
    curvature = np.swapaxes(one.slope, 1, 2) @ one.slope
    u = np.sqrt(np.linalg.pinv(curvature)[:, 2, 2] * noise2)
    sure = np.minimum(
        np.interp(width / blur, _RATIO, (0, 1)), np.interp(width, _THINNEST_PX, (0, 1))
    )
    sure = np.minimum(sure, np.interp(u / darkness, (_SURE, _UNSURE), (1, 0)))
    pale = (darkness < _PALE) & (width < _TWO_WIDEST_PX) & (one.cost > _TWO_BETTER_BY)
    asked = np.flatnonzero((sure > 0) & pale)
    two = np.zeros(len(long), dtype=bool)
    two[asked] = _are_two(data.chosen(asked), one.p[asked], one.cost[asked])
    for row in np.flatnonzero(sure > 0):
        result[long[row]] = Interior(float(darkness[row]), float(sure[row]), bool(two[row]))
    return result


def fit_slits(data: Data, guess_px: Sequence[float]) -> Fit:
    """Return what one blurred slit is fitted with; its parameters as in ``_profile``.

    Args:
        data: mean profiles.
        guess_px: (L,) width of each to start from.
    """
    start = np.tile([0.0, 1.0, 0.8, 0.0, 1.0, 0.0], (len(data.x), 1))
    start[:, 0] = guess_px
    return least_squares(_profile, data, start, (_LOW, _HIGH), _SCALE)


def stacked(means: Sequence[MeanProfile]) -> Data:
    """Return mean profiles as rows of one table; what is missing at an end has no weight."""
    shape = len(means), max(len(mean.x) for mean in means)
    x, y, weight = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for row, mean in enumerate(means):
        part = row, slice(len(mean.x))
        x[part], y[part], weight[part] = mean.x, mean.grey, 1.0
    return Data(x, y, weight)


def _are_two(data: Data, one: Array, cost: Array) -> Array:
    """Return where two black slits side by side leave clearly less than one pale slit, (L,) bool.

    Args:
        data: the mean profiles.
        one: (L, 6) what one slit was fitted with, see ``_profile``.
        cost: (L,) half the sum of squares that it leaves.
    """
    if not len(one):
        return np.zeros(0, dtype=bool)
    width, blur, darkness, middle = one[:, :4].T
    least = np.full(len(one), np.inf)
    for gap in _TWO_GAPS_PX:  # a fit may end in a ditch beside the best one
        start = np.column_stack(
            [
                0.5 * width * darkness / BLACK,
                np.full(len(one), gap),
                0.8 * blur,
                middle,
                np.ones(len(one)),
                np.zeros(len(one)),
            ]
        )
        fitted = least_squares(_two_profile, data, start, (_TWO_LOW, _TWO_HIGH), _TWO_SCALE)
        least = np.minimum(least, fitted.cost)
    two: Array = least < np.minimum(_TWO_BETTER * cost, cost - _TWO_BETTER_BY)
    return two


def _two_profile(x: Array, p: Array) -> tuple[Array, Array]:
    """Return the grey of two blurred slits as dark as usual over that of the concrete.

    Args:
        x: (L, P) px.
        p: (L, 6) width of each, gap, blur, middle, level and slope of the concrete.

    Returns:
        (L, P) grey, and its (L, P, 6) derivatives.
    """
    width, gap, blur, middle, level, slope = (column[:, None] for column in p.T)
    off, concrete = 0.5 * (width + gap), level + slope * x
    total, by = np.zeros_like(x), np.zeros((*x.shape, 6))
    for side in (-1.0, 1.0):
        slit, by_width, by_blur, by_middle = blurred_slit(x - middle - side * off, width, blur)
        total += slit
        by[..., 0] += by_width + 0.5 * side * by_middle
        by[..., 1] += 0.5 * side * by_middle
        by[..., 2] += by_blur
        by[..., 3] += by_middle
    by *= -0.5 * BLACK * concrete[..., None]
    share = 1 - 0.5 * BLACK * total
    by[..., 4], by[..., 5] = share, x * share
    return concrete * share, by


def _profile(x: Array, p: Array) -> tuple[Array, Array]:
    """Return the grey of a blurred slit over that of the concrete.

    Args:
        x: (L, P) px.
        p: (L, 6) width, blur (standard deviation), darkness, middle, level and slope of the
            concrete.

    Returns:
        (L, P) grey, and its (L, P, 6) derivatives.
    """
    width, blur, darkness, middle, level, slope = (column[:, None] for column in p.T)
    slit, by_width, by_blur, by_middle = blurred_slit(x - middle, width, blur)
    concrete, share = level + slope * x, 1 - 0.5 * darkness * slit
    factor = -0.5 * concrete
    by = (
        factor * darkness * by_width,
        factor * darkness * by_blur,
        factor * slit,
        factor * darkness * by_middle,
        share,
        x * share,
    )
    return concrete * share, np.stack(by, axis=-1)


def blurred_slit(x: Array, width: Array, blur: Array) -> tuple[Array, Array, Array, Array]:
    """Return twice the darkness of a blurred black slit, and its derivatives.

    Args:
        x: (L, P) px from its middle.
        width: (L, 1) px.
        blur: (L, 1) px.

    Returns:
        (L, P) darkness, and what it changes by with width, blur and the place of the middle.
    """
    reach = np.sqrt(2) * blur
    left, right = (x + width / 2) / reach, (x - width / 2) / reach
    by_left, by_right = (2 / np.sqrt(np.pi) * np.exp(-(side**2)) for side in (left, right))
    by_blur = (by_right * right - by_left * left) / blur
    by_width, by_middle = (by_left + by_right) / (2 * reach), (by_right - by_left) / reach
    return erf(left) - erf(right), by_width, by_blur, by_middle
