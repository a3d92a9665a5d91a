"""Sum the lines and stations of one crack up to the record that is reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from crackseg.metrology import arc
from crackseg.metrology.centreline import Line
from crackseg.metrology.columns import concatenate, take
from crackseg.metrology.consistency import Reading
from crackseg.metrology.cuts import Cut
from crackseg.metrology.narrowing import AVERAGE
from crackseg.metrology.partings import parting_px
from crackseg.metrology.readings import Stations
from crackseg.metrology.sampling import normals
from crackseg.records import Array, Branch, Crack, Measure, Opening, Scale, Window
from crackseg.runs import Runs

# A mask does not size cracks thinner than 2 px (docs/accuracy.md); 0.1 px is the error there.
MASK_SIZING_PX = 1.9
_END_PX = 2.0  # stations this near to a tip see half a crack and are not counted
_RUN = 5  # the maximum is that of a running median: one bad station is no width
_SAME_PLACE_PX = 3.0  # two openings nearer to each other along the line are one
_MAP_LOOPS, _MAP_JUNCTIONS = 2, 8  # from here a net is a map crack
_MOSTLY = 0.5  # of the stations that count
_ISOTROPIC = 0.1  # mean direction shorter than this (1 = straight) says nothing
# Standard uncertainty of a length: px for each tip, and a share for what smoothing takes off or
# leaves on (phantom sweep in docs/accuracy.md).
_TIP_U_PX, _LENGTH_U_REL = 0.6, 0.004


@dataclass(frozen=True, slots=True)
class Place:
    """Where a crack's pixels are in the picture."""

    window: Window
    crop: Runs  # (window.height, window.width) bool
    rows: Array  # (N,)
    cols: Array  # (N,)
    touches_border: bool
    probability_mean: float | None


@dataclass(frozen=True, slots=True)
class _Sized:
    """The stations of one crack that count for its width."""

    points: Array  # (N, 2)
    read: Stations  # (N,) as they were read
    smooth_px: Array  # (N,) running median along each line
    mm_per_px: Array  # (N,) across the crack on the face; 1 without a scale
    step: Array  # (N,) weight of that: length along the face of each station


def summarize(
    lines: list[Line],
    stations: list[Stations],
    place: Place,
    cuts: frozenset[Cut],
    scale: Scale | None,
    *,
    photograph: bool,
    in_full: bool = True,
) -> Crack:
    """Return the record of one crack; its number and width classes are set by the caller."""
    branches = _branches(lines, stations, scale)
    tips, junctions, loops = _count(branches)
    bridges, joined, hidden = (
        tuple(branch for branch in branches if branch.kind == kind)
        for kind in ("bridge", "joined", "hidden")
    )
    sized = _sized(lines, stations, scale)
    widths, moved, widest = _widths(sized, scale)
    paper_length = sum(line.pixel_length_px for line in lines)
    mask_area = float(len(place.rows))
    length = _length(branches, tips, scale)
    return Crack(
        id=0,
        window=place.window,
        mask=place.crop,
        branches=branches,
        length=length,
        bridged_length=_length(bridges, 0, scale),
        joined_length=_length(joined, 0, scale),
        hidden_length=_length(hidden, 0, scale),
        width_mean=widths[0],
        width_median=widths[1],
        width_p95=widths[2],
        width_max=widths[3],
        width_max_at=widest,
        widths_moved_px=moved,
        sharp=_is_sharp(sized),
        width_left_out_px=sum(
            _left_out_px(line, s) for line, s in zip(lines, stations, strict=True)
        ),
        openings=_openings(lines, stations, scale) if in_full else (),
        area_px2=_area(length.px, widths[0].px),
        area_mm2=_area(length.mm, widths[0].mm),
        mask_area_px2=mask_area,
        paper_length_px=paper_length,
        paper_width_px=mask_area / max(paper_length, 1.0),
        orientation_deg=orientation_deg([line.points for line in lines]),
        tortuosity=_tortuosity(branches),
        tips=tips,
        junctions=junctions,
        loops=loops,
        pattern=_pattern(junctions, loops),
        touches_border=bool(_ends(place, cuts)),
        probability_mean=place.probability_mean,
        flags=_flags(sized, branches, _ends(place, cuts), photograph),
    )


def _branches(
    lines: list[Line], stations: list[Stations], scale: Scale | None
) -> tuple[Branch, ...]:
    """Return the branches of one crack with nodes numbered from 0."""
    names: dict[int, int] = {}
    branches = []
    for line, station in zip(lines, stations, strict=True):
        first, last = (names.setdefault(node, len(names)) for node in line.nodes)
        branches.append(
            Branch(
                centre_line=line.points,
                width_px=np.where(station.counted, station.width_px, np.nan),
                edges=station.edges,
                kind=line.kind,
                nodes=(first, last),
                length_px=line.length_px,
                length_mm=None if scale is None else arc.length(scale.to_mm(line.points)),
            )
        )
    return tuple(branches)


