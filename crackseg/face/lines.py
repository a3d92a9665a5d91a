"""Centre lines of cracks are carried from photographs to the face, with their widths in mm.

Lengths and widths in mm are the block's, not the single photograph's: px times the size of a pixel
at that place and in that direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crackseg.face.cameras import View
from crackseg.face.photographs import Photograph
from crackseg.metrology import arc
from crackseg.records import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A crack as one photograph shows it, on the face."""

    view: int  # number of the photograph
    crack: Mapping[str, Any]  # of its report
    lines_m: tuple[Array, ...]  # (N, 2) x, y of each branch
    widths_mm: tuple[Array, ...]  # (N,) of each branch; nan where not known
    mm_per_px: float  # across the crack, mean
    quality: float  # the larger the better: fineness, squareness, distance from the edge

    @property
    def length_m(self) -> float:
        """Length of all branches."""
        return float(sum(arc.length(line) for line in self.lines_m))


def marks_of(photographs: Sequence[Photograph], views: Sequence[View]) -> list[Mark]:
    """Return every crack of every report on the face, main list and also marked."""
    return _marks(photographs, views, "cracks")


def other_marks_of(photographs: Sequence[Photograph], views: Sequence[View]) -> list[Mark]:
    """Return every line of every report that its network takes for no crack."""
    return _marks(photographs, views, "other_lines")


def _marks(photographs: Sequence[Photograph], views: Sequence[View], key: str) -> list[Mark]:
    finest = min(view.mm_per_px for view in views)
    marks = []
    for number, (photograph, view) in enumerate(zip(photographs, views, strict=True)):
        for line in photograph.report.get(key) or ():
            mark = _mark(number, line, view, finest)
            if mark is not None:
                marks.append(mark)
    return marks


def _mark(number: int, crack: Mapping[str, Any], view: View, finest_mm: float) -> Mark | None:
    lines, widths, scales, edges = [], [], [], []
    profile = crack.get("width_profile_px") or [
        np.full(len(c), np.nan) for c in crack["centre_line"]
    ]
    for points, px in zip(crack["centre_line"], profile, strict=True):
        line = np.asarray(points, dtype=np.float64)
        places = view.to_face(line)
        good = np.isfinite(places).all(axis=1)
        if good.sum() < 2:
            continue
        across = _across(line[good])
        scale = 1000 * view.m_per_px(line[good], across)
        width = np.asarray(px, dtype=np.float64)[good]
        lines.append(places[good])
        widths.append(width * scale)
        scales.append(scale)
        edges.append(_from_edge(line[good], view))
    if not lines:
        return None
    size = float(np.concatenate(scales).mean())
    edge = float(np.concatenate(edges).mean())
    return Mark(
        view=number,
        crack=crack,
        lines_m=tuple(lines),
        widths_mm=tuple(widths),
        mm_per_px=size,
        quality=finest_mm / size * (0.5 + edge),
    )


def _across(line: Array) -> Array:
    """Return (N, 2) unit vectors across a line."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-12)[:, None]
    return np.column_stack([-along[:, 1], along[:, 0]])


def _from_edge(line: Array, view: View) -> Array:
    """Return (N,) the distance from the picture's edge as a share of its half, 0 to 1."""
    half = np.array([view.lens.height_px, view.lens.width_px]) / 2
    edge: Array = (1 - np.abs(line - half + 0.5) / half).min(axis=1).clip(0, 1)
    return edge
