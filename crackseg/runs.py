"""A mask held as the runs of its True pixels, row by row: what it takes follows the cracks.

A crack mask is one or two percent full. A gigapixel of it is a gigabyte as an array, and some ten
megabytes as runs. It is read like an array, by windows and by places; a crack's own mask is held
the same way, since the window of a crack that crosses a mosaic is as large as the mosaic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BAND_PX = 16_000_000  # pixels of a picture that are handled at once
_SPARSE = 8  # a window with one True pixel in so many, or fewer, is filled pixel by pixel


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """An (H, W) bool mask; a pixel's place is its row times W plus its column."""

    shape: tuple[int, int]
    start: NDArray[Any]  # (R,) int64 place of the first pixel of each run, rising
    stop: NDArray[Any]  # (R,) int64 place after the last one; a run never goes over a row's end

    @staticmethod
    def of(mask: Any) -> Runs:
        """Return the runs of an (H, W) bool mask, or the mask itself where it is such already."""
        if isinstance(mask, Runs):
            return mask
        return Runs.at(np.flatnonzero(mask), mask.shape)

    @staticmethod
    def at(places: NDArray[Any], shape: tuple[int, int]) -> Runs:
        """Return the runs of the True pixels of an (H, W) mask, given by their rising places."""
        if not len(places):
            return Runs(shape, places, places)
        ends = np.flatnonzero((np.diff(places) > 1) | (places[1:] % shape[1] == 0))
        last = np.r_[ends, len(places) - 1]
        return Runs(shape, places[np.r_[0, ends + 1]], places[last] + 1)

    @staticmethod
    def full(height: int, width: int) -> Runs:
        """Return a mask that is True everywhere."""
        start = np.arange(height, dtype=np.int64) * width
        return Runs((height, width), start, start + width)

    @staticmethod
    def stack(parts: Iterable[Runs], width: int) -> Runs:
        """Return one mask of several that lie one below the other."""
        starts, stops = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        height = 0
        for part in parts:
            starts.append(part.start + height * width)
            stops.append(part.stop + height * width)
            height += part.shape[0]
        return Runs((height, width), np.concatenate(starts), np.concatenate(stops))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of pixels, True or not."""
        return self.shape[0] * self.shape[1]

    def sum(self) -> int:
        """Return the number of True pixels."""
        return int((self.stop - self.start).sum())

    def any(self) -> bool:
        """Return whether a pixel is True."""
        return len(self.start) > 0

    def pixels(self) -> NDArray[Any]:
        """Return the (N,) places of the True pixels, rising."""
        length = self.stop - self.start
        before = np.cumsum(length) - length
        places: NDArray[Any] = np.arange(int(length.sum())) + np.repeat(self.start - before, length)
        return places

    def nonzero(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return rows and columns of the True pixels, row by row."""
        rows, cols = np.divmod(self.pixels(), max(self.shape[1], 1))
        return rows, cols

    def chosen(self, which: NDArray[Any]) -> Runs:
        """Return the mask of some of the runs, (R,) bool or rising numbers."""
        return Runs(self.shape, self.start[which], self.stop[which])

    def both(self, other: Runs) -> Runs:
        """Return where this and another mask of the same shape are True."""
        first = np.searchsorted(other.stop, self.start, side="right")
        count = np.maximum(np.searchsorted(other.start, self.stop) - first, 0)
        own = np.repeat(np.arange(len(count)), count)
        at = np.arange(len(own)) - np.repeat(np.cumsum(count) - count - first, count)
        start = np.maximum(self.start[own], other.start[at])
        return Runs(self.shape, start, np.minimum(self.stop[own], other.stop[at]))

    def outside(self) -> Runs:
        """Return where the mask is False."""
        first = np.arange(self.shape[0], dtype=np.int64) * self.shape[1]
        start = np.sort(np.concatenate([first, self.stop]))
        stop = np.sort(np.concatenate([first + self.shape[1], self.start]))
        return Runs(self.shape, start[start < stop], stop[start < stop])

    def extent(self) -> tuple[int, int, int, int]:
        """Return row, column, height and width of the smallest window that holds the mask."""
        rows, first = np.divmod(self.start, self.shape[1])
        last = self.stop - 1 - rows * self.shape[1]
        top, left = int(rows[0]), int(first.min())
        return top, left, int(rows[-1]) + 1 - top, int(last.max()) + 1 - left

    def moved(self, rows: int, cols: int, shape: tuple[int, int]) -> Runs:
        """Return the mask in a picture of another shape, so much further down and right there."""
        row, first = np.divmod(self.start, self.shape[1])
        begin = (row + rows) * shape[1] + first + cols
        return Runs(shape, begin, begin + self.stop - self.start)

    def grown(self, px: int) -> Runs:
        """Return the mask with every pixel that lies within a square of so many px to each side."""
        height, width = self.shape
        rows, first = np.divmod(self.start, width)
        last = self.stop - rows * width
        first, last = np.maximum(first - px, 0), np.minimum(last + px, width)
        parts = []
        for down in range(-px, px + 1):
            inside = (rows + down >= 0) & (rows + down < height)
            begin = (rows[inside] + down) * width
            parts.append(Runs(self.shape, begin + first[inside], begin + last[inside]))
        return Runs.union(parts, self.shape)

    @staticmethod
    def union(masks: Iterable[Runs], shape: tuple[int, int]) -> Runs:
        """Return where any of some masks of one shape is True."""
        parts = [(mask.start, mask.stop) for mask in masks]
        if not sum(len(start) for start, _ in parts):
            return Runs(shape, np.zeros(0, np.int64), np.zeros(0, np.int64))
        start, stop = (np.concatenate(side) for side in zip(*parts, strict=True))
        order = np.argsort(start, kind="stable")
        start, reach = start[order], np.maximum.accumulate(stop[order])
        gap = start[1:] - reach[:-1]
        apart = (gap > 0) | ((gap == 0) & (start[1:] % shape[1] == 0))
        return Runs(shape, start[np.r_[True, apart]], reach[np.r_[apart, True]])

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return bool values: of a slice of rows, of two slices, or of arrays of rows and cols."""
        rows, cols = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(rows, slice):
            top, bottom, _ = rows.indices(self.shape[0])
            left, right, _ = cols.indices(self.shape[1])
            return self._window(top, max(bottom, top), left, max(right, left))
        hit: NDArray[Any] = self.find(rows, cols) >= 0
        return hit

    def find(self, rows: Any, cols: Any) -> NDArray[Any]:
        """Return the number of the run that holds each place, -1 where the mask is False."""
        place = np.asarray(rows, np.int64) * self.shape[1] + np.asarray(cols, np.int64)
        if not len(self.start):
            return np.full(place.shape, -1)
        run = np.searchsorted(self.start, place, side="right") - 1
        return np.where((run >= 0) & (place < self.stop[run]), run, -1)

    def _window(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        height, width = bottom - top, right - left
        part = slice(*np.searchsorted(self.start, (top * self.shape[1], bottom * self.shape[1])))
        rows = self.start[part] // self.shape[1]
        begin = self.start[part] - rows * self.shape[1]
        end = self.stop[part] - rows * self.shape[1]
        inside = (begin < right) & (end > left)
        rows = rows[inside] - top
        begin = np.maximum(begin[inside] - left, 0)
        end = np.minimum(end[inside] - left, width)
        if int((end - begin).sum()) * _SPARSE < height * width:
            part_of = Runs((height, width), rows * width + begin, rows * width + end)
            window = np.zeros(height * width, bool)
            window[part_of.pixels()] = True
            return window.reshape(height, width)
        steps = np.zeros((height, width + 1), np.int8)
        steps[rows, begin] = 1
        steps[rows, end] = -1
        np.cumsum(steps, axis=1, dtype=np.int8, out=steps)
        return np.ascontiguousarray(steps[:, :width]).view(bool)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self._window(0, self.shape[0], 0, self.shape[1])
        return whole if dtype is None else whole.astype(dtype)


Mask = NDArray[Any] | Runs  # (H, W) bool


def bands(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of a picture in bands that are handled one at a time; of most, one band."""
    rows = max(_BAND_PX // max(width, 1), 1)
    rows = -(-height // max(round(height / rows), 1))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def where(mask: Mask) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows and columns of the True pixels of a mask, row by row."""
    rows, cols = mask.nonzero()
    return rows, cols


def touching(runs: Runs) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the (L,) pairs of runs that touch, also at a corner: one, and one of the next row."""
    width = runs.shape[1]
    below = runs.start // width + 1
    first = np.searchsorted(runs.stop, runs.start + width)  # one that begins at a row's end
    first = np.maximum(first, np.searchsorted(runs.start, below * width))  # is no neighbour
    last = np.minimum(runs.stop + width, (below + 1) * width - 1)
    count = np.maximum(np.searchsorted(runs.start, last, side="right") - first, 0)
    upper = np.repeat(np.arange(len(count)), count)
    lower = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count - first, count)
    return upper, lower
