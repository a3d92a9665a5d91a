"""No-data is believed where it makes sense: at the border and over areas, not where cracks run.

Mosaics mark the missing by a value, most often 0, which is also what the core of a crack or a deep
shade holds. JPEG smears that value at the edge of what is missing.
"""

from __future__ import annotations

import cv2
import numpy as np

from crackseg.records import Array, Window

AREA_PX = 49  # no crack's core is clipped over a square of this side; a missing area is larger
_RAGGED_PX = 4  # how far the missing goes on beyond its squares: tips and steps
_SMEAR_PX = 8  # a block of JPEG
_NEAR = 12  # levels of 255 that JPEG moves the missing within its area
_RINGING = 48  # levels of 255 that it moves it beside the picture
MARGIN_PX = AREA_PX + 2 * _SMEAR_PX  # what must be known around a window


def widen(window: Window, height_px: int, width_px: int) -> Window:
    """Return the window with what ``believable`` needs around it."""
    return window.padded(MARGIN_PX, height_px, width_px)


def believable(
    missing: Array, doubtful: Array, wide: Window, height_px: int, width_px: int
) -> Array:
    """Return which pixels that are said to be missing really are.

    Args:
        missing: (h, w) bool, of the window ``wide``.
        doubtful: (h, w) bool, those whose value says so, and no more than that: a crack's core
            could hold the same value.
        wide: where the arrays lie, with ``MARGIN_PX`` around what is asked for.
        height_px: of the whole picture.
        width_px: of the whole picture.
    """
    doubt = missing & doubtful
    if not doubt.any():
        return missing
    areas = _areas(missing, wide, height_px, width_px)
    near: Array = _grown(areas, _RAGGED_PX)
    return missing & (near | ~doubt)


def smeared(distance: Array, wide: Window, height_px: int, width_px: int) -> Array:
    """Return where a lossy picture holds no-data: areas close to its value, and their ringing.

    Args:
        distance: (h, w) largest difference of a pixel's samples from the no-data value, 0..255.
        wide: where the array lies, with ``MARGIN_PX`` around what is asked for.
        height_px: of the whole picture.
        width_px: of the whole picture.
    """
    areas = _areas(distance <= _NEAR, wide, height_px, width_px)
    # a crack's core that runs into the missing is as dark as ringing, but narrower
    broad = _areas(distance <= _RINGING, wide, height_px, width_px, 2 * _SMEAR_PX + 1)
    return areas | (_grown(areas, _SMEAR_PX) & broad)


def _areas(
    missing: Array, wide: Window, height_px: int, width_px: int, side_px: int = AREA_PX
) -> Array:
    """Return the pixels that lie in a square of missing ones; beyond the picture all is missing."""
    top, left = (AREA_PX if start == 0 else 0 for start in (wide.row, wide.col))
    bottom = AREA_PX if wide.row + wide.height == height_px else 0
    right = AREA_PX if wide.col + wide.width == width_px else 0
    padded = np.pad(missing.astype(np.uint8), ((top, bottom), (left, right)), constant_values=1)
    square = np.ones((side_px, side_px), np.uint8)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, square, borderValue=0)
    areas: Array = opened[top : top + wide.height, left : left + wide.width] > 0
    return areas


def _grown(areas: Array, by_px: int) -> Array:
    size = 2 * by_px + 1
    grown: Array = cv2.dilate(areas.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    return grown
