"""Tiles of even spacing that cover every pixel, and their blending row band by row band.

A network's answer is worst near the border of its tile, where it sees no further. In the overlap
of two tiles the outer quarter on each side therefore weighs nothing, and a smooth ramp blends the
rest: with a network that reaches no further than that quarter, the result does not depend on the
tile size. All weights sum to 1 at every pixel. Only one band of float values is held at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from crackseg.errors import ConfigError
from crackseg.records import Array

_FLOOR = 1e-6  # so that every pixel has a weight to divide by, whatever the spacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The tiles along one side of a picture."""

    starts: tuple[int, ...]  # first pixel of each tile
    size_px: int  # of every tile; may reach over the end of a picture smaller than a tile
    weights: Array  # (tiles, size_px) float32; they sum to 1 at every pixel


def plan_axis(length_px: int, *, tile_px: int, overlap_px: int, multiple: int) -> Axis:
    """Return tiles of even spacing, at least ``overlap_px`` overlap, over one side of a picture.

    Args:
        length_px: of the side.
        tile_px: of the tiles, a multiple of ``multiple``.
        overlap_px: least overlap, at most half of a tile.
        multiple: what the network's input must be a multiple of. A side shorter than a tile gets
            one tile of the next multiple: pictures are padded, never squeezed.

    Raises:
        ConfigError: the tile is no multiple, or the overlap more than half of it.

    Example:
        >>> plan_axis(1000, tile_px=512, overlap_px=64, multiple=32).starts
        (0, 244, 488)
    """
    if tile_px % multiple:
        below, above = tile_px // multiple * multiple, -(-tile_px // multiple) * multiple
        fits = f"{below} and {above} fit" if below else f"{above} fits"
        raise ConfigError(
            f"`tile_px` must be a multiple of {multiple} for this model, got {tile_px}; {fits}."
        )
    if not 0 <= overlap_px <= tile_px // 2:
        raise ConfigError(
            f"`overlap_px` must lie between 0 and half of `tile_px` ({tile_px // 2}), "
            f"got {overlap_px}."
        )
    if length_px <= tile_px:
        size = -(-length_px // multiple) * multiple
        return Axis(starts=(0,), size_px=size, weights=np.ones((1, size), dtype=np.float32))
    count = math.ceil((length_px - overlap_px) / (tile_px - overlap_px))
    starts = np.rint(np.linspace(0, length_px - tile_px, count)).astype(int)
    weights = _weights(starts, length_px, tile_px)
    return Axis(starts=tuple(int(s) for s in starts), size_px=tile_px, weights=weights)


def pad_tile(tile: Array, height_px: int, width_px: int) -> Array:
    """Return an (h, w, ...) tile grown to the given size by reflection at its lower right."""
    grow = (height_px - tile.shape[0], width_px - tile.shape[1])
    if grow == (0, 0):
        return tile
    return np.pad(tile, ((0, grow[0]), (0, grow[1]), (0, 0)), mode="reflect")


def fill_invalid(tile: Array, valid: Array) -> Array:
    """Return an (h, w, 3) tile whose invalid pixels repeat the nearest valid one.

    No-data is black or white as a rule, and its border would look like a crack. At least one pixel
    must be valid.
    """
    if valid.all():
        return tile
    holes = np.where(valid, 0, 1).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(
        holes, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(nearest.max()) + 1, tile.shape[2]), dtype=tile.dtype)
    colours[nearest[valid]] = tile[valid]
    filled: Array = colours[nearest]
    return filled


class Band:
    """The float accumulator of one row of tiles; finished rows are handed on as uint8.

    Args:
        rows: tiles along the height.
        cols: tiles along the width.
        height_px: of the picture.
        width_px: of the picture.
        emit: called with the first row and the finished (n, W) uint8 rows, from top to bottom.
    """

    def __init__(
        self,
        rows: Axis,
        cols: Axis,
        *,
        height_px: int,
        width_px: int,
        emit: Callable[[int, Array], None],
    ) -> None:
        self._rows, self._cols, self._emit = rows, cols, emit
        self._height, self._width = height_px, width_px
        self._sum = np.zeros((rows.size_px, width_px), dtype=np.float32)
        self._part = np.empty((rows.size_px, cols.size_px), dtype=np.float32)  # of one tile

    def add(self, i: int, j: int, probability: Array) -> None:
        """Add the (h, w) float32 probability of the tile in row ``i`` and column ``j``."""
        left = self._cols.starts[j]
        width = min(self._cols.size_px, self._width - left)
        part = self._part[:, :width]
        np.multiply(self._rows.weights[i][:, None], self._cols.weights[j][None, :width], out=part)
        part *= probability[:, :width]
        self._sum[:, left : left + width] += part

    def finish(self, i: int) -> None:
        """Hand on the rows that no later row of tiles touches."""
        start = self._rows.starts[i]
        last = i + 1 == len(self._rows.starts)
        done = (self._height if last else self._rows.starts[i + 1]) - start
        self._emit(start, to_uint8(self._sum[:done]))
        rest = self._sum.shape[0] - done
        if not last:
            self._sum[:rest] = self._sum[done:]
            self._sum[rest:] = 0


def to_uint8(probability: Array) -> Array:
    """Return probability in [0, 1] as uint8, 255 = 1."""
    quantised: Array = cv2.convertScaleAbs(probability, alpha=255)  # rounds, and clips above 1
    return quantised


def _weights(starts: Array, length_px: int, tile_px: int) -> Array:
    """Return (tiles, tile_px) float32 blending weights that sum to 1 at every pixel."""
    overlap = tile_px - int(np.diff(starts).min())
    quiet = overlap / 4
    inward = np.arange(tile_px) + 0.5  # distance from a border that cuts the picture
    ramp = np.clip((inward - quiet) / max(overlap - 2 * quiet, 1.0), 0, 1)
    rise = _FLOOR + np.sin(ramp * (np.pi / 2)) ** 2
    raw = np.tile(np.minimum(rise, rise[::-1]), (len(starts), 1))
    raw[0] = rise[::-1]  # the picture's own border cuts nothing
    raw[-1] = rise
    total = np.zeros(length_px)
    for start, weight in zip(starts, raw, strict=True):
        total[start : start + tile_px] += weight
    weights = [w / total[s : s + tile_px] for s, w in zip(starts, raw, strict=True)]
    return np.stack(weights).astype(np.float32)
