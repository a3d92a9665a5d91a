"""Cracks of two maps are matched by course; what changed is significant or said not to be.

Lengths are compared over what both dates show. A length or a mean width has changed where the
difference is larger than twice the combined standard uncertainty of both dates and of the
registration. Of a width only what differs between views counts: what no photograph shows of a
crack's inside is the same at both dates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from crackseg.changes.registration import Registration
from crackseg.face.cameras import View
from crackseg.face.cracks import in_view
from crackseg.face.face_json import view_from
from crackseg.face.merging import Samples, beside, sample
from crackseg.face.plane import FacePlane
from crackseg.metrology import arc
from crackseg.records import Array

_SHOWN = 0.5  # of a crack's course that the other date shows, to speak of new or gone
_WIDTH_PX = 0.06  # standard deviation of a mean width between two dates, at least
_NEED = 4.0  # tolerances that two courses run together
_SHARE = 0.25  # or this share of the shorter
_DENSE_M = 0.004  # between points of other lines
_OTHER = 0.5  # of a crack's course that the other date takes for another line


KINDS = (
    "new", "gone", "changed", "not_shown_before", "not_shown_now", "other_line_before",
    "other_line_now", "same",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """By how much a quantity grew, mm, with its expanded uncertainty (k = 2)."""

    by_mm: float
    u_mm: float

    @property
    def significant(self) -> bool:
        """Whether it is beyond twice the combined standard uncertainty."""
        return abs(self.by_mm) > self.u_mm


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One crack, or several that split or joined, at two dates."""

    lasting_id: int
    kind: str  # of ``KINDS``
    old_ids: tuple[int, ...]
    new_ids: tuple[int, ...]
    length: Difference | None  # None where one date alone has it
    width: Difference | None
    link: str  # "", split (one became several) or joined
    lines_m: tuple[Array, ...]  # (N, 2) x, y on the new map
    section: str
    width_mm: float | None = None  # mean, at the later date or where it was last
    below_limit: bool = (
        False  # new or gone, and finer than the other date's photographs surely show
    )

    @property
    def words(self) -> list[str]:
        """What changed: longer, shorter, wider, narrower, or the kind itself."""
        parts = []
        if self.length is not None and self.length.significant:
            parts.append("longer" if self.length.by_mm > 0 else "shorter")
        if self.width is not None and self.width.significant:
            parts.append("wider" if self.width.by_mm > 0 else "narrower")
        return parts or [self.kind.replace("_", " ")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """The cracks of one date on the new map."""

    values: Mapping[str, Any]
    cracks: Sequence[Mapping[str, Any]]
    lines: Sequence[list[Array]]
    widths: Sequence[list[Array]]
    others: cKDTree | None  # points of the lines that its network took for no crack


def plane_in(values: Mapping[str, Any]) -> FacePlane:
    """Return the plane of a ``face.json``."""
    face = values["face"]
    return FacePlane(
        name=face["name"],
        azimuth_deg=face["azimuth_deg"],
        batter=face["batter"],
        station_m=face["station_m"],
        elevation_m=face["elevation_m"],
        rightwards=face["rightwards"],
    )


def compare(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    registration: Registration,
    lasting: Mapping[int, int] | None = None,
) -> list[Change]:
    """Return what became of every crack, changed ones first.

    Args:
        old: a ``face.json``.
        new: the later one.
        registration: of the old map on the new one.
        lasting: ids of the old cracks that stay over surveys; None: their numbers on the old map.
    """
    sides = [_side(old, registration), _side(new, None)]
    tolerance = max(
        old["tolerance_mm"] / 1000, new["tolerance_mm"] / 1000, 3 * registration.sigma_m
    )
    samples = [
        sample([(n, line, width) for n, (line, width) in
                enumerate(zip(side.lines, side.widths, strict=True))], tolerance / 3)
        if side.cracks else None
        for side in sides
    ]  # fmt: skip
    pairs = _pairs(sides, samples, tolerance)
    lasting = dict(lasting or {c["id"]: c["id"] for c in sides[0].cracks})
    free = max(lasting.values(), default=0) + 1
    ordered = []
    for old_numbers, new_numbers in _groups(len(sides[0].cracks), len(sides[1].cracks), pairs):
        change = _change(old_numbers, new_numbers, sides, samples, registration, tolerance)
        numbers = [lasting[i] for i in change.old_ids if i in lasting]
        number = min(numbers) if numbers else free
        free += not numbers
        ordered.append(replace(change, lasting_id=number))
    return sorted(ordered, key=lambda c: (KINDS.index(c.kind), c.lasting_id))


def _side(values: Mapping[str, Any], registration: Registration | None) -> _Side:
    plane = plane_in(values)
    lines, widths = [], []
    factor = 1.0 if registration is None else abs(registration.factor)
    for crack in values["cracks"]:
        course = [plane.from_map(np.array(line)) for line in crack["course"]]
        if registration is not None:
            course = [registration.to_new(line) for line in course]
        lines.append(course)
        widths.append(
            [
                factor * np.array([np.nan if w is None else w for w in profile], dtype=float)
                for profile in crack["width_profile_mm"]
            ]
        )
    others = [
        plane.from_map(np.array(line))
        for other in values.get("other_lines", ())
        for line in other["course"]
    ]
    if registration is not None:
        others = [registration.to_new(line) for line in others]
    dense = [
        sample([(0, [line], [np.full(len(line), np.nan)])], _DENSE_M).places_m for line in others
    ]
    tree = cKDTree(np.concatenate(dense)) if dense else None
    return _Side(values=values, cracks=values["cracks"], lines=lines, widths=widths, others=tree)


def _pairs(
    sides: Sequence[_Side], samples: Sequence[Samples | None], tolerance: float
) -> list[tuple[int, int]]:
    """Return numbers of old and new cracks that run beside each other."""
    one, other = samples
    if one is None or other is None:
        return []
    first, second, gap = beside(one, other, tolerance)
    near = np.abs(gap) <= tolerance
    keys = np.unique(np.column_stack([first[near], other.owner[second[near]]]), axis=0)
    pairs, counts = np.unique(
        np.column_stack([one.owner[keys[:, 0]], keys[:, 1]]), axis=0, return_counts=True
    )
    step = tolerance / 3
    neighbours = []
    for (a, b), count in zip(pairs, counts, strict=True):
        shorter = min(
            sum(map(arc.length, side.lines[n])) for side, n in zip(sides, (a, b), strict=True)
        )
        if count * step >= min(_NEED * tolerance, _SHARE * shorter):
            neighbours.append((int(a), int(b)))
    return neighbours


def _groups(
    old: int, new: int, pairs: Sequence[tuple[int, int]]
) -> list[tuple[list[int], list[int]]]:
    links = np.array(pairs, dtype=int).reshape(-1, 2)
    graph = coo_array(
        (np.ones(len(links)), (links[:, 0], links[:, 1] + old)), shape=(old + new, old + new)
    )
    _, group = connected_components(graph, directed=False)
    members: dict[int, tuple[list[int], list[int]]] = {}
    for number, name in enumerate(group):
        side = members.setdefault(int(name), ([], []))
        side[number >= old].append(number if number < old else number - old)
    return list(members.values())


def _change(
    old: list[int],
    new: list[int],
    sides: Sequence[_Side],
    samples: Sequence[Samples | None],
    registration: Registration,
    tolerance: float,
) -> Change:
    before, after = sides
    lines = [line for n in new for line in after.lines[n]] or [
        line for n in old for line in before.lines[n]
    ]
    length = width = None
    if old and new:
        length = _length(old, new, sides, registration, tolerance)
        width = _width(old, new, sides, samples, registration, tolerance)
        changed = length.significant or (width is not None and width.significant)
        kind = "changed" if changed else "same"
    else:
        kind = _kind_alone(lines, sides, registration, tolerance, is_new=bool(new))
    link = "split" if len(new) > len(old) >= 1 else "joined" if len(old) > len(new) >= 1 else ""
    members = [after.cracks[n] for n in new] or [before.cracks[n] for n in old]
    main = any(crack["section"] == "main" for crack in members)
    widths = [crack["width_mean_mm"] for crack in members if crack["width_mean_mm"] is not None]
    mean = max(widths, default=None)
    return Change(
        lasting_id=0,
        kind=kind,
        old_ids=tuple(before.cracks[n]["id"] for n in old),
        new_ids=tuple(after.cracks[n]["id"] for n in new),
        length=length,
        width=width,
        link=link,
        lines_m=tuple(lines),
        section="main" if main else "also_marked",
        width_mm=mean,
        below_limit=kind in ("new", "gone") and _below_limit(mean, lines, before if new else after,
                                                             registration if new else None),
    )  # fmt: skip


def _kind_alone(
    lines: Sequence[Array],
    sides: Sequence[_Side],
    registration: Registration,
    tolerance: float,
    *,
    is_new: bool,
) -> str:
    """Return what a crack is that one date alone has."""
    other = sides[0] if is_new else sides[1]
    points = np.concatenate(lines)
    if _near(points, other.others, tolerance).mean() >= _OTHER:
        return "other_line_before" if is_new else "other_line_now"
    views = _views(other, registration if is_new else None)
    if _is_shown(lines, views):
        return "new" if is_new else "gone"
    return "not_shown_before" if is_new else "not_shown_now"


def _near(points: Array, tree: cKDTree | None, within_m: float) -> Array:
    if tree is None:
        return np.zeros(len(points), bool)
    return np.asarray(tree.query(points, distance_upper_bound=within_m)[0] <= within_m)


def _below_limit(
    width_mm: float | None, lines: Sequence[Array], other: _Side, registration: Registration | None
) -> bool:
    """Return whether a crack is finer than what the photographs of its place surely show."""
    points = np.concatenate(lines)
    limits = [
        view.mm_per_px * p["width_90_px"]
        for p, (view, factor, shift) in zip(
            (p for p in other.values["photographs"] if p["judged"]),
            _views(other, registration),
            strict=True,
        )
        if p.get("width_90_px") is not None
        and _shown_points(points, [(view, factor, shift)]).mean() >= _SHOWN
    ]
    return bool(limits) and (width_mm is None or width_mm < min(limits))


def _views(side: _Side, registration: Registration | None) -> list[tuple[View, complex, complex]]:
    """Return the views of a date with what takes places of the new map to its own."""
    factor, shift = (1 + 0j, 0j)
    if registration is not None:
        factor, shift = 1 / registration.factor, -registration.shift / registration.factor
    return [(view_from(p), factor, shift) for p in side.values["photographs"] if p["judged"]]


def _shown_points(points: Array, views: Sequence[tuple[View, complex, complex]]) -> Array:
    visible = np.zeros(len(points), bool)
    for view, factor, shift in views:
        z = factor * (points @ [1, 1j]) + shift
        visible |= in_view(view, np.column_stack([z.real, z.imag]))
    return np.asarray(visible)


def _is_shown(lines: Sequence[Array], views: Sequence[tuple[View, complex, complex]]) -> bool:
    return bool(_shown_points(np.concatenate(lines), views).mean() >= _SHOWN)


def _length(
    old: list[int],
    new: list[int],
    sides: Sequence[_Side],
    registration: Registration,
    tolerance: float,
) -> Difference:
    """Return the growth over what both dates show, and neither takes for another line."""
    before, after = sides
    wholes, ends = [], []
    for side, numbers, other, views in (
        (before, old, after, _views(after, None)),
        (after, new, before, _views(before, registration)),
    ):
        lines = [line for n in numbers for line in side.lines[n]]
        lengths = (_length_shown(line, views, other.others, tolerance) for line in lines)
        wholes.append(1000 * sum(lengths))
        sigma = side.values["scale"]["sigma_rel"]
        own = [
            (side.cracks[n]["length_u_mm"] or 0.0, 2 * sigma * (side.cracks[n]["length_mm"] or 0))
            for n in numbers
        ]
        ends.append(math.sqrt(sum(max(u**2 - scale**2, 0.0) for u, scale in own)))
    by = wholes[1] - wholes[0]
    sigma = after.values["scale"]["sigma_rel"]
    scale = 2 * registration.scale_sigma_rel * wholes[0]
    return Difference(by_mm=by, u_mm=math.hypot(*ends, scale, 2 * sigma * by))


def _length_shown(
    line: Array,
    views: Sequence[tuple[View, complex, complex]],
    others: cKDTree | None,
    tolerance: float,
) -> float:
    visible = _shown_points(line, views) & ~_near(line, others, tolerance)
    return float(arc.steps(line)[visible[:-1] & visible[1:]].sum())


def _width(
    old: list[int],
    new: list[int],
    sides: Sequence[_Side],
    samples: Sequence[Samples | None],
    registration: Registration,
    tolerance: float,
) -> Difference | None:
    """Return by how much the mean width grew along what both dates have of the course."""
    one, other = samples
    if one is None or other is None:
        return None
    ours = _of(other, new)
    theirs = _of(one, old)
    first, second, gap = beside(ours, theirs, tolerance)
    order = np.lexsort([np.abs(gap), first])
    first, second = first[order], second[order]
    nearest = np.append(True, np.diff(first) != 0) if len(first) else np.zeros(0, bool)
    change = ours.widths_mm[first[nearest]] - theirs.widths_mm[second[nearest]]
    change = change[np.isfinite(change)]
    if len(change) < 5:
        return None
    sigmas = [
        _width_sigma_mm(side, numbers) for side, numbers in zip(sides, (old, new), strict=True)
    ]
    mean = float(np.nanmean(ours.widths_mm))
    # where maps lie loosely, other places of the course, or of its neighbour, are taken for one
    loose = min(3 * registration.sigma_m / tolerance, 1.0) * float(change.std())
    sigma = math.hypot(*sigmas, registration.scale_sigma_rel * mean, loose)
    return Difference(by_mm=float(change.mean()), u_mm=2 * sigma)


def _of(samples: Samples, numbers: list[int]) -> Samples:
    chosen = np.isin(samples.owner, numbers)
    names = ("places_m", "along", "owner", "end", "outward", "widths_mm")
    return Samples(**{name: getattr(samples, name)[chosen] for name in names})


def _width_sigma_mm(side: _Side, numbers: list[int]) -> float:
    """Return how sure a mean width of one date is against another date's."""
    sizes = [p["mm_per_px"] for p in side.values["photographs"]]
    least = _WIDTH_PX * float(np.median(sizes))
    own = []
    for n in numbers:
        spread, views = side.cracks[n]["width_spread_mm"], side.cracks[n]["marked_in"]
        single = (side.cracks[n]["width_mean_u_mm"] or 0.0) / 2
        own.append(single if spread is None else max(spread / math.sqrt(max(views - 1, 1)), 0.0))
    return max(least, max(own, default=0.0))
