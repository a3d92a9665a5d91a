"""Look in the photograph for the course of a crack between two tips that a mask leaves apart.

The stretch between the tips is straightened to a strip of T steps along the way and W columns
across it. A crack is darker than the concrete on both of its sides, so what is looked for is a
valley; beside the edge of a shadow only one side is brighter. The course is the way through the
strip that collects most of it. Any texture has a best way, so the course counts for as much as
it beats the best ways beside it, and for how dark its weakest stretch is beside the pieces. Where
something hides the wall, nothing counts for or against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from crackseg.disk import Plane
from crackseg.metrology.obstacles import hidden_rows
from crackseg.metrology.sampling import to_grey
from crackseg.records import Array, Window

_TAIL_PX = 40  # of a piece before its tip, looked at for how the crack looks
_VALLEYS_PX = (1, 3, 5, 9, 15, 25, 41)  # widths of the valleys tried
_SWAY, _SWAY_PX = 0.2, 4.0  # how far a course may leave the straight way: share of it, and px
_ASIDE_PX = (7.0, 13.0, 19.0)  # of the ways beside the course, beyond the width of the mask
_LOOSE_PX = 2  # how far beside the mask's tip the crack may run
_BEND = 0.35  # what a step to the side costs, in standard deviations of the valleys
_LEAST, _MOST = -2.0, 5.0  # what one step may count for: a pore is no crack
_PROBABLE, _SURE = 4.0, 0.5  # what a probability of 1 counts for, and the most that is counted
_RUN, _RUN_SHORT = 9, 3  # steps of the running mean that must not break down; of short courses
_WEAKEST = 0.1  # quantile of the running mean that stands for the weakest stretch
_PAST = (4, 16)  # steps past a tip in which a line that goes on is looked for
_QUIET = 0.3  # grey values: less is no noise but a drawing
_NEVER = -1e6
_UNTOLD = float("inf")  # share and gain of a course that is hidden but for a few steps
_FEW = 8  # steps that tell nothing


@dataclass(frozen=True, slots=True)
class Tip:
    """An end of a piece that a crack may run on from."""

    place: Array  # (2,) float (row, col)
    direction: Array  # (2,) unit vector out of the piece
    tail: Array  # (N, 2) points of the piece, the tip last
    radius_px: float  # half width of the mask


@dataclass(frozen=True, slots=True)
class Photograph:
    """What can be looked at again."""

    shape: tuple[int, int]
    read: Callable[[Window], Array]  # window -> (h, w, 3) uint8
    probability: Plane | None = None  # (H, W) uint8, 255 = 1.0
    other: Plane | None = None  # (H, W) uint8, of another dark line


@dataclass(frozen=True, slots=True)
class Course:
    """The best way between two tips, and what speaks for it."""

    points: Array  # (N, 2) float (row, col), from the one tip to the other
    share: float  # depth of its weakest stretch over the shallower piece's, plus probability there
    gain: float  # standard deviations a step by which it beats the ways beside it
    match: float  # depth of the shallower piece over that of the deeper one
    past: float  # depth of what runs on past both tips in a straight line, over the course's
    hidden: float = 0.0  # share of it where the wall is not to be seen


@dataclass(frozen=True, slots=True)
class _Strip:
    """The surroundings of two tips, straightened: rows along the way, columns across it."""

    grey: Array  # (T, W) float32
    probability: Array  # (T, W) float32, 0..1
    inside: Array  # (T, W) bool: within the picture
    open: Array  # (T,) bool: nothing hides the wall
    tails: tuple[tuple[Array, Array], tuple[Array, Array]]  # rows and columns of the pieces
    stretch: slice  # rows from tip to tip
    axis: int  # column of the straight way
    step_px: float


def find_course(
    one: Tip, two: Tip, photo: Photograph, least_share: float, *, behind: bool = False
) -> Course | None:
    """Return the best way from one tip to another, or None where the photograph shows none.

    Args:
        one: a tip.
        two: another tip.
        photo: the photograph, with the network's probability if there is one.
        least_share: a course whose ``share`` is less is not looked at any further.
        behind: look for a course that something hides in part; None where nothing does. What is
            seen of it must show the line.
    """
    radius = max(one.radius_px, two.radius_px)
    distance = float(np.hypot(*(two.place - one.place)))
    sway = int(np.ceil(_SWAY * distance + _SWAY_PX))
    asides = np.rint(2 * radius + np.array(_ASIDE_PX)).astype(int)
    widths = [width for width in _VALLEYS_PX if width <= 2 * radius + 3]
    strip = _straighten(one, two, photo, sway + int(asides[-1]) + 2 + 2 * widths[-1] + 4)
    if behind:
        hidden = hidden_rows(strip.grey, strip.axis, strip.stretch)
        strip = replace(strip, open=~hidden)
        if not hidden.any():
            return None
    if min(len(rows) for rows, _ in strip.tails) < 3:
        return None
    valley, depth, noise = _clearest(strip, widths)
    beyond = _beyond(strip, valley, 2 * radius + 3)
    valley, probability, inside, visible = (
        part[strip.stretch] for part in (valley, strip.probability, strip.inside, strip.open)
    )
    evidence = np.clip(valley / noise, _LEAST, _MOST)
    evidence += _PROBABLE * np.minimum(probability, _SURE)
    evidence = np.where(inside, np.where(visible[:, None], evidence, 0.0), _NEVER)
    (course,) = _best_ways(evidence, np.array([strip.axis]), sway)
    steps = np.flatnonzero(visible)
    columns = course[steps]
    share = gain = _UNTOLD
    if len(steps) > (_FEW if behind else 0):
        # Within a wide crack any way is dark enough: what counts is the darkest beside it.
        near = maximum_filter1d(valley, 2 * max(int(radius) - 1, 0) + 1, axis=1)
        dark, probable = near[steps, columns], probability[steps, columns]
        share = _weakest(dark) / min(depth) + _weakest(probable)
        if share < least_share:
            return None
        beside = _beside(evidence, course, strip.axis, asides, sway, 2 * radius + 2)
        if beside is None:
            return None
        gain = (float(evidence[np.arange(len(course)), course].mean()) - beside) / visible.mean()
        beyond /= max(float(np.median(dark)), _QUIET)
    return Course(
        points=_unbend(course, strip, one, two),
        share=share,
        gain=gain,
        match=min(depth) / max(depth),
        past=beyond,
        hidden=1 - float(visible.mean()),
    )


def _straighten(one: Tip, two: Tip, photo: Photograph, half: int) -> _Strip:
    """Return the strip along the way from one tip to another, ``half`` columns to either side."""
    way = two.place - one.place
    distance = float(np.hypot(*way))
    direction = way / distance
    normal = np.array([-direction[1], direction[0]])
    count = max(2, round(distance) + 1)
    step = distance / (count - 1)
    along = np.arange(-_TAIL_PX, count + _TAIL_PX) * step
    across = np.arange(-half, half + 1.0)
    rows, cols = (one.place[k] + direction[k] * along[:, None] + normal[k] * across for k in (0, 1))
    tails = []
    for tip in (one, two):
        offset = tip.tail[-_TAIL_PX:] - one.place
        row = np.rint(offset @ direction / step + _TAIL_PX).astype(int)
        col = np.rint(offset @ normal + half).astype(int)
        inside = (row >= 0) & (row < len(along)) & (col >= 1) & (col < len(across) - 1)
        tails.append((row[inside], col[inside]))
    return _Strip(
        *_read(rows, cols, photo),
        open=np.ones(len(along), dtype=bool),
        tails=(tails[0], tails[1]),
        stretch=slice(_TAIL_PX, _TAIL_PX + count),
        axis=half,
        step_px=step,
    )


def _read(rows: Array, cols: Array, photo: Photograph) -> tuple[Array, Array, Array]:
    """Return grey value, probability, and whether it is in the picture, at (T, W) places."""
    height, width = photo.shape
    top, left = max(int(rows.min()), 0), max(int(cols.min()), 0)
    bottom, right = min(int(rows.max()) + 2, height), min(int(cols.max()) + 2, width)
    window = Window(row=top, col=left, height=bottom - top, width=right - left)
    place = (cols - left).astype(np.float32), (rows - top).astype(np.float32)
    grey = cv2.remap(
        to_grey(photo.read(window)), *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    inside = (rows >= 0) & (cols >= 0) & (rows <= height - 1) & (cols <= width - 1)
    if photo.probability is None:
        return grey, np.zeros_like(grey), inside
    part = photo.probability[window.slices].astype(np.float32) / 255
    return grey, cv2.remap(part, *place, cv2.INTER_LINEAR, borderValue=0), inside


def _clearest(strip: _Strip, widths: list[int]) -> tuple[Array, tuple[float, float], float]:
    """Return the valleys of the width in which the pieces stand out most.

    Returns:
        (T, W) depth of the valleys over the typical one, that of either piece, and the noise.
    """
    return max(
        (_pieces(strip, width) for width in widths),
        key=lambda reading: sum(reading[1]) / reading[2],
    )


def _pieces(strip: _Strip, width: int) -> tuple[Array, tuple[float, float], float]:
    """Return the valleys of one width over the typical one, the depth of the pieces, the noise."""
    valley = _valleys(strip.grey, width)
    level = valley[:, 2 * width + 4 : -(2 * width + 4)]
    level = level if strip.open.all() else level[strip.open]
    typical = _middle(level)
    noise = 1.4826 * _middle(np.abs(level - typical)) + _QUIET
    valley -= typical
    one, two = (
        _middle(np.maximum.reduce([valley[row, col + k] for k in (-1, 0, 1)]))
        for row, col in strip.tails
    )
    return valley, (max(one, _QUIET), max(two, _QUIET)), noise


def _middle(values: Array) -> float:
    """Return the median as ``np.median`` does, which takes three times as long."""
    half = values.size // 2
    parted = np.partition(values, half, axis=None)
    if values.size % 2:
        return float(parted[half])
    return float((parted[:half].max() + parted[half]) / 2)


def _valleys(grey: Array, width: int) -> Array:
    """Return by how much each place is darker than the darker one of its two sides."""
    side = max(3, width)
    offset = width // 2 + 2 + side // 2
    centre = cv2.blur(grey, (width, 3), borderType=cv2.BORDER_REPLICATE)
    beside = cv2.blur(grey, (side, 5), borderType=cv2.BORDER_REPLICATE)
    left, right = np.roll(beside, offset, axis=1), np.roll(beside, -offset, axis=1)
    valley: Array = np.minimum(left, right) - centre
    return valley


def _beyond(strip: _Strip, valley: Array, wide_px: float) -> float:
    """Return the depth of the line that runs on straight past both tips, 0 if it is a piece.

    A crack that turns into a joint leaves the joint going on.
    """
    depth = []
    for (row, col), first, sign in zip(
        strip.tails, (strip.stretch.start, strip.stretch.stop - 1), (-1, 1), strict=True
    ):
        steps = np.arange(*_PAST)
        sides = (_LOOSE_PX + steps[:, None] // 4) * np.linspace(-1, 1, 9)
        rows = np.broadcast_to((first + sign * steps)[:, None], sides.shape)
        deepest = valley[rows, np.rint(strip.axis + sides).astype(int)].max(axis=1)
        clear = ~np.isin(rows[:, 0], row[np.abs(col - strip.axis) <= wide_px])
        if clear.sum() < len(steps) / 2:
            return 0.0
        depth.append(float(np.median(deepest[clear])))
    return min(depth)


def _beside(
    evidence: Array, course: Array, axis: int, asides: Array, sway: int, hide_px: float
) -> float | None:
    """Return the mean evidence of the best ways beside a course, None where there is no room."""
    hidden = np.abs(np.arange(evidence.shape[1]) - course[:, None]) <= hide_px
    rest = np.where(hidden, 0.0, evidence)
    starts = axis + np.concatenate([-asides, asides])
    ways = _best_ways(rest, starts, sway)
    means = rest[np.arange(len(course)), ways].mean(axis=1)
    means = means[means > _LEAST]  # the others leave the picture
    return float(np.median(means)) if len(means) >= 2 else None


def _best_ways(evidence: Array, starts: Array, sway: int) -> Array:
    """Return the (N, T) columns of the ways that collect most, from top to bottom of a strip.

    Args:
        evidence: (T, W).
        starts: (N,) column in which each way begins and ends, give or take ``_LOOSE_PX``.
        sway: columns that a way may leave its start by.
    """
    span = np.arange(-sway, sway + 1)
    columns = np.clip(starts[:, None] + span, 0, evidence.shape[1] - 1)
    ends = np.where(np.abs(span) <= _LOOSE_PX, 0.0, _NEVER)
    gathered = evidence[:, columns]
    total = np.full((len(evidence), len(starts), len(span) + 2), -np.inf)
    total[0, :, 1:-1] = gathered[0] + ends
    bent, best = np.empty(total.shape[1:]), np.empty(columns.shape)
    for t in range(1, len(evidence)):
        np.subtract(total[t - 1], _BEND, out=bent)
        np.maximum(total[t - 1, :, 1:-1], bent[:, :-2], out=best)
        np.maximum(best, bent[:, 2:], out=best)
        np.add(best, gathered[t], out=total[t, :, 1:-1])
    straight, left, right = total[:, :, 1:-1], total[:, :, :-2] - _BEND, total[:, :, 2:] - _BEND
    back = np.where(right > np.maximum(straight, left), 1, np.where(left > straight, -1, 0))
    steps = back.reshape(len(evidence), -1)
    first = np.arange(len(starts)) * len(span)  # of each way, in a row of the steps
    places = np.empty((len(evidence), len(starts)), dtype=np.int64)
    places[-1] = first + (straight[-1] + ends).argmax(axis=1)
    for t in range(len(evidence) - 1, 0, -1):
        np.add(places[t], steps[t - 1].take(places[t]), out=places[t - 1])
    ways: Array = np.take_along_axis(columns, (places - first).T, axis=1)
    return ways


def _weakest(values: Array) -> float:
    """Return what the running mean falls to in the weakest stretch."""
    size = min(max(len(values) // 3, _RUN_SHORT), _RUN, len(values))
    return float(np.quantile(np.convolve(values, np.full(size, 1 / size), "valid"), _WEAKEST))


def _unbend(course: Array, strip: _Strip, one: Tip, two: Tip) -> Array:
    """Return the points of a course in the picture, smoothed, from tip to tip."""
    steps = np.arange(len(course))
    offset = gaussian_filter1d((course - strip.axis).astype(np.float64), 3.0, mode="nearest")
    offset *= np.minimum(np.minimum(steps, steps[::-1]) / 4.0, 1.0)  # it ends at the tips
    direction = (two.place - one.place) / (strip.step_px * steps[-1])
    normal = np.array([-direction[1], direction[0]])
    along = steps[:, None] * strip.step_px * direction
    points: Array = one.place + along + offset[:, None] * normal
    return points
