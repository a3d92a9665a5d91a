"""Sum the lines and stations of one crack up to the record that is reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crackseg.config import MeasureOptions
from crackseg.metrology.centreline import Line
from crackseg.metrology.stations import Stations
from crackseg.records import Array, Branch, Crack, Measure, Scale, Window

# Smallest width told from nothing, and smallest one that can be sized, in px: with the
# photograph the darkness integral reads on below one pixel, a mask does not (docs/accuracy.md).
DETECTION_PX = 0.5
MASK_SIZING_PX = 2.0
_MAP_LOOPS, _MAP_JUNCTIONS = 2, 8
# Standard uncertainty of a length: each tip, and what smoothing takes off or leaves on.
_TIP_U_PX, _LENGTH_U_REL = 0.6, 0.004


@dataclass(frozen=True, slots=True)
class Place:
    """Where a crack's pixels are in the picture."""

    window: Window
    crop: Array  # (window.height, window.width) bool
    rows: Array  # (N,)
    cols: Array  # (N,)
    touches_border: bool
    probability_mean: float | None


def summarize(
    lines: list[Line],
    stations: list[Stations],
    place: Place,
    scale: Scale | None,
    options: MeasureOptions,
) -> Crack:
    """Return the record of one crack from its lines and their stations."""
    branches = branches_of(lines, stations, scale)
    tips, junctions, loops = graph_counts(branches)
    length_px = sum(branch.length_px for branch in branches)
    area = float(len(place.rows))
    paper_length = paper_length_px(lines)
    widths = _widths(branches, stations, scale)
    return Crack(
        id=0,
        window=place.window,
        mask=place.crop,
        branches=branches,
        length=_length_measure(branches, tips, scale),
        bridged_length=_length_measure(tuple(b for b in branches if b.kind == "bridge"), 0, scale),
        width_mean=widths["mean"],
        width_median=widths["median"],
        width_p95=widths["p95"],
        width_max=widths["max"],
        width_max_at=None,
        area_px2=area,
        area_mm2=_area_mm2(place, scale),
        paper_length_px=paper_length,
        paper_width_px=area / max(paper_length, 1.0),
        orientation_deg=orientation_deg(branches),
        tortuosity=_tortuosity(branches, length_px),
        tips=tips,
        junctions=junctions,
        loops=loops,
        pattern=pattern(junctions, loops),
        touches_border=place.touches_border,
        probability_mean=place.probability_mean,
    )


def paper_length_px(lines: list[Line]) -> float:
    return sum(line.length_px for line in lines)


def _tortuosity(branches: tuple[Branch, ...], length_px: float) -> float | None:
    chords = [b.centre_line[-1] - b.centre_line[0] for b in branches]
    chord = sum(float(np.hypot(*c)) for c in chords)
    return length_px / chord if chord > 1 else None


def _area_mm2(place: Place, scale: Scale | None) -> float | None:
    return None if scale is None else len(place.rows) * scale.mm_per_px**2


def _length_measure(branches: tuple[Branch, ...], tips: int, scale: Scale | None) -> Measure:
    px = sum(b.length_px for b in branches)
    u_px = 2 * float(np.hypot(_TIP_U_PX * np.sqrt(tips), _LENGTH_U_REL * px))
    if scale is None:
        return Measure(px=px, u_px=u_px)
    mm = sum(b.length_mm or 0.0 for b in branches)
    rel = mm / px if px else 0
    return Measure(
        px=px, u_px=u_px, mm=mm, u_mm=float(np.hypot(u_px * rel, 2 * mm * scale.sigma_rel))
    )


def _widths(
    branches: tuple[Branch, ...], stations: list[Stations], scale: Scale | None
) -> dict[str, Measure]:
    width = np.concatenate([b.width_px for b in branches])
    u = np.concatenate([b.width_u_px for b in branches])
    good = np.isfinite(width)
    width, u = width[good], u[good]
    if not len(width):
        nothing = Measure(px=None, status="not_resolvable")
        return dict.fromkeys(("mean", "median", "p95", "max"), nothing)
    values = {
        "mean": width.mean(),
        "median": np.median(width),
        "p95": np.percentile(width, 95),
        "max": width.max(),
    }
    gsd = None if scale is None else scale.mm_per_px
    u_px = 2 * float(u.mean())
    return {
        k: Measure(
            px=float(v), u_px=u_px, mm=gsd and float(v * gsd), u_mm=gsd and float(u_px * gsd)
        )
        for k, v in values.items()
    }


def branches_of(
    lines: list[Line], stations: list[Stations], scale: Scale | None
) -> tuple[Branch, ...]:
    """Return the branches of one crack with nodes numbered from 0."""
    names: dict[int, int] = {}
    branches = []
    for line, station in zip(lines, stations, strict=True):
        nodes = [names.setdefault(node, len(names)) for node in line.nodes]
        bridge = line.kind == "bridge"
        nothing = np.full(len(line.points), np.nan)
        branches.append(
            Branch(
                centre_line=line.points,
                width_px=nothing if bridge else station.width_px,
                width_u_px=nothing if bridge else station.u_px,
                edges=station.edges,
                kind=line.kind,
                nodes=(nodes[0], nodes[1]),
                length_px=line.length_px,
                length_mm=None if scale is None else _length(scale.to_mm(line.points)),
            )
        )
    return tuple(branches)


def _length(points: Array) -> float:
    return float(np.hypot(*np.diff(points, axis=0).T).sum())


def graph_counts(branches: tuple[Branch, ...]) -> tuple[int, int, int]:
    """Return the number of tips, junctions and loops of connected branches."""
    degree = Counter(node for branch in branches for node in branch.nodes)
    tips = sum(d == 1 for d in degree.values())
    junctions = sum(d >= 3 for d in degree.values())
    return tips, junctions, len(branches) - len(degree) + 1


def pattern(junctions: int, loops: int) -> Literal["single", "branching", "map"]:
    """Name the pattern: a map crack is a net that closes on itself again and again."""
    if loops >= _MAP_LOOPS and junctions >= _MAP_JUNCTIONS:
        return "map"
    return "branching" if junctions else "single"


def orientation_deg(branches: tuple[Branch, ...]) -> float | None:
    """Return the length-weighted mean direction, 0 along a row, counter-clockwise, [0, 180).

    Directions are averaged at twice their angle, so that 179 and 1 degree give 0. None where
    they cancel (a ring, a net).
    """
    steps = np.concatenate([np.diff(b.centre_line, axis=0) for b in branches])
    size = np.hypot(steps[:, 0], steps[:, 1])
    angle = np.arctan2(-steps[:, 0], steps[:, 1])
    total = (size * np.exp(2j * angle)).sum() / max(float(size.sum()), 1e-9)
    if abs(total) < 0.1:
        return None
    return float(np.degrees(np.angle(total)) / 2 % 180)
