"""Join the pieces of a crack that runs on behind what hides the wall: a cable, burnt-out light.

Such a stretch is not seen, so the pieces must speak for it: they lie in one line, look alike, are
long beside the gap, and whatever is seen between them shows the crack. What is joined here is
given apart from what the photograph shows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crackseg.metrology import arc
from crackseg.metrology.bridges import (
    Groups,
    distance,
    facing,
    free_tips,
    lengths_px,
    span,
    tip,
    without_tips,
)
from crackseg.metrology.centreline import Line
from crackseg.metrology.courses import Course, Photograph, Tip, find_course
from crackseg.metrology.joins import ahead, covered, within
from crackseg.records import Array
from crackseg.runs import Mask

_FACING_COS = 0.7  # of tips that are looked at at all
_AHEAD_COS = 0.82  # largest turn, 35 degrees, from a tip to the way between the tips
_REACH = 1.5  # times the length of the shorter crack that may be hidden
_LEAST_PX = 25.0  # a shorter piece has no direction to go by
_HIDDEN = 0.3  # least share of a course that is hidden: else the photograph can tell
_MATCH, _WIDTHS = 0.25, 3.0  # depth of the fainter piece over the other's; most that widths differ
# Of the fainter piece's depth, for the weakest stretch that is seen; and standard deviations a step
# by which what is seen of a course beats what is beside it.
_SHARE, _GAIN = 0.2, 0.8


def join_hidden(
    lines: list[Line], group: Array, mask: Mask, join_px: float, photo: Photograph
) -> tuple[list[Line], Array]:
    """Return the lines with the hidden stretches that join them, and the (L,) crack of each line.

    The pairs that turn least come first, each tip is used once.

    Args:
        lines: centre lines, bridges and joined stretches.
        group: (L,) crack that each line belongs to.
        mask: (H, W) bool.
        join_px: longest stretch joined.
        photo: the photograph, with the network's probability if there is one.
    """
    length = lengths_px(lines, group)
    ends = [
        end
        for end in free_tips(lines)
        if within(lines[end[0]], end[1], mask.shape) and length[int(group[end[0]])] >= _LEAST_PX
    ]
    groups = Groups(group)
    joined, names = list(lines), group.tolist()
    used: set[tuple[int, int]] = set()
    tips = {end: tip(lines[end[0]], end[1]) for end in ends}
    pairs = [(ends[k], ends[m]) for k, m in facing(lines, ends, join_px, _FACING_COS)]
    for a, b in sorted(pairs, key=lambda pair: -ahead(tips[pair[0]], tips[pair[1]])):
        first, second = names[a[0]], names[b[0]]
        shorter = min(length[first], length[second])
        if {a, b} & used or groups.root(first) == groups.root(second):
            continue
        course = _hidden_course(tips[a], tips[b], shorter, photo)
        if course is None or covered(course, tips[a], tips[b], mask):
            continue
        groups.unite(first, second)
        used |= {a, b}
        joined.append(replace(span(lines, a, b, arc.resample(course.points)), kind="hidden"))
        names.append(first)
    return without_tips(joined, used), np.array([groups.root(n) for n in names], dtype=np.int64)


def _hidden_course(one: Tip, two: Tip, shorter_px: float, photo: Photograph) -> Course | None:
    """Return the way between two tips where the wall is hidden and both pieces speak for it."""
    wide = sorted((one.radius_px, two.radius_px))
    if wide[1] > _WIDTHS * max(wide[0], 1.0):
        return None
    if ahead(one, two) < _AHEAD_COS or not 1.0 < distance(one, two) <= _REACH * shorter_px:
        return None
    course = find_course(one, two, photo, _SHARE, behind=True)
    if course is None or course.hidden < _HIDDEN or course.match < _MATCH:
        return None
    return course if course.gain >= _GAIN else None
