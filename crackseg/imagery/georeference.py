"""GeoTIFF tags become an affine transform, the name of the CRS and the length of its unit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crackseg.imagery.map_stretch import map_stretch
from crackseg.imagery.source import DECODE_ERRORS
from crackseg.records import Notice

Affine = tuple[float, float, float, float, float, float]

# ProjLinearUnitsGeoKey -> metres (EPSG unit codes)
_UNITS_M = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937, 9036: 1000.0, 1025: 0.001, 1033: 0.01}
_USER_DEFINED = 32767
_FARTHEST = 1e12  # map units; what lies farther is no place
_UNIT_M = (1e-6, 1e6)  # what a map's unit may be


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a raster lies; ``metadata`` holds ``crs_kind`` and, if known, ``map_unit_m``.

    ``map_stretch`` is there where the map's lengths are known not to be those of the ground.
    """

    crs: str | None = None
    transform: Affine | None = None
    metadata: dict[str, float | str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


def read_georeference(page: Any) -> Place:
    """Return the place of a TIFF page; damaged tags leave it empty, with a notice.

    ``transform`` maps the (col, row) of pixel corners to map units, like GDAL and rasterio.
    """
    try:
        tags = page.geotiff_tags or _plain_tags(page)
        return _place(tags) if tags else Place()
    except DECODE_ERRORS as error:
        text = f"GeoTIFF tags are damaged and were ignored: {error}"
        return Place(notices=(Notice(code="damaged_geotiff", message=text),))


def _plain_tags(page: Any) -> dict[str, Any]:
    """Return the transform tags of a raster without geo keys."""
    names = {33550: "ModelPixelScale", 33922: "ModelTiepoint", 34264: "ModelTransformation"}
    return {name: page.tags.valueof(tag) for tag, name in names.items() if tag in page.tags}


def _place(tags: dict[str, Any]) -> Place:
    transform = _transform(tags)
    model = _code(tags, "GTModelTypeGeoKey")
    projected, geographic = (
        _code(tags, "ProjectedCSTypeGeoKey"),
        _code(tags, "GeographicTypeGeoKey"),
    )
    metadata: dict[str, float | str] = {"crs_kind": _kind(model, projected, geographic)}
    code = projected or (geographic if model != 1 else None)
    names = [str(tags.get(f"{key}CitationGeoKey") or "").strip("| \0") for key in ("PCS", "GT")]
    citation = names[0] or names[1]
    unit_m = _unit_m(tags, projected)
    if unit_m is not None:
        metadata["map_unit_m"] = unit_m
    if transform is not None and metadata["crs_kind"] != "geographic":
        scale_m = unit_m or 1.0
        place_m = (transform[2] * scale_m, transform[5] * scale_m)
        stretch = map_stretch(tags, projected, " ".join(names), place_m, scale_m)
        if stretch is not None and math.isnan(stretch):
            metadata["crs_kind"] = "mercator"
        elif stretch is not None:
            metadata["map_stretch"] = stretch
    crs = f"EPSG:{code}" if code else citation or None
    return Place(crs=crs, transform=transform, metadata=metadata)


def _transform(tags: dict[str, Any]) -> Affine | None:
    """Return the transform of the tags, None where there are none.

    Raises:
        ValueError: one lacks its other half, or they lay the picture nowhere.
    """
    scale, point = (tags.get(name) is not None for name in ("ModelPixelScale", "ModelTiepoint"))
    if tags.get("ModelTransformation") is not None:
        m = np.asarray(tags["ModelTransformation"], dtype=np.float64).reshape(4, 4)
        parts = (m[0, 0], m[0, 1], m[0, 3], m[1, 0], m[1, 1], m[1, 3])
    elif scale and point:
        sx, sy = np.asarray(tags["ModelPixelScale"], dtype=np.float64).ravel()[:2]
        col, row, _, x, y, _ = np.asarray(tags["ModelTiepoint"], dtype=np.float64).ravel()[:6]
        parts = (sx, 0.0, x - col * sx, 0.0, -sy, y + row * sy)
    elif scale or point:
        known, missing = ("ModelPixelScale", "ModelTiepoint")[:: 1 if scale else -1]
        raise ValueError(f"{known} without {missing} lays the picture nowhere")
    else:
        return None
    a, b, c, d, e, f = (float(part) for part in parts)
    if _code(tags, "GTRasterTypeGeoKey") == 2:  # tie points name pixel centres
        c, f = c - (a + b) / 2, f - (d + e) / 2
    if not (np.abs([a, b, c, d, e, f]) < _FARTHEST).all() or a * e == b * d:
        text = ", ".join(f"{part:g}" for part in (a, b, c, d, e, f))
        raise ValueError(f"a pixel must have a size and a place, got the transform ({text})")
    return (a, b, c, d, e, f)


def _kind(model: int | None, projected: int | None, geographic: int | None) -> str:
    if model == 2 or (model is None and geographic and not projected):
        return "geographic"
    return "projected" if model == 1 or projected else "unknown"


def _unit_m(tags: dict[str, Any], projected: int | None) -> float | None:
    unit = _code(tags, "ProjLinearUnitsGeoKey")
    if unit in _UNITS_M:
        return _UNITS_M[unit]
    size = tags.get("ProjLinearUnitSizeGeoKey")
    if size is not None:
        unit_m, (low, high) = float(size), _UNIT_M
        if not low <= unit_m <= high:
            raise ValueError(
                f"ProjLinearUnitSizeGeoKey must lie between {low:g} and {high:g} m, got {unit_m:g}"
            )
        return unit_m
    utm = projected is not None and (32601 <= projected <= 32660 or 32701 <= projected <= 32760)
    return 1.0 if utm else None


def _code(tags: dict[str, Any], key: str) -> int | None:
    value = tags.get(key)
    number = int(value) if isinstance(value, int | float) else None
    return None if number in (None, 0, _USER_DEFINED) else number