def _count(branches: tuple[Branch, ...]) -> tuple[int, int, int]:
    """Return the number of tips, junctions and loops of connected branches."""
    degree = Counter(node for branch in branches for node in branch.nodes)
    tips = sum(d == 1 for d in degree.values())
    junctions = sum(d >= 3 for d in degree.values())
    return tips, junctions, len(branches) - len(degree) + 1


def _pattern(junctions: int, loops: int) -> Literal["single", "branching", "map"]:
    if loops >= _MAP_LOOPS and junctions >= _MAP_JUNCTIONS:
        return "map"
    return "branching" if junctions else "single"


def orientation_deg(paths: list[Array]) -> float | None:
    """Return the length-weighted mean direction, 0 along a row, counter-clockwise, [0, 180).

    Directions are averaged at twice their angle, so that 179 and 1 degree give 0. None where
    they cancel (a ring, a net).

    Args:
        paths: (N, 2) float (row, col) centre lines.
    """
    steps = np.concatenate([np.diff(path, axis=0) for path in paths])
    size = np.hypot(steps[:, 0], steps[:, 1])
    angle = np.arctan2(-steps[:, 0], steps[:, 1])
    total = complex((size * np.exp(2j * angle)).sum())
    if abs(total) < _ISOTROPIC * float(size.sum()):
        return None
    return float(np.degrees(np.angle(total)) / 2 % 180)


def _tortuosity(branches: tuple[Branch, ...]) -> float | None:
    """Return length over straight distance: between the tips of a plain crack, else by branch."""
    degree = Counter(node for branch in branches for node in branch.nodes)
    ends = [
        branch.centre_line[-side]
        for branch in branches
        for side in (0, 1)
        if degree[branch.nodes[side]] == 1
    ]
    if len(ends) == 2 and max(degree.values()) <= 2:
        chord = float(np.hypot(*(ends[0] - ends[1])))
        length = sum(branch.length_px for branch in branches)
    else:
        open_ones = [branch for branch in branches if branch.kind != "loop"]
        chord = sum(float(np.hypot(*(b.centre_line[-1] - b.centre_line[0]))) for b in open_ones)
        length = sum(branch.length_px for branch in open_ones)
    return max(1.0, length / chord) if chord > 1 else None


def _area(length: float | None, width_mean: float | None) -> float | None:
    """Return the area of the opening; None where no width, or no scale, is known."""
    return None if length is None or width_mean is None else length * width_mean


def _length(branches: tuple[Branch, ...], tips: int, scale: Scale | None) -> Measure:
    px = sum(branch.length_px for branch in branches)
    u_px = 2 * float(np.hypot(_TIP_U_PX * np.sqrt(tips), _LENGTH_U_REL * px))
    if scale is None:
        return Measure(px=px, u_px=u_px)
    mm = sum(branch.length_mm or 0.0 for branch in branches)
    mm_per_px = mm / px if px > 0 else scale.mm_per_px
    u_mm = float(np.hypot(u_px * mm_per_px, 2 * scale.sigma_rel * mm))
    return Measure(px=px, u_px=u_px, mm=mm, u_mm=u_mm)


def _sized(lines: list[Line], stations: list[Stations], scale: Scale | None) -> _Sized:
    """Return the stations with a width, away from junctions, tips and sharp forks."""
    thick: dict[int, float] = {}
    for line in lines:
        for node in line.nodes:
            thick[node] = max(thick.get(node, 0.0), line.radius_px)
    margins = [
        [_END_PX if line.free[side] else thick[line.nodes[side]] + _END_PX for side in (0, 1)]
        for line in lines
    ]
    counted = [station.counted for station in stations]
    clear = [
        part & _inner(line, margin)
        for line, part, margin in zip(lines, counted, margins, strict=True)
    ]
    alone = list(clear)
    for (number, side), far in parting_px(lines).items():
        margin = [far if end == side else 0.0 for end in (0, 1)]
        alone[number] = alone[number] & _inner(lines[number], margin)
    chosen = next((parts for parts in (alone, clear) if any(part.any() for part in parts)), counted)
    return concatenate(
        [
            _some(line.points, station, np.flatnonzero(part), scale)
            for line, station, part in zip(lines, stations, chosen, strict=True)
        ]
    )


def _inner(line: Line, margin: list[float]) -> Array:
    at = arc.along(line.points)
    inner: Array = (at >= margin[0]) & (at <= at[-1] - margin[1])
    return inner


