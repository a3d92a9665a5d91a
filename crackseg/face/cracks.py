"""Groups of marks become the cracks of the face: lengths, widths, what the views agree on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from crackseg.exports.tables import read_measure
from crackseg.face.cameras import View
from crackseg.face.lines import Mark
from crackseg.face.merging import Group, Part, sample
from crackseg.face.photographs import Photograph
from crackseg.metrology import arc
from crackseg.records import Array, WidthStatus

_IN_VIEW = 0.6  # of a crack's course that a photograph shows, to count as one that could see it
_LARGE_PART = 0.1  # of a crack, from which a part's widths count
_BEYOND_PX = 12.0  # past an end: where no photograph shows it, the crack may go on
STATISTICS = ("mean", "median", "p95", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A quantity in mm with its 95 % interval; the value is None below detection or unresolved."""

    value_mm: float | None
    low_mm: float | None = None
    high_mm: float | None = None
    status: WidthStatus = "measured"

    @property
    def u_mm(self) -> float | None:
        """Expanded uncertainty (k = 2), the larger side."""
        if self.value_mm is None or self.low_mm is None or self.high_mm is None:
            return None
        return max(self.value_mm - self.low_mm, self.high_mm - self.value_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceCrack:
    """One crack of the face.

    ``widths`` are those of the best view, or of the part where they are largest, in mm at the
    block's scale. ``spread_mm`` is how far the views' mean widths lie apart at the same places.
    """

    id: int
    section: str
    lines_m: tuple[Array, ...]  # (N, 2) x, y
    widths_along_mm: tuple[Array, ...]  # (N,)
    length: Interval
    widths: Mapping[str, Interval]  # by statistic
    width_from: Mapping[str, str]  # name of the photograph that each is of
    spread_mm: float | None  # standard deviation; None of a single view
    agree: bool | None  # whether the views' widths lie within their ±
    views: tuple[tuple[int, tuple[int, ...]], ...]  # photograph, ids of the crack in its report
    could_show: int  # photographs that show its place
    orientation_deg: float | None
    certainty: float | None
    leaves_map: bool
    severity_mm2: float = 0.0

    @property
    def points_m(self) -> Array:
        """(N, 2) all points of its course."""
        return np.concatenate(self.lines_m)


def cracks_of(
    groups: Sequence[Group],
    photographs: Sequence[Photograph],
    views: Sequence[View],
    sigma_rel: float,
) -> list[FaceCrack]:
    """Return the cracks of a face, main list first, the worst first.

    Args:
        groups: from ``merge``.
        photographs: as the marks number them.
        views: the same.
        sigma_rel: of the block's scale.
    """
    boxes = boxes_of(views)
    cracks = [_crack(group, photographs, views, boxes, sigma_rel) for group in groups]
    ordered = sorted(cracks, key=lambda c: (c.section != "main", -c.severity_mm2))
    return [_numbered(crack, number) for number, crack in enumerate(ordered, 1)]


def _numbered(crack: FaceCrack, number: int) -> FaceCrack:
    return replace(crack, id=number)


def _crack(
    group: Group,
    photographs: Sequence[Photograph],
    views: Sequence[View],
    boxes: Array,
    sigma_rel: float,
) -> FaceCrack:
    widths, width_from = _widths(group, photographs, sigma_rel)
    spread, agree = _spread(group)
    ids: dict[int, list[int]] = {}
    for mark in group.marks:
        ids.setdefault(mark.view, []).append(mark.crack["id"])
    certainties = [m.crack["certainty"] for m in group.marks if m.crack["certainty"] is not None]
    length = _length(group, sigma_rel)
    certainty = max(certainties, default=None)
    mean = widths["mean"].value_mm
    severity = (length.value_mm or 0) * (mean or 0) * (1 if certainty is None else certainty)
    main = any(mark.crack.get("section", "main") == "main" for mark in group.marks)
    return FaceCrack(
        id=0,
        section="main" if main else "also_marked",
        lines_m=tuple(part.line_m for part in group.parts),
        widths_along_mm=tuple(part.widths_mm for part in group.parts),
        length=length,
        widths=widths,
        width_from=width_from,
        spread_mm=spread,
        agree=agree,
        views=tuple((view, tuple(sorted(ids[view]))) for view in sorted(ids)),
        could_show=_could_show(group, views, boxes),
        orientation_deg=_orientation(group),
        certainty=certainty,
        leaves_map=_leaves_map(group, views, boxes),
        severity_mm2=severity,
    )


def _length(group: Group, sigma_rel: float) -> Interval:
    """Return the length in mm: ends as unsure as in the views, scale, and how views differ."""
    whole = 1000 * group.length_m
    ends = max(
        (m.crack["length_u_px"] or 0.0) * m.mm_per_px for m in {id(p.mark): p.mark for p in
                                                               group.parts}.values()
    )  # fmt: skip
    full = [
        1000 * m.length_m
        for m in group.marks
        if not m.crack["touches_border"] and 1000 * m.length_m > 0.8 * whole
    ]
    spread = float(np.std(full, ddof=1)) if len(full) > 1 else 0.0
    reach = math.hypot(ends, 2 * spread, 2 * sigma_rel * whole)
    return Interval(value_mm=whole, low_mm=max(whole - reach, 0.0), high_mm=whole + reach)


def _widths(
    group: Group, photographs: Sequence[Photograph], sigma_rel: float
) -> tuple[dict[str, Interval], dict[str, str]]:
    """Return each width statistic in mm and the photograph that it is of.

    The mean is that of the parts by their length; of the others the largest of the large parts.
    """
    shares = _shares(group)
    best = max(shares, key=lambda pair: pair[1])[0]
    large = [m for m, share in shares if share >= _LARGE_PART] or [best]
    widths: dict[str, Interval] = {}
    sources: dict[str, str] = {}
    for name in STATISTICS:
        own = {id(m): _in_mm(m, name, sigma_rel) for m, _ in shares}
        chosen = best
        if name in ("p95", "max"):
            chosen = max(large, key=lambda m: own[id(m)].value_mm or own[id(m)].high_mm or 0.0)
        widths[name], sources[name] = own[id(chosen)], photographs[chosen.view].name
        measured = [(own[id(m)].value_mm, s) for m, s in shares if own[id(m)].value_mm is not None]
        if name in ("mean", "median") and own[id(best)].value_mm is not None and len(measured) > 1:
            value = sum((mm or 0) * s for mm, s in measured) / sum(s for _, s in measured)
            widths[name] = _moved(own[id(best)], value)
    return widths, sources


def _shares(group: Group) -> list[tuple[Mark, float]]:
    """Return the marks that the course is of, with their share of it."""
    whole = max(group.length_m, 1e-12)
    marks = {id(p.mark): p.mark for p in group.parts}
    lengths = dict.fromkeys(marks, 0.0)
    for part in group.parts:
        lengths[id(part.mark)] += arc.length(part.line_m)
    return [(marks[key], lengths[key] / whole) for key in marks]


def _in_mm(mark: Mark, name: str, sigma_rel: float) -> Interval:
    """Return a width of a report at the block's scale, that scale's uncertainty included."""
    measure = read_measure(mark.crack, f"width_{name}")
    size = mark.mm_per_px
    if measure.status == "not_resolvable":
        return Interval(value_mm=None, status="not_resolvable")
    if measure.status == "below_detection":
        high = (measure.high_px or 0.0) * size * (1 + 2 * sigma_rel)
        return Interval(value_mm=None, low_mm=0.0, high_mm=high, status="below_detection")
    value = (measure.px or 0.0) * size
    low, high = (
        (value if bound is None else bound * size) for bound in (measure.low_px, measure.high_px)
    )
    reach = 2 * sigma_rel * value
    return Interval(
        value_mm=value,
        low_mm=max(value - math.hypot(value - low, reach), 0.0),
        high_mm=value + math.hypot(high - value, reach),
    )


def _moved(own: Interval, value: float) -> Interval:
    """Return another value with the same relative interval."""
    factor = value / own.value_mm if own.value_mm else 1.0
    low, high = (own.low_mm or 0.0) * factor, (own.high_mm or value) * factor
    return Interval(value_mm=value, low_mm=min(low, value), high_mm=max(high, value))


def _spread(group: Group) -> tuple[float | None, bool | None]:
    """Return how far the views' mean widths lie apart at the same places, and if within their ±."""
    course = sample(
        [(n, [p.line_m], [p.widths_mm]) for n, p in enumerate(group.parts)],
        0.002 * group.marks[0].mm_per_px,
    )
    owners = [part.mark for part in group.parts]
    tree = cKDTree(course.places_m)
    apart, inside = [0.0], True
    for mark in group.marks:
        own = sample([(0, mark.lines_m, mark.widths_mm)], 0.002 * mark.mm_per_px)
        far, nearest = tree.query(own.places_m)
        other = np.array([owners[n] is not mark for n in course.owner[nearest]])
        same = other & (far < 0.006 * mark.mm_per_px)
        both = same & np.isfinite(own.widths_mm) & np.isfinite(course.widths_mm[nearest])
        if both.sum() < 5:
            continue
        gap = float((own.widths_mm[both] - course.widths_mm[nearest[both]]).mean())
        apart.append(gap)
        owner = owners[int(np.bincount(course.owner[nearest[both]]).argmax())]
        inside = inside and abs(gap) <= _reach(mark, owner, gap)
    if len(apart) < 2:
        return None, None
    return float(np.std(apart, ddof=1)), inside


def _reach(one: Mark, other: Mark, gap: float) -> float:
    """Return by how much the mean widths of two views may differ by their own ±."""
    pair = [_in_mm(mark, "mean", 0.0) for mark in (one, other)]
    reach = []
    for width, sign in zip(pair, (1, -1), strict=True):
        if width.value_mm is None:
            return math.inf
        down, up = width.value_mm - (width.low_mm or 0.0), (width.high_mm or 0.0) - width.value_mm
        reach.append(down if sign * gap > 0 else up)
    return math.hypot(*reach)


def boxes_of(views: Sequence[View]) -> Array:
    """Return (V, 4) the least x, y and largest x, y that each photograph can show.

    Infinite where its picture reaches beyond the plane.
    """
    boxes = []
    for view in views:
        outline = view.outline_m()
        low, high = outline.min(axis=0), outline.max(axis=0)
        room = 0.05 * (high - low)  # for what bulges between the outline's points
        boxes.append(np.concatenate([low - room, high + room]))
    return np.where(np.isfinite(boxes), boxes, [-np.inf, -np.inf, np.inf, np.inf])


def _near(boxes: Array, places_m: Array) -> Array:
    """Return the numbers of the photographs whose box some of the places' box lies in."""
    low, high = places_m.min(axis=0), places_m.max(axis=0)
    return np.flatnonzero((boxes[:, :2] <= high).all(axis=1) & (boxes[:, 2:] >= low).all(axis=1))


def _could_show(group: Group, views: Sequence[View], boxes: Array) -> int:
    points = np.concatenate([part.line_m for part in group.parts])
    points = points[:: max(len(points) // 40, 1)]
    showing = {mark.view for mark in group.marks}
    for number in _near(boxes, points):
        if number not in showing and in_view(views[number], points).mean() >= _IN_VIEW:
            showing.add(int(number))
    return len(showing)


def in_view(view: View, places_m: Array, margin_px: float = 0.0) -> Array:
    """Return (N,) bool: which places a photograph shows."""
    pixels = view.to_picture(places_m)
    edge = np.array([view.lens.height_px, view.lens.width_px]) - 1 - margin_px
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= margin_px) & (pixels <= edge)).all(axis=1)
    return np.asarray(inside)


def _orientation(group: Group) -> float | None:
    """Return the direction of the course, 0 along x and counter-clockwise, [0, 180)."""
    steps = np.concatenate([np.diff(part.line_m, axis=0) for part in group.parts])
    size = np.hypot(steps[:, 0], steps[:, 1])
    double = (size * np.exp(2j * np.arctan2(steps[:, 1], steps[:, 0]))).sum()
    if abs(double) < 0.1 * max(size.sum(), 1e-12):
        return None
    return math.degrees(np.angle(double) / 2) % 180


def _leaves_map(group: Group, views: Sequence[View], boxes: Array) -> bool:
    """Return whether a course ends where no photograph shows what comes next."""
    size = group.marks[0].mm_per_px / 1000
    ends = np.concatenate([_past_ends(part, _BEYOND_PX * size) for part in group.parts])
    own = np.concatenate([part.line_m for part in group.parts])
    free = cKDTree(own).query(ends)[0] > 0.5 * _BEYOND_PX * size  # it does not go on in another
    if not free.any():
        return False
    open_ends = ends[free]
    visible: Array = np.zeros(len(open_ends), bool)
    for number in _near(boxes, open_ends):
        visible = np.asarray(visible | in_view(views[number], open_ends))
    return bool((~visible).any())


def _past_ends(part: Part, by_m: float) -> Array:
    line = part.line_m
    back = min(8, len(line) - 1)
    steps = np.stack([line[0] - line[back], line[-1] - line[-1 - back]])
    steps /= np.maximum(np.hypot(steps[:, 0], steps[:, 1]), 1e-12)[:, None]
    past: Array = np.stack([line[0], line[-1]]) + by_m * steps
    return past


def interval_to_dict(name: str, interval: Interval) -> dict[str, Any]:
    """Return an interval as ``face.json`` holds it."""
    return {
        f"{name}_mm": _round(interval.value_mm),
        f"{name}_u_mm": _round(interval.u_mm),
        f"{name}_low_mm": _round(interval.low_mm),
        f"{name}_high_mm": _round(interval.high_mm),
        f"{name}_status": interval.status,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
