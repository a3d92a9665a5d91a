"""A plane of numbers too large for memory lies in a file and is read by windows and by places.

What is read is a copy, and the file's pages are given back as they were used: a mapped file counts
as the memory of a program as far as it was touched.
"""

from __future__ import annotations

import mmap
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_TOUCHED_BYTES = 64_000_000  # mapped before they are given back
_AROUND_BYTES = 65_536  # that a system maps around a place that is read


class OnDisk:
    """An (H, W) plane in a file that is filled from top to bottom, and read like an array.

    Args:
        file: open for reading and writing; what it holds already stays.
        shape: (H, W).
        dtype: of the numbers.

    Raises:
        OSError: there is no room for it.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, int], dtype: DTypeLike) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._file = file
        weakref.finalize(self, file.close)
        self._map: np.memmap[Any, Any] | None = None
        self._touched = 0

    @property
    def ndim(self) -> int:
        """Two."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def write(self, row: int, values: NDArray[Any]) -> None:
        """Write (n, W) rows; written, not mapped: a full disk is an error here, not a crash."""
        self._file.seek(row * self.shape[1] * self.dtype.itemsize)
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self._file.flush()

    def read_rows(self, row: int, count: int) -> NDArray[Any]:
        """Return (count, W) rows that were written, fewer where the file ends."""
        row_bytes = self.shape[1] * self.dtype.itemsize
        self._file.seek(row * row_bytes)
        data = self._file.read(count * row_bytes)
        return np.frombuffer(data, self.dtype, len(data) // row_bytes * self.shape[1]).reshape(
            -1, self.shape[1]
        )

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return a copy of some rows, of a window, or of the places of arrays of rows and cols."""
        if self._map is None:
            self._map = np.memmap(self._file, self.dtype, mode="r", shape=self.shape)
        values = np.array(self._map[key])
        rows = len(values) if values.ndim == 2 else values.size
        self._touched += values.nbytes + rows * _AROUND_BYTES
        if self._touched > _TOUCHED_BYTES:
            self._give_back()
        return values

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def _give_back(self) -> None:
        self._touched = 0
        pages = getattr(self._map, "_mmap", None)
        if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


def in_file(path: Path, shape: tuple[int, int], dtype: DTypeLike) -> OnDisk:
    """Return a plane in a named file, which is made if need be and stays."""
    path.touch()
    return OnDisk(path.open("r+b"), shape, dtype)


Plane = NDArray[Any] | OnDisk  # (H, W)
