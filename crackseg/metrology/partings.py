"""How far two lines that part at a sharp angle are one dark stretch.

Where cracks cross or fork at a sharp angle, a profile across the one holds the other as well, and
so does one across the line that both come from. None of them is the width of a crack.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

from crackseg.metrology import arc
from crackseg.metrology.centreline import Line
from crackseg.records import Array

_SHARP_DEG = 50.0  # from here on they part within the margin that every junction has
_AHEAD_PX = (8.0, 20.0)  # from a node to where a line's direction is taken
CLEAR_PX = 5.0  # of concrete between their edges, to tell two dark lines by
_FARTHEST_PX = 60.0

End = tuple[int, int]  # number of a line, and 0 for its beginning or 1 for its end


def parting_px(lines: Sequence[Line], clear_px: float = CLEAR_PX) -> dict[End, float]:
    """Return from which px on the stations at an end of a line show that line alone.

    Args:
        lines: those of one crack. Ends where nothing parts are not in the result.
        clear_px: of concrete between the edges of two lines, to tell them by.
    """
    meeting: dict[int, list[End]] = defaultdict(list)
    for number, line in enumerate(lines):
        for side in (0, 1):
            if not line.free[side] and line.nodes[0] != line.nodes[1]:
                meeting[line.nodes[side]].append((number, side))
    result: dict[End, float] = {}
    for ends in meeting.values():
        away = {end: _outward(lines[end[0]].points, end[1]) for end in ends}
        way = {end: _direction(points) for end, points in away.items()}
        for one, other in combinations(ends, 2):
            angle = _between_deg(way[one], way[other])
            if angle > _SHARP_DEG:
                continue
            wide = lines[one[0]].radius_px + lines[other[0]].radius_px
            far = _apart_px(away[one], away[other], wide + clear_px)
            middle = -(way[one] + way[other])
            shared = [end for end in ends if _between_deg(way[end], middle) <= _SHARP_DEG]
            # Outlines meet before the lines do: from a node on, the line that both come from is
            # two lines in one for so long.
            both = min(0.5 * wide / np.tan(np.radians(max(angle, 1.0) / 2)), _FARTHEST_PX)
            for end, least in ((one, far), (other, far), *((end, far + both) for end in shared)):
                result[end] = max(result.get(end, 0.0), least)
    return result


def _outward(points: Array, side: int) -> Array:
    return points if side == 0 else points[::-1]


def _direction(points: Array) -> Array:
    """Return where a line goes from its node on, past the bow that its thinned mask makes there."""
    at = arc.along(points)
    near, far = np.minimum(np.searchsorted(at, _AHEAD_PX), len(points) - 1)
    ahead = points[far] - points[near if at[-1] >= _AHEAD_PX[1] else 0]
    direction: Array = ahead / max(float(np.hypot(*ahead)), 1e-9)
    return direction


def _between_deg(one: Array, other: Array) -> float:
    size = max(float(np.hypot(*one) * np.hypot(*other)), 1e-9)
    return float(np.degrees(np.arccos(np.clip(float(one @ other) / size, -1, 1))))


def _apart_px(one: Array, other: Array, clear_px: float) -> float:
    """Return the px along ``one`` from which on it is so far from ``other``."""
    at = arc.along(one)
    near = cKDTree(other).query(one)[0] < clear_px
    close = np.flatnonzero(near & (at <= _FARTHEST_PX))
    return float(at[close[-1]]) + 1.0 if len(close) else 0.0
