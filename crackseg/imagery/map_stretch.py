"""How much longer a map's metre is than the ground's: known of a projection at a place.

Zones of a survey (UTM, Gauss-Krueger, state planes) differ by less than 0.2 % and are metres. Maps
of the world, of continents and of the poles are not: a Mercator stretches by half at 47 degrees.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any

_RADIUS_M = 6378137.0
_E = math.sqrt(0.00669438)  # eccentricity; all ellipsoids of surveys agree within what counts here
_LEAST = 0.002  # of what is a metre still

# ProjCoordTransGeoKey of maps that are drawn too large or too small nearly everywhere
_MAPS = {7, 11, 13, 15, 17, 20, 22, 23, 24, 25, 28}
_CONES = {8, 9}
# What the stretch grows by with the square of the distance, in radii: from the meridian, ...
_MERIDIAN = {1: 0.5, 18: 0.5, 27: 0.5}
# ... from the centre
_CENTRE = {10: 0.125, 12: 1 / 6, 14: 0.25, 16: 0.25, 19: 1.0, 21: 0.5}
_CONFORMAL = {14, 16}

# the same by the names that programs write into citations and WKT
_NAMES = {
    8: r"lambert (conformal conic|conic conformal)",
    10: r"lambert azimuthal|laea",
    12: r"azimuthal equidistant",
    21: r"orthographic",
    1: r"transverse mercator|gauss kr",
}
_MAP_NAMES = re.compile(
    r"plate carr|equirectangular|equidistant (cylindrical|conic)|cylindrical equal area|albers|"
    r"(north|south) pole|polar stereographic|stereographic (north|south) pole|sinusoidal|mollweide|"
    r"robinson projection|world robinson|miller cylindrical|equal earth|winkel|eckert|"
    r"van der grinten|goode|behrmann|polyconic|gall stereographic|natural earth"
)
_WKT = {
    "ProjStdParallel1GeoKey": "standard parallel 1|latitude of 1st standard parallel",
    "ProjStdParallel2GeoKey": "standard parallel 2|latitude of 2nd standard parallel",
    "ProjNatOriginLatGeoKey": "latitude of (?:origin|center|false origin|natural origin)",
    "ProjFalseEastingGeoKey": "false easting|easting at false origin",
    "ProjFalseNorthingGeoKey": "false northing|northing at false origin",
    "ProjScaleAtNatOriginGeoKey": "scale factor(?: at natural origin)?",
}


def map_stretch(
    tags: Mapping[str, Any],
    code: int | None,
    citation: str,
    place_m: tuple[float, float],
    unit_m: float,
) -> float | None:
    """Return a map's length over the ground's where it is known not to be 1, else None.

    Args:
        tags: geo keys of a raster by name.
        code: EPSG code of its projected system, None where it has none.
        citation: what names the system, may hold WKT.
        place_m: easting and northing of a corner of the raster, m.
        unit_m: length of the map's unit, m, in which the tags' false eastings are.

    Returns:
        None where they agree within 0.2 %, or nothing is known; nan where the map is one of a large
        part of the world, or has different lengths along different directions.
    """
    maps, cones = _registered()
    if code in maps:
        return math.nan
    if code is not None and (cone := cones.get(str(code))):
        return _counts(lambda: _of_cone(cone, place_m))
    if code is not None and (32601 <= code <= 32660 or 32701 <= code <= 32760):
        return _counts(lambda: 0.9996 + 0.5 * ((place_m[0] - 5e5) / _RADIUS_M) ** 2)
    if code is not None:  # a survey's, or one that the register does not have
        return math.nan if _is_map(citation) else None
    words = _plain(citation)
    kind = tags.get("ProjCoordTransGeoKey")
    if kind in _MAPS or (kind in (None, 0, 32767) and _is_map(citation)):
        return math.nan
    if kind in (None, 0, 32767):
        kind = next((number for number, name in _NAMES.items() if re.search(name, words)), None)
        tags = _of_wkt(words)
    return _counts(lambda: _user_defined(int(kind or 0), tags, place_m, unit_m))


@cache
def _registered() -> tuple[frozenset[int], dict[str, list[float]]]:
    text = resources.files("crackseg.imagery").joinpath("stretched_maps.toml").read_text("utf-8")
    table = tomllib.loads(text)
    return frozenset(table["maps"]), table["cones"]


def _counts(stretch: Callable[[], float | None]) -> float | None:
    """Return a stretch that matters; a place or parameters that are none say nothing of it."""
    try:
        value = stretch()
    except (ArithmeticError, ValueError, TypeError):
        return None
    return None if value is None or abs(value - 1) <= _LEAST else value


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[_\-/\"']+", " ", text.lower()).split())


def _is_map(citation: str) -> bool:
    words = _plain(citation)
    local = "transvers" in words or "oblique" in words
    return bool(("mercator" in words and not local) or _MAP_NAMES.search(words))


def _of_wkt(words: str) -> dict[str, float]:
    """Return the parameters of a projection that WKT without quotes names, as geo keys."""
    found = {}
    for key, name in _WKT.items():
        if match := re.search(rf"parameter\[ ?(?:{name}) ?, ?(-?[\d.]+(?:e[+ -]?\d+)?)", words):
            found[key] = float(match[1].replace(" ", ""))
    return found


def _user_defined(
    kind: int, tags: Mapping[str, Any], place_m: tuple[float, float], unit_m: float
) -> float | None:
    def first(*names: str) -> Any:
        return next((tags[f"Proj{n}GeoKey"] for n in names if f"Proj{n}GeoKey" in tags), None)

    scale = first("ScaleAtNatOrigin", "ScaleAtCenter")
    scale = 1.0 if scale is None else float(scale)
    east = first("FalseEasting", "FalseOriginEasting", "CenterEasting")
    north = first("FalseNorthing", "FalseOriginNorthing", "CenterNorthing")
    if east is None:
        return None
    east_m, north_m = float(east) * unit_m, float(north or 0.0) * unit_m
    x = place_m[0] - east_m
    if kind in _MERIDIAN:
        return scale + _MERIDIAN[kind] * (x / _RADIUS_M) ** 2
    if north is None:
        return None
    if kind in _CENTRE:
        away = math.hypot(x, place_m[1] - north_m) / _RADIUS_M
        stretch = scale + _CENTRE[kind] * away**2
        conformal = kind in _CONFORMAL or abs(stretch - 1) <= _LEAST
        return stretch if conformal else math.nan
    if kind not in _CONES:
        return None
    origin = first("FalseOriginLat", "NatOriginLat", "CenterLat")
    lower = first("StdParallel1")
    lower = origin if lower is None else lower
    upper = first("StdParallel2")
    upper = lower if upper is None else upper
    return _of_cone([origin, lower, upper, scale, east_m, north_m], place_m)


def _of_cone(cone: list[float], place_m: tuple[float, float]) -> float:
    """Return the stretch of a Lambert conformal map (Snyder, Map Projections, 15-1 to 15-11)."""
    origin, lower, upper = (math.radians(angle) for angle in cone[:3])
    scale, east, north = cone[3:]
    n: float = math.sin(lower)
    if abs(lower - upper) > 1e-9:
        n = math.log(_m(lower) / _m(upper)) / math.log(_t(lower) / _t(upper))
    size = _RADIUS_M * scale * _m(lower) / (n * _t(lower) ** n)
    apex = size * _t(origin) ** n
    away = math.copysign(math.hypot(place_m[0] - east, apex - (place_m[1] - north)), n)
    t = float((away / size) ** (1 / n))
    latitude = math.pi / 2 - 2 * math.atan(t)
    for _ in range(6):  # converges by a factor of 150 each
        sine = _E * math.sin(latitude)
        latitude = math.pi / 2 - 2 * math.atan(t * ((1 - sine) / (1 + sine)) ** (_E / 2))
    return n * away / (_RADIUS_M * _m(latitude))


def _m(latitude: float) -> float:
    return math.cos(latitude) / math.sqrt(1 - (_E * math.sin(latitude)) ** 2)


def _t(latitude: float) -> float:
    sine = _E * math.sin(latitude)
    half: float = ((1 - sine) / (1 + sine)) ** (_E / 2)
    return math.tan(math.pi / 4 - latitude / 2) / half