def _some(points: Array, stations: Stations, chosen: Array, scale: Scale | None) -> _Sized:
    """Return some stations of one line with their place on the face."""
    mm_per_px, step = _on_face(points, scale)
    read = take(stations, chosen)
    return _Sized(
        points=points[chosen],
        read=read,
        smooth_px=_running_median(read.width_px),
        mm_per_px=mm_per_px[chosen],
        step=step[chosen],
    )


def _on_face(points: Array, scale: Scale | None) -> tuple[Array, Array]:
    """Return the (N,) mm per px across a line, and the (N,) step along it, on the face.

    The opening is measured square to the crack on the face: what is square to it in an oblique
    picture is not, so the part of the opening along the crack is taken off. 1 without a scale.
    """
    if scale is None:
        return np.ones(len(points)), np.ones(len(points))
    half = 0.5 * normals(points)
    opening = scale.to_mm(points + half) - scale.to_mm(points - half)
    along = np.gradient(scale.to_mm(points), axis=0)
    step = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-12)
    across = np.abs(opening[:, 0] * along[:, 1] - opening[:, 1] * along[:, 0]) / step
    return across, step


def _left_out_px(line: Line, station: Stations) -> float:
    """Return the length along a line where nothing tells the crack's width."""
    out = (station.reading == Reading.LEFT_OUT) & np.isfinite(station.width_px)
    return float(out.sum()) * line.length_px / max(len(line.points) - 1, 1)


def _openings(
    lines: list[Line], stations: list[Stations], scale: Scale | None
) -> tuple[Opening, ...]:
    """Return the places where the crack is open for a short way, the widest first."""
    openings = []
    for line, station in zip(lines, stations, strict=True):
        at = np.flatnonzero((station.reading == Reading.OPENING) & np.isfinite(station.width_px))
        if len(at):
            runs = np.split(at, np.flatnonzero(np.diff(at) > _SAME_PLACE_PX) + 1)
            tops = np.array([run[int(np.argmax(station.width_px[run]))] for run in runs])
            sized = _some(line.points, station, tops, scale)
            openings += [_opening(line, run, sized, k, scale) for k, run in enumerate(runs)]
    return tuple(sorted(openings, key=lambda opening: -(opening.width.px or 0.0)))


def _opening(line: Line, run: Array, tops: _Sized, number: int, scale: Scale | None) -> Opening:
    """Return one place from the numbers of its stations, and the widest one of each place."""
    part = line.points[max(run[0] - 1, 0) : run[-1] + 1]  # a station stands for 1 px
    long_px, ends_px = arc.length(part), 2 * _TIP_U_PX * np.sqrt(2)
    if scale is None:
        length = Measure(px=long_px, u_px=ends_px)
    else:
        long_mm = arc.length(scale.to_mm(part))
        ends_mm = ends_px * long_mm / max(long_px, 1e-9)
        u_mm = float(np.hypot(ends_mm, 2 * scale.sigma_rel * long_mm))
        length = Measure(px=long_px, u_px=ends_px, mm=long_mm, u_mm=u_mm)
    row, col = (float(v) for v in tops.points[number])
    width = _measure(float(tops.read.width_px[number]), np.array([number]), tops, scale)
    return Opening(row=row, col=col, width=width, length=length)


def _widths(
    sized: _Sized, scale: Scale | None
) -> tuple[
    tuple[Measure, Measure, Measure, Measure], tuple[float, ...], tuple[float, float] | None
]:
    """Return mean, median, 95th percentile and maximum, and where the maximum is.

    Between them stands by how much each is less if motion made the crack's look.
    """
    if not len(sized.read.width_px):
        nothing = Measure(px=None, status="not_resolvable")
        return (nothing, nothing, nothing, nothing), (), None
    smooth = sized.smooth_px
    top = int(np.argmax(smooth))
    near = np.argsort(np.abs(smooth - np.percentile(smooth, 95)), kind="stable")[:_RUN]
    whole = np.arange(len(sized.read.width_px))
    middle = np.argsort(
        np.abs(sized.read.width_px - np.median(sized.read.width_px)), kind="stable"
    )[:_RUN]
    tops = np.unique([_source(sized, int(k)) for k in np.flatnonzero(smooth >= smooth[top])])
    mean = _measure(float(sized.read.width_px.mean()), whole, sized, scale)
    median = _measure(float(np.median(sized.read.width_px)), middle, sized, scale)
    p95 = _measure(float(np.percentile(smooth, 95)), near, sized, scale)
    largest = _measure(float(smooth[top]), tops, sized, scale)
    p95 = _not_less(p95, mean)
    largest = _not_less(largest, p95)
    measures = (mean, median, p95, largest)
    parts = (whole, middle, near, tops)
    moved = tuple(float(np.mean(sized.read.moved_px[part])) for part in parts)
    return measures, moved, (float(sized.points[top, 0]), float(sized.points[top, 1]))


