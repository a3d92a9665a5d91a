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

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import erf

from crackseg.records import Array

_BACKGROUND_PX = 10  # of concrete on either side that take part in the fit
# Pixel, lens and sampling spread an edge by 0.6 px at least: a sharper fit follows the noise.
_LOW = np.array([0.1, 0.6, 0.05, -3.0, 0.5, -0.05])
_HIGH = np.array([20.0, 5.0, 1.05, 3.0, 1.5, 0.05])
# Ratio of width to blur, and width in px, below which the profile is a bell whatever the darkness,
# and above which its shape tells it (phantoms).
_RATIO, _THINNEST_PX = (1.5, 2.55), (1.2, 2.5)
# Relative standard uncertainty down to which the darkness counts as known, and not at all.
_SURE, _UNSURE = 0.04, 0.12
# A line paler than this and up to so wide may be two as dark as usual: where these leave less than
# this share of what it leaves, and less by more than what the model of a slit itself errs by (0.2 %
# of the concrete in the mean).
_PALE, _TWO_WIDEST_PX, _TWO_BETTER, _TWO_BETTER_BY = 0.75, 8.0, 0.8, 4e-5
_BLACK = 0.93  # as ``width.INTERIOR``
_TWO_GAPS_PX = (0.6, 1.2)  # to start from
_TWO_LOW = np.array([0.1, 0.4, 0.5, -3.0, 0.5, -0.05])
_TWO_HIGH = np.array([10.0, 3.0, 3.0, 3.0, 1.5, 0.05])


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
    half = (profiles.shape[1] - 1) / 2
    place = np.arange(profiles.shape[1]) - half
    x = place[np.abs(place) <= min(half - np.abs(centre_px).max(), guess_px / 2 + _BACKGROUND_PX)]
    if len(x) < 2 * len(_LOW):
        return Interior()
    moved = [np.interp(x + c, place, row) for c, row in zip(centre_px, profiles, strict=True)]
    grey = np.mean(moved, axis=0)
    level = max(float(np.median(np.r_[grey[:5], grey[-5:]])), 1.0)
    start = np.clip([guess_px, 1.0, 0.8, 0.0, 1.0, 0.0], _LOW + 1e-3, _HIGH - 1e-3)
    solution = least_squares(
        lambda p: _profile(x, p) - grey / level,
        start,
        bounds=(_LOW, _HIGH),
        x_scale=(1.0, 0.5, 0.2, 0.5, 0.3, 0.01),
        max_nfev=40,
    )
    width, blur, darkness = solution.x[:3]
    noise2 = 2 * solution.cost / (len(x) - len(_LOW))
    u = np.sqrt(np.linalg.pinv(solution.jac.T @ solution.jac)[2, 2] * noise2)
    sure = min(
        np.interp(width / blur, _RATIO, (0, 1)),
        np.interp(width, _THINNEST_PX, (0, 1)),
        np.interp(u / darkness, (_SURE, _UNSURE), (1, 0)),
    )
    if sure <= 0:
        return Interior()
    two = False
    if darkness < _PALE and width < _TWO_WIDEST_PX and solution.cost > _TWO_BETTER_BY:
        cost = _of_two(x, grey / level, solution.x)
        two = cost < min(_TWO_BETTER * solution.cost, solution.cost - _TWO_BETTER_BY)
    return Interior(float(darkness), float(sure), bool(two))


def _of_two(x: Array, grey: Array, one: Array) -> float:
    """Return the least half sum of squares that two black slits side by side leave.

    Args:
        x: (P,) px.
        grey: (P,) over the concrete.
        one: what one pale slit was fitted with, see ``_profile``.
    """
    width, blur, darkness, middle = one[:4]
    costs = []
    for gap in _TWO_GAPS_PX:  # a fit may end in a ditch beside the best one
        half = 0.5 * width * darkness / _BLACK
        start = np.clip([half, gap, 0.8 * blur, middle, 1, 0], _TWO_LOW + 1e-3, _TWO_HIGH - 1e-3)
        solution = least_squares(
            lambda p: _two_profile(x, p) - grey,
            start,
            bounds=(_TWO_LOW, _TWO_HIGH),
            x_scale=(0.5, 0.5, 0.5, 0.5, 0.3, 0.01),
            max_nfev=40,
        )
        costs.append(float(solution.cost))
    return min(costs)


def _two_profile(x: Array, p: Array) -> Array:
    """Return the grey of two blurred slits as dark as usual over that of the concrete.

    Args:
        x: (P,) px.
        p: width of each, gap, blur, middle, level and slope of the concrete.
    """
    width, gap, blur, middle, level, slope = p
    off = 0.5 * (width + gap)
    sides = [_profile(x, np.array([width, blur, _BLACK, middle + s, 1, 0])) for s in (-off, off)]
    grey: Array = (level + slope * x) * (sides[0] + sides[1] - 1)
    return grey


def _profile(x: Array, p: Array) -> Array:
    """Return the grey of a blurred slit over that of the concrete.

    Args:
        x: (P,) px.
        p: width, blur (standard deviation), darkness, middle, level and slope of the concrete.
    """
    width, blur, darkness, middle, level, slope = p
    reach = np.sqrt(2) * blur
    slit = erf((x - middle + width / 2) / reach) - erf((x - middle - width / 2) / reach)
    grey: Array = (level + slope * x) * (1 - 0.5 * darkness * slit)
    return grey
