"""The shape of a crack before it is measured, centre lines and mask, and how it is cut and joined.

A cut end is where somebody cut the crack, not where the photograph shows it end: it is no tip that
may be moved. Each pixel of a mask belongs to the piece whose centre line is nearest.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

from crackseg.metrology import arc
from crackseg.metrology.bridges import Groups
from crackseg.metrology.centreline import UNMARKED, Line, kind_of
from crackseg.metrology.tracing import paint, pixel_length
from crackseg.records import Array, Crack, Window

_LEAST_PX = 5.0  # a shorter remnant is dropped
_AT_END_PX = 12.0  # a place this near to a tip means the tip
_MEET_PX = 2.0  # ends of lines so near to each other meet at one node
_SAME_PX = 1.5  # two ends so near to each other are one place
_AT_NODE = 3  # points: this near to a junction the place is the junction


@dataclass(frozen=True, slots=True)
class Shape:
    """A crack that is to be measured."""

    lines: tuple[Line, ...]
    window: Window  # of the mask
    mask: Array  # (window.height, window.width) bool

    @property
    def points(self) -> Array:
        """The (N, 2) points of all its lines."""
        return np.concatenate([line.points for line in self.lines])


def shape_of(crack: Crack) -> Shape:
    """Return the shape of a crack that was measured."""
    mask = np.asarray(crack.mask)
    padded = np.pad(mask, 1).astype(np.uint8)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) - 0.5
    degree = Counter(node for branch in crack.branches for node in set(branch.nodes))
    lines = []
    for branch in crack.branches:
        at = np.rint(branch.centre_line).astype(int) - [crack.window.row - 1, crack.window.col - 1]
        rows, cols = (np.clip(at[:, k], 0, padded.shape[k] - 1) for k in (0, 1))
        radius = np.maximum(inside[rows, cols], 0.5)
        marked = branch.kind not in UNMARKED
        first, last = (marked and branch.kind != "loop" and degree[n] == 1 for n in branch.nodes)
        lines.append(
            Line(
                points=branch.centre_line,
                nodes=branch.nodes,
                free=(first, last),
                kind=branch.kind,
                component=0,
                radius_px=float(np.median(radius)),
                radius_max_px=float(radius.max()),
                pixel_length_px=pixel_length(branch.centre_line) if marked else 0.0,
            )
        )
    return Shape(tuple(lines), crack.window, mask)


def along_line(line: Line, reach: Array, shape: tuple[int, int]) -> Shape:
    """Return the shape of a line that was drawn.

    Its mask is made, not seen: where no dark line stands out it must give no width. Such stretches
    are gaps, or the whole is a thin line where they are most of it.

    Args:
        line: from ``tracing``.
        reach: (N, 2) px to the edge on either side, nan where no line stands out.
        shape: (H, W) of the picture.
    """
    visible = ~np.isnan(reach[:, 0])
    bounds = np.r_[0, np.flatnonzero(np.diff(visible)) + 1, len(visible)]
    if visible.mean() < 0.5 or len(bounds) == 2:
        return Shape((line,), *paint(line.points, reach, shape))
    lines = []
    for k, (start, stop) in enumerate(itertools.pairwise(bounds.tolist())):
        first, last = start == 0, stop == len(visible)
        points = line.points[start : stop + (not last)]
        free = (first and bool(visible[start]), last and bool(visible[start]))
        changes: dict[str, Any] = {"kind": "bridge", "pixel_length_px": 0.0}
        if visible[start]:
            changes = {"kind": kind_of(free), "pixel_length_px": pixel_length(points)}
        lines.append(replace(line, points=points, nodes=(k, k + 1), free=free, **changes))
    lines = [part for part in lines if len(part.points) > 1]
    return Shape(tuple(lines), *paint(line.points, reach, shape))


def merged(shapes: Sequence[Shape]) -> Shape:
    """Return one shape of several; ends of their lines that meet are one node, and no tips."""
    lines: list[Line] = []
    for shape in shapes:
        shift = 1 + max((node for line in lines for node in line.nodes), default=-1)
        lines += [replace(s, nodes=(s.nodes[0] + shift, s.nodes[1] + shift)) for s in shape.lines]
    ends = np.array([line.points[k] for line in lines for k in (0, -1)])
    nodes = [node for line in lines for node in line.nodes]
    groups = Groups(np.unique(nodes))
    for one, two in cKDTree(ends).query_pairs(_MEET_PX):
        groups.unite(nodes[one], nodes[two])
    degree = Counter(groups.root(node) for node in nodes)
    named = []
    for line in lines:
        first, last = (groups.root(node) for node in line.nodes)
        free = (line.free[0] and degree[first] == 1, line.free[1] and degree[last] == 1)
        kind = line.kind if line.kind in UNMARKED else kind_of(free)
        named.append(replace(line, nodes=(first, last), free=free, kind=kind))
    window = functools.reduce(_union, (shape.window for shape in shapes))
    return Shape(tuple(named), window, _mask_in(window, shapes))


def _mask_in(window: Window, shapes: Sequence[Shape]) -> Array:
    """Return the pixels of shapes in a window that holds them all."""
    mask = np.zeros((window.height, window.width), bool)
    for part in shapes:
        top, left = part.window.row - window.row, part.window.col - window.col
        mask[top : top + part.window.height, left : left + part.window.width] |= part.mask
    return mask


def nearest_place(shape: Shape, point: Array) -> tuple[float, int, int]:
    """Return how far a point is from the lines of a shape, and the line and its point there."""
    far = [np.hypot(*(line.points - point).T) for line in shape.lines]
    k = int(np.argmin([part.min() for part in far]))
    return float(far[k].min()), k, int(far[k].argmin())


def split(shape: Shape, point: Array) -> list[Shape]:
    """Return the pieces of a shape that is cut at the place of its lines nearest to a point."""
    _, k, at = nearest_place(shape, point)
    line, node = shape.lines[k], _new_node(shape)
    at = int(np.clip(at, 1, len(line.points) - 2))
    parts = (_part(line, 0, at + 1, node), _part(line, at, len(line.points), node + 1))
    return _pieces([*shape.lines[:k], *parts, *shape.lines[k + 1 :]], shape)


def erase(shape: Shape, covers: Callable[[Array], Array]) -> list[Shape]:
    """Return the pieces of a shape that an area leaves.

    Args:
        shape: a crack.
        covers: tells which of (N, 2) rows and cols lie in the area, (N,) bool.
    """
    lines, node = [], _new_node(shape)
    for line in shape.lines:
        remains = np.r_[False, ~covers(line.points), False]
        starts, stops = (np.flatnonzero(np.diff(remains.astype(int)) == sign) for sign in (1, -1))
        for start, stop in zip(starts, stops, strict=True):
            if stop - start >= 2:
                lines.append(_part(line, int(start), int(stop), node))
                node += 2
    at = np.argwhere(shape.mask)
    gone = at[covers(at + np.array([shape.window.row, shape.window.col]))]
    mask = shape.mask.copy()
    mask[gone[:, 0], gone[:, 1]] = False
    return _pieces(lines, replace(shape, mask=mask)) if lines and mask.any() else []


def joined(one: Shape, two: Shape, way: Array) -> Shape:
    """Return one shape of two with a way from the one to the other.

    Args:
        one: a crack.
        two: another one.
        way: (N, 2) float (row, col), from a place of the first to one of the second: a tip that is
            near, else a new junction.
    """
    first, node_first, here = _attached(one, way[0], 0)
    second, node_second, there = _attached(two, way[-1], 1 + max(n for s in first for n in s.nodes))
    if np.hypot(*(there - here)) <= _SAME_PX:
        second = [_renamed(line, node_second, node_first) for line in second]
        lines = [*first, *second]
    else:
        bridge = Line(
            points=arc.resample(np.concatenate([here[None], way[1:-1], there[None]])),
            nodes=(node_first, node_second),
            free=(False, False),
            kind="joined",
            component=0,
            radius_px=0.5 * (first[0].radius_px + second[0].radius_px),
            radius_max_px=max(first[0].radius_px, second[0].radius_px),
        )
        lines = [*first, *second, bridge]
    window = _union(one.window, two.window)
    return Shape(tuple(lines), window, _mask_in(window, (one, two)))


def end_place(shape: Shape, point: Array) -> Array:
    """Return the tip or the place of a shape's lines that a point means."""
    return _attached(shape, point, 0)[2]