def _is_sharp(sized: _Sized) -> bool:
    """Say whether most of a crack, and where it is widest, shows that nothing is blurred there."""
    if not len(sized.read.sharp):
        return False
    tops = np.flatnonzero(sized.smooth_px >= sized.smooth_px.max())
    return bool(np.mean(sized.read.sharp) > _MOSTLY and sized.read.sharp[tops].any())


def _source(sized: _Sized, number: int) -> int:
    """Return the station whose width the running median at another one is."""
    first = max(number - _RUN // 2, 0)
    off = np.abs(sized.read.width_px[first : number + _RUN // 2 + 1] - sized.smooth_px[number])
    return first + int(np.argmin(off))


def _measure(px: float, chosen: Array, sized: _Sized, scale: Scale | None) -> Measure:
    """Return one width with its 95 % interval from the stations it was made of.

    Noise falls with the number of stations, ``AVERAGE`` of which share their profiles; what is
    assumed of interior and edges is common to all and does not. How much lighter the interior may
    be, or a floor that was no part of the dark line, widens the interval upwards alone.
    """
    read = sized.read
    if _mean(read.from_image[chosen]) < 0.5 and px < MASK_SIZING_PX:
        return Measure(px=None, status="not_resolvable")
    free = max(1.0, len(chosen) / AVERAGE)
    # Of the few that stand for a rank a single one may lie beside something black.
    typical = np.median if len(chosen) <= _RUN else np.mean
    noise = float(np.sqrt(typical(read.noise_u_px[chosen] ** 2) / free))
    even = 2 * float(np.hypot(noise, _mean(read.model_u_px[chosen])))
    wider = np.maximum(read.lighter_px, read.beyond_px)[chosen]
    up = float(np.hypot(even, _mean(wider)))
    down = float(np.hypot(even, _mean(read.narrower_px[chosen])))
    resolved = px > even  # else all that is known is what it may be as wide as
    interval: dict[str, Any] = {
        "low_px": max(px - down, 0.0) if resolved else 0.0,
        "high_px": px + up,
    }
    mm = None
    if scale is not None:
        weight = sized.step[chosen] * np.maximum(sized.read.width_px[chosen], 1e-9)
        local = float(np.average(sized.mm_per_px[chosen], weights=weight))
        mm, scale_u = px * local, 2 * scale.sigma_rel * px * local
        interval["low_mm"] = (
            max(mm - float(np.hypot(down * local, scale_u)), 0.0) if resolved else 0.0
        )
        interval["high_mm"] = mm + float(np.hypot(up * local, scale_u))
    if not resolved:
        return Measure(px=None, status="below_detection", **interval)
    return Measure(px=px, mm=mm, **interval)


def _not_less(larger: Measure, smaller: Measure) -> Measure:
    """Return a width that may be as large as another one may be, which is at most as large."""
    if larger.high_px is None or smaller.high_px is None:
        return larger
    high_mm = larger.high_mm
    if high_mm is not None and smaller.high_mm is not None:
        high_mm = max(high_mm, smaller.high_mm)
    high_px = max(larger.high_px, smaller.high_px)
    return replace(larger, high_px=high_px, high_mm=high_mm, u_px=None, u_mm=None)


def _mean(values: Array) -> float:
    """Return the mean; of a single value, as of a place that is open, without the way there."""
    return float(values[0] if len(values) == 1 else np.mean(values))


def _running_median(values: Array) -> Array:
    """Return the median of each value and its neighbours."""
    if not len(values):
        return values
    half = min(_RUN, len(values)) // 2
    padded = np.pad(values, half, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    median: Array = np.median(windows, axis=1)
    return median


def _flags(
    sized: _Sized,
    branches: tuple[Branch, ...],
    ends: tuple[str, ...],
    photograph: bool,
) -> tuple[str, ...]:
    flags = []
    if not len(sized.read.width_px) or np.mean(sized.read.from_image) < _MOSTLY:
        flags.append("width_from_mask")
        if photograph:
            flags.append("not_dark")  # a bright line, a stain's rim, or nothing to be seen
    if len(sized.read.width_px) and np.mean(sized.read.beyond_px > 0) > _MOSTLY:
        flags.append("filled")
    kinds = {branch.kind for branch in branches}
    between = {"bridge": "bridged", "joined": "joined", "hidden": "hidden"}
    flags += [flag for kind, flag in between.items() if kind in kinds]
    return (*flags, *ends)


def _ends(place: Place, cuts: frozenset[Cut]) -> tuple[str, ...]:
    """Return the flags of what cuts a crack."""
    border = place.touches_border or "border" in cuts
    flags = {"touches_border": border, "touches_nodata": "nodata" in cuts}
    return tuple(name for name, cut in flags.items() if cut)
