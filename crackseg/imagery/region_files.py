"""What a file of a region draws, before it is laid on a picture: polygons, joints, a mask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackseg.errors import DataError
from crackseg.imagery.files import open_image
from crackseg.records import Array

_JSON, _PICTURES = (".geojson", ".json"), (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
_GREYS = (32, 223)  # between them neither black nor white, nor the rings of JPEG around either
_EVEN_PX, _JPEG_STEP = 5, 4  # an even square of this side, to so many levels, is no soft edge
_LEAST_PX2 = 100  # of even grey: less is chance
_STRUCTURE = "structure"  # another word for `region`
_MOST_NAMED = 3  # greys in a sentence
_FARTHEST = 1e12  # in px, degrees or m: farther is no place, and its square is no number


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a GeoJSON file draws, in its own coordinates; each with where it stands."""

    data: Any  # as it was read
    polygons: dict[str, list[tuple[str, list[Array]]]]  # by role; rings of (N, 2) x, y
    joints: list[tuple[str, Array]]  # (N, 2) x, y


def is_region_file(path: Path) -> bool:
    """Return whether a file in a folder of regions is one, by its suffix."""
    return path.suffix.lower() in (*_JSON, *_PICTURES)


def is_geojson(path: Path) -> bool:
    """Return whether a file is read as GeoJSON, by its suffix; others are pictures."""
    return path.suffix.lower() in _JSON


def read_shapes(path: Path, role: str) -> Shapes:
    """Return the polygons of a GeoJSON file, of ``role`` where they name no other, and its joints.

    Raises:
        DataError: it is no GeoJSON, draws something else or of an unknown class, or nothing.
    """
    name = path.name
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        features = list(_features(data))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"`{name}` is not GeoJSON: {error}.") from error
    except KeyError as error:
        raise DataError(
            f"`{name}` is not GeoJSON: a collection has no `{error.args[0]}`."
        ) from error
    shapes: dict[str, list[tuple[str, list[Array]]]] = {"region": [], "ignore": []}
    joints: list[tuple[str, Array]] = []
    for number, (kind, coordinates, named) in enumerate(features, start=1):
        where = f"`{name}`, geometry {number}"
        if kind in ("Polygon", "MultiPolygon"):
            polygons = [coordinates] if kind == "Polygon" else _listed(coordinates, where)
            if named not in ("", _STRUCTURE, *shapes):
                raise DataError(
                    f"{where} is a polygon of class {named}; expected `region`, `{_STRUCTURE}` or "
                    "`ignore` as the property `class`, or none. Name it `ignore` where nothing "
                    "shall be looked at, or take it out of the file."
                )
            said = {"": role, _STRUCTURE: "region"}.get(named, named)
            for rings in polygons:
                outlines = [_points(ring, where) for ring in _listed(rings, where)]
                if any(len(np.unique(ring, axis=0)) < 3 for ring in outlines):
                    raise DataError(f"{where} must go round an area, got fewer than three points.")
                shapes[said] += [(where, outlines)] if outlines else []
        elif kind in ("LineString", "MultiLineString") and named == "joint":
            lines = [coordinates] if kind == "LineString" else _listed(coordinates, where)
            joints += [(where, _points(line, where)) for line in lines]
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
        DataError: it is a photograph, marks nothing, or what is inside would be a guess.
        ImageError: it cannot be read.
    """
    with open_image(path, is_mask=True) as picture:
        grey = picture.read().max(axis=2)
    if _is_photograph(grey):
        raise DataError(
            f"`{path.name}` is no mask: most of it is neither black nor white; expected black "
            "outside and white inside."
        )
    levels = np.flatnonzero(np.bincount(grey.ravel(), minlength=256)).tolist()
    limit = levels[0] if len(levels) == 2 else 127
    drawn: Array = (grey > limit).astype(np.uint8)
    if levels == [0]:
        raise DataError(f"`{path.name}` is black: it marks nothing.")
    if len(levels) == 1 and levels != [255]:
        raise DataError(
            f"`{path.name}` holds one value, {levels[0]}, which is neither black nor white; "
            "expected 0 outside and 255 inside."
        )
    if len(levels) > 2 and (not drawn.any() or (classes := _even_greys(grey))):
        what = f"{classes} among them" if drawn.any() else f"none brighter than {levels[-1]}"
        raise DataError(
            f"`{path.name}` holds {len(levels)} values, {what}: which of them are inside "
            "would be a guess; expected 0 outside and 255 inside."
        )
    return drawn


def _even_greys(grey: Array) -> str:
    """Return the most frequent greys of even areas, that neither black nor white tells; or ""."""
    square = np.ones((_EVEN_PX, _EVEN_PX), np.uint8)
    even = cv2.subtract(cv2.dilate(grey, square), cv2.erode(grey, square)) <= _JPEG_STEP
    even &= (grey >= _GREYS[0]) & (grey <= _GREYS[1])
    counts = np.bincount(grey[even], minlength=256)
    if counts.sum() < _LEAST_PX2:
        return ""
    greys = [level for level in np.argsort(-counts, kind="stable").tolist() if counts[level]]
    return ", ".join(str(level) for level in greys[:_MOST_NAMED])


def _is_photograph(grey: Array) -> bool:
    """Return whether a picture of many levels is largely grey; soft edges make it so in part."""
    counts = np.bincount(grey.ravel(), minlength=256)
    return bool(np.count_nonzero(counts) > 2 and counts[64:192].sum() > counts.sum() / 2)
