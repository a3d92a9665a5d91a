"""Layers become a GeoPackage, Shapefiles or GeoJSON; GDAL writes the first two (extra ``gis``)."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import shapely

from crackseg.exports.layers import WHOLE, Layer, filled, is_number, layers_of
from crackseg.exports.tables import report_to_dict
from crackseg.folders import write_json_file
from crackseg.imagery.files import OpenImage
from crackseg.records import Array, Report

_ENCODING = {"ESRI Shapefile": "UTF-8"}


def write_gpkg(path: Path, layers: Sequence[Layer]) -> list[Path]:
    """Write the layers that hold something into one GeoPackage."""
    for layer in filled(layers):
        _write(path, layer, "GPKG", {name: name for name in layer.columns})
    return [path] if path.exists() else []


def write_shapefiles(folder: Path, layers: Sequence[Layer]) -> list[Path]:
    """Write each layer that holds something as a Shapefile: several files of one name.

    Returns:
        All files, also those with the table and the reference system.
    """
    paths: list[Path] = []
    for layer in filled(layers):
        _write(folder / f"{layer.name}.shp", layer, "ESRI Shapefile", layer.columns)
        paths += sorted(folder.glob(f"{layer.name}.*"))
    return paths


def write_geojson(path: Path, layer: Layer, coordinate_system: str) -> list[Path]:
    """Write a layer in WGS84 or in a drawing's own coordinates, which it says."""
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(_shape(layer.kind, parts))),
            "properties": row,
        }
        for parts, row in zip(layer.shapes, layer.rows, strict=True)
    ]
    about = {"type": "FeatureCollection", "coordinate_system": coordinate_system}
    write_json_file(path, {**about, "features": features})
    return [path]


def _write(path: Path, layer: Layer, driver: str, names: Mapping[str, str]) -> None:
    shapes = np.array([_shape(layer.kind, parts) for parts in layer.shapes], object)
    data = [_column(layer, name) for name in names]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")  # a drawing has none
        pyogrio.raw.write(
            str(path),
            geometry=np.asarray(shapely.to_wkb(shapes)),
            field_data=data,
            fields=np.array(list(names.values()), object),
            layer=layer.name,
            driver=driver,
            geometry_type=_kind(layer, driver),
            crs=layer.crs,
            encoding=_ENCODING.get(driver),
        )


def _kind(layer: Layer, driver: str) -> str:
    plain = driver != "GPKG" and layer.kind != "Point"
    kind = layer.kind.removeprefix("Multi") if plain else layer.kind  # a Shapefile has no multi-
    return f"{kind} Z" if layer.shapes[0][0].shape[1] == 3 else kind


def _column(layer: Layer, name: str) -> Array:
    values = [row[name] for row in layer.rows]
    if name in WHOLE and None not in values:
        return np.array(values, np.int64)
    if is_number(name):
        return np.array([math.nan if value is None else float(value) for value in values])
    return np.array([None if value is None else _text(value) for value in values], object)


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _shape(kind: str, parts: list[Array]) -> shapely.Geometry:
    if kind == "Point":
        return shapely.Point(parts[0][0])
    if kind == "Polygon":
        return shapely.Polygon(parts[0])
    return shapely.MultiLineString(parts)


def write_report_gpkg(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``cracks.gpkg``: centre lines, widths, the picture's frame, the camera's place."""
    return write_gpkg(folder / "cracks.gpkg", _layers(report))


def write_report_shp(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write Shapefiles of centre lines, widths, frame and camera, as far as there are any."""
    return write_shapefiles(folder, _layers(report))


def _layers(report: Report) -> list[Layer]:
    sheet, photographs = layers_of(report_to_dict(report), report.image.path.name)
    return [sheet.cracks, sheet.widths, sheet.frames, photographs]
