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

from crackseg.changes.registration import Registration
from crackseg.face.cameras import View
from crackseg.face.cracks import shown
from crackseg.face.face_json import view_from
from crackseg.face.lines import length_of
from crackseg.face.merging import Samples, beside, sample
from crackseg.face.plane import FacePlane
from crackseg.records import Array

_SHOWN = 0.5  # of a crack's course that the other date shows, to speak of new or gone
_WIDTH_PX = 0.06  # standard deviation of a mean width between two dates, at least
_NEED = 4.0  # tolerances that two courses run together
_SHARE = 0.25  # or this share of the shorter


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
    kind: str  # new | gone | changed | same | not_shown_before | not_shown_now
    old_ids: tuple[int, ...]
    new_ids: tuple[int, ...]
    length: Difference | None  # None where one date alone has it
    width: Difference | None
    link: str  # "", split (one became several) or joined
    lines_m: tuple[Array, ...]  # (N, 2) x, y on the new map
    section: str

    @property
    def words(self) -> list[str]:
        """What changed: longer, shorter, wider, narrower, or the kind itself."""
        found = []
        if self.length is not None and self.length.significant:
            found.append("longer" if self.length.by_mm > 0 else "shorter")
        if self.width is not None and self.width.significant:
            found.append("wider" if self.width.by_mm > 0 else "narrower")
        return found or [self.kind.replace("_", " ")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """The cracks of one date on the new map."""

    values: Mapping[str, Any]
    cracks: Sequence[Mapping[str, Any]]
    lines: Sequence[list[Array]]
    widths: Sequence[list[Array]]


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
    found = []
    for old_numbers, new_numbers in _groups(len(sides[0].cracks), len(sides[1].cracks), pairs):
        change = _change(old_numbers, new_numbers, sides, samples, registration, tolerance)
        known = [lasting[i] for i in change.old_ids if i in lasting]
        number = min(known) if known else free
        free += not known
        found.append(replace(change, lasting_id=number))
    order = {"new": 0, "gone": 1, "changed": 2, "not_shown_before": 3, "not_shown_now": 4}
    return sorted(found, key=lambda c: (order.get(c.kind, 5), c.lasting_id))


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
    return _Side(values=values, cracks=values["cracks"], lines=lines, widths=widths)


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
    found = []
    for (a, b), count in zip(pairs, counts, strict=True):
        shorter = min(
            sum(map(length_of, side.lines[n])) for side, n in zip(sides, (a, b), strict=True)
        )
        if count * step >= min(_NEED * tolerance, _SHARE * shorter):
            found.append((int(a), int(b)))
    return found


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
        length = _length(old, new, sides, registration)
        width = _width(old, new, sides, samples, registration, tolerance)
        changed = length.significant or (width is not None and width.significant)
        kind = "changed" if changed else "same"
    elif new:
        kind = "new" if _is_shown(lines, _views(before, registration)) else "not_shown_before"
    else:
        kind = "gone" if _is_shown(lines, _views(after, None)) else "not_shown_now"
    link = "split" if len(new) > len(old) >= 1 else "joined" if len(old) > len(new) >= 1 else ""
    members = [after.cracks[n] for n in new] or [before.cracks[n] for n in old]
    main = any(crack["section"] == "main" for crack in members)
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
    )


def _views(side: _Side, registration: Registration | None) -> list[tuple[View, complex, complex]]:
    """Return the views of a date with what takes places of the new map to its own."""
    factor, shift = (1 + 0j, 0j)
    if registration is not None:
        factor, shift = 1 / registration.factor, -registration.shift / registration.factor
    return [(view_from(p), factor, shift) for p in side.values["photographs"] if p["judged"]]


def _shown_points(points: Array, views: Sequence[tuple[View, complex, complex]]) -> Array:
    seen = np.zeros(len(points), bool)
    for view, factor, shift in views:
        z = factor * (points @ [1, 1j]) + shift
        seen |= shown(view, np.column_stack([z.real, z.imag]))
    return np.asarray(seen)


def _is_shown(lines: Sequence[Array], views: Sequence[tuple[View, complex, complex]]) -> bool:
    return bool(_shown_points(np.concatenate(lines), views).mean() >= _SHOWN)


def _length(
    old: list[int], new: list[int], sides: Sequence[_Side], registration: Registration
) -> Difference:
    """Return the growth over what both dates show."""
    before, after = sides
    wholes, ends = [], []
    for side, numbers, others in (
        (before, old, _views(after, None)),
        (after, new, _views(before, registration)),
    ):
        lines = [line for n in numbers for line in side.lines[n]]
        wholes.append(1000 * sum(_length_shown(line, others) for line in lines))
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


def _length_shown(line: Array, views: Sequence[tuple[View, complex, complex]]) -> float:
    seen = _shown_points(line, views)
    steps = np.hypot(*np.diff(line, axis=0).T)
    return float(steps[seen[:-1] & seen[1:]].sum())


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
    sigma = math.hypot(*sigmas, registration.scale_sigma_rel * mean)
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
