"""Join the pieces of one crack where the photograph shows the line between them.

A mask leaves a long faint crack in pieces. Two pieces are joined when their tips point at each
other and the photograph shows the crack all the way between them; plain concrete, a joint that
the crack ends at and a line of another look are not crossed. The bounds were chosen on training
and validation pictures (data/studies/joins.py, docs/accuracy.md).
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from crackseg.disk import Plane
from crackseg.metrology import arc
from crackseg.metrology.bridges import (
    LEAST_SHARE,
    SHORT_PX,
    SHORT_SHARE,
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
from crackseg.metrology.ruled import is_ruled
from crackseg.records import Array
from crackseg.runs import Mask

_FACING_COS, _AHEAD_COS = 0.4, 0.5  # a tip and the way on may differ: cracks wander
_REACH = 6.0  # times the length of the shorter piece that is reached at most
_MATCH = 0.25  # of the deeper piece's depth that the shallower one must have
# Standard deviations a step by which a course must beat those beside it: more where it is short,
# where it is long beside the pieces (from ``_FAR`` times the shorter one on), and where it turns.
_GAIN, _GAIN_SHORT_PX, _GAIN_SHORT = 0.8, 6.0, 0.4
# A line that stands out this much is no chance and may be this much fainter.
_CLEAR_GAIN, _CLEAR = 3.5, 0.5
_FAR, _TURN_COS, _TURN = 2.0, 0.8, 2.0
_BESIDE_PX = 4.0  # that a tip may lie beside the crack: near tips may seem to turn more
_DARKER = 1.5  # times as dark as the pieces: a line that both turn into is another one
# Of a course's depth that may go on past both tips, as a joint does that the crack turns into; no
# crack turns where both pieces are in line with the course.
_PAST, _IN_LINE_COS = 0.6, 0.97
_TRIALS = 5  # nearest tips looked at from each tip
_BORDER_PX = 3.0  # a tip this near to the picture's border is where the crack leaves it
_COVERED = 0.3  # of a course that may run on the mask: there is a piece already
# Mean probability of another line from which a course runs on one, if it is more than the crack's.
# No course along a labelled crack on concrete has half of it (train and val lists).
_OTHER = 0.5
# Another line goes on past the tips, so far from them and within so much of their direction. One
# that ends where the crack begins again is the crack, where it runs too straight for the network.
# So little of it must be seen where it leaves the picture.
_ON_PX, _ON_TURNS, _ON_LEAST = (15.0, 45.0), np.radians(np.arange(-15, 16, 3)), 5
_BESIDE = np.ones((3, 3), np.uint8)  # a course may run a pixel beside the line


def join(
    lines: list[Line], group: Array, mask: Mask, join_px: float, photo: Photograph
) -> tuple[list[Line], Array]:
    """Return the lines with the stretches that join them, and the (L,) crack of each line.

    The nearest pairs come first, each tip is used once. Two tips of one crack may be joined as
    well: a ring that the mask leaves open is closed.

    Args:
        lines: centre lines and bridges.
        group: (L,) crack that each line belongs to.
        mask: (H, W) bool.
        join_px: longest stretch joined; 0 joins nothing.
        photo: the photograph, with the network's probability if there is one.
    """
    ends = [end for end in free_tips(lines) if within(lines[end[0]], end[1], mask.shape)]
    length = lengths_px(lines, group)
    groups = Groups(group)
    joined, names = list(lines), group.tolist()
    used: set[tuple[int, int]] = set()
    trials: dict[tuple[int, int], int] = {}
    for first, second in facing(lines, ends, join_px, _FACING_COS):
        a, b = ends[first], ends[second]
        shorter = min(length[names[a[0]]], length[names[b[0]]])
        if {a, b} & used or max(trials.get(a, 0), trials.get(b, 0)) >= _TRIALS:
            continue
        one, two = tip(lines[a[0]], a[1]), tip(lines[b[0]], b[1])
        if not 1.0 < distance(one, two) <= _REACH * shorter:
            continue
        trials[a], trials[b] = trials.get(a, 0) + 1, trials.get(b, 0) + 1
        course = find_course(one, two, photo, _CLEAR * LEAST_SHARE)
        if course is None or not shows_crack(course, one, two, shorter):
            continue
        if covered(course, one, two, mask) or is_ruled(course, one, two, photo):
            continue
        if on_other_line(course, one, two, photo):
            continue
        groups.unite(names[a[0]], names[b[0]])
        used |= {a, b}
        joined.append(replace(span(lines, a, b, arc.resample(course.points)), kind="joined"))
        names.append(names[a[0]])
    return without_tips(joined, used), np.array([groups.root(n) for n in names], dtype=np.int64)


def shows_crack(course: Course, one: Tip, two: Tip, shorter_px: float) -> bool:
    """Say whether the photograph shows one crack along a course and the pieces at its ends.

    Args:
        course: the way between the tips.
        one: the tip it begins at.
        two: the tip it ends at.
        shorter_px: length of the shorter of the two cracks.
    """
    far = distance(one, two)
    cosine = ahead(one, two)
    needed = (_GAIN + min(_GAIN_SHORT_PX / far, _GAIN_SHORT)) * max(1.0, far / (_FAR * shorter_px))
    needed *= 1 + _TURN * max(0.0, _TURN_COS - cosine)
    if cosine < _AHEAD_COS or (cosine < _TURN_COS and course.share > _DARKER):
        return False
    least = LEAST_SHARE if far > SHORT_PX else SHORT_SHARE
    least *= _CLEAR if course.gain >= _CLEAR_GAIN else 1.0
    is_line = course.share >= least and course.match >= _MATCH and course.gain >= needed
    return is_line and (course.past < _PAST or cosine >= _IN_LINE_COS)


def ahead(one: Tip, two: Tip) -> float:
    """Return the cosine of the larger of the turns from the tips to the way between them."""
    far = distance(one, two)
    way = (two.place - one.place) / far
    cosine = min(float(way @ one.direction), -float(way @ two.direction), 1.0)
    turn = np.arccos(cosine) - np.arctan(_BESIDE_PX / far)
    return float(np.cos(max(turn, 0.0)))


def within(line: Line, side: int, shape: tuple[int, ...]) -> bool:
    """Say whether a tip is away from the picture's border."""
    row, col = line.points[-side]
    margin = line.radius_px + _BORDER_PX
    return bool(
        min(row, col) >= margin and row <= shape[0] - 1 - margin and col <= shape[1] - 1 - margin
    )


