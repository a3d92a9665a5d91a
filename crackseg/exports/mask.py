"""A report becomes ``mask.png``: 8 bit, 255 where a reported crack is, as large as the picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from crackseg.imagery.files import OpenImage
from crackseg.records import Array, Report

# Run lengths compress a mask as well as a search for matches does, several times faster.
_FAST_PNG = (
    cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE
)  # fmt: skip


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``mask.png``."""
    path = folder / "mask.png"
    path.write_bytes(cv2.imencode(".png", paint(report), _FAST_PNG)[1].tobytes())
    return [path]


def paint(report: Report) -> Array:
    """Return (H, W) uint8, 255 inside the reported cracks."""
    mask = np.zeros((report.image.height_px, report.image.width_px), np.uint8)
    for crack in report.cracks:
        mask[crack.window.slices][crack.mask] = 255
    return mask
