"""What a file of a region draws, before it is laid on a picture: polygons, joints, a mask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.errors import DataError
from crackseg.imagery.files import open_image
from crackseg.records import Array

_JSON, _PICTURES = (".geojson", ".json"), (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
_FARTHEST = 1e12  # in px, degrees or m: farther is no place, and its square is no number


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a GeoJSON file draws, in its own coordinates; each polygon with where it stands."""

    data: Any  # as it was read
    polygons: dict[str, list[tuple[str, list[Array]]]]  # by role; rings of (N, 2) x, y
    joints: list[Array]  # (N, 2) x, y


def is_region_file(path: Path) -> bool:
    """Return whether a file in a folder of regions is one, by its suffix."""
    return path.suffix.lower() in (*_JSON, *_PICTURES)


def is_geojson(path: Path) -> bool:
    """Return whether a file is read as GeoJSON, by its suffix; others are pictures."""
    return path.suffix.lower() in _JSON


def read_shapes(path: Path, role: str) -> Shapes:
    """Return the polygons of a GeoJSON file, of ``role`` where they name no other, and its joints.

    Raises:
        DataError: it is no GeoJSON, or draws something else, or nothing.
    """
    name = path.name
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        features = list(_features(data))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"`{name}` is not GeoJSON: {error}.") from error
    shapes: dict[str, list[tuple[str, list[Array]]]] = {"region": [], "ignore": []}
    joints: list[Array] = []
    for number, (kind, coordinates, named) in enumerate(features, start=1):
        where = f"`{name}`, geometry {number}"
        if kind in ("Polygon", "MultiPolygon"):
            polygons = [coordinates] if kind == "Polygon" else _listed(coordinates, where)
            said = named if named in shapes else role
            for rings in polygons:
                outlines = [_points(ring, where) for ring in _listed(rings, where)]
                if any(len(np.unique(ring, axis=0)) < 3 for ring in outlines):
                    raise DataError(f"{where} must go round an area, got fewer than three points.")
                shapes[said] += [(where, outlines)] if outlines else []
        elif kind in ("LineString", "MultiLineString") and named == "joint":
            lines = [coordinates] if kind == "LineString" else _listed(coordinates, where)
            joints += [_points(line, where) for line in lines]
        else:
            raise DataError(
                f"{where} is a {kind} of class {named or 'none'}; expected polygons, or lines "
                "with the property `class` = `joint`."
            )
    if not any(shapes.values()) and not joints:
        raise DataError(f"`{name}` holds no polygon and no line.")
    return Shapes(data, shapes, joints)


def _features(data: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield kind, coordinates and class of every geometry."""
    if not isinstance(data, dict):
        raise ValueError("expected objects with a `type`")
    kind = data.get("type")
    if kind == "FeatureCollection":
        for feature in data["features"]:
            yield from _features(feature)
    elif kind == "Feature":
        named = str((data.get("properties") or {}).get("class") or "").strip().lower()
        geometry = data.get("geometry") or {"type": "GeometryCollection", "geometries": []}
        for inner, coordinates, _ in _features(geometry):
            yield inner, coordinates, named
    elif kind == "GeometryCollection":
        for geometry in data["geometries"]:
            yield from _features(geometry)
    elif isinstance(kind, str) and "coordinates" in data:
        yield kind, data["coordinates"], ""
    else:
        raise ValueError("it has no `type` that GeoJSON knows")


def _listed(values: Any, where: str) -> list[Any]:
    if not isinstance(values, list):
        raise DataError(f"{where} must have lists of coordinates, got {values!r:.40}.")
    return values


def _points(ring: Any, where: str) -> Array:
    try:
        points = np.array([point[:2] for point in ring], dtype=np.float64)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise DataError(f"{where} has coordinates that are no numbers.") from error
    pairs = points.ndim == 2 and points.shape[0] >= 2 and points.shape[1] == 2
    if not pairs or not (np.abs(points) < _FARTHEST).all():
        raise DataError(f"{where} must have two or more finite points of x and y.")
    return points


def read_mask(path: Path) -> Array:
    """Return (H, W) uint8 of a mask picture: 1 where it is bright.

    Raises:
        DataError: it is a photograph, or marks nothing.
        ImageError: it cannot be read.
    """
    with open_image(path, is_mask=True) as picture:
        grey = picture.read().max(axis=2)
    if _is_photograph(grey):
        raise DataError(
            f"`{path.name}` is no mask: most of it is neither black nor white; expected black "
            "outside and white inside."
        )
    levels = np.flatnonzero(np.bincount(grey.ravel(), minlength=256))
    limit = levels[0] if len(levels) == 2 else 127
    if len(levels) == 1 and not levels[0]:
        raise DataError(f"`{path.name}` is black: it marks nothing.")
    drawn: Array = (grey > limit).astype(np.uint8)
    return drawn


def _is_photograph(grey: Array) -> bool:
    """Return whether a picture of many levels is largely grey; soft edges make it so in part."""
    counts = np.bincount(grey.ravel(), minlength=256)
    return bool(np.count_nonzero(counts) > 2 and counts[64:192].sum() > counts.sum() / 2)
