"""Smooth the chains of a skeleton and carry free ends to the crack's end.

A skeleton stops about half a width before the crack does, hooks towards a corner there, and
walks in steps of one pixel. All three spoil a length; none is left in a centre line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from crackseg.metrology import arc
from crackseg.metrology.sampling import read_mask
from crackseg.metrology.skeleton import CLOSED, TIP, Skeleton
from crackseg.records import Array
from crackseg.runs import Mask

LineKind = Literal[
    "tip-tip", "tip-junction", "junction-junction", "loop", "bridge", "joined", "hidden"
]
UNMARKED = ("bridge", "joined", "hidden")  # kinds of lines that are not in the mask
_STEP_PX = 0.5  # of sampling across an end
_HOOK_PX, _HOOK_SLOPE = 4, 0.3


@dataclass(frozen=True, slots=True)
class Line:
    """A smoothed centre line with points about 1 px apart."""

    points: Array  # (N, 2) float (row, col)
    nodes: tuple[int, int]
    free: tuple[bool, bool]  # which ends are tips
    kind: LineKind
    component: int
    radius_px: float  # median half width of the mask along it
    radius_max_px: float
    pixel_length_px: float = (
        0.0  # of the skeleton, in steps of 1 and sqrt(2); 0 for bridges and joined stretches
    )

    @property
    def length_px(self) -> float:
        """Length in px."""
        return arc.length(self.points)


def centre_lines(skeleton: Skeleton, mask: Mask, smooth_px: float) -> list[Line]:
    """Return the centre line of every chain, free ends carried to the end of the mask.

    Args:
        skeleton: pruned skeleton of the mask.
        mask: (H, W) bool.
        smooth_px: standard deviation along the line; grows with the width of the crack.
    """
    chains, lines = skeleton.chains, []
    new_node = len(chains.junctions)
    for k in range(len(chains.start) - 1):
        members = chains.order[chains.start[k] : chains.start[k + 1]]
        first, last = (int(end) for end in chains.ends[k])
        free, closed = (first == TIP, last == TIP), first == CLOSED
        if len(members) < 3 and all(free):
            continue  # a dot or a round blob has no direction: it is no crack
        if first < 0:
            first, new_node = new_node, new_node + 1
        if last < 0:
            last, new_node = (first, new_node) if closed else (new_node, new_node + 1)
        radius = skeleton.radius[members]
        path = _path(skeleton, k, members)
        points = _finish(path, radius, free, closed, mask, smooth_px)
        lines.append(
            Line(
                points=points,
                nodes=(first, last),
                free=free,
                kind="loop" if first == last else kind_of(free),
                component=int(skeleton.component[members[0]]),
                radius_px=float(np.median(radius)),
                radius_max_px=float(radius.max()),
                pixel_length_px=float(chains.length[k]),
            )
        )
    return lines


def kind_of(free: tuple[bool, bool]) -> LineKind:
    """Return the kind of a line with two ends, by which of them are tips."""
    if all(free):
        return "tip-tip"
    return "tip-junction" if any(free) else "junction-junction"


def _path(skeleton: Skeleton, k: int, members: Array) -> Array:
    """Return the (N, 2) pixel path of chain ``k``, out to the junction centres."""
    chains, path = skeleton.chains, [skeleton.points[members]]
    first, last = chains.ends[k]
    if first >= 0:
        path.insert(0, chains.junctions[first][None])
    if last >= 0:
        path.append(chains.junctions[last][None])
    if first == CLOSED:
        path.append(path[0][:1])
    return np.concatenate(path)


def _finish(
    path: Array,
    radius: Array,
    free: tuple[bool, bool],
    closed: bool,
    mask: Mask,
    smooth_px: float,
) -> Array:
    """Return the smoothed path with free ends carried to the end of the mask."""
    sigma = max(smooth_px, float(np.median(radius)))
    path = arc.resample(path)
    if closed:
        return arc.resample(smooth(path, sigma, (False, False), closed=True))
    # Both ends are made from the same path, so that its direction does not matter.
    heads, tails = np.zeros((0, 2)), np.zeros((0, 2))
    first, last = 0, len(path)
    if free[0]:
        count, heads = _carry_end(path[::-1], radius, mask)
        first, heads = len(path) - count, heads[::-1]
    if free[1]:
        last, tails = _carry_end(path, radius[::-1], mask)
    path = np.concatenate([heads, path[first:last], tails])
    return arc.resample(smooth(path, sigma, free, closed=False))


def _carry_end(path: Array, radii: Array, mask: Mask) -> tuple[int, Array]:
    """Return how many points of a path stay and the straight ones that carry it to its end.

    Args:
        path: (N, 2) float, the end last.
        radii: (M,) px, half width of the mask along the skeleton, the end first.
        mask: (H, W) bool.
    """
    # A skeleton that hooks into a corner comes nearer to the mask's edge by 0.7 px a px.
    steep = radii[_HOOK_PX:] - radii[:-_HOOK_PX] >= _HOOK_SLOPE * _HOOK_PX
    hook = int(np.argmin(steep)) if len(steep) and not steep.all() else 0
    radius = float(radii[hook])
    cut = int(min(hook + np.ceil(0.5 * radius), 0.4 * len(path)))
    path = path[: len(path) - cut]
    origin, direction = end_direction(path, radius)
    reach = cut + 3 * radius + 4
    along = np.arange(-max(2 * radius, 4.0), reach, _STEP_PX)
    profile = cross_sums(mask, origin, direction, along, 1.5 * radius + 2)
    stop = last_crossing(along, profile)
    steps = np.append(np.arange(1.0, stop), stop)[:, None]
    count = len(path) - 1
    if stop <= 0:
        count = max(len(path) - int(np.ceil(-stop)) - 1, (len(path) + 1) // 2)
    return count, origin + steps * direction


def end_direction(path: Array, radius: float) -> tuple[Array, Array]:
    """Return a smoothed last point of a path and the unit vector in which it leaves."""
    stretch = path[-int(min(len(path), max(10.0, 3 * radius))) :]
    middle = stretch.mean(axis=0)
    direction = _main_axis(stretch - middle)
    if np.dot(direction, stretch[-1] - stretch[0]) < 0:
        direction = -direction
    return middle + np.dot(path[-1] - middle, direction) * direction, direction


def _main_axis(points: Array) -> Array:
    """Return the unit vector along which (N, 2) points about their mean spread most."""
    rows, cols = points.T
    more, both = float(rows @ rows - cols @ cols), 2 * float(rows @ cols)
    spread = math.hypot(more, both)
    axis = (spread + more, both) if more >= 0 else (both, spread - more)
    size = math.hypot(*axis)
    return np.array(axis) / size if size else np.array([1.0, 0.0])


def cross_sums(mask: Mask, origin: Array, direction: Array, along: Array, half: float) -> Array:
    """Return the (K,) sum of a mask across a line at each position ``along`` it, in px."""
    across = np.arange(-half, half + _STEP_PX / 2, _STEP_PX)
    normal = np.array([-direction[1], direction[0]])
    grid = (
        origin[:, None, None]
        + direction[:, None, None] * along[None, :, None]
        + normal[:, None, None] * across[None, None, :]
    )
    sums: Array = read_mask(mask, *grid).sum(axis=1) * _STEP_PX
    return sums


def last_crossing(along: Array, profile: Array) -> float:
    """Return where the profile first falls below half of its level before ``along`` = 0.

    Where it is below already at 0, that is where it last fell before 0.
    """
    level = 0.5 * max(float(np.median(profile[along <= 0])), 0.5)
    start = int(np.searchsorted(along, 0.0))
    below = np.flatnonzero(profile[start:] < level)
    if not len(below):
        return float(along[-1])
    k = start + int(below[0])
    while k > 0 and profile[k - 1] < level:
        k -= 1
    if k == 0:
        return float(along[0])
    return float(along[k] - _STEP_PX * (level - profile[k]) / (profile[k - 1] - profile[k]))


@lru_cache(maxsize=64)
def _kernel(sigma: float) -> Array:
    """Return a smoothing kernel that keeps curves: 2 g - g * g for a Gaussian g.

    Its response to a wave is 1 - (1 - G)^2: a bend of a few sigma keeps its length, and the
    steps of the pixel grid go as with g.
    """
    reach = int(np.ceil(3.5 * sigma))
    g = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    g /= g.sum()
    kernel: Array = -np.convolve(g, g)
    kernel[reach:-reach] += 2 * g
    return kernel


def smooth(path: Array, sigma: float, free: tuple[bool, bool], *, closed: bool) -> Array:
    """Return the (N, 2) path smoothed; junction ends stay, free ends follow their line."""
    kernel = _kernel(round(max(0.5, min(sigma, len(path) / 6)), 1))
    pad = len(kernel) // 2
    if closed:
        around = np.arange(-pad, len(path) + pad) % (len(path) - 1)
        padded = path[around]
    else:
        padded = np.concatenate(
            [_beyond(path[::-1], pad, free[0])[::-1], path, _beyond(path, pad, free[1])]
        )
    return np.column_stack([np.convolve(padded[:, k], kernel, "valid") for k in (0, 1)])


def _beyond(path: Array, count: int, free: bool) -> Array:
    """Return ``count`` points that carry a path on beyond its last one."""
    if free:
        origin, direction = end_direction(path, 0.0)
        return origin + np.arange(1, count + 1)[:, None] * direction
    back = path[-2::-1][:count]
    mirrored: Array = 2 * path[-1] - back
    if len(mirrored) == count:
        return mirrored
    step = mirrored[-1] - (mirrored[-2] if len(mirrored) > 1 else path[-1])
    more = mirrored[-1] + np.arange(1, count - len(mirrored) + 1)[:, None] * step
    return np.concatenate([mirrored, more])
