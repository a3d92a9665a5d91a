"""Counts and lengths of a survey's main list: by width, by direction, by certainty, over limits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from crackseg.reporting.gather import COPY, NOT_JUDGED, Gathered, Photograph, SurveyCrack
from crackseg.survey import WidthBins

HORIZONTAL_DEG = 15.0  # so far from a row or a column a crack is horizontal or vertical
CERTAIN = (0.9, 0.7, 0.5)  # lower ends of the groups by certainty


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cracks of one kind: how many, and how long those in mm are together."""

    name: str
    cracks: int
    length_mm: float
    share: float | None  # of the length of all cracks in mm


@dataclass(frozen=True, slots=True, kw_only=True)
class OverLimit:
    """Which shares of the length lie above a limit of width."""

    limit_mm: float
    by_value: float
    surely: float  # the whole interval lies above
    possibly: float  # the interval reaches above


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """The figures at the head of a survey."""

    cracks: int
    length_mm: float | None  # None where no crack has mm
    length_px: float  # of cracks in photographs without a scale
    area_mm2: float | None
    analyzed_mm2: float | None
    density_m_per_m2: float | None  # of the photographs with a scale that can be judged
    widest: SurveyCrack | None
    mm_per_px: tuple[float, float, float] | None  # smallest, median, largest


def sum_up(gathered: Gathered) -> Sums:
    """Return the figures of the main list."""
    cracks = gathered.cracks
    scaled = [crack for crack in cracks if crack.length_mm is not None]
    areas = [p.analyzed_mm2 for p in gathered.photographs if _counts(p)]
    analyzed = sum(area for area in areas if area is not None) or None
    counted = sum(c.length_mm or 0.0 for c in scaled if _counts(c.photograph))
    length_mm = sum(crack.length_mm or 0.0 for crack in scaled) if scaled else None
    scales = sorted(
        p.scale["mm_per_px"] for p in gathered.photographs if p.scale and p.status != COPY
    )
    middle = (scales[0], statistics.median(scales), scales[-1]) if scales else None
    return Sums(
        cracks=len(cracks),
        length_mm=length_mm,
        length_px=sum(c.facts["length_px"] or 0.0 for c in cracks if c.length_mm is None),
        area_mm2=sum(c.facts["area_mm2"] or 0.0 for c in scaled) if scaled else None,
        analyzed_mm2=analyzed,
        density_m_per_m2=1000 * counted / analyzed if analyzed else None,
        widest=_widest(cracks),
        mm_per_px=middle,
    )


def _counts(photograph: Photograph) -> bool:
    return photograph.analyzed_mm2 is not None and photograph.status not in (NOT_JUDGED, COPY)


def _widest(cracks: Sequence[SurveyCrack]) -> SurveyCrack | None:
    """Return the crack with the largest width in mm, else in px."""
    for unit in ("mm", "px"):
        column = f"width_max_{unit}"
        wide = [crack for crack in cracks if crack.facts[column] is not None]
        if wide:
            return max(wide, key=lambda crack: float(crack.facts[column]))
    return None


def bin_of(crack: SurveyCrack, bins: WidthBins) -> str:
    """Return the bin of a crack's 95 % width: the index of its bin as text, or why it has none."""
    width = crack.measure("width_p95")
    if width.status != "measured":
        return width.status
    if width.mm is None:
        return "no_scale"
    return str(sum(width.mm > limit for limit in bins.limits_mm))


def bin_names(bins: WidthBins) -> list[str]:
    """Return all that ``bin_of`` can say, in the order of a table."""
    indices = [str(index) for index in range(len(bins.limits_mm) + 1)]
    return [*indices, "below_detection", "not_resolvable", "no_scale"]


def by_width(cracks: Sequence[SurveyCrack], bins: WidthBins) -> list[Group]:
    """Return the groups by width; those of a bin without cracks too."""
    return _group(cracks, bin_names(bins), lambda crack: bin_of(crack, bins))


def by_direction(cracks: Sequence[SurveyCrack]) -> list[Group]:
    """Return the groups by direction in the upright photograph."""
    names = ("horizontal", "vertical", "diagonal", "none")
    return _group(cracks, names, lambda crack: direction(crack.facts["orientation_deg"]))


def direction(angle_deg: float | None) -> str:
    """Return the direction of an angle: horizontal, vertical, diagonal or none."""
    if angle_deg is None:
        return "none"
    if min(angle_deg, 180 - angle_deg) <= HORIZONTAL_DEG:
        return "horizontal"
    return "vertical" if abs(angle_deg - 90) <= HORIZONTAL_DEG else "diagonal"


def by_certainty(cracks: Sequence[SurveyCrack]) -> list[Group]:
    """Return the groups by certainty; a group is named by its lower end in per cent."""
    names = [f"{100 * low:.0f}" for low in CERTAIN] + ["0", "unknown"]

    def name_of(crack: SurveyCrack) -> str:
        sure = crack.facts["certainty"]
        if sure is None:
            return "unknown"
        return next((f"{100 * low:.0f}" for low in CERTAIN if sure >= low), "0")

    return _group(cracks, names, name_of)


def _group(
    cracks: Sequence[SurveyCrack], names: Iterable[str], name_of: Callable[[SurveyCrack], str]
) -> list[Group]:
    total = sum(crack.length_mm or 0.0 for crack in cracks)
    parts: dict[str, list[SurveyCrack]] = {name: [] for name in names}
    for crack in cracks:
        parts[name_of(crack)].append(crack)
    lengths = {n: sum(c.length_mm or 0.0 for c in part) for n, part in parts.items()}
    return [
        Group(
            name=name,
            cracks=len(part),
            length_mm=lengths[name],
            share=lengths[name] / total if total else None,
        )
        for name, part in parts.items()
    ]


def over_limits(cracks: Sequence[SurveyCrack], bins: WidthBins) -> list[OverLimit]:
    """Return the shares of the length in mm above each limit; nothing where no crack has mm."""
    widths = [(crack.length_mm or 0.0, crack.measure("width_p95")) for crack in cracks]
    total = sum(length for length, width in widths if width.high_mm is not None)
    if not total:
        return []

    def share(limit: float, part: str) -> float:
        above = (n for n, width in widths if (getattr(width, part) or 0.0) > limit)
        return sum(above) / total

    return [
        OverLimit(
            limit_mm=limit,
            by_value=share(limit, "mm"),
            surely=share(limit, "low_mm"),
            possibly=share(limit, "high_mm"),
        )
        for limit in bins.limits_mm
    ]
