"""A photograph as small pictures in halving sizes, so that a browser loads what it shows alone.

All of them lie in one file of the result, ``tiles.zip``, uncompressed: ``LEVEL/COL/ROW.jpg``. Level
0 is one tile with the whole picture, the highest has the photograph's own pixels.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crackseg.records import Array, Window

if TYPE_CHECKING:
    from crackseg.imagery.files import OpenImage

FILE = "tiles.zip"
TILE_PX = 512
_QUALITY = 85


def levels(height_px: int, width_px: int) -> int:
    """Return how many levels there are.

    Example:
        >>> levels(512, 512), levels(513, 20), levels(9000, 13000)
        (1, 2, 6)
    """
    count, side = 1, TILE_PX
    while side < max(height_px, width_px):
        count, side = count + 1, 2 * side
    return count


def write_tiles(image: OpenImage, path: Path) -> None:
    """Write the tiles of an open photograph, read in bands of rows."""
    from crackseg.exports.overlay import to_jpeg

    height, width = image.info.height_px, image.info.width_px
    bands: Iterator[Array] = (
        image.read(Window(row=top, col=0, height=min(TILE_PX, height - top), width=width))
        for top in range(0, height, TILE_PX)
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for level in range(levels(height, width) - 1, -1, -1):
            halves = []
            for row, band in enumerate(bands):
                for col in range(0, band.shape[1], TILE_PX):
                    tile = np.ascontiguousarray(band[:, col : col + TILE_PX])
                    name = f"{level}/{col // TILE_PX}/{row}.jpg"
                    entry = zipfile.ZipInfo(
                        name
                    )  # without a time: the same photograph, the same bytes
                    archive.writestr(entry, to_jpeg(tile, _QUALITY))
                if level:
                    halves.append(_halved(band))
            bands = _in_bands(halves)


def _halved(picture: Array) -> Array:
    """Return a picture of half the size, each pixel the mean of four; the edge is repeated."""
    rows, cols = picture.shape[:2]
    even = np.pad(picture, ((0, rows % 2), (0, cols % 2), (0, 0)), mode="edge").astype(np.uint16)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    half: Array = ((total + 2) // 4).astype(np.uint8)
    return half


def _in_bands(pieces: list[Array]) -> Iterator[Array]:
    """Yield bands of whole tiles from pieces of half as many rows."""
    for k in range(0, len(pieces), 2):
        yield np.concatenate(pieces[k : k + 2])


def read_tile(path: Path, level: int, col: int, row: int) -> bytes | None:
    """Return a tile as JPEG bytes, or None where there is none."""
    places = _places(path, path.stat().st_mtime_ns)
    place = places.get(f"{level}/{col}/{row}.jpg")
    if place is None:
        return None
    with path.open("rb") as file:
        file.seek(place[0])
        return file.read(place[1])


@functools.lru_cache(maxsize=64)
def _places(path: Path, changed_ns: int) -> dict[str, tuple[int, int]]:
    """Return where in the file each tile lies: its first byte and its size."""
    places = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for entry in archive.infolist():
            file.seek(entry.header_offset + 26)  # of a local header: two lengths, then the name
            lengths = file.read(4)
            name, extra = (
                int.from_bytes(lengths[:2], "little"),
                int.from_bytes(lengths[2:], "little"),
            )
            places[entry.filename] = (entry.header_offset + 30 + name + extra, entry.file_size)
    return places
