"""Doubt the widths of cracks that lie where the photograph is blurred.

A moving camera draws a thin crack as a flat band of its own length of motion, which reads as a wide
one; a lens out of focus fills a wide crack with light, and it reads as a thin one. Neither can be
told from a sharp crack of that look in one profile, only from what surrounds it. So the value
stays, its interval holds all of these readings, and no class is built on it. But broad stains on a
smooth wall look like blur around a crack that is sharp: one that is thin or dark, with steep
flanks, is believed.

Motion of 2 to 4 px is often not told by the photograph, and draws a crack of 1 px as one of 3 px
with a pale interior: where the photograph is not surely steady, the interval of a pale width holds
the crack that is as dark as usual and takes away as much light. Longer motion is told, but under
noise; where it is told, or noise may hide it, the interval holds that crack whatever its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crackseg.metrology.classes import Document, classify
from crackseg.records import Array, Crack, Measure, Unjudged

FLAG = "blurred"
# By how much a crack of such a place reads too wide and too thin, px: 95 % of drawn cracks of 0.7
# to 8 px on real walls, by ``data/studies/quality.py widths``.
OFF_PX = {"blurred": (6.0, 6.0), "soft": (5.0, 4.5)}
# Widths up to which motion that is not told may have drawn a thin black crack as a wide pale one:
# longer motion, of the second number, is told (docs/quality.md) unless noise hides it.
_MOVED_PX = (6.0, 8.0)
_SHARE = 0.2  # of a crack's course in blurred places: its widths may be those of the blur
_CELL_PX = 8  # areas end on multiples of it, or at the picture's edge


def doubt_blurred_widths(
    cracks: Sequence[Crack], parts: Sequence[Unjudged], shape: tuple[int, int]
) -> tuple[Crack, ...]:
    """Return the cracks, those in blurred places with widths that blur may have made.

    A crack that lies there in part is one where its largest width is there, or a fifth of it.

    Args:
        cracks: with or without widths.
        parts: of the picture; those that are blurred or soft count.
        shape: (H, W) of the picture.
    """
    if not {part.code for part in parts} & set(OFF_PX):
        return tuple(cracks)
    blurred = _cells(parts, {"blurred"}, shape)
    soft = blurred | _cells(parts, {"soft"}, shape)
    return tuple(
        _doubted(crack, OFF_PX["blurred"])
        if not crack.sharp and _is_blurred(crack, blurred)
        else _doubted(crack, OFF_PX["soft"])
        if not crack.sharp and _is_blurred(crack, soft)
        else crack
        for crack in cracks
    )


def doubt_moved_widths(
    cracks: Sequence[Crack],
    parts: Sequence[Unjudged],
    shape: tuple[int, int],
    documents: Sequence[Document],
) -> tuple[Crack, ...]:
    """Return the cracks, the intervals of wide pale ones with what motion may have spread so.

    Args:
        cracks: with or without widths, not yet doubted for blur.
        parts: of the picture, in which motion of a few pixels cannot be excluded, or of any length.
        shape: (H, W) of the picture.
        documents: the width classes are those that the interval still supports.
    """
    grainy = _cells(parts, {"grainy"}, shape)
    cells = grainy | _cells(parts, {"unsteady"}, shape)
    return tuple(
        _maybe_moved(crack, documents, long=_is_blurred(crack, grainy))
        if any(crack.widths_moved_px) and _is_blurred(crack, cells)
        else crack
        for crack in cracks
    )


def _maybe_moved(crack: Crack, documents: Sequence[Document], *, long: bool) -> Crack:
    mean, median, p95, largest = (
        _narrower(width, moved if long else moved * _share_moved(width))
        for width, moved in zip(crack.widths, crack.widths_moved_px, strict=True)
    )
    return replace(
        crack,
        width_mean=mean,
        width_median=median,
        width_p95=p95,
        width_max=largest,
        width_classes=classify(p95, documents),
    )


def _share_moved(width: Measure) -> float:
    """Return how far motion that is not told may have made a width, 0..1."""
    return 0.0 if width.px is None else float(np.interp(width.px, _MOVED_PX, (1, 0)))


def _narrower(width: Measure, moved_px: float) -> Measure:
    """Return a width whose interval reaches as far down as it is less without the motion."""
    if width.px is None or width.low_px is None or width.high_px is None:
        return width
    low = max(width.px - float(np.hypot(width.px - width.low_px, moved_px)), 0.0)
    if width.mm is None or width.low_mm is None:
        return replace(width, low_px=low, u_px=None)
    moved_mm = moved_px * width.mm / width.px
    low_mm = max(width.mm - float(np.hypot(width.mm - width.low_mm, moved_mm)), 0.0)
    return replace(width, low_px=low, low_mm=low_mm, u_px=None, u_mm=None)


def _cells(parts: Sequence[Unjudged], codes: set[str], shape: tuple[int, int]) -> Array:
    """Return the cells of a picture in parts of some codes, (h, w) uint8."""
    cells = np.zeros([-(-side // _CELL_PX) for side in shape], np.uint8)
    for part in parts:
        for polygon in part.outlines if part.code in codes else ():
            cells ^= _filled(polygon, cells.shape)  # a hole in an area takes its own out again
    return cells


def _filled(polygon: Array, shape: tuple[int, ...]) -> Array:
    """Return the cells inside a polygon along rows and columns, (h, w) uint8."""
    inside = np.zeros(shape, np.uint8)
    corners = np.ceil(polygon / _CELL_PX).astype(np.int32)
    for (top, left), (bottom, right) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if left == right:  # an upright side turns all cells to its right
            inside[min(top, bottom) : max(top, bottom), left:] ^= 1
    return inside


def _is_blurred(crack: Crack, cells: Array) -> bool:
    points = np.concatenate([branch.centre_line for branch in crack.branches])
    if _at(cells, points).mean() >= _SHARE:
        return True
    widest = crack.width_max_at
    return widest is not None and bool(_at(cells, np.array([widest]))[0])


def _at(cells: Array, points: Array) -> Array:
    rows, cols = np.clip((points // _CELL_PX).astype(int), 0, np.array(cells.shape) - 1).T
    values: Array = cells[rows, cols]
    return values


def _doubted(crack: Crack, off_px: tuple[float, float]) -> Crack:
    moved_px = crack.widths_moved_px or (0.0,) * len(crack.widths)
    mean, median, p95, largest = (
        _widened(_narrower(width, moved), *off_px)
        for width, moved in zip(crack.widths, moved_px, strict=True)
    )
    return replace(
        crack,
        width_mean=mean,
        width_median=median,
        width_p95=p95,
        width_max=largest,
        width_classes=(),
        flags=(*crack.flags, FLAG),
    )


def _widened(width: Measure, wider_px: float, thinner_px: float) -> Measure:
    """Return a width whose interval holds what it may be without the blur."""
    if width.px is None or width.low_px is None or width.high_px is None:
        return width
    low = min(width.low_px, max(width.px - wider_px, 0.0))
    high = max(width.high_px, width.px + thinner_px)
    if width.mm is None or width.low_mm is None or width.high_mm is None:
        return replace(width, low_px=low, high_px=high, u_px=None)
    mm_per_px = width.mm / width.px
    return replace(
        width,
        low_px=low,
        high_px=high,
        low_mm=min(width.low_mm, low * mm_per_px),
        high_mm=max(width.high_mm, high * mm_per_px),
        u_px=None,
        u_mm=None,
    )
