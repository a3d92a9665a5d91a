"""Tell where a mask holds more than the line read in it, by what the photograph or its shape says.

A crack that lime, dust or its own lit side fills is no dark stretch: its floor is about as light as
the concrete, and what is dark is a lip, or one side. The line that is read there is the lip, while
the mask is as wide as the crack. A mask that is merely too fat ends on plain concrete; this one
ends where the photograph has an edge, on both sides, along most of the line. Where what fills the
crack is as light as the concrete there is no edge; then only a mask with room on one side alone
tells of it.

Where the sun lights one flank of a crack the other half is dark: the dark line has a step beside it
on one side, lighter than its interior and darker than the concrete, with an edge of its own.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter, uniform_filter1d

from crackseg.metrology.width import LIGHTEST
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
# A line has a step on the side where the fall from this share of its deepest darkness to half of
# that of the lightest interior takes so much longer than on the other side, px; a stain fades by
# less darkness a px than so much, and lines less deep than the last have none.
_DEEP, _STEP_PX, _FADE, _DARK = 0.75, 0.7, 0.06, 0.5
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
    return _carried_px(outline, np.nan_to_num(outline) > own, width_px)


def _carried_px(outline: Array, seen: Array, width_px: Array) -> Array:
    """Return by how much the outline is wider where most stations about one show that, (N,) px."""
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


def stepped_px(darkness: Array, sides_px: Array) -> Array:
    """Return how wide lines are with the step on one side of them, (N,) px; nan where none is.

    Args:
        darkness: (N, P) of profiles at 1-px spacing, of stations along one line.
        sides_px: (N, 2) from the middle of each to the mask's edges, nan where not to be had.
    """
    mean = uniform_filter1d(darkness, min(_MEAN_PX, len(darkness)), axis=0, mode="nearest")
    at = np.arange(mean.shape[1]) - (mean.shape[1] - 1) / 2
    held = (at >= -sides_px[:, :1]) & (at <= sides_px[:, 1:])
    darkest = np.where(held, mean, -np.inf).argmax(axis=1)
    depth = np.take_along_axis(mean, darkest[:, None], axis=1)[:, 0]
    foot = np.full(len(mean), LIGHTEST / 2)
    outward = [_outward(mean, darkest, sign) for sign in (-1, 1)]
    falls = [
        [_fall(*side, level) for level in (_DEEP * depth, 0.5 * depth, foot)] for side in outward
    ]
    slow = np.stack([ends[2][0] - ends[0][0] for ends in falls])
    side = np.argmax(slow, axis=0)
    rows = np.arange(len(mean))
    out, fade = (np.stack([ends[2][k] for ends in falls])[side, rows] for k in (0, 1))
    edge = np.stack([ends[1][0] for ends in falls])[1 - side, rows]
    room = np.stack([sides_px[:, k] - (2 * k - 1) * at[darkest] for k in (0, 1)])[side, rows]
    step = (np.abs(slow[1] - slow[0]) >= _STEP_PX) & (depth >= _DARK) & (fade >= _FADE)
    return np.where(step & (out <= room + _BEYOND_PX), out + edge, np.nan)


def step_px(stepped: Array, width_px: Array) -> Array:
    """Return by how much the line and the step beside it are wider than the line, (N,) px.

    Args:
        stepped: (N,) as ``stepped_px`` says, along one line.
        width_px: (N,) as it was read.
    """
    return _carried_px(stepped, np.isfinite(stepped), width_px)


def _outward(darkness: Array, darkest: Array, sign: int) -> tuple[Array, Array]:
    """Return the (N, P) darkness from the darkest sample on to one side, and where there is any."""
    last = darkness.shape[1] - 1
    place = darkest[:, None] + sign * np.arange(last + 1)
    row = np.take_along_axis(darkness, np.clip(place, 0, last), axis=1)
    return row, (place >= 0) & (place <= last)


def _fall(row: Array, there: Array, level: Array) -> tuple[Array, Array]:
    """Return how far from the darkest sample darkness falls below a level, and how steeply, (N,).

    The whole profile and 0 where it does not.
    """
    below = (row < level[:, None]) & there
    first = np.maximum(below.argmax(axis=1), 1)
    rows = np.arange(len(row))
    before, steep = row[rows, first - 1], row[rows, first - 1] - row[rows, first]
    away = first - 1 + np.clip((before - level) / np.maximum(steep, 1e-6), 0, 1)
    some = below.any(axis=1)
    return np.where(some, away, float(row.shape[1])), np.where(some, steep, 0.0)


def _outermost(peak: Array, at: Array, sign: int) -> Array:
    """Return the (N,) place of the outermost peak on one side, nan where there is none."""
    place = sign * np.where(peak, sign * at, -np.inf).max(axis=1)
    return np.where(peak.any(axis=1), place, np.nan)
