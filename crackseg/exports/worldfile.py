"""A world file beside a picture: six lines that lay it where ``cracks.geojson`` lies in a GIS.

A picture of a georeferenced raster is laid on its place in the map, any other into the pixels of
the photograph with y upwards, also where it is a reduced copy.
"""

from __future__ import annotations

from pathlib import Path

from crackseg.records import ImageInfo

SUFFIXES = {".png": ".pgw", ".jpg": ".jgw", ".tif": ".tfw"}
_PIXELS = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # x = column, y = -row, from the corner of a pixel


def write_world_file(picture: Path, info: ImageInfo, factor: float = 1.0) -> Path:
    """Write the world file of a picture and return its path.

    Args:
        picture: a PNG, JPEG or TIFF of a whole photograph.
        info: of the photograph.
        factor: pixels of the picture per pixel of the photograph.
    """
    a, b, c, d, e, f = info.transform or _PIXELS
    a, b, d, e = (value / factor for value in (a, b, d, e))
    centre = (c + (a + b) / 2, f + (d + e) / 2)  # of the pixel at the top left
    path = picture.with_suffix(SUFFIXES[picture.suffix])
    lines = (a, d, b, e, *centre)
    path.write_text("".join(f"{value:.12f}\n" for value in lines), encoding="ascii")
    return path
