"""Join a tip to the side of another crack where the photograph shows it branch off.

A network often loses the last pixels before a junction, and two pieces of one crack may end
beside each other: then a tip points at the other piece's side, and there is no tip to go on to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from crackseg.metrology import arc
from crackseg.metrology.bridges import (
    LEAST_SHARE,
    Groups,
    free_tips,
    lengths_px,
    tip,
    without_tips,
)
from crackseg.metrology.centreline import UNMARKED, Line, kind_of
from crackseg.metrology.courses import Photograph, Tip, find_course
from crackseg.metrology.joins import covered, on_other_line, shows_crack, within
from crackseg.records import Array
from crackseg.runs import Mask

_REACH_PX = 40.0  # from a tip to the side of another crack
_AHEAD_COS = 0.7  # a tip and the way on from it may differ by 45 degrees
_LEAST_PX = 3.0  # of concrete between tip and side: less shows nothing
_BLUR_PX = 5.5  # so far beside a crack its darkness hides a branch
_TRIALS = 2  # cracks looked at from each tip


@dataclass(frozen=True, slots=True)
class _Side:
    """A tip, and a point of another line that it may run into."""

    end: tuple[int, int]  # line and side of the tip
    line: int
    point: int
    distance_px: float


def join_sides(
    lines: list[Line], group: Array, mask: Mask, join_px: float, photo: Photograph
) -> tuple[list[Line], Array]:
    """Return the lines with tips joined to the sides of others, and the (L,) crack of each line.

    A line that is met is cut in two at the new junction.

    Args:
        lines: centre lines, bridges and joined stretches.
        group: (L,) crack that each line belongs to.
        mask: (H, W) bool.
        join_px: longest stretch joined.
        photo: the photograph, with the network's probability if there is one.
    """
    length = lengths_px(lines, group)
    groups = Groups(group)
    stretches: list[tuple[Line, int]] = []
    cuts: dict[int, dict[int, int]] = {}
    used: set[tuple[int, int]] = set()
    node = 1 + max((max(line.nodes) for line in lines), default=0)
    for side in _sides(lines, group, mask, min(join_px, _REACH_PX)):
        name, other = int(group[side.end[0]]), int(group[side.line])
        if side.end in used or groups.root(name) == groups.root(other):
            continue
        path = _course(lines, side, mask, photo, min(length[name], length[other]))
        if path is None:
            continue
        groups.unite(name, other)
        used.add(side.end)
        meeting = cuts.setdefault(side.line, {}).setdefault(side.point, node)
        stretches.append((_stretch(lines[side.end[0]], side.end[1], path, meeting), name))
        node += 1
    parts = [
        (part, int(name))
        for k, (line, name) in enumerate(zip(without_tips(lines, used), group, strict=True))
        for part in _cut(line, sorted(cuts.get(k, {}).items()))
    ]
    parts += stretches
    return [line for line, _ in parts], np.array(
        [groups.root(name) for _, name in parts], dtype=np.int64
    )


def _sides(lines: list[Line], group: Array, mask: Mask, reach_px: float) -> Iterator[_Side]:
    """Yield the sides of other cracks that tips point at, the nearest first."""
    targets = [k for k, line in enumerate(lines) if line.kind not in UNMARKED]
    ends = [end for end in free_tips(lines) if within(lines[end[0]], end[1], mask.shape)]
    if not targets or not ends:
        return
    points = np.concatenate([lines[k].points for k in targets])
    owner = np.repeat(targets, [len(lines[k].points) for k in targets])
    place = np.concatenate([np.arange(len(lines[k].points)) for k in targets])
    tree, sides = cKDTree(points), []
    for end in ends:
        one = tip(lines[end[0]], end[1])
        near = np.array(tree.query_ball_point(one.place, reach_px), dtype=np.int64)
        near = near[group[owner[near]] != group[end[0]]]
        way = points[near] - one.place
        far = np.hypot(way[:, 0], way[:, 1])
        ahead = (way @ one.direction) / np.maximum(far, 1e-9) >= _AHEAD_COS
        near, far = near[ahead], far[ahead]
        order = np.argsort(far, kind="stable")
        first = np.unique(group[owner[near[order]]], return_index=True)[1]
        for k in np.sort(first)[:_TRIALS]:
            at = near[order[k]]
            line, point = int(owner[at]), int(place[at])
            margin = 2 * lines[line].radius_px + 2
            if margin <= point <= len(lines[line].points) - 1 - margin:
                sides.append(_Side(end, line, point, float(far[order[k]])))
    yield from sorted(sides, key=lambda side: side.distance_px)


def _course(
    lines: list[Line], side: _Side, mask: Mask, photo: Photograph, shorter_px: float
) -> Array | None:
    """Return the (N, 2) way from a tip to another line, or None where it is not seen."""
    one, line = tip(lines[side.end[0]], side.end[1]), lines[side.line]
    goal = line.points[side.point]
    back = (one.place - goal) / side.distance_px
    hidden = line.radius_px + _BLUR_PX  # inside the other crack there is nothing to be seen
    if side.distance_px - hidden < _LEAST_PX:
        return None
    edge = goal + hidden * back
    # Across the way from the tip the other crack shows no valley: the branch is its own measure.
    two = Tip(place=edge, direction=back, tail=one.tail, radius_px=line.radius_px)
    course = find_course(one, two, photo, LEAST_SHARE)
    if course is None or not shows_crack(course, one, two, shorter_px):
        return None
    if covered(course, one, two, mask) or on_other_line(course, one, two, photo):
        return None
    return arc.resample(np.vstack([course.points, goal]))


def _stretch(line: Line, side: int, path: Array, node: int) -> Line:
    """Return the line from a tip to a new junction."""
    return Line(
        points=path,
        nodes=(line.nodes[side], node),
        free=(False, False),
        kind="joined",
        component=line.component,
        radius_px=line.radius_px,
        radius_max_px=line.radius_max_px,
    )


def _cut(line: Line, cuts: list[tuple[int, int]]) -> Iterator[Line]:
    """Yield the parts of a line between new junctions, (position, node) in order."""
    whole = line
    for point, node in reversed(cuts):
        share = point / (len(whole.points) - 1)
        after = (len(line.points) - 1 - point) / (len(whole.points) - 1)
        yield replace(
            line,
            points=line.points[point:],
            nodes=(node, line.nodes[1]),
            free=(False, line.free[1]),
            kind=kind_of((False, line.free[1])),
            pixel_length_px=after * whole.pixel_length_px,
        )
        line = replace(
            line,
            points=line.points[: point + 1],
            nodes=(line.nodes[0], node),
            free=(line.free[0], False),
            kind=kind_of((line.free[0], False)),
            pixel_length_px=share * whole.pixel_length_px,
        )
    yield line
