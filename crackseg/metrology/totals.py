"""The cracks of a picture become its totals: lengths, areas, density on what was judged."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from crackseg.records import Crack, Scale, Totals, Unjudged

_IN_MM = ("length_mm", "area_mm2", "analyzed_mm2", "density_m_per_m2")  # None without a scale


def sum_up(
    cracks: tuple[Crack, ...], shape: tuple[int, ...], analyzed_px2: float, scale: Scale | None
) -> Totals:
    """Return the totals of a list of cracks.

    Args:
        cracks: main list and what is also marked.
        shape: (H, W) of the picture.
        analyzed_px2: area of it that was judged.
        scale: makes mm.
    """
    besides = [crack for crack in cracks if crack.section != "main"]
    cracks = tuple(crack for crack in cracks if crack.section == "main")
    left_out_px2 = shape[0] * shape[1] - analyzed_px2
    in_mm: dict[str, Any] = dict.fromkeys(_IN_MM)
    if scale is not None:
        mm2_per_px2 = _mm2_per_px2(scale, shape)
        length_mm, analyzed_mm2 = _length_mm(cracks), analyzed_px2 * mm2_per_px2
        in_mm = {
            "length_mm": length_mm,
            "area_mm2": sum(crack.area_mm2 or 0.0 for crack in cracks),
            "analyzed_mm2": analyzed_mm2,
            "density_m_per_m2": 1000 * length_mm / analyzed_mm2 if analyzed_mm2 else None,
            "left_out_mm2": left_out_px2 * mm2_per_px2,
            "also_marked_length_mm": _length_mm(besides),
        }
    return Totals(
        cracks=len(cracks),
        length_px=sum(crack.length.px or 0.0 for crack in cracks),
        area_px2=sum(crack.area_px2 or 0.0 for crack in cracks),
        analyzed_px2=analyzed_px2,
        left_out_px2=left_out_px2,
        also_marked=len(besides),
        also_marked_length_px=sum(crack.length.px or 0.0 for crack in besides),
        **in_mm,
    )


def _length_mm(cracks: Iterable[Crack]) -> float:
    return sum(crack.length.mm or 0.0 for crack in cracks)


def judged_px2(shape: tuple[int, ...], unjudged: tuple[Unjudged, ...]) -> float:
    """Return the area of an (H, W) picture without the parts that could not be judged."""
    return math.prod(shape) * max(1 - sum(part.share for part in unjudged), 0.0)


def _mm2_per_px2(scale: Scale, shape: tuple[int, ...]) -> float:
    """Return the mean area of a pixel on the face: that of the whole picture over its pixels."""
    rows, cols = shape[0] - 0.5, shape[1] - 0.5
    corners = np.array([[-0.5, -0.5], [-0.5, cols], [rows, cols], [rows, -0.5]])
    y, x = scale.to_mm(corners).T
    twice = np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))
    return abs(float(twice)) / 2 / (shape[0] * shape[1])
