"""A report becomes ``mask.png``: 8 bit, 255 where a reported crack is, as large as the picture.

Of a picture too large for what opens a PNG it is ``mask.tif``: tiled, compressed, and placed on the
map as the picture is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.exports.worldfile import write_world_file
from crackseg.imagery.files import OpenImage
from crackseg.imagery.masks import encode_mask
from crackseg.records import Array, Report
from crackseg.runs import Runs

LARGEST_PNG_PX = 200_000_000  # viewers and this program hold a PNG whole
_TILE_PX = 512
_PLACE_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)  # GeoTIFF: transform and keys


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``mask.png`` or ``mask.tif``, and its world file."""
    large = report.image.height_px * report.image.width_px > LARGEST_PNG_PX
    path = folder / ("mask.tif" if large else "mask.png")
    if large:
        is_placed = report.image.transform is not None
        _write_tiff(path, marked(report), _place_tags(report.image.path) if is_placed else [])
    else:
        path.write_bytes(encode_mask(np.asarray(marked(report))))
    return [path, write_world_file(path, report.image)]


def marked(report: Report) -> Runs:
    """Return the (H, W) mask of all cracks that a report names."""
    shape = report.image.height_px, report.image.width_px
    masks = (c.mask.moved(c.window.row, c.window.col, shape) for c in report.cracks)
    return Runs.union(masks, shape)


def find_mask(folder: Path) -> Path:
    """Return the picture of the cracks in a folder of results, ``mask.png`` where there is none."""
    large = folder / "mask.tif"
    return large if large.is_file() else folder / "mask.png"


def _write_tiff(path: Path, mask: Runs, tags: list[Any]) -> None:
    import tifffile  # slow to import

    height, width = mask.shape

    def tiles() -> Iterator[Array]:
        for top in range(0, height, _TILE_PX):
            rows = mask[top : top + _TILE_PX]
            for left in range(0, width, _TILE_PX):
                part = rows[:, left : left + _TILE_PX].view(np.uint8) * np.uint8(255)
                grow = [(0, _TILE_PX - side) for side in part.shape]
                yield np.pad(part, grow) if any(map(any, grow)) else np.ascontiguousarray(part)

    tifffile.imwrite(
        path,
        tiles(),
        shape=mask.shape,
        dtype=np.uint8,
        tile=(_TILE_PX, _TILE_PX),
        compression="zlib",
        photometric="minisblack",
        metadata=None,
        extratags=tags,
    )


def _place_tags(source: Path) -> list[tuple[int, int, int, Any, bool]]:
    """Return the tags that place a GeoTIFF on the map; none where it is no longer there."""
    import tifffile

    with suppress(OSError, tifffile.TiffFileError), tifffile.TiffFile(source) as file:
        tags = file.pages[0].tags
        chosen = [tags[code] for code in _PLACE_TAGS if code in tags]
        return [(tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in chosen]
    return []
