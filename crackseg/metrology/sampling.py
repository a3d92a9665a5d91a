"""Sample mask and photograph across a centre line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import map_coordinates

from crackseg.records import Array, Window
from crackseg.runs import Mask

# Side of the blocks in which a photograph is read: smaller ones hold little but the line and what
# lies beside it, of more the calls cost more than the pixels.
_BLOCK_PX = 256
_GREY_ROWS = 32  # turned to grey at once
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601 luma


def normals(points: Array) -> Array:
    """Return the (N, 2) unit normals of a line of (N, 2) points, left of its course."""
    along = np.gradient(points, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    return np.column_stack([-along[:, 1], along[:, 0]])


def mask_edges(mask: Mask, points: Array, normal: Array, reach: Array) -> Array:
    """Return the (N, 2) distance from each point to the mask's edge against and along its normal.

    The edge is where the mask, read between its pixels, falls to one half. nan where the point
    is not on the mask or the edge is beyond ``reach``.

    Args:
        mask: (H, W) bool.
        points: (N, 2) float (row, col).
        normal: (N, 2) unit vectors.
        reach: (N,) px to search to.
    """
    edges = np.full((len(points), 2), np.nan)
    for chosen, half in by_size(reach):
        across = np.arange(-half, half + 1, dtype=np.float64)
        for part in _blocks(points[chosen]):
            some = chosen[part]
            rows = points[some, 0, None] + normal[some, 0, None] * across
            cols = points[some, 1, None] + normal[some, 1, None] * across
            values = read_mask(mask, rows, cols)
            edges[some, 0] = _first_fall(values[:, half::-1])
            edges[some, 1] = _first_fall(values[:, half:])
    return edges


def read_mask(mask: Mask, rows: Array, cols: Array) -> Array:
    """Return float32 values of an (H, W) bool mask, 0 or 1, between its pixels; beyond it is 0.

    Only the window that holds the places is looked at.

    Args:
        mask: (H, W) bool.
        rows: places, of any shape.
        cols: places, of the same shape.
    """
    top, left = (max(int(np.floor(at.min())), 0) for at in (rows, cols))
    bottom, right = (int(np.floor(at.max())) + 2 for at in (rows, cols))
    window = mask[top : max(bottom, top), left : max(right, left)]
    if not window.size:
        return np.zeros(rows.shape, np.float32)
    values: Array = map_coordinates(
        window.view(np.uint8), [rows - top, cols - left],
        order=1, prefilter=False, mode="grid-constant", output=np.float32,
    )  # fmt: skip
    return values


def by_size(reach: Array) -> list[tuple[Array, int]]:
    """Return groups of positions that share one sampling reach, a little over their own."""
    size = np.ceil(np.maximum(reach, 1.0))
    step = 2.0 ** np.maximum(np.floor(np.log2(size)) - 1, 2)
    size = (np.ceil(size / step) * step).astype(int)
    return [(np.flatnonzero(size == half), int(half)) for half in np.unique(size)]


def _first_fall(values: Array) -> Array:
    """Return the (N,) position, in samples, where each row first falls below one half."""
    below = values < 0.5
    first = below.argmax(axis=1)
    rows = np.arange(len(values))
    high, low = values[rows, np.maximum(first - 1, 0)], values[rows, first]
    place = first - (0.5 - low) / np.maximum(high - low, 1e-9)
    return np.where(below.any(axis=1) & (first > 0), place, np.nan)


def _blocks(points: Array) -> list[Array]:
    """Return groups of positions of (N, 2) points that lie in one block of a picture each."""
    block = (np.maximum(points, 0) // _BLOCK_PX).astype(np.int64)
    number = block[:, 0] * (block[:, 1].max(initial=0) + 1) + block[:, 1]
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1)


def read_profiles(
    image: Callable[[Window], Array],
    shape: tuple[int, int],
    points: Array,
    normal: Array,
    half: int,
) -> Array:
    """Return (N, 2 * half + 1) grey values at 1-px spacing across the line at each point.

    The photograph is read in blocks where there are points, so that neither its size nor the
    extent of a crack counts. Beyond its border the last pixel is repeated.

    Args:
        image: reads a window as (h, w, 3) or (h, w) uint8.
        shape: (H, W) of the photograph.
        points: (N, 2) float (row, col).
        normal: (N, 2) unit vectors.
        half: reach to either side in px.
    """
    across = np.arange(-half, half + 1, dtype=np.float64)
    profiles = np.empty((len(points), len(across)), dtype=np.float32)
    for chosen in _blocks(points):
        low = np.floor(points[chosen].min(axis=0)).astype(int) - half - 1
        high = np.ceil(points[chosen].max(axis=0)).astype(int) + half + 2
        top, left = (int(np.clip(low[k], 0, shape[k] - 1)) for k in (0, 1))
        bottom, right = (int(np.clip(high[k], 1, shape[k])) for k in (0, 1))
        window = Window(row=top, col=left, height=bottom - top, width=right - left)
        grey = to_grey(image(window))
        rows = points[chosen, 0, None] + normal[chosen, 0, None] * across - top
        cols = points[chosen, 1, None] + normal[chosen, 1, None] * across - left
        profiles[chosen] = map_coordinates(
            grey, [rows, cols], order=1, prefilter=False, mode="nearest"
        )
    return profiles


def to_grey(picture: Array) -> Array:
    """Return a (h, w, 3) RGB or (h, w) picture as (h, w) float32 grey, 0..255."""
    if picture.ndim == 2:
        return picture.astype(np.float32)
    grey = np.empty(picture.shape[:2], np.float32)
    for top in range(0, len(grey), _GREY_ROWS):  # floats of a whole picture leave every cache
        rows = slice(top, top + _GREY_ROWS)
        np.matmul(picture[rows, :, :3].astype(np.float32), _GREY, out=grey[rows])
    return grey
