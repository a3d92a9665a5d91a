"""The same crack in several photographs becomes one: groups by course, then one course of each.

Marks of two photographs are the same crack where they run beside each other, in the same direction
and nearer than the block's own error, for a length that no chance gives. The course of a group is
that of its best view; of the others only what goes on beyond it or branches off is added, so that
no length is counted twice and none is lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from crackseg.face.lines import Mark
from crackseg.metrology import arc
from crackseg.records import Array

_ANGLE_DEG = 35.0  # between two courses of one crack, over some px
_ALONG = 4.0  # tolerances that two marks of one crack run together at least
_SHARE, _ENOUGH = 0.3, 14.0  # or this share of the shorter, but no more than so many tolerances
_COVER = 1.6  # tolerances within which a course counts as the same
_BULGE = 3.0  # a detour that comes back stays within so many
_TOGETHER, _PROBED, _NEAR = 20_000, 20, 1_000_000  # samples, of which every so many tells how
# many pairs they are of, and pairs that are worked out at a time
_EVEN = 0.35  # of marks placed by pose alone: how far their distance may vary, in tolerances


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of a merged course, as one photograph shows it."""

    mark: Mark
    line_m: Array  # (N, 2)
    widths_mm: Array  # (N,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Marks of one crack, and its course in parts."""

    marks: tuple[Mark, ...]
    parts: tuple[Part, ...]

    @property
    def length_m(self) -> float:
        """Length of the course."""
        return float(sum(arc.length(part.line_m) for part in self.parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Lines at even spacing."""

    places_m: Array  # (N, 2)
    along: Array  # (N, 2) unit vectors
    owner: Array  # (N,) number of what each is of
    end: Array  # (N,) bool: first or last of its line
    outward: Array  # (N, 2) at an end, away from the line
    widths_mm: Array  # (N,)


def merge(marks: Sequence[Mark], tolerance_m: Array) -> list[Group]:
    """Return the cracks of a face, each once.

    Args:
        marks: of all photographs.
        tolerance_m: (V, V) how far the same place may lie apart in two photographs.
    """
    if not marks:
        return []
    step = float(tolerance_m.min()) / 1.5
    samples = sample([(n, m.lines_m, m.widths_mm) for n, m in enumerate(marks)], step)
    pairs = _same(marks, samples, step, tolerance_m)
    count = len(marks)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    groups, group = connected_components(graph, directed=False)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(groups + 1))
    return [
        _joined([marks[n] for n in order[a:b]], tolerance_m) for a, b in itertools.pairwise(starts)
    ]


def sample(owned: Sequence[tuple[int, Sequence[Array], Sequence[Array]]], step_m: float) -> Samples:
    """Return lines of several owners at even spacing.

    Args:
        owned: owner, lines of (N, 2), widths of (N,).
        step_m: spacing.
    """
    parts: list[tuple[Array, ...]] = []
    for owner, lines, widths in owned:
        for line, width in zip(lines, widths, strict=True):
            at = arc.along(line)
            count = max(round(at[-1] / step_m) + 1, 2)
            new = np.linspace(0, at[-1], count)
            places = arc.at(line, new)
            along = np.gradient(places, axis=0)
            along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-12)[:, None]
            end = np.zeros(count, bool)
            end[[0, -1]] = True
            outward = along.copy()
            outward[0] *= -1
            finite = np.isfinite(width)
            own = (
                np.interp(new, at[finite], width[finite])
                if finite.any()
                else np.full(count, np.nan)
            )
            parts.append((places, along, np.full(count, owner), end, outward, own))
    names = ("places_m", "along", "owner", "end", "outward", "widths_mm")
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Samples(**dict(zip(names, columns, strict=True)))


def _same(marks: Sequence[Mark], samples: Samples, step: float, tolerance_m: Array) -> Array:
    """Return (P, 2) pairs of marks that are one crack."""
    count = len(marks)
    names, together, total, squares = _side_by_side(marks, samples, tolerance_m)
    mean = total / np.maximum(together, 1)
    uneven = np.sqrt(np.maximum(squares / np.maximum(together, 1) - mean**2, 0))
    one, other = names // count, names % count
    view = np.array([m.view for m in marks])
    length = np.array([m.length_m for m in marks])
    bound = tolerance_m[view[one], view[other]]
    finest = float(tolerance_m.min())
    need = np.maximum(
        _ALONG * finest,
        np.minimum(_SHARE * np.minimum(length[one], length[other]), _ENOUGH * finest),
    )
    need = np.minimum(need, 0.6 * np.minimum(length[one], length[other]))
    good = (together * step >= need) & ((bound < 2 * finest) | (uneven <= _EVEN * bound))
    return np.column_stack([one[good], other[good]])


def _side_by_side(
    marks: Sequence[Mark], samples: Samples, tolerance_m: Array
) -> tuple[Array, Array, Array, Array]:
    """Return pairs of marks of two views as numbers a * count + b, and of the samples of a that b
    runs beside their count, the sum of their distances and of its squares.

    Worked out for some samples at a time: of a long face all would take gigabytes.
    """
    view, count = np.array([m.view for m in marks]), np.int64(len(marks))
    sums: list[tuple[Array, ...]] = [(np.zeros(0, np.int64), *np.zeros((3, 0)))]
    for first, second, gap in _beside_in_parts(samples, samples, float(tolerance_m.max())):
        a, b = samples.owner[first], samples.owner[second]
        near = (view[a] != view[b]) & (np.abs(gap) <= tolerance_m[view[a], view[b]])
        a, b, first, gap = a[near], b[near], first[near], gap[near]
        nearest = np.lexsort([np.abs(gap), b, first])  # one of each mark beside each sample
        place = first[nearest] * count + b[nearest]
        firsts = nearest[np.append(True, np.diff(place) != 0)] if len(place) else nearest
        sums.append(
            _summed(
                a[firsts] * count + b[firsts], np.ones(len(firsts)), gap[firsts], gap[firsts] ** 2
            )
        )
    return _summed(*(np.concatenate(column) for column in zip(*sums, strict=True)))


def _summed(names: Array, *values: Array) -> tuple[Array, Array, Array, Array]:
    unique, inverse = np.unique(names, return_inverse=True)
    count, total, squares = (np.bincount(inverse, v, len(unique)) for v in values)
    return unique, count, total, squares


def beside(one: Samples, other: Samples, within_m: float) -> tuple[Array, Array, Array]:
    """Return samples that lie beside each other in the same direction, and their signed distance.

    Returns:
        (P,) numbers in ``one``, (P,) in ``other``, (P,) m to the left of ``one``'s course.
    """
    parts = zip(*_beside_in_parts(one, other, within_m), strict=True)
    first, second, gap = (np.concatenate(part) for part in parts)
    return first, second, gap


def _beside_in_parts(
    one: Samples, other: Samples, within_m: float
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield what ``beside`` returns of some samples of ``one`` after the other."""
    tree = cKDTree(other.places_m)
    start = 0
    while start < len(one.places_m):
        places = one.places_m[start : start + _TOGETHER]
        crowd = np.cumsum(tree.query_ball_point(places[::_PROBED], within_m, return_length=True))
        many = _PROBED * max(int(np.searchsorted(crowd, _NEAR / _PROBED)), 1)
        distances = cKDTree(places[:many]).sparse_distance_matrix(
            tree, within_m, output_type="coo_matrix"
        )
        i, j = distances.row.astype(np.int64) + start, distances.col
        cosine = np.abs((one.along[i] * other.along[j]).sum(axis=1))
        keep = cosine > np.cos(np.radians(_ANGLE_DEG))
        i, j = i[keep], j[keep]
        apart = other.places_m[j] - one.places_m[i]
        yield i, j, one.along[i, 0] * apart[:, 1] - one.along[i, 1] * apart[:, 0]
        start += many


def _joined(marks: Sequence[Mark], tolerance_m: Array) -> Group:
    """Return the group of some marks with its course."""
    views: dict[int, list[Mark]] = {}
    for mark in marks:
        views.setdefault(mark.view, []).append(mark)
    order = sorted(views, key=lambda v: -sum(m.length_m * m.quality for m in views[v]))
    parts: list[Part] = []
    for view in order:
        tolerance = max((float(tolerance_m[view, p.mark.view]) for p in parts), default=0.0)
        fresh = [
            part
            for mark in views[view]
            for line, widths in zip(mark.lines_m, mark.widths_mm, strict=True)
            for part in _beyond(mark, line, widths, parts, tolerance)
        ]
        parts += fresh
    ordered = sorted(marks, key=lambda m: -m.length_m * m.quality)
    return Group(marks=tuple(ordered), parts=tuple(parts))


def _beyond(
    mark: Mark, line: Array, widths: Array, parts: Sequence[Part], tolerance: float
) -> list[Part]:
    """Return the stretches of a line that no part covers, joined on to where they leave it."""
    if not parts:
        return [Part(mark=mark, line_m=line, widths_mm=widths)]
    course = sample([(n, [p.line_m], [p.widths_mm]) for n, p in enumerate(parts)], tolerance / 4)
    tree = cKDTree(course.places_m)
    far, nearest = tree.query(line)
    past = (course.end[nearest]) & (
        ((line - course.places_m[nearest]) * course.outward[nearest]).sum(axis=1) > 0
    )
    covered = (far <= _COVER * tolerance) & ~past
    covered = covered | _bulges(covered, far, tolerance)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (~covered).astype(int), [0]])))
    least = max(3 * tolerance, 0.004 * mark.mm_per_px)
    stretches = []
    for a, b in edges.reshape(-1, 2):
        if b - a < 2 or arc.length(line[a:b]) < least:
            continue
        piece = _joined_on(line, a, b, covered, course.places_m[nearest], tolerance)
        stretches.append(Part(mark=mark, line_m=piece, widths_mm=widths[a:b]))
    return stretches


def _bulges(covered: Array, far: Array, tolerance: float) -> Array:
    """Return where a line leaves the course and comes back without going far."""
    bulge = np.zeros(len(covered), bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (~covered).astype(int), [0]])))
    for a, b in edges.reshape(-1, 2):
        inside = a > 0 and b < len(covered)
        if inside and far[a:b].max() <= _BULGE * _COVER * tolerance:
            bulge[a:b] = True
    return bulge


def _joined_on(
    line: Array, a: int, b: int, covered: Array, course: Array, tolerance: float
) -> Array:
    """Return a stretch bent so that it begins where the course is, the bend dying away."""
    piece = line[a:b].copy()
    at = arc.along(piece)
    for side, vertex in ((at, a - 1), (at[-1] - at, b)):
        if 0 <= vertex < len(line) and covered[vertex]:
            offset = course[vertex] - line[vertex]
            fade = np.clip(1 - side / max(10 * tolerance, 1e-9), 0, 1)
            piece += offset * fade[:, None]
    return piece
