"""Tell a narrow crack within a dark strip from a crack as wide as the strip.

A damp or stained strip that follows a crack all along makes one dark stretch with it. In one
profile, blurred and noisy, the two levels look like one wide crack; in the mean over a piece of the
line they part. A wide crack that is deeper along its middle than at its sides looks the same, so
what is found tells how narrow the crack may be, not how wide it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crackseg.metrology.interior import (
    BLACK,
    MeanProfile,
    blurred_slit,
    fit_slits,
    mean_profile,
    stacked,
)
from crackseg.metrology.squares import least_squares
from crackseg.records import Array

_PIECE_PX = 60  # of a line, whose profiles are averaged: over more of it the crack is another one
_FEW = 15  # stations: fewer tell nothing
_ALIKE = 1.33  # stations of a piece are wider, or thinner, than usual there by so much at most
_FROM_PX = 2.0  # a thinner stretch has no room for two levels
# Two levels leave at most this share of what one slit leaves, which is more than what the model of
# a slit itself errs by.
_BETTER, _ONE_LEAVES = 0.2, 4e-5
_AT_EDGE_PX = 0.3  # a line may run out of its strip by so much
# Width of the strip and of the line, offset, blur of each, darkness of the strip, middle, level and
# slope of the concrete.
_LOW = np.array([0.5, 0.02, -8.0, 0.5, 0.5, 0.05, -3.0, 0.5, -0.05])
_HIGH = np.array([40.0, 15.0, 8.0, 4.0, 3.0, 0.6, 3.0, 1.5, 0.05])
_DARK = 5  # of these
# To start from: offset over the width, and darkness of the strip over the deepest; and the range of
# that. Of darker strips few are searched: a fit that may be dark at once ends beside the line.
_STARTS = (
    (0.0, 0.6, (0.05, 0.6)),
    (-0.25, 0.6, (0.05, 0.6)),
    (0.25, 0.6, (0.05, 0.6)),
    (0.0, 0.8, (0.6, 0.85)),
)


def inner_px(
    profiles: Array, centre_px: Array, width_px: Array, dark: Array, parts: list[slice]
) -> Array:
    """Return the width of a line that is seen within the dark stretch, (N,) px, nan where none is.

    Args:
        profiles: (N, P) grey values at 1-px spacing.
        centre_px: (N,) middle of the dark stretch from that of the profile.
        width_px: (N,) of the dark stretch.
        dark: (N,) bool, there is one.
        parts: the stations of each line.
    """
    inner = np.full(len(width_px), np.nan)
    pieces, means = [], []
    for stations in _pieces(width_px, dark, parts):
        usual = float(np.median(width_px[stations]))
        alike = stations[np.abs(np.log(width_px[stations] / usual)) <= np.log(_ALIKE)]
        if usual >= _FROM_PX and len(alike) >= _FEW:
            pieces.append(stations)
            means.append(mean_profile(profiles[alike], centre_px[alike], usual))
    for stations, width in zip(pieces, _inner(means), strict=True):
        inner[stations] = width
    return inner


def _pieces(width_px: Array, dark: Array, parts: list[slice]) -> Iterator[Array]:
    """Yield the numbers of the dark stations of each piece."""
    seen = dark & (width_px > 0)
    for part in parts:
        count = max(1, round((part.stop - part.start) / _PIECE_PX))
        for piece in np.array_split(np.arange(part.start, part.stop), count):
            if seen[piece].any():
                yield piece[seen[piece]]


def _inner(means: list[MeanProfile]) -> Array:
    """Return for each mean profile the width of the line within its stretch, nan where none is."""
    result = np.full(len(means), np.nan)
    long = np.flatnonzero([len(mean.x) >= 2 * len(_LOW) for mean in means])
    if not len(long):
        return result
    data = stacked([means[k] for k in long])
    one = fit_slits(data, [means[k].guess_px for k in long])
    asked = np.flatnonzero(one.cost > _ONE_LEAVES)
    if not len(asked):
        return result
    data = data.chosen(asked)
    width, blur, darkness, middle = one.p[asked, :4].T
    # All starts are one table: half the time of many short ones would go into calls.
    count, at = len(_STARTS), np.arange(len(asked))
    starts, low, high = [], np.tile(_LOW, (count, 1)), np.tile(_HIGH, (count, 1))
    for k, (aside, share, dark) in enumerate(_STARTS):
        low[k, _DARK], high[k, _DARK] = dark
        starts.append(np.column_stack([
            np.maximum(width, 1.5), np.ones(len(at)), aside * width, np.minimum(blur, 1.2),
            np.minimum(blur, 1.2), share * darkness, middle, np.ones(len(at)), np.zeros(len(at)),
        ]))  # fmt: skip
    bounds = np.repeat(low, len(at), axis=0), np.repeat(high, len(at), axis=0)
    table = data.chosen(np.tile(at, count))
    fit = least_squares(_in_strip, table, np.concatenate(starts), bounds, None)
    narrower = _narrower(fit.p).reshape(count, -1)
    cost = np.where(np.isfinite(narrower), fit.cost.reshape(count, -1), np.inf)
    best = cost.argmin(axis=0)
    is_better = cost[best, at] < one.cost[asked] * _BETTER
    result[long[asked]] = np.where(is_better, narrower[best, at], np.nan)
    return result


def _narrower(p: Array) -> Array:
    """Return the width of the narrower of strip and line, nan where it lies beside the other, (L,).

    A sliver at the edge makes up for a shape that no blur has, as that of motion.
    """
    width, line, aside = p.T[:3]
    room = 0.5 * np.abs(width - line)
    return np.where(np.abs(aside) <= room + _AT_EDGE_PX, np.minimum(width, line), np.nan)


def _in_strip(x: Array, p: Array) -> tuple[Array, Array]:
    """Return the grey of a blurred strip with a black line in it over that of the concrete.

    Args:
        x: (L, P) px.
        p: (L, 9) as the bounds.

    Returns:
        (L, P) grey, and its (L, P, 9) derivatives.
    """
    width, line, aside, soft, blur, darkness, middle, level, slope = (c[:, None] for c in p.T)
    strip, by_width, by_soft, by_middle = blurred_slit(x - middle, width, soft)
    inner, by_line, by_blur, by_aside = blurred_slit(x - middle - aside, line, blur)
    concrete, black = level + slope * x, BLACK * (1 - darkness)
    share = 1 - 0.5 * darkness * strip - 0.5 * black * inner
    factor = -0.5 * concrete
    of_strip, of_line = factor * darkness, factor * black
    by = (
        of_strip * by_width,
        of_line * by_line,
        of_line * by_aside,
        of_strip * by_soft,
        of_line * by_blur,
        factor * (strip - BLACK * inner),
        factor * (darkness * by_middle + black * by_aside),
        share,
        x * share,
    )
    return concrete * share, np.stack(by, axis=-1)