def _attached(shape: Shape, point: Array, shift: int) -> tuple[list[Line], int, Array]:
    """Return the lines with their nodes shifted, and the node and place that a point means."""
    lines = [replace(s, nodes=(s.nodes[0] + shift, s.nodes[1] + shift)) for s in shape.lines]
    degree = Counter(node for line in lines for node in line.nodes)
    tips = [(k, n) for k, line in enumerate(lines) for n in (0, 1) if degree[line.nodes[n]] == 1]
    far = [float(np.hypot(*(lines[k].points[-side] - point))) for k, side in tips]
    if far and min(far) <= _AT_END_PX:
        k, side = tips[int(np.argmin(far))]
        free = (lines[k].free[0] and side != 0, lines[k].free[1] and side != 1)
        lines[k] = replace(lines[k], free=free)
        return lines, lines[k].nodes[side], lines[k].points[-side]
    _, k, at = nearest_place(shape, point)
    line, last = lines[k], len(lines[k].points) - 1
    for side, distance in ((0, at), (1, last - at)):
        if distance <= _AT_NODE and degree[line.nodes[side]] > 1:
            return lines, line.nodes[side], line.points[-side]
    at, node = int(np.clip(at, 1, last - 1)), 1 + max(n for s in lines for n in s.nodes)
    parts = [_part(line, 0, at + 1, node - 1), _part(line, at, last + 1, node)]
    parts[0] = replace(parts[0], nodes=(line.nodes[0], node))
    parts[1] = replace(parts[1], nodes=(node, line.nodes[1]))
    return [*lines[:k], *parts, *lines[k + 1 :]], node, line.points[at]


