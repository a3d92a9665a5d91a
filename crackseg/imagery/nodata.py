"""No-data is believed where it makes sense: at the border and over areas, not where cracks run.

What is too narrow for an area is missing as well where it is broad and cut out cleanly, as the gap
between two photographs of a mosaic is: a lens blurs the flanks of a crack, whose core is clipped.

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
# A clean cut: the concrete beside it is this share as bright as the concrete a few px off, in the
# mean over a square of this side. Beside a clipped core it is half as bright at most; thinner than
# this it may be a crack's all the same.
_CLEAN_SHARE, _CLEAN_PX, _OFF_PX, _THICK_PX = 0.85, 67, 4, 13
_NEAR = 12  # levels of 255 that JPEG moves the missing within its area
_RINGING = 48  # levels of 255 that it moves it beside the picture
MARGIN_PX = AREA_PX + _CLEAN_PX // 2 + 2 * _SMEAR_PX  # what must be known around a window


def widen(window: Window, height_px: int, width_px: int) -> Window:
    """Return the window with what ``believable`` needs around it."""
    return window.padded(MARGIN_PX, height_px, width_px)


def believable(
    missing: Array, doubtful: Array, pixels: Array, wide: Window, size_px: tuple[int, int]
) -> Array:
    """Return which pixels that are said to be missing really are.

    Args:
        missing: (h, w) bool, of the window ``wide``.
        doubtful: (h, w) bool, those whose value says so, and no more than that: a crack's core
            could hold the same value.
        pixels: (h, w, 3) uint8 RGB.
        wide: where the arrays lie, with ``MARGIN_PX`` around what is asked for.
        size_px: height and width of the whole picture.
    """
    doubt = missing & doubtful
    if not doubt.any():
        return missing
    near = _grown(_areas(missing, wide, *size_px), _RAGGED_PX)
    narrow = doubt & ~near
    thick = cv2.morphologyEx(narrow.view(np.uint8), cv2.MORPH_OPEN, _square(_THICK_PX)) > 0
    if thick.any():
        near |= _grown(thick & _cleanly_cut(narrow, missing, pixels), _RAGGED_PX)
    return missing & (near | ~doubt)


def _cleanly_cut(narrow: Array, missing: Array, pixels: Array) -> Array:
    """Return where the concrete beside narrow missing parts is as bright as farther off, (h, w)."""
    grey = pixels.mean(axis=2, dtype=np.float32)
    means = []
    for inner, outer in ((0, 1), (_OFF_PX - 1, _OFF_PX)):
        ring = _grown(narrow, outer) & ~_grown(narrow, inner) & ~missing
        total, count = (
            cv2.boxFilter(values.astype(np.float32), -1, (_CLEAN_PX,) * 2, normalize=False)
            for values in (np.where(ring, grey, 0), ring)
        )
        means.append(np.where(count > 0.5, total / np.maximum(count, 1), np.nan))
    beside, off = means
    clean: Array = beside >= _CLEAN_SHARE * off  # not where either is unknown
    return clean


def smeared(
    distance: Array,
    wide: Window,
    height_px: int,
    width_px: int,
    *,
    near: int = _NEAR,
    ringing: int = _RINGING,
) -> Array:
    """Return where a lossy picture holds no-data: areas close to its value, and their ringing.

    Args:
        distance: (h, w) largest difference of a pixel's samples from the no-data value, 0..255.
        wide: where the array lies, with ``MARGIN_PX`` around what is asked for.
        height_px: of the whole picture.
        width_px: of the whole picture.
        near: levels that a pixel of such an area differs by at most.
        ringing: levels that one beside the picture differs by at most.
    """
    areas = _areas(distance <= near, wide, height_px, width_px)
    if not areas.any():
        return areas
    # a crack's core that runs into the missing is as dark as ringing, but narrower
    broad = _areas(distance <= ringing, wide, height_px, width_px, 2 * _SMEAR_PX + 1)
    return areas | (_grown(areas, _SMEAR_PX) & broad)


def _areas(
    missing: Array, wide: Window, height_px: int, width_px: int, side_px: int = AREA_PX
) -> Array:
    """Return the pixels that lie in a square of missing ones; beyond the picture all is missing."""
    crosses_edge = missing[[0, -1]].any() or missing[:, [0, -1]].any()
    if not crosses_edge and np.count_nonzero(missing) < side_px**2:
        return np.zeros(missing.shape, bool)
    top, left = (AREA_PX if start == 0 else 0 for start in (wide.row, wide.col))
    bottom = AREA_PX if wide.row + wide.height == height_px else 0
    right = AREA_PX if wide.col + wide.width == width_px else 0
    padded = np.pad(missing.astype(np.uint8), ((top, bottom), (left, right)), constant_values=1)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, _square(side_px), borderValue=0)
    areas: Array = opened[top : top + wide.height, left : left + wide.width] > 0
    return areas


def _grown(areas: Array, by_px: int) -> Array:
    size = 2 * by_px + 1
    grown: Array = cv2.dilate(areas.astype(np.uint8), _square(size)) > 0
    return grown


def _square(side_px: int) -> Array:
    return np.ones((side_px, side_px), np.uint8)
