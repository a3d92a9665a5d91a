"""A comparison for GIS and CAD: GeoJSON, GeoPackage and DXF, a layer per kind of change.

Places are station and elevation of the later map. GeoPackage and DXF are of the extra ``gis``;
without it they are left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.exports.csv_tables import plain_cell
from crackseg.exports.layers import Layer
from crackseg.folders import write_json_file

COLUMNS = {
    "lasting_id": "lasting_id", "kind": "kind", "words": "words", "section": "section",
    "old_ids": "old_ids", "new_ids": "new_ids", "link": "link", "below_limit": "bel_limit",
    "width_mm": "width_mm", "longer_by_mm": "long_mm", "longer_u_mm": "long_u_mm",
    "longer_significant": "long_sign", "wider_by_mm": "wide_mm", "wider_u_mm": "wide_u_mm",
    "wider_significant": "wide_sign", "station_m": "station_m", "elevation_m": "elev_m",
}  # fmt: skip
# A layer of the drawing and its colour in AutoCAD's table; the first that fits a change is its own.
DRAWN = {"new": 1, "gone": 4, "longer": 30, "wider": 6, "shorter": 3, "narrower": 3, "same": 8}
OTHERS = 9
_TEXT_M = 0.08  # height of a text


def write_layers(values: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``changes.geojson``, and ``changes.gpkg`` and ``changes.dxf`` with the extra gis."""
    paths = [_write_geojson(values, folder / "changes.geojson")]
    if all(importlib.util.find_spec(name) for name in ("pyogrio", "shapely")):
        from crackseg.exports.vector_files import write_gpkg

        paths += write_gpkg(folder / "changes.gpkg", [_layer(values)])
    if importlib.util.find_spec("ezdxf"):
        paths.append(_write_dxf(values, folder / "changes.dxf"))
    return paths


def _write_geojson(values: Mapping[str, Any], path: Path) -> Path:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "MultiLineString", "coordinates": change["course"]},
            "properties": {k: v for k, v in change.items() if k != "course"},
        }
        for change in values["changes"]
    ]
    note = "x = station, y = elevation of the later map, m; not WGS84"
    collection = {"type": "FeatureCollection", "coordinate_system": note, "features": features}
    write_json_file(path, collection)
    return path


def _layer(values: Mapping[str, Any]) -> Layer:
    layer = Layer(name="changes", kind="MultiLineString", crs=None, columns=COLUMNS)
    for change in values["changes"]:
        row = {name: plain_cell(change[name], ", ") for name in COLUMNS}
        layer.add([np.array(line) for line in change["course"]], row)
    return layer


def _write_dxf(values: Mapping[str, Any], path: Path) -> Path:
    from ezdxf import units
    from ezdxf.enums import TextEntityAlignment
    from ezdxf.filemanagement import new

    drawing = new("R2010", setup=True)
    drawing.units = units.M
    drawing.header["$MEASUREMENT"] = 1
    for name, colour in (*DRAWN.items(), ("not compared", OTHERS), ("texts", 7)):
        drawing.layers.add(name.upper(), color=colour)
    space = drawing.modelspace()
    for change in values["changes"]:
        layer = next((w for w in change["words"] if w in DRAWN), "not compared").upper()
        for line in change["course"]:
            space.add_lwpolyline(line, dxfattribs={"layer": layer})
        text = space.add_text(_text(change), height=_TEXT_M, dxfattribs={"layer": "TEXTS"})
        longest = max(change["course"], key=len)
        place = longest[len(longest) // 2]
        text.set_placement(place, align=TextEntityAlignment.BOTTOM_LEFT)
    drawing.saveas(path)
    return path


def _text(change: Mapping[str, Any]) -> str:
    parts = [f"{change['lasting_id']}: {', '.join(change['words'])}"]
    for name, digits in (("longer", 0), ("wider", 2)):
        if change[f"{name}_significant"]:
            by, u = change[f"{name}_by_mm"], change[f"{name}_u_mm"]
            parts.append(f"{by:+.{digits}f} %%p{u:.{digits}f} mm")
    return " ".join(parts)
