"""Measure a dark line by its own two flanks, whatever lies beyond them.

The width of a dark stretch is held against the concrete ten pixels off on both sides. Where a
shadow, a dark fitting or a second crack begins right beside the crack, that stretch is not the
crack's. Its own flanks are the first steep rises on either side of where it is darkest: the edge
is where the rise is steepest, whatever grey it leads to, and its shoulder where it ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crackseg.records import Array

_WINDOW_PX = 2.0  # the line's darkest place is at most so far from the middle, or in the mask
_REACH_PX = 8.0  # beyond the mask's edge a flank is looked for
_STEEP = 0.4  # of the steepest rise on that side, both relative to the grey there: a flank
_FLAT_REL, _FLAT_GREY = 0.25, 1.5  # of the steepest rise, and grey values a px: it is over
_FALL_GREY, _FALL_REL = 6.0, 0.2  # grey values, and of the rise: so deep a fall ends it
_RISE_GREY = 8.0  # grey values: a lower rise is no flank
# From edge to edge, px, and times the blur of the flanks: blur makes it below, the edges above.
_BLURRED_PX, _BLURRED = (3.0, 4.5), (3.3, 4.3)
# A line shows by itself that nothing has blurred it: it looks so thin, px, with flanks of so little
# blur; or it is as dark as an interior, which motion makes pale, with flanks of little blur. Lenses
# out of focus by 1.4 px and more never look so, and of what motion of 4 and 6 px draws so the
# plain interval holds 98 % (``data/studies/quality.py widths``).
_SHARP_LOOKS_PX, _SHARP_BLUR_PX = 3.2, 0.9
_SHARP_DARK, _DARK_BLUR_PX = 0.6, 1.1


@dataclass(frozen=True, slots=True)
class Flanks:
    """What (N,) profiles say of the line between two rises."""

    width_px: Array  # (N,) from edge to edge; of a line as thin as its blur, by its darkness
    centre_px: Array  # (N,) middle of the line from the profile's middle
    even: Array  # (N,) 0..1, darkness against the darker shoulder by that against the brighter one
    clear: Array  # (N,) bool, both flanks are there


@dataclass(frozen=True, slots=True)
class Banks:
    """The two rises of (N,) profiles, whatever the darkness between them is taken to say."""

    looks_px: Array  # (N,) from edge to edge, nan where a flank is missing
    share: Array  # (N,) 0..1, how far that is more than blur makes of a thin line
    centre_px: Array  # (N,) middle of the line from the profile's middle
    even: Array  # (N,) as in ``Flanks``
    clear: Array  # (N,) bool, both flanks are there


def is_sharp(looks_px: Array, blur_px: Array, darkness: Array) -> Array:
    """Return where a line's own look says that the photograph is not blurred there, (N,) bool.

    Args:
        looks_px: (N,) from edge to edge, nan where an edge is missing.
        blur_px: (N,) standard deviation of the blur of its steeper flank.
        darkness: (N,) 0..1, the deepest seen.
    """
    thin = (looks_px <= _SHARP_LOOKS_PX) & (blur_px <= _SHARP_BLUR_PX)
    sharp: Array = thin | ((darkness >= _SHARP_DARK) & (blur_px <= _DARK_BLUR_PX))
    return sharp


def flanks(profiles: Array, guess_px: Array, thin_px: Array) -> Flanks:
    """Return the line between its own two flanks in each profile.

    A line cannot be wider than it looks: where blur makes its look, its width is what its core's
    darkness says, up to that.

    Args:
        profiles: (N, P) grey values at 1-px spacing.
        guess_px: (N,) width of the mask there.
        thin_px: (N,) width by the darkness of the narrow core.
    """
    return between(banks(profiles, guess_px), thin_px)


def between(own: Banks, thin_px: Array) -> Flanks:
    """Return the line between two rises; see ``flanks``."""
    thin, looks, share = np.minimum(thin_px, own.looks_px), own.looks_px, own.share
    return Flanks(
        width_px=(1 - share) * thin + share * looks,
        centre_px=own.centre_px,
        even=own.even,
        clear=own.clear,
    )


def banks(profiles: Array, guess_px: Array) -> Banks:
    """Return the two rises of each profile; see ``flanks``."""
    smooth = profiles.copy()
    smooth[:, 1:-1] = (profiles[:, :-2] + profiles[:, 2:] + 4 * profiles[:, 1:-1]) / 6
    start = _deepest_valley(smooth, np.maximum(0.5 * guess_px, _WINDOW_PX))
    reach = 0.5 * guess_px + _REACH_PX
    left, low, one = _flank(smooth, start, -1, reach)
    right, high, other = _flank(smooth, start, 1, reach)
    floor = np.take_along_axis(smooth, start[:, None], axis=1)[:, 0]
    looks = left + right
    blur = ((low - floor) / one + (high - floor) / other) / (2 * np.sqrt(2 * np.pi))
    share = np.interp(looks, _BLURRED_PX, (0, 1))
    share *= np.interp(looks / np.maximum(blur, 0.1), _BLURRED, (0, 1))
    darker, brighter = np.minimum(low, high), np.maximum(low, high)
    darkness = [1 - floor / np.maximum(level, 1) for level in (darker, brighter)]
    return Banks(
        looks_px=looks,
        share=share,
        centre_px=start - (profiles.shape[1] - 1) / 2 + 0.5 * (right - left),
        even=darkness[0] / np.maximum(darkness[1], 1e-6),
        clear=(darker - floor >= _RISE_GREY) & np.isfinite(looks),
    )


def _deepest_valley(smooth: Array, window: Array) -> Array:
    """Return the (N,) darkest local minimum near the middle, or else the darkest sample there."""
    offset = np.abs(np.arange(smooth.shape[1]) - (smooth.shape[1] - 1) / 2)
    near = offset <= window[:, None]
    valley = np.zeros(smooth.shape, dtype=bool)
    inner = smooth[:, 1:-1]
    valley[:, 1:-1] = (inner <= smooth[:, :-2]) & (inner <= smooth[:, 2:])
    chosen = valley & near
    chosen = np.where(chosen.any(axis=1)[:, None], chosen, near)
    place: Array = np.where(chosen, smooth, np.inf).argmin(axis=1)
    return place


def _flank(smooth: Array, start: Array, sign: int, reach: Array) -> tuple[Array, Array, Array]:
    """Return how far from ``start`` the edge is on one side, the shoulder's grey, the slope, (N,).

    nan, the grey of the start and 1 where nothing rises.
    """
    last = smooth.shape[1] - 1
    steps = np.arange(int(np.ceil(2 * np.max(reach, initial=0))) + 2)
    place = start[:, None] + sign * steps
    within = (place >= 0) & (place <= last) & (np.abs(place - last / 2) <= reach[:, None] + 1)
    grey = np.take_along_axis(smooth, np.clip(place, 0, last), axis=1)
    within &= ~_fallen(np.where(within, grey, -np.inf))
    slope = np.where(within[:, 1:], np.diff(grey, axis=1), 0)
    relative = slope / np.maximum(0.5 * (grey[:, 1:] + grey[:, :-1]), 1)
    before, after = np.roll(slope, 1, axis=1), np.roll(slope, -1, axis=1)
    before[:, 0], after[:, -1] = 0, 0
    peak = (slope > _FLAT_GREY) & (slope >= before) & (slope > after)
    peak &= relative >= _STEEP * relative.max(axis=1, keepdims=True)
    first = peak.argmax(axis=1)
    rows = np.arange(len(smooth))
    top, less, more = slope[rows, first], before[rows, first], after[rows, first]
    bend = np.maximum(2 * top - less - more, 1e-6)
    edge = first + 0.5 + np.clip(0.5 * (more - less) / bend, -0.5, 0.5)
    over = (slope <= np.maximum(_FLAT_GREY, _FLAT_REL * top[:, None])) | (after > slope)
    over &= np.arange(slope.shape[1]) > first[:, None]
    end = np.where(over.any(axis=1), over.argmax(axis=1), first + 1)
    shoulder = np.take_along_axis(grey, end[:, None], axis=1)[:, 0]
    some = peak.any(axis=1)
    return (
        np.where(some, edge, np.nan),
        np.where(some, shoulder, grey[:, 0]),
        np.where(some, top, 1.0),
    )


def _fallen(grey: Array) -> Array:
    """Return where a rise has turned into a fall: what comes then is another dark place, (N, K)."""
    top = np.maximum.accumulate(grey, axis=1)
    rise = top - grey[:, :1]
    fallen: Array = np.logical_or.accumulate(top - grey > _FALL_GREY + _FALL_REL * rise, axis=1)
    return fallen
