"""Tell one dark line from two that lie side by side in one dark stretch.

Two cracks a pixel or two apart, or the two arms of a sharp fork, are one dark stretch to a profile
with a lighter ridge in it. So is one wide crack with something bright in it. The stretch is the
width of the latter, and of neither of the former.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from crackseg.records import Array

# A ridge is lighter than the lesser dark place beside it by so much of that one's darkness: more in
# a wide stretch, in which debris may lie.
_WIDE_PX, _LIGHTER = (6.0, 10.0), (0.08, 0.25)
_NOISE, _LEAST = 4.0, 0.03  # ... and by so many times the noise, and so much darkness
# Where so many stations about one show two, it is two as well: noise hides ridges. In a wide
# stretch what shows at fewer is debris.
_ALONG_PX, _SHARE = 61, (0.3, 0.6)


def lesser_of_two(darkness: Array, stretch: Array, noise: Array, width_px: Array) -> Array:
    """Return the (N,) darkness of the lesser of two lines in px of black, nan where one is seen.

    Args:
        darkness: (N, P) of the dark stretch and its tails, 0 beyond them.
        stretch: (N, P) bool, the dark stretch.
        noise: (N,) standard deviation of the darkness of concrete.
        width_px: (N,) width of the stretch.
    """
    dark = np.where(stretch, darkness, -1.0)
    fore = np.maximum.accumulate(dark, axis=1)
    back = np.maximum.accumulate(dark[:, ::-1], axis=1)[:, ::-1]
    bank = np.minimum(fore, back)
    rise = np.where(stretch, bank - dark, 0.0)
    rows, ridge = np.arange(len(rise)), rise.argmax(axis=1)
    height = rise[rows, ridge]
    least = np.interp(width_px, _WIDE_PX, _LIGHTER) * bank[rows, ridge]
    parted = height > np.maximum(np.maximum(_NOISE * noise, _LEAST), least)
    light = np.maximum(darkness, 0)
    whole, before = light.sum(axis=1), np.cumsum(light, axis=1)[rows, ridge]
    one = before - 0.5 * light[rows, ridge]
    return np.where(parted, np.minimum(one, whole - one), np.nan)


def carried_on(lesser: Array, width_px: Array) -> Array:
    """Return the (N,) darkness of the lesser of two lines along one line, nan where it is one.

    Args:
        lesser: (N,) of each station by itself.
        width_px: (N,) width of the stretch.
    """
    two = np.isfinite(lesser)
    if not two.any():
        return lesser
    size = min(_ALONG_PX, len(lesser))
    share = uniform_filter1d(two.astype(np.float64), size, mode="reflect")
    least = np.interp(width_px, _WIDE_PX, (0.0, _SHARE[1]))
    at = np.arange(len(lesser))
    filled = np.where(share >= _SHARE[0], np.interp(at, at[two], lesser[two]), lesser)
    return np.where(share >= least, filled, np.nan)
