"""Lines that a network takes for no crack, on the face: each once, without what is a crack.

Some cracks run as straight and even as a joint. So a map that passed such lines over would leave
cracks out in silence: they are listed apart, and those that go on from a crack are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from crackseg.face.cameras import View
from crackseg.face.cracks import FaceCrack
from crackseg.face.lines import Mark, other_marks_of
from crackseg.face.merging import Group, Part, merge
from crackseg.face.photographs import Photograph
from crackseg.metrology import arc
from crackseg.records import Array, Notice

_BESIDE = 2.0  # tolerances from a crack within which a line is that crack
_SHORTEST = 12.0  # tolerances; a shorter rest is the rim of a crack
_MEETS = 4.0  # tolerances between the end of a crack and the line that goes on from it


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceLine:
    """One such line on the face, in no total."""

    id: int
    lines_m: tuple[Array, ...]  # (N, 2) x, y
    width_mean_mm: float | None
    views: tuple[int, ...]  # photographs that show it as such a line
    goes_on_from: tuple[int, ...]  # ids of the cracks whose ends it lies at

    @property
    def length_m(self) -> float:
        """Length of its course."""
        return float(sum(arc.length(line) for line in self.lines_m))


def lines_of(
    photographs: Sequence[Photograph],
    views: Sequence[View],
    cracks: Sequence[FaceCrack],
    tolerance_m: Array,
) -> list[FaceLine]:
    """Return the other lines of a face, longest first.

    Args:
        photographs: with their reports.
        views: the same, placed.
        cracks: of the map; what runs along one is that crack, whatever another view took it for.
        tolerance_m: (V, V) how far one place may lie apart in two photographs.
    """
    groups = merge(other_marks_of(photographs, views), tolerance_m)
    tolerance = float(np.median(tolerance_m))
    tree = cKDTree(np.concatenate([c.points_m for c in cracks])) if cracks else None
    lines = []
    for group in groups:
        pieces = [p for part in group.parts for p in _beside(part, tree, tolerance)]
        if pieces:
            lines.append(_line(group, pieces, cracks, tolerance))
    ordered = sorted(lines, key=lambda line: -line.length_m)
    return [
        FaceLine(id=number, lines_m=x.lines_m, width_mean_mm=x.width_mean_mm, views=x.views,
                 goes_on_from=x.goes_on_from)
        for number, x in enumerate(ordered, 1)
    ]  # fmt: skip


def _beside(part: Part, tree: cKDTree | None, tolerance: float) -> list[Array]:
    """Return the stretches of a part that lie beside all cracks."""
    if tree is None:
        return [part.line_m]
    free = tree.query(part.line_m)[0] > _BESIDE * tolerance
    edges = np.flatnonzero(np.diff(np.concatenate([[0], free.astype(int), [0]])))
    pieces = [part.line_m[a:b] for a, b in edges.reshape(-1, 2)]
    return [piece for piece in pieces if arc.length(piece) > _SHORTEST * tolerance]


def _line(
    group: Group, pieces: Sequence[Array], cracks: Sequence[FaceCrack], tolerance: float
) -> FaceLine:
    course = cKDTree(np.concatenate(pieces))
    reach = (_BESIDE + _MEETS) * tolerance
    meets = []
    for crack in cracks:
        ends = np.array([end for line in crack.lines_m for end in (line[0], line[-1])])
        if (course.query(ends)[0] < reach).any():
            meets.append(crack.id)
    return FaceLine(
        id=0,
        lines_m=tuple(pieces),
        width_mean_mm=_mean_width_mm(group.marks),
        views=tuple(sorted({mark.view for mark in group.marks})),
        goes_on_from=tuple(meets),
    )


def _mean_width_mm(marks: Sequence[Mark]) -> float | None:
    weighted = [
        (m.crack["width_mean_px"] * m.mm_per_px, m.length_m)
        for m in marks
        if m.crack["width_mean_px"] is not None
    ]
    if not weighted:
        return None
    widths, lengths = np.array(weighted).T
    return float(np.average(widths, weights=lengths))


def notice_of(lines: Sequence[FaceLine]) -> list[Notice]:
    """Return what is to be said of other lines: nothing where there are none."""
    if not lines:
        return []
    length = sum(line.length_m for line in lines)
    one = len(lines) == 1
    what = "1 other line" if one else f"{len(lines)} other lines"
    verb = (
        "was taken for a joint, cable or edge and is"
        if one
        else ("were taken for joints, cables or edges and are")
    )
    text = (
        f"{what}, {length:.2f} m, {verb} in no figure: "
        "a crack that runs as straight can be among them"
    )
    ids = sorted({i for line in lines for i in line.goes_on_from})
    if ids:
        named = ", ".join(map(str, ids[:12])) + (", ..." if len(ids) > 12 else "")
        text += f"; look first at those that go on from the ends of cracks ({named})"
    return [Notice(code="other_lines", message=f"{text}.")]
