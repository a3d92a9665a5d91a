"""By how much a width may be less than it was read: reasons for an interval that reaches down.

A profile does not tell whether its darkness is one crack's: a second line or the edge of a tone may
be in it, the camera may have sharpened the line, or moved while it was taken.
"""

from __future__ import annotations

import numpy as np

from crackseg.metrology.flanks import Flanks
from crackseg.metrology.narrow import Narrow
from crackseg.metrology.width import INTERIOR
from crackseg.records import Array

AVERAGE = 5  # neighbouring profiles averaged: noise falls, a bend of 5 px is still straight
# Darkness of a line against the darker shoulder by that against the brighter one: wholly, and not
# at all, it may be the darker shoulder's alone; from so wide on its own edges are seen.
UNEVEN, _SHOWN_PX = (0.6, 0.8), 4.5
_HALO_SURE = 2.0  # times what texture makes of it: a shoulder is bright
_UNSHARPENED = 0.5  # of a line's darkness is its own at least: cameras hardly double it
# Widths that are read by darkness, and by the edges, which sharpening leaves where they are.
_BY_DARKNESS_PX = (3.0, 6.0)
_FAT_PX = (8.0, 10.0)  # a mask up to so wide may hold a thin crack


def thinner(width: Array, guess: Array, lesser: Array, core: Narrow, own: Flanks) -> Array:
    """Return by how much widths are less if two lines, or the edge of a tone, are in them, (N,)."""
    uneven = np.interp(own.even, UNEVEN, (1, 0)) * np.interp(guess, _FAT_PX, (1, 0))
    edges = own.clear & (own.width_px > _SHOWN_PX)
    in_shade = uneven * (width - np.where(edges, own.width_px, core.least_px))
    of_two = width - np.nan_to_num(lesser / INTERIOR, nan=np.inf)
    less: Array = np.maximum(np.maximum(in_shade, of_two), 0)
    return less


def halo_of_line(beside: Array) -> Array:
    """Return how much brighter than the concrete both shoulders of a line are, (N,) px of white.

    Args:
        beside: (N, 2) of the stations of one line.

    A single lit edge is no halo, and what texture makes of the mean of few stations is none.
    """
    sides = np.median(beside, axis=0)
    spread = beside.std(axis=0) / np.sqrt(max(len(beside) / AVERAGE, 1))
    seen = (sides > _HALO_SURE * spread).all() and sides.min() > 0
    return np.full(len(beside), sides.sum() if seen else 0.0)


def sharpened(width: Array, total: Array, halo: Array) -> Array:
    """Return by how much widths are less without what sharpening made darker, (N,)."""
    before = np.maximum(total - halo, _UNSHARPENED * total) / INTERIOR
    less: Array = np.where(halo > 0, np.maximum(width - before, 0), 0)
    return less * np.interp(width, _BY_DARKNESS_PX, (1, 0))


def moved(width: Array, total: Array) -> Array:
    """Return by how much widths are less if they are black cracks that motion spread, (N,)."""
    less: Array = np.maximum(width - np.maximum(total, 0) / INTERIOR, 0)
    return less