def covered(course: Course, one: Tip, two: Tip, mask: Mask) -> bool:
    """Say whether a course runs along a piece that lies between the two tips."""
    row, col = _between(course, one, two)
    return bool(len(row) and mask[row, col].mean() > _COVERED)


def on_other_line(course: Course, one: Tip, two: Tip, photo: Photograph) -> bool:
    """Say whether a course runs along a joint or a cable.

    The network takes it for such a line, and it goes on past one of the tips.
    """
    if photo.other is None or photo.probability is None:
        return False
    row, col = _between(course, one, two)
    if not len(row):
        return False
    other, crack = (_near(plane, row, col) for plane in (photo.other, photo.probability))
    if other < _OTHER or other <= crack:
        return False
    return any(_goes_on(photo.other, end.place, off.place) for end, off in ((one, two), (two, one)))


def _goes_on(other: Plane, tip: Array, origin: Array) -> bool:
    """Say whether another line that comes from an origin goes on past a tip."""
    toward = np.arctan2(*(tip - origin)) + _ON_TURNS
    steps = np.arange(*_ON_PX)
    rows, cols = (
        np.rint(at + np.multiply.outer(turn(toward), steps)).astype(int)
        for at, turn in zip(tip, (np.sin, np.cos), strict=True)
    )
    inside = (rows >= 0) & (cols >= 0) & (rows < other.shape[0]) & (cols < other.shape[1])
    return any(
        _near(other, row[part], col[part]) >= _OTHER
        for row, col, part in zip(rows, cols, inside, strict=True)
        if part.sum() >= _ON_LEAST
    )


def _near(plane: Plane, row: Array, col: Array) -> float:
    """Return the mean probability of the likeliest pixel at or beside each place."""
    top, left = max(row.min() - 1, 0), max(col.min() - 1, 0)
    part = plane[top : row.max() + 2, left : col.max() + 2]
    return float(cv2.dilate(part, _BESIDE)[row - top, col - left].mean()) / 255


def _between(course: Course, one: Tip, two: Tip) -> tuple[Array, Array]:
    """Return row and column of the pixels of a course that lie off the pieces at its ends."""
    rim = [np.hypot(*(course.points - end.place).T) > end.radius_px + 2 for end in (one, two)]
    row, col = np.rint(course.points[rim[0] & rim[1]]).astype(int).T
    return row, col
