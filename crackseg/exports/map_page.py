"""A report becomes ``map.html`` and tiles: a picture of any size that loads what is looked at.

The tiles lie beside the page as ``tile_LEVEL_ROW_COL.jpg``, level 0 in full size, each further one
half as fine; cracks are drawn by the page as lines. Nothing is fetched from elsewhere.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

from crackseg.exports import overlay, wording
from crackseg.exports.page import lead, templates
from crackseg.imagery.files import OpenImage
from crackseg.records import Array, Crack, ImageInfo, Report, Window

TILE_PX = 1024  # 1,300 files of a gigapixel
_QUALITY = 84
_NO_DATA = 205  # grey
_STRAIGHT_PX = 0.75  # a drawn line leaves the measured one by no more


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``map.html`` and its tiles; without a photograph the page has lines alone."""
    tiles = [] if image is None else _Pyramid(image, folder).write()
    page = folder / "map.html"
    html = templates().get_template("map.html.j2").render(
        report=report,
        lead=lead(report),
        shape=f"{report.image.width_px} / {report.image.height_px}",
        cracks=[_crack(crack) for crack in report.cracks],
        frame=Markup(json.dumps(_frame(report.image, tiles)).replace("<", "\\u003c")),
    )  # fmt: skip
    page.write_text(html, encoding="utf-8", errors="replace")
    return [page, *(folder / _name(*tile) for tile in tiles)]


def _frame(info: ImageInfo, tiles: list[tuple[int, int, int]]) -> dict[str, Any]:
    """Return what the page's script knows: where pixels lie, on the map where that is upright."""
    frame: dict[str, Any] = {
        "width": info.width_px,
        "height": info.height_px,
        "tile": TILE_PX,
        "tiles": [list(tile) for tile in tiles],
        "left": [0, 0],
        "m_per_px": 1,
        "sign": 1,
        "rise": -1,
        "decimal": ".",
        "digits": 0,
        "at": "row {elevation}, column {station}",
    }
    if info.transform is not None:
        a, b, c, d, e, f = info.transform
        if b == d == 0 and e == -a and a > 0:
            at = "x {station}, y {elevation}"
            frame |= {"left": [c, f], "m_per_px": a, "rise": 1, "digits": 3, "at": at}
    return frame


def _crack(crack: Crack) -> dict[str, Any]:
    row, col = overlay.widest_place(crack)
    return {
        "id": crack.id,
        "main": crack.section == "main",
        "length": wording.length(crack.length),
        "mean": wording.measured(crack.width_mean),
        "p95": wording.measured(crack.width_p95),
        "max": wording.measured(crack.width_max),
        "position": f"row {row:.0f}, column {col:.0f}",
        "certainty": wording.certainty(crack.certainty),
        "lines": [_line(branch.centre_line) for branch in crack.branches],
    }


def _line(points: Array) -> str:
    """Return (N, 2) rows and columns as a path of SVG, pixel centres half a pixel in."""
    places = np.ascontiguousarray(points[:, ::-1] + 0.5, dtype=np.float32)[:, None]
    course = cv2.approxPolyDP(places, _STRAIGHT_PX, False)[:, 0]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in course)


def _name(level: int, row: int, col: int) -> str:
    return f"tile_{level}_{row}_{col}.jpg"


class _Pyramid:
    """Tiles of every fineness, in one pass over the rows of the picture."""

    def __init__(self, image: OpenImage, folder: Path) -> None:
        self._image, self._folder = image, folder
        self._size = (image.info.height_px, image.info.width_px)
        self._written: list[tuple[int, int, int]] = []

    def write(self) -> list[tuple[int, int, int]]:
        """Return level, row and column of each tile."""
        top = 0
        while math.ceil(max(self._size) / 2**top) > TILE_PX:
            top += 1
        self._strip(top, 0)
        return sorted(self._written)

    def _strip(self, level: int, row: int) -> Array:
        """Write a row of tiles and those below it; return its (h, W, 3) pixels."""
        if level == 0:
            pixels = self._read(row)
        else:
            rows = math.ceil(self._size[0] / 2 ** (level - 1) / TILE_PX)
            parts = [n for n in (2 * row, 2 * row + 1) if n < rows]
            pixels = np.concatenate([_halved(self._strip(level - 1, n)) for n in parts])
        for col in range(math.ceil(pixels.shape[1] / TILE_PX)):
            tile = np.ascontiguousarray(pixels[:, col * TILE_PX : (col + 1) * TILE_PX])
            (self._folder / _name(level, row, col)).write_bytes(overlay.to_jpeg(tile, _QUALITY))
            self._written.append((level, row, col))
        return pixels

    def _read(self, row: int) -> Array:
        height, width = self._size
        top = row * TILE_PX
        window = Window(row=top, col=0, height=min(TILE_PX, height - top), width=width)
        pixels, valid = self._image.load(window)
        if valid is not None:
            pixels = np.where(valid[..., None], pixels, np.uint8(_NO_DATA))
        return pixels


def _halved(pixels: Array) -> Array:
    height, width = (math.ceil(n / 2) for n in pixels.shape[:2])
    half: Array = cv2.resize(
        np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_AREA
    )
    return half
