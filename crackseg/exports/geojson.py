"""A report becomes ``cracks.geojson``: the centre lines with the measures of each crack.

RFC 7946 knows WGS84 alone. A georeferenced image is written in WGS84 when pyproj is installed
(extra ``geo``), else in map coordinates with the older ``crs`` member that GIS programs still
read. Any other image is written in pixels as GIS programs lay out a picture that has no place on
Earth, y upwards and negative, and says so in ``coordinate_system``: the lines then lie on the
photograph.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.exports.tables import (
    crack_facts,
    documents_of,
    flat_crack,
    other_line_to_dict,
    round_all,
)
from crackseg.folders import write_json_file
from crackseg.imagery.files import OpenImage
from crackseg.records import Array, Crack, ImageInfo, Report

PIXELS = (
    "image pixels, y upwards: x = column + 0.5, y = -(row + 0.5), the picture's top left corner at "
    "0, 0; not WGS84"
)


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``cracks.geojson`` and, where there are other lines, ``other_lines.geojson``."""
    collections = {"cracks.geojson": to_geojson(report)}
    by_hand = report.corrections is not None  # then none may be left, and the file says so
    if report.other_lines or (by_hand and report.other_lines is not None):
        collections["other_lines.geojson"] = other_lines_to_geojson(report)
    for name, collection in collections.items():
        write_json_file(folder / name, collection)
    return [folder / name for name in collections]


def other_lines_to_geojson(report: Report) -> dict[str, Any]:
    """Return the lines that are taken for no crack, one MultiLineString each."""
    rows = [(line, other_line_to_dict(line)) for line in report.other_lines or ()]
    flat = [
        (line, {key: value for key, value in row.items() if key not in ("bbox", "centre_line")})
        for line, row in rows
    ]
    return _collection(flat, report.image)


def to_geojson(report: Report) -> dict[str, Any]:
    """Return the cracks as a GeoJSON feature collection, one MultiLineString per crack."""
    documents = documents_of(report.cracks)
    rows = [(crack, flat_crack(crack_facts(crack), documents)) for crack in report.cracks]
    return _collection(rows, report.image)


def _collection(rows: Sequence[tuple[Crack, Mapping[str, Any]]], info: ImageInfo) -> dict[str, Any]:
    """Return lines with their properties as a feature collection."""
    place, about = _coordinates(info)
    features = [
        {
            "type": "Feature",
            "id": line.id,
            "geometry": {
                "type": "MultiLineString",
                "coordinates": [
                    place(b.centre_line) for b in line.branches if len(b.centre_line) > 1
                ],
            },
            "properties": {**properties, "image": info.path.name},
        }
        for line, properties in rows
    ]
    return {"type": "FeatureCollection", **about, "features": features}


def _coordinates(info: ImageInfo) -> tuple[Callable[[Array], list[list[float]]], dict[str, Any]]:
    """Return the function from (N, 2) rows, cols to coordinates, and what to say about them."""
    if info.transform is None:
        return _pixels, {"coordinate_system": PIXELS}
    a, b, c, d, e, f = info.transform

    def to_map(points: Array) -> list[list[float]]:
        cols, rows = points[:, 1] + 0.5, points[:, 0] + 0.5  # a transform counts from corners
        xy = np.column_stack([a * cols + b * rows + c, d * cols + e * rows + f])
        return [[float(x), float(y)] for x, y in xy]

    if info.crs is None:
        return to_map, {"coordinate_system": "map units of the image, no CRS known; not WGS84"}
    if importlib.util.find_spec("pyproj") is None:
        return to_map, {"coordinate_system": f"{info.crs}; not WGS84", **_crs_member(info.crs)}
    return _to_wgs84(to_map, info.crs), {"coordinate_system": "WGS84 (RFC 7946)"}


def _pixels(points: Array) -> list[list[float]]:
    return round_all((points[:, ::-1] + 0.5) * (1.0, -1.0), 2)


def _to_wgs84(
    to_map: Callable[[Array], list[list[float]]], crs: str
) -> Callable[[Array], list[list[float]]]:
    from pyproj import Transformer

    transformer = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)

    def to_degrees(points: Array) -> list[list[float]]:
        lon, lat = transformer.transform(*np.asarray(to_map(points)).reshape(-1, 2).T)
        return [[round(float(x), 9), round(float(y), 9)] for x, y in zip(lon, lat, strict=True)]

    return to_degrees


def _crs_member(crs: str) -> dict[str, Any]:
    match = re.fullmatch(r"EPSG:(\d+)", crs)
    if match is None:
        return {}
    name = f"urn:ogc:def:crs:EPSG::{match.group(1)}"
    return {"crs": {"type": "name", "properties": {"name": name}}}
