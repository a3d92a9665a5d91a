"""Bridge short gaps of a mask between tips that point at each other.

Where there is a photograph it must show the crack in the gap: two cracks that end near each other
on plain concrete are two. A mask alone cannot tell, so there a short gap is bridged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from crackseg.metrology import arc
from crackseg.metrology.centreline import Line, end_direction
from crackseg.metrology.courses import Photograph, Tip, find_course
from crackseg.records import Array

# Largest turn between a tip's direction and the way to the other tip.
_BRIDGE_COS = float(np.cos(np.radians(40.0)))
_NEAR_COS = float(np.cos(np.radians(75.0)))
_NEAR_PX = 4.0  # below this distance the direction of a tip is noise and may be 75 degrees off
_BLURRED_PX = 4.0  # a gap up to here is filled by the blur of both tips, whatever is in it
# Of the pieces' depth that the weakest stretch of a course must keep, and of one that is so short
# that concrete has a dark way by chance.
LEAST_SHARE, SHORT_SHARE, SHORT_PX = 0.25, 0.4, 12.0


def lengths_px(lines: Sequence[Line], group: Array) -> dict[int, float]:
    """Return how long all lines of each crack are; ``group`` (L,) is the crack of each line."""
    length = dict.fromkeys(group.tolist(), 0.0)
    for line, name in zip(lines, group.tolist(), strict=True):
        length[name] += line.length_px
    return length


class Groups:
    """Which components are one crack."""

    def __init__(self, components: Array) -> None:
        self._parent = {int(name): int(name) for name in components}

    def root(self, name: int) -> int:
        """Return the component that stands for a crack."""
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def unite(self, one: int, other: int) -> None:
        """Make the cracks of two components one."""
        self._parent[self.root(other)] = self.root(one)


def bridge(lines: list[Line], gap_px: float, photo: Photograph | None) -> tuple[list[Line], Array]:
    """Return the lines with bridges over gaps added, and the (L,) crack each line belongs to.

    Two tips of different cracks are joined when they are at most ``gap_px`` apart and each points
    at the other, and where the photograph, if there is one, shows the crack between them; the
    nearest pairs first, each tip once.
    """
    tips = free_tips(lines)
    groups = Groups(np.array([line.component for line in lines], dtype=np.int64))
    joined = list(lines)
    used: set[tuple[int, int]] = set()
    for first, second in facing(lines, tips, gap_px):
        a, b = tips[first], tips[second]
        one, two = lines[a[0]], lines[b[0]]
        if groups.root(one.component) == groups.root(two.component) or {a, b} & used:
            continue
        if photo is not None and not _shows_crack(tip(one, a[1]), tip(two, b[1]), photo):
            continue
        groups.unite(one.component, two.component)
        used |= {a, b}
        path = arc.resample(np.stack([one.points[-a[1]], two.points[-b[1]]]))
        joined.append(span(lines, a, b, path))
    return without_tips(joined, used), np.array(
        [groups.root(line.component) for line in joined], dtype=np.int64
    )


def tip(line: Line, side: int) -> Tip:
    """Return an end of a line as a tip that a crack may run on from."""
    path = outward(line, side)
    direction = end_direction(path, line.radius_px)[1]
    return Tip(place=path[-1], direction=direction, tail=path, radius_px=line.radius_px)


def distance(one: Tip, two: Tip) -> float:
    """Return the straight distance between two tips in px."""
    return float(np.hypot(*(two.place - one.place)))


def _shows_crack(one: Tip, two: Tip, photo: Photograph) -> bool:
    """Say whether the gap between two tips is dark; what the network saw there is no proof."""
    if distance(one, two) <= _BLURRED_PX:
        return True
    return find_course(one, two, replace(photo, probability=None), SHORT_SHARE) is not None


def free_tips(lines: list[Line]) -> list[tuple[int, int]]:
    """Return line number and side, 0 or 1, of every free end."""
    return [(k, side) for k, line in enumerate(lines) for side in (0, 1) if line.free[side]]


def outward(line: Line, side: int) -> Array:
    """Return the (N, 2) points of a line with the end of that side last."""
    return line.points if side == 1 else line.points[::-1]


def without_tips(lines: list[Line], used: set[tuple[int, int]]) -> list[Line]:
    """Return the lines with the used ends no longer free."""
    lines = list(lines)
    for k, side in used:
        free = lines[k].free
        lines[k] = replace(lines[k], free=(free[0] and side != 0, free[1] and side != 1))
    return lines


def span(lines: list[Line], a: tuple[int, int], b: tuple[int, int], path: Array) -> Line:
    """Return a bridge along ``path`` from one tip to another."""
    one, two = lines[a[0]], lines[b[0]]
    return Line(
        points=path,
        nodes=(one.nodes[a[1]], two.nodes[b[1]]),
        free=(False, False),
        kind="bridge",
        component=one.component,
        radius_px=0.5 * (one.radius_px + two.radius_px),
        radius_max_px=max(one.radius_px, two.radius_px),
    )


def facing(
    lines: list[Line], tips: list[tuple[int, int]], reach_px: float, least_cos: float = _BRIDGE_COS
) -> list[tuple[int, int]]:
    """Return the pairs of tips that point at each other, nearest first."""
    if len(tips) < 2 or reach_px <= 0:
        return []
    places, directions = np.empty((len(tips), 2)), np.empty((len(tips), 2))
    for n, (k, side) in enumerate(tips):
        path = outward(lines[k], side)
        places[n] = path[-1]
        directions[n] = end_direction(path, lines[k].radius_px)[1]
    pairs = cKDTree(places).query_pairs(reach_px, output_type="ndarray")
    way = places[pairs[:, 1]] - places[pairs[:, 0]]
    distance = np.hypot(way[:, 0], way[:, 1])
    unit = way / np.maximum(distance, 1e-9)[:, None]
    ahead = np.minimum(
        (unit * directions[pairs[:, 0]]).sum(axis=1), -(unit * directions[pairs[:, 1]]).sum(axis=1)
    )
    good = (ahead >= least_cos) | ((distance <= _NEAR_PX) & (ahead >= _NEAR_COS))
    order = np.lexsort((-ahead[good], distance[good]))
    return [(int(a), int(b)) for a, b in pairs[good][order]]
