"""A world file beside a picture becomes a notice: it lays pixels on a map, but names no unit.

No scale is taken from it: without the unit a pixel could be of metres, feet or degrees.
"""

from __future__ import annotations

import math
import os

from crackseg.folders import MARK
from crackseg.imagery.remote import RemotePath
from crackseg.records import ImageInfo, Notice

_LINES = 6  # a, d, b, e, x, y
_MOST_BYTES = 1000
_PX_M = (1e-6, 1e3)  # a pixel of a picture of a structure, were the unit a metre


def world_file_notice(info: ImageInfo) -> Notice | None:
    """Return what is said of the world file of a picture that no scale came of, None without one.

    Those beside our own pictures lay them on what we wrote ourselves: they tell nothing new.
    """
    path = info.path
    if isinstance(path, RemotePath) or os.path.isfile(path.parent / MARK):  # noqa: PTH113
        return None
    letters = path.suffix[1:]
    endings = (f"{letters[:1]}{letters[-1:]}w", f"{letters}w", "wld")
    names = [f"{path.stem}.{ending}" for ending in (*endings, *map(str.upper, endings))]
    found = next((n for n in names if os.path.isfile(path.parent / n)), None)  # noqa: PTH113
    if found is None or not letters:
        return None
    try:
        with (path.parent / found).open(encoding="utf-8-sig") as file:
            numbers = [float(word.replace(",", ".")) for word in file.read(_MOST_BYTES).split()]
    except (OSError, ValueError):
        numbers = []
    size = _pixel(numbers)
    if not _PX_M[0] <= size <= _PX_M[1]:
        text = "holds no six numbers that lay a pixel on a structure, and was not used."
    else:
        text = (
            f"lays the picture on a map, a pixel being {size:g} of a unit that it does not name: "
            f"no scale is taken from it. Give `mm_per_px` ({1000 * size:g} where the unit is a "
            "metre)."
        )
    return Notice(code="world_file", message=f"`{found}` {text}")


def _pixel(numbers: list[float]) -> float:
    """Return the side of a pixel in map units, nan where the numbers give none."""
    if len(numbers) != _LINES:
        return math.nan
    a, d, b, e, *_ = numbers
    return math.sqrt(abs(a * e - b * d)) if all(map(math.isfinite, numbers)) else math.nan
