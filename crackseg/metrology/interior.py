"""Read how dark a crack's interior is from the shape of its blurred profile.

A crack of even darkness seen through a Gaussian blur is told by its width, its darkness and the
blur. In one noisy profile they trade against each other; in the mean over a line they part as soon
as the crack is about two and a half times as wide as the blur. The fit says how far it knows the
darkness: not at all where the profile is a bell, wholly where it has a floor, and in between in
part, so that two pieces of one crack are not read by two rules.
"""

from __future__ import annotations

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


def fit_interior(profiles: Array, centre_px: Array, guess_px: float) -> tuple[float, float]:
    """Return the darkness of the interior (1 = black) and how far it is known (0..1).

    (nan, 0) where the profiles do not tell it.

    Args:
        profiles: (N, P) grey values at 1-px spacing, across the same crack.
        centre_px: (N,) middle of the crack from the middle of each profile.
        guess_px: width to start from.
    """
    half = (profiles.shape[1] - 1) / 2
    place = np.arange(profiles.shape[1]) - half
    x = place[np.abs(place) <= min(half - np.abs(centre_px).max(), guess_px / 2 + _BACKGROUND_PX)]
    if len(x) < 2 * len(_LOW):
        return float("nan"), 0.0
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
    return (float(darkness), float(sure)) if sure > 0 else (float("nan"), 0.0)


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