def _renamed(line: Line, old: int, new: int) -> Line:
    first, last = (new if node == old else node for node in line.nodes)
    return replace(line, nodes=(first, last))


def _part(line: Line, start: int, stop: int, node: int) -> Line:
    """Return a stretch of a line; its cut ends get the nodes ``node`` and the one after it."""
    cut = (start > 0, stop < len(line.points))
    points = line.points[start:stop]
    nodes = (node if cut[0] else line.nodes[0], node + cut[0] if cut[1] else line.nodes[1])
    free = (line.free[0] and not cut[0], line.free[1] and not cut[1])
    changes: dict[str, Any] = {"points": points, "nodes": nodes, "free": free}
    if any(cut) and line.kind not in UNMARKED:
        changes |= {"kind": kind_of(free), "pixel_length_px": pixel_length(points)}
    return replace(line, **changes)


def _pieces(lines: Sequence[Line], shape: Shape) -> list[Shape]:
    """Return a shape for each connected group of lines, the longest first."""
    groups = Groups(np.unique([line.nodes for line in lines]))
    for line in lines:
        groups.unite(*line.nodes)
    root = [groups.root(line.nodes[0]) for line in lines]
    length = dict.fromkeys(root, 0.0)
    for line, name in zip(lines, root, strict=True):
        length[name] += line.length_px
    names = sorted(length, key=lambda name: -length[name])
    at = np.argwhere(shape.mask)
    owner = np.repeat([names.index(r) for r in root], [len(line.points) for line in lines])
    points = np.concatenate([line.points for line in lines])
    of = owner[cKDTree(points).query(at + np.array([shape.window.row, shape.window.col]))[1]]
    pieces = []
    for k, name in enumerate(names):
        own = [line for line, r in zip(lines, root, strict=True) if r == name]
        marked = any(line.kind not in UNMARKED for line in own)
        mine = at[of == k]
        if marked and len(mine) and sum(line.length_px for line in own) >= _LEAST_PX:
            pieces.append(_cropped(tuple(own), mine, shape.window))
    return pieces


def _cropped(lines: tuple[Line, ...], at: Array, window: Window) -> Shape:
    """Return the shape of lines whose pixels are (N, 2) places of a window."""
    low, high = at.min(axis=0), at.max(axis=0) + 1
    mask = np.zeros(high - low, bool)
    mask[tuple((at - low).T)] = True
    top, left = window.row + int(low[0]), window.col + int(low[1])
    return Shape(lines, Window(row=top, col=left, height=mask.shape[0], width=mask.shape[1]), mask)


def _union(one: Window, two: Window) -> Window:
    top, left = min(one.row, two.row), min(one.col, two.col)
    bottom = max(one.row + one.height, two.row + two.height)
    right = max(one.col + one.width, two.col + two.width)
    return Window(row=top, col=left, height=bottom - top, width=right - left)


def _new_node(shape: Shape) -> int:
    return 1 + max(node for line in shape.lines for node in line.nodes)
