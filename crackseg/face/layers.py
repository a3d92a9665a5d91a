"""The map of a face as GeoPackage and DXF, by the writers that single photographs have too.

``face.*`` is the flat map in station and elevation; ``face_3d.*`` the same lines in the world, if
survey.toml says where the face lies. Both are of the extra ``gis``; without it they are left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crackseg.exports.layers import Layer, Sheet, bin_label
from crackseg.face.drawing import limits_of
from crackseg.face.face_json import crack_to_dict, line_to_dict
from crackseg.face.mapping import FaceMap
from crackseg.face.space import Space, space_of
from crackseg.records import Array

# Column -> its name where ten letters are all there are.
CRACK_COLUMNS = {
    "crack": "crack", "section": "section", "certainty": "certainty", "width_bin": "width_bin",
    "length_mm": "length_mm", "length_u_mm": "len_u_mm", "width_mean_mm": "w_mean_mm",
    "width_p95_mm": "w_p95_mm", "width_p95_low_mm": "w_p95_lo", "width_p95_high_mm": "w_p95_hi",
    "width_max_mm": "w_max_mm", "width_max_u_mm": "w_max_u_mm", "width_max_low_mm": "w_max_lo",
    "width_max_high_mm": "w_max_hi", "width_max_px": "w_max_px",
    "width_max_status": "w_status", "width_spread_mm": "w_spread",
    "orientation_deg": "orient_deg", "station_from_m": "sta_from", "station_to_m": "sta_to",
    "elevation_from_m": "elev_from", "elevation_to_m": "elev_to", "marked_in": "marked_in",
    "could_show": "could_show", "photographs": "photos",
}  # fmt: skip
WIDTH_COLUMNS = {"crack": "crack", "width_mm": "width_mm"}
LINE_COLUMNS = {
    "line": "line", "length_mm": "length_mm", "width_mean_mm": "w_mean_mm", "goes_on": "goes_on",
    "photographs": "photos",
}  # fmt: skip
PHOTO_COLUMNS = {"image": "image", "mm_per_px": "mm_per_px", "judged": "judged", "tied": "tied"}


def sheet_of(face: FaceMap, space: Space | None = None) -> Sheet:
    """Return cracks, widths, photographs and other lines in station and elevation, m.

    Args:
        face: the map.
        space: gives them in east, north and height instead.
    """
    place: Callable[[Array], Array] = face.plane.to_map if space is None else space.to_world
    crs, suffix = (None, "") if space is None else (space.crs, "_3d")
    cracks = Layer(name=f"cracks{suffix}", kind="MultiLineString", crs=crs, columns=CRACK_COLUMNS)
    widths = Layer(name=f"widths{suffix}", kind="Point", crs=crs, columns=WIDTH_COLUMNS)
    frames = Layer(name=f"frames{suffix}", kind="Polygon", crs=crs, columns=PHOTO_COLUMNS)
    others = Layer(
        name=f"other_lines{suffix}", kind="MultiLineString", crs=crs, columns=LINE_COLUMNS
    )
    for crack in face.cracks:
        lines = [place(line) for line in crack.lines_m]
        cracks.add(lines, _row(crack_to_dict(crack, face), limits_of(face)))
        for line, along in zip(lines, crack.widths_along_mm, strict=True):
            for point, width in zip(line, along, strict=True):
                if width == width:  # known
                    widths.add(
                        [point[None]], {"crack": crack.id, "width_mm": round(float(width), 4)}
                    )
    for other in face.other_lines:
        others.add([place(line) for line in other.lines_m], _line_row(line_to_dict(other, face)))
    for photograph, view, tied in zip(face.photographs, face.views, face.tied, strict=True):
        row = {
            "image": photograph.name,
            "mm_per_px": view.mm_per_px,
            "judged": "yes" if photograph.judged else "no",
            "tied": "yes" if tied else "no",
        }
        frames.add([place(view.outline_m(4))], row)
    return Sheet(
        kind="metres", crs=crs, is_metric=True, cracks=cracks, widths=widths, frames=frames,
        others=others,
    )  # fmt: skip


def _row(crack: dict[str, Any], limits_mm: tuple[float, ...]) -> dict[str, Any]:
    return {
        **crack,
        "crack": crack["id"],
        "width_bin": bin_label(crack, limits_mm),
        "width_max_px": None,
        "photographs": " ".join(p["image"] for p in crack["photographs"]),
    }


def _line_row(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "line": line["id"],
        "length_mm": 1000 * line["length_m"],
        "width_mean_mm": line["width_mean_mm"],
        "goes_on": " ".join(map(str, line["goes_on_from"])),
        "photographs": " ".join(line["photographs"]),
    }


def write_layers(face: FaceMap, folder: Path) -> list[Path]:
    """Write ``face.gpkg`` and ``face.dxf``, in space too, each where its package is installed."""
    named = [("face", sheet_of(face))]
    space = space_of(face.plane, face.survey.face.crs if face.survey else "")
    if space is not None and face.scale.placed:
        named.append(("face_3d", sheet_of(face, space)))
    paths: list[Path] = []
    for name, sheet in named:
        if all(importlib.util.find_spec(package) for package in ("pyogrio", "shapely")):
            from crackseg.exports.vector_files import write_gpkg

            layers = [sheet.cracks, sheet.widths, sheet.frames]
            layers += [sheet.others] if sheet.others else []
            paths += write_gpkg(folder / f"{name}.gpkg", layers)
        if importlib.util.find_spec("ezdxf"):
            from crackseg.exports.dxf import write_dxf

            paths += write_dxf(folder / f"{name}.dxf", sheet, limits_of(face))
    return paths
