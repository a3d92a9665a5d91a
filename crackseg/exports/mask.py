"""A report becomes ``mask.png``: 8 bit, 255 where a reported crack is, as large as the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crackseg.exports.worldfile import write_world_file
from crackseg.imagery.files import OpenImage
from crackseg.imagery.masks import encode_mask
from crackseg.records import Array, Report


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``mask.png`` and its world file."""
    path = folder / "mask.png"
    path.write_bytes(encode_mask(paint(report) > 0))
    return [path, write_world_file(path, report.image)]


def paint(report: Report) -> Array:
    """Return (H, W) uint8, 255 inside the reported cracks."""
    mask = np.zeros((report.image.height_px, report.image.width_px), np.uint8)
    for crack in report.cracks:
        mask[crack.window.slices][crack.mask] = 255
    return mask
