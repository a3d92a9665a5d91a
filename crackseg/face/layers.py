"""The map of a face as GeoPackage and DXF, by the writers that single photographs have too.

Both are of the extra ``gis``; without it they are left out.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from crackseg.exports.layers import Layer, Sheet, bin_label
from crackseg.face.drawing import limits_of
from crackseg.face.face_json import crack_to_dict
from crackseg.face.mapping import FaceMap

# Column -> its name where ten letters are all there are.
CRACK_COLUMNS = {
    "crack": "crack", "section": "section", "certainty": "certainty", "width_bin": "width_bin",
    "length_mm": "length_mm", "length_u_mm": "len_u_mm", "width_mean_mm": "w_mean_mm",
    "width_p95_mm": "w_p95_mm", "width_p95_low_mm": "w_p95_lo", "width_p95_high_mm": "w_p95_hi",
    "width_max_mm": "w_max_mm", "width_max_u_mm": "w_max_u_mm", "width_max_px": "w_max_px",
    "width_max_status": "w_status", "width_spread_mm": "w_spread",
    "orientation_deg": "orient_deg", "station_from_m": "sta_from", "station_to_m": "sta_to",
    "elevation_from_m": "elev_from", "elevation_to_m": "elev_to", "marked_in": "marked_in",
    "could_show": "could_show", "photographs": "photos",
}  # fmt: skip
WIDTH_COLUMNS = {"crack": "crack", "width_mm": "width_mm"}
PHOTO_COLUMNS = {"image": "image", "mm_per_px": "mm_per_px", "judged": "judged", "tied": "tied"}


def sheet_of(face: FaceMap) -> Sheet:
    """Return cracks, widths and photographs in station and elevation, m."""
    cracks = Layer(name="cracks", kind="MultiLineString", crs=None, columns=CRACK_COLUMNS)
    widths = Layer(name="widths", kind="Point", crs=None, columns=WIDTH_COLUMNS)
    frames = Layer(name="frames", kind="Polygon", crs=None, columns=PHOTO_COLUMNS)
    for crack in face.cracks:
        lines = [face.plane.to_map(line) for line in crack.lines_m]
        cracks.add(lines, _row(crack_to_dict(crack, face), limits_of(face)))
        for line, along in zip(lines, crack.widths_along_mm, strict=True):
            for point, width in zip(line, along, strict=True):
                if width == width:  # known
                    widths.add(
                        [point[None]], {"crack": crack.id, "width_mm": round(float(width), 4)}
                    )
    for photograph, view, tied in zip(face.photographs, face.views, face.tied, strict=True):
        row = {
            "image": photograph.name,
            "mm_per_px": view.mm_per_px,
            "judged": "yes" if photograph.judged else "no",
            "tied": "yes" if tied else "no",
        }
        frames.add([face.plane.to_map(view.outline_m(4))], row)
    return Sheet(
        kind="metres", crs=None, is_metric=True, cracks=cracks, widths=widths, frames=frames
    )


def _row(crack: dict[str, Any], limits_mm: tuple[float, ...]) -> dict[str, Any]:
    return {
        **crack,
        "crack": crack["id"],
        "width_bin": bin_label(crack, limits_mm),
        "width_max_px": None,
        "photographs": " ".join(p["image"] for p in crack["photographs"]),
    }


def write_layers(face: FaceMap, folder: Path) -> list[Path]:
    """Write ``face.gpkg`` and ``face.dxf``, each where its package is installed."""
    sheet = sheet_of(face)
    paths: list[Path] = []
    if all(importlib.util.find_spec(name) for name in ("pyogrio", "shapely")):
        from crackseg.exports.vector_files import write_gpkg

        paths += write_gpkg(folder / "face.gpkg", [sheet.cracks, sheet.widths, sheet.frames])
    if importlib.util.find_spec("ezdxf"):
        from crackseg.exports.dxf import write_dxf

        paths += write_dxf(folder / "face.dxf", sheet, limits_of(face))
    return paths
