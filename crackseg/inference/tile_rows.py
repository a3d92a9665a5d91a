"""Rows of tiles of a picture are cut, read by a network and blended to finished rows of planes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from crackseg.config import PredictOptions
from crackseg.imagery.files import OpenImage
from crackseg.imagery.tiles import Axis, Band, fill_invalid, pad_tile, plan_axis
from crackseg.records import Array, ModelCard, Window
from crackseg.runs import Runs

Progress = Callable[[float], None]
Loaded = tuple[Array, Array | None, Array | None]  # pixels, which hold data, which count
_LOADED_PX = 4096  # columns of a wide picture that are read at once


class TileRows:
    """The rows of tiles of a picture, read one after the other, and what they finish."""

    def __init__(
        self,
        image: OpenImage,
        card: ModelCard,
        options: PredictOptions,
        batcher: Callable[[Iterable[Array]], Iterator[Array]],
        inside: Array | None,
    ) -> None:
        self._image, self._batcher, self._inside = image, batcher, inside
        self._size = (image.info.height_px, image.info.width_px)
        self.rows, self._cols = plan_tiles(self._size, card, options)
        self._maps: list[_Map] = []
        self.add_maps(1)

    def add_maps(self, count: int) -> None:
        """Make as many planes as there are; a network tells of one or two."""
        while len(self._maps) < count:
            self._maps.append(_Map(self.rows, self._cols, *self._size))

    def load(self, i: int) -> Loaded:
        """Return what a row of tiles reads."""
        row, (height, width) = self.rows.starts[i], self._size
        size = min(self.rows.size_px, height - row)
        window = Window(row=row, col=0, height=size, width=width)
        pixels, has_data = _load(self._image, window)
        inside = self._inside
        counts = has_data if inside is None else _both(has_data, inside[window.slices])
        return pixels, has_data, counts

    def read(
        self,
        part: range,
        seen: Callable[[int, Loaded], None] = lambda i, loaded: None,
        progress: Progress = lambda share: None,
    ) -> Iterator[tuple[int, list[Array]]]:
        """Yield number, and uint8 rows of each plane that no later one touches, of rows of tiles.

        The next row is loaded while the network is at work on this one.

        Args:
            part: numbers of the rows, one after the other.
            seen: called with the number and what was loaded, from top to bottom.
            progress: called with the share of all rows of the picture.
        """
        counts: dict[int, Runs | None] = {}
        places: deque[tuple[int, int]] = deque()

        def tiles() -> Iterator[Array]:
            for i in part:
                loaded = pixels, has_data, here = self.load(i)
                seen(i, loaded)
                counts[i] = None if here is None else Runs.of(here)  # bytes of many rows are large
                for j, tile in _cut(pixels, (has_data, here), self.rows, self._cols):
                    places.append((i, j))
                    yield tile

        row, count = part.start, len(self.rows.starts)
        for answer in self._batcher(tiles()):
            i, j = places.popleft()
            while row < i:
                yield row, self._finish(row, counts.pop(row))
                row += 1
            self.add_maps(answer.shape[2] if answer.ndim == 3 else 1)
            parts = np.atleast_3d(answer).transpose(2, 0, 1)
            for plane, here in zip(self._maps, parts, strict=False):
                plane.band.add(i, j, here)
            progress((i + (j + 1) / len(self._cols.starts)) / count)
        for last in range(row, part.stop):
            yield last, self._finish(last, counts.pop(last))
            progress((last + 1) / count)

    def _finish(self, i: int, counts: Runs | None) -> list[Array]:
        return [plane.finish(i, counts) for plane in self._maps]


class _Map:
    """The band of floats that fills one (H, W) uint8 probability."""

    def __init__(self, rows: Axis, cols: Axis, height_px: int, width_px: int) -> None:
        self._finished = np.zeros((0, width_px), np.uint8)
        self.band = Band(rows, cols, height_px=height_px, width_px=width_px, emit=self._take)

    def _take(self, row: int, finished: Array) -> None:
        self._finished = finished

    def finish(self, i: int, counts: Runs | None) -> Array:
        """Return the rows that no later row of tiles touches, 0 where a pixel does not count."""
        self.band.finish(i)
        if counts is not None:
            self._finished *= counts[: len(self._finished)]
        return self._finished


class Validity:
    """Which pixels count, of a picture that goes by in bands that overlap."""

    def __init__(self, width_px: int) -> None:
        self._width, self._parts, self._rows, self._any = width_px, list[Runs](), 0, False

    def add(self, row: int, height: int, counts: Array | None) -> None:
        """Take the rows of a band that no band before it had; None: every pixel counts."""
        fresh = self._rows - row
        if counts is None:
            self._parts.append(Runs.full(height - fresh, self._width))
        else:
            self._parts.append(Runs.of(counts[fresh:]))
            self._any = True
        self._rows = row + height

    def runs(self) -> Runs | None:
        """Return which pixels count; None: all of them."""
        return Runs.stack(self._parts, self._width) if self._any else None


def _load(image: OpenImage, window: Window) -> tuple[Array, Array | None]:
    """Return the pixels of a wide band as ``OpenImage.load`` does, read some columns at a time.

    What a reader needs beside the pixels is several times as large as they are.
    """
    if window.width <= 2 * _LOADED_PX:
        return image.load(window)
    pixels = np.empty((window.height, window.width, 3), np.uint8)
    valid: Array | None = None
    for left in range(0, window.width, _LOADED_PX):
        width = min(_LOADED_PX, window.width - left)
        part = np.s_[:, left : left + width]
        pixels[part], counts = image.load(replace(window, col=left, width=width))
        if counts is not None:
            valid = np.ones(pixels.shape[:2], bool) if valid is None else valid
            valid[part] = counts
    return pixels, valid


def plan_tiles(
    size: tuple[int, int], card: ModelCard, options: PredictOptions
) -> tuple[Axis, Axis]:
    """Return the tiles along the height and along the width of a picture."""
    tile, overlap = tile_px_of(card, options), options.overlap_px
    rows, cols = (
        plan_axis(side, tile_px=tile, overlap_px=overlap, multiple=card.input_multiple)
        for side in size
    )
    return rows, cols


def tile_px_of(card: ModelCard, options: PredictOptions) -> int:
    """Return the side of a tile."""
    return options.tile_px or card.tile_px


def first_again(rows: Axis, finished: int) -> int:
    """Return the first row of tiles that reaches into the first one that is not finished."""
    if finished == len(rows.starts):
        return finished
    reaching = (start + rows.size_px > rows.starts[finished] for start in rows.starts)
    return [*reaching].index(True)


def _both(has_data: Array | None, inside: Array) -> Array:
    return inside if has_data is None else np.asarray(has_data & inside)


def _cut(
    pixels: Array, valid: tuple[Array | None, Array | None], rows: Axis, cols: Axis
) -> Iterator[tuple[int, Array]]:
    """Yield number and pixels of the tiles of a band that hold a pixel that counts.

    What has no data is filled; what is only not looked at stays, for the network to see around.
    """
    has_data, counts = valid
    for j, start in enumerate(cols.starts):
        part = slice(start, start + cols.size_px)
        tile = pixels[:, part]
        if counts is not None and not counts[:, part].any():
            continue
        if has_data is not None:
            tile = fill_invalid(tile, has_data[:, part])
        yield j, pad_tile(tile, rows.size_px, cols.size_px)
