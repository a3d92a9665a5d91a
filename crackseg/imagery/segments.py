"""The samples of a TIFF page by window, in their own type: only the strips or tiles it needs."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from crackseg.records import Array, Window

CACHE_BYTES = 256_000_000  # decoded segments kept: a band of tiles of a 60,000 px wide RGB raster
SEGMENT_BYTES = 2**31  # one strip or tile larger than this is refused
_VIRTUAL_STRIP_BYTES = 2**20  # uncompressed data needs no segments: it is read in such pieces
JPEG = (6, 7, 34892, 33007)


class Segments:
    """The samples of one page by window, in their own type; segments are cached within a budget."""

    def __init__(self, page: Any, file_bytes: int) -> None:
        self._page = page
        self._file = page.parent.filehandle
        self._planes = page.samplesperpixel if page.planarconfig == 2 else 1
        self._samples = page.samplesperpixel // self._planes  # in one segment
        self._raw = page.is_final  # uncompressed: any rows can be read
        self._dtype = np.dtype(page.parent.byteorder + page.dtype.char)
        height, width = page.imagelength, page.imagewidth
        if self._raw:
            row_bytes = width * self._samples * self._dtype.itemsize
            rows = max(1, _VIRTUAL_STRIP_BYTES // row_bytes)
            self.height_px, self.width_px = min(rows, height), width
        elif page.is_tiled:
            self.height_px, self.width_px = page.tilelength, page.tilewidth
        else:
            self.height_px, self.width_px = min(page.rowsperstrip, height), width
        self._across = math.ceil(width / self.width_px)
        self._down = math.ceil(height / self.height_px)
        self._cache: OrderedDict[int, Array | None] = OrderedDict()
        self._cached_bytes = 0
        self._check(file_bytes)
        self.sparse = not self._raw and bool((np.asarray(page.databytecounts) == 0).any())

    def _check(self, file_bytes: int) -> None:
        """Raise where the segment table does not cover the picture or points behind the file."""
        page = self._page
        size = self.height_px * self.width_px * self._samples * self._dtype.itemsize
        if size > SEGMENT_BYTES:
            raise ValueError(
                f"one strip or tile holds {size / 2**30:.1f} GiB; store the picture in tiles."
            )
        offsets = np.asarray(page.dataoffsets, dtype=np.float64)
        counts = np.asarray(page.databytecounts, dtype=np.float64)
        if self._raw:
            offsets, counts = offsets[:1], np.array([float(page.nbytes)])
        needed = 1 if self._raw else self._across * self._down * self._planes
        if len(offsets) < needed or len(counts) < needed:
            raise ValueError(f"{needed} strips or tiles expected, {len(offsets)} listed.")
        if (offsets[:needed] + counts[:needed] > file_bytes).any():
            raise ValueError("pixel data lies behind the end of the file: it was cut.")

    def bands(self) -> Iterator[Window]:
        """Yield windows over the whole width that follow the rows of segments."""
        height, width = self._page.imagelength, self._page.imagewidth
        for row in range(0, height, self.height_px):
            yield Window(row=row, col=0, height=min(self.height_px, height - row), width=width)

    def read(self, window: Window) -> tuple[Array, Array | None]:
        """Return (h, w, samples) of a window and (h, w) bool where segments were written."""
        shape = (window.height, window.width)
        values = np.zeros((*shape, self._page.samplesperpixel), dtype=self._page.dtype)
        written = np.zeros(shape, dtype=bool) if self.sparse else None
        bottom, right = window.row + window.height, window.col + window.width
        rows = range(window.row // self.height_px, (bottom - 1) // self.height_px + 1)
        cols = range(window.col // self.width_px, (right - 1) // self.width_px + 1)
        for plane in range(self._planes):
            samples = slice(plane, plane + 1) if self._planes > 1 else slice(None)
            for i in rows:
                for j in cols:
                    segment = self._segment((plane * self._down + i) * self._across + j)
                    if segment is not None:
                        part = _overlap(window, i * self.height_px, j * self.width_px, segment)
                        values[*part[0], samples] = segment[part[1]]
                        if written is not None:
                            written[part[0]] = True
        return values, written

    def _segment(self, index: int) -> Array | None:
        """Return (h, w, samples) of one strip or tile, or None where it was never written."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        segment = self._read_raw(index) if self._raw else self._decode(index)
        self._cache[index] = segment
        self._cached_bytes += 0 if segment is None else segment.nbytes
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            dropped = self._cache.popitem(last=False)[1]
            self._cached_bytes -= 0 if dropped is None else dropped.nbytes
        return segment

    def _read_raw(self, index: int) -> Array:
        plane, strip = divmod(index, self._down)
        row = strip * self.height_px
        rows = min(self.height_px, self._page.imagelength - row)
        row_values = self.width_px * self._samples
        start = (plane * self._page.imagelength + row) * row_values * self._dtype.itemsize
        data = self._bytes(
            self._page.dataoffsets[0] + start, rows * row_values * self._dtype.itemsize
        )
        return np.frombuffer(data, self._dtype).reshape(rows, self.width_px, self._samples)

    def _decode(self, index: int) -> Array | None:
        page = self._page
        count = page.databytecounts[index]
        if count == 0:
            return None
        data = self._bytes(page.dataoffsets[index], count)
        tables = {"jpegtables": page.jpegtables} if page.compression in JPEG else {}
        decoded, _, shape = page.decode(data, index, **tables)
        if decoded is None:
            return None
        segment: Array = decoded.reshape(shape)[0]
        return segment

    def _bytes(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        data: bytes = self._file.read(count)
        if len(data) < count:
            raise ValueError("pixel data ends early: the file was cut.")
        return data


def _overlap(
    window: Window, row: int, col: int, segment: Array
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a segment at (row, col) lies in the window, and which part of it that is."""
    top, left = max(row, window.row), max(col, window.col)
    bottom = min(row + segment.shape[0], window.row + window.height)
    right = min(col + segment.shape[1], window.col + window.width)
    there = (
        slice(top - window.row, bottom - window.row),
        slice(left - window.col, right - window.col),
    )
    return there, (slice(top - row, bottom - row), slice(left - col, right - col))
