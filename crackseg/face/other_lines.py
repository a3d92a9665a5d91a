"""Lines that a network takes for no crack, on the face: each once, without what is a crack.

Some cracks run as straight and even as a joint. So a map that passed such lines over would leave
cracks out in silence: they are listed apart, and those that go on from a crack are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    ends = _Ends.of(cracks)
    lines = []
    for group in groups:
        pieces = [p for part in group.parts for p in _beside(part, tree, tolerance)]
        if pieces:
            lines.append(_line(group, pieces, ends, tolerance))
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


class _Ends(NamedTuple):
    """The ends of all cracks: (N, 2) places and (N,) ids."""

    places_m: Array
    owner: Array

    @classmethod
    def of(cls, cracks: Sequence[FaceCrack]) -> _Ends:
        ends = [(end, crack.id) for crack in cracks for line in crack.lines_m
                for end in (line[0], line[-1])]  # fmt: skip
        places = np.array([place for place, _ in ends]).reshape(-1, 2)
        return cls(places, np.array([owner for _, owner in ends], int))

    def near(self, course: Array, reach: float) -> tuple[int, ...]:
        """Return the ids of cracks that end within a reach of a course."""
        box = course.min(axis=0) - reach, course.max(axis=0) + reach
        close = ((self.places_m >= box[0]) & (self.places_m <= box[1])).all(axis=1)
        if not close.any():
            return ()
        met = cKDTree(course).query(self.places_m[close])[0] < reach
        return tuple(int(n) for n in np.unique(self.owner[close][met]))


def _line(group: Group, pieces: Sequence[Array], ends: _Ends, tolerance: float) -> FaceLine:
    return FaceLine(
        id=0,
        lines_m=tuple(pieces),
        width_mean_mm=_mean_width_mm(group.marks),
        views=tuple(sorted({mark.view for mark in group.marks})),
        goes_on_from=ends.near(np.concatenate(pieces), (_BESIDE + _MEETS) * tolerance),
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
