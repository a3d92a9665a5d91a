"""Placed photographs become one picture of the face, as tiles of several sizes.

Every place shows the photograph that sees it finest and farthest from its edge, nothing is mixed,
so that a crack stays as sharp as it was photographed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from crackseg.exports.overlay import to_jpeg
from crackseg.face.cameras import View
from crackseg.face.mapping import FaceMap, extent_m
from crackseg.face.photographs import Photograph
from crackseg.imagery.files import open_image
from crackseg.records import Array

MOSAIC_PX = 60_000_000  # a larger one is made coarser; 4 bytes of memory each
TILE_PX = 512
OVERVIEW_PX = 2000  # longer side of the picture below the drawing
_NODES_PX = 16  # places are projected at so many px, and in between by straight lines
_QUALITY = 84
_AS_FINE = 1.2  # of the mosaic's pixel: how much coarser a shrunk photograph's may be


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the pixels of the mosaic lie: row 0 at the top, x to the right."""

    left_m: float
    top_m: float
    m_per_px: float
    height_px: int
    width_px: int

    def places(self, rows: Array, cols: Array) -> Array:
        """Return (N, 2) x, y of pixel positions."""
        return np.column_stack(
            [self.left_m + (cols + 0.5) * self.m_per_px, self.top_m - (rows + 0.5) * self.m_per_px]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic:
    """The picture of a face."""

    grid: Grid
    pixels: Array  # (H, W, 3) uint8
    filled: Array  # (H, W) uint8, 0 where nothing is shown


def grid_of(views: Sequence[View], limit_px: int = MOSAIC_PX) -> Grid:
    """Return a grid over all that is shown, as fine as the median photograph or the limit."""
    low, high = extent_m(views)
    size = np.maximum(high - low, 1e-6)
    fine = float(np.median([view.mm_per_px for view in views])) / 1000
    step = max(fine, math.sqrt(float(size.prod()) / limit_px), float(size.max()) / 60_000)
    width, height = (max(math.ceil(v / step), 1) for v in size)
    return Grid(
        left_m=float(low[0]), top_m=float(high[1]), m_per_px=step, height_px=height, width_px=width
    )


def make_mosaic(
    face: FaceMap, grid: Grid, listen: Callable[[str, float], None] = lambda step, share: None
) -> Mosaic:
    """Return the mosaic of a face.

    Raises:
        ImageError: a photograph is damaged.
    """
    pixels = np.full((grid.height_px, grid.width_px, 3), 245, np.uint8)
    best = np.zeros((grid.height_px, grid.width_px), np.uint8)
    finest = min(view.mm_per_px for view in face.views)
    pairs = list(zip(face.photographs, face.views, strict=True))
    for number, (photograph, view) in enumerate(pairs):
        listen("mosaic", number / len(pairs))
        if photograph.path is not None:
            picture, own = _picture(photograph, view, grid)
            _lay(picture, own, grid, pixels, best, min(finest / view.mm_per_px, 1.0))
    best[best > 0] = 255
    return Mosaic(grid=grid, pixels=pixels, filled=best)


def _picture(photograph: Photograph, view: View, grid: Grid) -> tuple[Array, View]:
    """Return a photograph and its view, shrunk already where the mosaic shows it no finer."""
    small = photograph.small
    if small is not None and small.is_file():
        with open_image(small) as image:
            shrunk = _as_shrunk(view, image.info.height_px, image.info.width_px)
            if shrunk.mm_per_px <= 1000 * grid.m_per_px * _AS_FINE:
                return image.read(), shrunk
    with open_image(photograph.path) as image:  # type: ignore[arg-type]
        return image.read(), view


def _as_shrunk(view: View, height_px: int, width_px: int) -> View:
    """Return the view of the same picture at another size."""
    factor = width_px / view.lens.width_px
    lens = replace(
        view.lens,
        focal_px=view.lens.focal_px * factor,
        height_px=height_px,
        width_px=width_px,
    )
    return replace(view, lens=lens)


def _lay(
    picture: Array, view: View, grid: Grid, pixels: Array, best: Array, fineness: float
) -> None:
    """Put a photograph where it is better than what lies there."""
    box = _box(view, grid)
    if box is None:
        return
    top, bottom, left, right = box
    for row in range(top, bottom, 2048):
        window = (row, min(row + 2048, bottom), left, right)
        place = np.s_[window[0] : window[1], left:right]
        rows, cols = _projected(view, grid, window)
        edge = np.minimum(
            np.minimum(rows, picture.shape[0] - 1 - rows) / picture.shape[0],
            np.minimum(cols, picture.shape[1] - 1 - cols) / picture.shape[1],
        )
        with np.errstate(invalid="ignore"):
            worth = np.where(edge >= 0, np.clip(20 + 400 * edge, 1, 220) * fineness + 1, 0)
        better = worth.astype(np.uint8) > best[place]
        if not better.any():
            continue
        factor = grid.m_per_px * 1000 / view.mm_per_px
        source = picture if factor < 1.5 else cv2.GaussianBlur(picture, (0, 0), 0.4 * factor)
        colours = _sampled(source, rows, cols)
        pixels[place][better] = colours[better]
        best[place][better] = worth.astype(np.uint8)[better]


def _sampled(picture: Array, rows: Array, cols: Array) -> Array:
    """Return the picture's pixels at positions, which OpenCV's limit of 32767 px does not bind."""
    low_row, low_col = (max(int(np.nanmin(v)) - 2, 0) for v in (rows, cols))
    part = picture[low_row : low_row + 32_000, low_col : low_col + 32_000]
    shifted = [np.nan_to_num(v - low, nan=-9.0).astype(np.float32)
               for v, low in ((cols, low_col), (rows, low_row))]  # fmt: skip
    sampled: Array = cv2.remap(part, shifted[0], shifted[1], cv2.INTER_LINEAR)
    return sampled


def _box(view: View, grid: Grid) -> tuple[int, int, int, int] | None:
    outline = view.outline_m()
    if not np.isfinite(outline).all():
        return None
    cols = (outline[:, 0] - grid.left_m) / grid.m_per_px
    rows = (grid.top_m - outline[:, 1]) / grid.m_per_px
    top, left = max(int(rows.min()), 0), max(int(cols.min()), 0)
    bottom, right = (
        min(int(rows.max()) + 1, grid.height_px), min(int(cols.max()) + 1, grid.width_px)
    )  # fmt: skip
    return (top, bottom, left, right) if bottom > top and right > left else None


def _projected(view: View, grid: Grid, window: tuple[int, int, int, int]) -> tuple[Array, Array]:
    """Return the rows and cols in a photograph of each pixel of a window of the mosaic."""
    top, bottom, left, right = window
    half = (_NODES_PX - 1) / 2
    rows, cols = (
        low - _NODES_PX + half + _NODES_PX * np.arange(math.ceil((high - low) / _NODES_PX) + 2)
        for low, high in ((top, bottom), (left, right))
    )
    mesh = np.meshgrid(rows, cols, indexing="ij")
    pixels = view.to_picture(grid.places(mesh[0].ravel(), mesh[1].ravel()))
    size = (len(cols) * _NODES_PX, len(rows) * _NODES_PX)
    fine = [
        cv2.resize(plane.reshape(mesh[0].shape), size, interpolation=cv2.INTER_LINEAR)
        for plane in pixels.T
    ]
    part = np.s_[
        _NODES_PX : _NODES_PX + bottom - top, _NODES_PX : _NODES_PX + right - left
    ]  # fmt: skip
    return fine[0][part], fine[1][part]


def write_tiles(mosaic: Mosaic, folder: Path) -> list[list[int]]:
    """Write ``tile_LEVEL_ROW_COL.jpg`` and ``mosaic.jpg``; return [level, row, col] of each tile.

    Level 0 is the finest; each next one is half as fine. Tiles that show nothing are not written.
    """
    level, pixels, filled = 0, mosaic.pixels, mosaic.filled
    written: list[list[int]] = []
    is_overview_made = False
    while True:
        for row in range(math.ceil(pixels.shape[0] / TILE_PX)):
            for col in range(math.ceil(pixels.shape[1] / TILE_PX)):
                part = np.s_[
                    row * TILE_PX : (row + 1) * TILE_PX, col * TILE_PX : (col + 1) * TILE_PX
                ]
                if filled[part].any():
                    path = folder / f"tile_{level}_{row}_{col}.jpg"
                    path.write_bytes(to_jpeg(np.ascontiguousarray(pixels[part]), _QUALITY))
                    written.append([level, row, col])
        if not is_overview_made and max(pixels.shape[:2]) <= OVERVIEW_PX:
            (folder / "mosaic.jpg").write_bytes(to_jpeg(pixels, _QUALITY))
            is_overview_made = True
        if max(pixels.shape[:2]) <= TILE_PX:
            return written
        pixels, filled = _halved(pixels), _halved(filled)
        filled[filled > 0] = 255
        level += 1


def _halved(picture: Array) -> Array:
    """Return a picture half as large; of an odd last row or column each pixel counts twice."""
    rows, cols = (n - n % 2 for n in picture.shape[:2])
    height, width = ((n + 1) // 2 for n in picture.shape[:2])
    small: Array = np.empty((height, width, *picture.shape[2:]), picture.dtype)
    for down, own_rows in ((np.s_[: rows // 2], np.s_[:rows]), (np.s_[rows // 2 :], np.s_[rows:])):
        for right, own_cols in (
            (np.s_[: cols // 2], np.s_[:cols]),
            (np.s_[cols // 2 :], np.s_[cols:]),
        ):
            part = small[down, right]
            if part.size:
                source, size = picture[own_rows, own_cols], (part.shape[1], part.shape[0])
                part[:] = cv2.resize(source, size, interpolation=cv2.INTER_AREA).reshape(part.shape)
    return small
