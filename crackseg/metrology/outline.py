"""Tell where a mask holds more than the line read in it, by what the photograph or its shape says.

A crack that lime, dust or its own lit side fills is no dark stretch: its floor is about as light as
the concrete, and what is dark is a lip, or one side. The line that is read there is the lip, while
the mask is as wide as the crack. A mask that is merely too fat ends on plain concrete; this one
ends where the photograph has an edge, on both sides, along most of the line. Where what fills the
crack is as light as the concrete there is no edge; then only a mask with room on one side alone
tells of it.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter, uniform_filter1d

from crackseg.records import Array

# An edge is looked for from so far within the mask's to so far beyond it, px.
_WITHIN_PX, _BEYOND_PX = 2.5, 1.5
_NOISE = 3.5  # it is steeper than so many times the slopes of the concrete beside the mask
_STEEP = 0.06  # ... and than this share of the steepest slope in the mask
_CLEAR_PX = 3.0  # from the mask's edge on there is concrete
_LEAST_SAMPLES = 4  # of concrete on both sides together
# Edges so far apart are not those of the line itself: by its width, and by its flanks.
_REL, _PX, _FLANKS_PX = 1.2, 2.2, 1.2
# A mask has more room on one side from here on, px; on the other it may be so much too lean.
_MORE_PX, _LEAN_PX = 2.0, 0.75
_OFF_PX = 1.0  # both edges are told to the next sample
_MEAN_PX = 15  # along the line, over which edges are averaged: they may be faint
_ALONG_PX, _SHARE = 61, 0.6  # of the stations about one that must show them


def outline_px(profiles: Array, sides_px: Array) -> Array:
    """Return how far apart the photograph shows the mask's edges, (N,) px; nan where it does not.

    Args:
        profiles: (N, P) grey values at 1-px spacing, of stations along one line.
        sides_px: (N, 2) from the middle of each to the mask's edges, nan where not to be had.
    """
    mean = uniform_filter1d(profiles, min(_MEAN_PX, len(profiles)), axis=0, mode="nearest")
    slope = np.abs(np.diff(mean, axis=1))
    at = np.arange(slope.shape[1]) + 0.5 - (profiles.shape[1] - 1) / 2
    left, right = -sides_px[:, :1], sides_px[:, 1:]
    concrete = (at < left - _CLEAR_PX) | (at > right + _CLEAR_PX)
    enough = concrete.sum(axis=1) >= _LEAST_SAMPLES
    noise = np.sqrt((slope**2 * concrete).sum(axis=1) / np.maximum(concrete.sum(axis=1), 1))
    steepest = np.where((at >= left) & (at <= right), slope, 0).max(axis=1)
    least = np.maximum(_NOISE * noise, _STEEP * steepest)[:, None]
    peak = slope >= least
    peak[:, 1:] &= slope[:, 1:] >= slope[:, :-1]
    peak[:, :-1] &= slope[:, :-1] >= slope[:, 1:]
    ends = []
    for sign, side in ((-1, -left), (1, right)):
        near = (sign * at >= side - _WITHIN_PX) & (sign * at <= side + _BEYOND_PX)
        ends.append(_outermost(peak & near, at, sign))
    apart: Array = np.where(enough, ends[1] - ends[0], np.nan)
    return apart


def beyond_px(outline: Array, width_px: Array, looks_px: Array) -> Array:
    """Return by how much the outline is wider than the line, (N,) px; 0 where it is that line's.

    What most stations about one, or of the line, show is carried over those that do not.

    Args:
        outline: (N,) as ``outline_px`` says, along one line.
        width_px: (N,) as it was read.
        looks_px: (N,) between the line's own two flanks, which blur moves apart; nan where it has
            none.
    """
    own = np.maximum(_REL * width_px + _PX, _REL * np.nan_to_num(looks_px) + _FLANKS_PX)
    seen = np.nan_to_num(outline) > own
    if not seen.any():
        return np.zeros(len(seen))
    share = uniform_filter1d(seen.astype(np.float64), min(_ALONG_PX, len(seen)), mode="reflect")
    at = np.arange(len(seen))
    apart = median_filter(np.interp(at, at[seen], outline[seen]), _ALONG_PX, mode="nearest")
    return np.where(
        np.maximum(share, seen.mean()) >= _SHARE, np.maximum(apart - width_px, 0.0), 0.0
    )


def lopsided_px(sides_px: Array, centre_px: Array, width_px: Array) -> Array:
    """Return how much more room a mask leaves on one side of the line than on the other, (N,) px.

    A mask is too fat on both sides alike. Where it leaves room on one side alone, all along the
    line, it may hold a part of the crack that is as light as the concrete. 0 where it does not,
    or where it is rather the whole mask that is moved.

    Args:
        sides_px: (N, 2) from the middle of each profile to the mask's edges.
        centre_px: (N,) middle of the line from that of the profile.
        width_px: (N,) of the line.
    """
    room = sides_px + np.stack([centre_px, -centre_px], axis=1) - 0.5 * width_px[:, None]
    known = np.isfinite(room).all(axis=1)
    if not known.any():
        return np.zeros(len(room))
    at = np.arange(len(room))
    filled = np.stack([np.interp(at, at[known], side[known]) for side in room.T], axis=1)
    mean = uniform_filter1d(filled, min(_ALONG_PX, len(room)), axis=0, mode="nearest")
    more = np.abs(mean[:, 1] - mean[:, 0])
    return np.where((more >= _MORE_PX) & (mean.min(axis=1) >= -_LEAN_PX), more + _OFF_PX, 0.0)


def _outermost(peak: Array, at: Array, sign: int) -> Array:
    """Return the (N,) place of the outermost peak on one side, nan where there is none."""
    place = sign * np.where(peak, sign * at, -np.inf).max(axis=1)
    return np.where(peak.any(axis=1), place, np.nan)
