"""Positions of the photographs become a small map: metres in a plane, with a colour for each.

Where ``crackseg face`` has placed the photographs, or the face's direction is known and they have
heights, the map is a view of the face, else a plan. It is drawn once as plain shapes, which the
page and the PDF paint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crackseg.exports.wording import round_length
from crackseg.reporting.gather import COPY, NOT_JUDGED, Gathered, Photograph, SurveyCrack
from crackseg.reporting.on_face import places_m
from crackseg.reporting.sums import bin_of
from crackseg.survey import Survey, WidthBins

_EARTH_M = 6_371_008.8  # mean radius; over a dam the error is far below that of a drone's position
FARTHEST_M = 20_000.0  # no structure is longer: such photographs are not of one survey
UNJUDGED_COLOUR = "#8a8f98"
FREE_COLOUR = "#5aa469"
SCALE_COLOURS = ("#f2c14e", "#f0953f", "#e4572e", "#b3202c", "#6d1a36", "#3b0f24")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A photograph on the map."""

    number: int
    x_m: float
    y_m: float  # upwards
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The map: its spots, the ends of its axes and the length of its scale bar."""

    spots: tuple[Spot, ...]
    is_face: bool
    left_m: float
    right_m: float
    bottom_m: float
    top_m: float
    bar_m: float
    without: int  # photographs that have no position


def draw_plan(gathered: Gathered) -> Plan | None:
    """Return the map, or None where it would show nothing: one position, or several places."""
    on_map = places_m(gathered.face)
    if on_map:
        is_face = True
        placed = [p for p in gathered.photographs if _hash(p) in on_map]
        places = [on_map[_hash(p)] for p in placed]
    else:
        placed = [p for p in gathered.photographs if _gps(p) is not None]
        is_face = _face_view(gathered.survey, placed)
        places = [_place(p, placed, gathered.survey, is_face=is_face) for p in placed]
    if len(placed) < 2 or (not on_map and spread_m(gathered) > FARTHEST_M):
        return None
    worst = worst_bins(gathered)
    bins = gathered.survey.widths
    spots = tuple(
        Spot(number=p.number, x_m=x, y_m=y, colour=colour_of(p, worst.get(p.number), bins))
        for p, (x, y) in zip(placed, places, strict=True)
    )
    xs, ys = [spot.x_m for spot in spots], [spot.y_m for spot in spots]
    margin = max(max(xs) - min(xs), max(ys) - min(ys), 1.0) * 0.08
    width = max(xs) - min(xs) + 2 * margin
    return Plan(
        spots=spots,
        is_face=is_face,
        left_m=min(xs) - margin,
        right_m=max(xs) + margin,
        bottom_m=min(ys) - margin,
        top_m=max(ys) + margin,
        bar_m=round_length(max(width * 0.3, 0.01)),
        without=sum(p.status != COPY for p in gathered.photographs) - len(placed),
    )


def spread_m(gathered: Gathered) -> float:
    """Return how far the photographs reach from the first one that has a position."""
    placed = [p for p in gathered.photographs if _gps(p) is not None]
    places = [_place(p, placed, Survey(), is_face=False) for p in placed]
    return max((math.hypot(*place) for place in places), default=0.0)


def worst_bins(gathered: Gathered) -> dict[int, SurveyCrack]:
    """Return the crack of the largest 95 % width of each photograph by its number."""
    worst: dict[int, SurveyCrack] = {}
    for crack in gathered.cracks:
        other = worst.get(crack.photograph.number)
        if other is None or _width(crack) > _width(other):
            worst[crack.photograph.number] = crack
    return worst


def _width(crack: SurveyCrack) -> float:
    return float(crack.facts["width_p95_px"] or 0.0)


def colour_of(photograph: Photograph, worst: SurveyCrack | None, bins: WidthBins) -> str:
    """Return the colour of a photograph by its widest crack."""
    if photograph.folder is None or photograph.status == NOT_JUDGED:
        return UNJUDGED_COLOUR
    return FREE_COLOUR if worst is None else bin_colour(bin_of(worst, bins), bins)


def bin_colour(name: str, bins: WidthBins) -> str:
    """Return the colour of a bin; those without a width in mm have that of the narrowest."""
    index = int(name) if name.isdigit() else 0
    last = len(bins.limits_mm)
    return SCALE_COLOURS[round(index * (len(SCALE_COLOURS) - 1) / last)]


def _hash(photograph: Photograph) -> str:
    return "" if photograph.status == COPY else str(photograph.image.get("sha256"))


def _gps(photograph: Photograph) -> tuple[float, float, float | None] | None:
    gps = None if photograph.status == COPY else photograph.image.get("gps")
    return (gps["lat_deg"], gps["lon_deg"], gps.get("alt_m")) if gps else None


def _face_view(survey: Survey, placed: list[Photograph]) -> bool:
    heights = all((_gps(photograph) or (0, 0, None))[2] is not None for photograph in placed)
    return heights and survey.face.station_azimuth_deg is not None


def _place(
    photograph: Photograph, placed: list[Photograph], survey: Survey, *, is_face: bool
) -> tuple[float, float]:
    """Return the place of a photograph in m: east and north, or along the face and height."""
    lat, lon, alt = _gps(photograph) or (0.0, 0.0, None)
    first = _gps(placed[0]) or (0.0, 0.0, None)
    origin = survey.face.origin_gps or (first[0], first[1], 0.0)
    turn = (lon - origin[1] + 180) % 360 - 180
    east = math.radians(turn) * _EARTH_M * math.cos(math.radians(origin[0]))
    north = math.radians(lat - origin[0]) * _EARTH_M
    along = survey.face.station_azimuth_deg
    if not is_face or along is None or alt is None:
        return east, north
    station = east * math.sin(math.radians(along)) + north * math.cos(math.radians(along))
    zero = survey.face.origin_station_m if survey.face.origin_gps else 0.0
    return station + zero, alt
