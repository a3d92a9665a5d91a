"""Reports become the layers of a map: centre lines, widths, frames and places of photographs.

A layer holds one kind of shape in one reference system, with columns that have one type each; GIS
and CAD writers need no more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from crackseg.exports.places import Place, frame, lines_of, place_of, stations_of
from crackseg.exports.tables import flat_crack
from crackseg.records import Array

Kind = Literal["MultiLineString", "Point", "Polygon"]
WGS84 = "EPSG:4326"
LIMITS_MM = (0.1, 0.2, 0.3, 0.5, 1.0)  # those of the bins of ``width_classes.toml``
# Name of a column -> its name in a Shapefile, which has ten letters.
CRACK_COLUMNS = {
    "image": "image", "crack": "crack", "section": "section", "certainty": "certainty",
    "width_bin": "width_bin", "length_mm": "length_mm", "length_u_mm": "len_u_mm",
    "length_px": "length_px", "width_mean_mm": "w_mean_mm", "width_p95_mm": "w_p95_mm",
    "width_p95_low_mm": "w_p95_lo", "width_p95_high_mm": "w_p95_hi", "width_max_mm": "w_max_mm",
    "width_max_u_mm": "w_max_u_mm", "width_max_low_mm": "w_max_lo", "width_max_high_mm": "w_max_hi",
    "width_max_px": "w_max_px", "width_max_low_px": "w_max_lopx", "width_max_high_px": "w_max_hipx",
    "width_max_status": "w_status",
    "orientation_deg": "orient_deg", "pattern": "pattern", "flags": "flags", "verdict": "verdict",
    "note": "note", "image_sha256": "img_sha256", "link": "link",
}  # fmt: skip
WIDTH_COLUMNS = {
    "image": "image", "crack": "crack", "branch": "branch", "width_px": "width_px",
    "width_mm": "width_mm",
}  # fmt: skip
PHOTO_COLUMNS = {
    "image": "image", "taken_at": "taken_at", "camera": "camera", "mm_per_px": "mm_per_px",
    "alt_m": "alt_m", "cracks": "cracks", "judged": "judged", "image_sha256": "img_sha256",
    "link": "link",
}  # fmt: skip
WHOLE = {"cracks", "crack", "lasting_id", "line", "branch", "marked_in", "could_show"}
_NUMBERS = {"certainty", "orientation_deg", "alt_m", "mm_per_px", *WHOLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Shapes of one kind with their columns; all lists are equally long."""

    name: str
    kind: Kind
    crs: str | None  # None: a drawing of its own
    columns: Mapping[str, str]  # name -> name in a Shapefile
    shapes: list[list[Array]] = field(default_factory=list)  # parts of (N, 2) or (N, 3) x, y, z
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, parts: list[Array], row: Mapping[str, Any]) -> None:
        """Add one shape and its row."""
        self.shapes.append(parts)
        self.rows.append({name: row.get(name) for name in self.columns})


def is_number(column: str) -> bool:
    """Return whether a column holds numbers."""
    return column in _NUMBERS or column.endswith(("_mm", "_px", "_m"))


def bin_label(width: Mapping[str, Any], limits_mm: Sequence[float]) -> str:
    """Return the bin of the 95 % width of a crack's row, in the letters of layer names.

    Example:
        >>> bin_label({"width_p95_mm": 0.25, "width_p95_status": "measured"}, (0.2, 0.3))
        '0.2-0.3'
    """
    if width["width_p95_status"] != "measured":
        return str(width["width_p95_status"])
    if width["width_p95_mm"] is None:
        return "no_scale"
    over = [limit for limit in limits_mm if width["width_p95_mm"] > limit]
    if not over:
        return f"0-{limits_mm[0]:g}"
    if len(over) == len(limits_mm):
        return f"over {over[-1]:g}"
    return f"{over[-1]:g}-{limits_mm[len(over)]:g}"


def bin_labels(limits_mm: Sequence[float]) -> list[str]:
    """Return all that ``bin_label`` can say, from narrow to wide."""
    pairs = itertools.pairwise(limits_mm)
    middle = (f"{low:g}-{high:g}" for low, high in pairs)
    ends = (f"0-{limits_mm[0]:g}", f"over {limits_mm[-1]:g}")
    return ["not_resolvable", "no_scale", "below_detection", ends[0], *middle, ends[1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Layers that share one reference system, and whether its unit is a metre."""

    kind: str  # map, metres or pixels, as ``places.Place``
    crs: str | None
    is_metric: bool
    cracks: Layer
    widths: Layer
    frames: Layer
    others: Layer | None = None  # lines that are taken for no crack


def new_sheet(place: Place, suffix: str = "") -> Sheet:
    """Return empty layers for what is placed so."""
    crs = place.crs
    return Sheet(
        kind=place.kind,
        crs=crs,
        is_metric=place.is_metric,
        cracks=Layer(
            name=f"cracks{suffix}", kind="MultiLineString", crs=crs, columns=CRACK_COLUMNS
        ),
        widths=Layer(name=f"widths{suffix}", kind="Point", crs=crs, columns=WIDTH_COLUMNS),
        frames=Layer(name=f"frames{suffix}", kind="Polygon", crs=crs, columns=PHOTO_COLUMNS),
    )


def new_photographs() -> Layer:
    """Return an empty layer for the places of cameras."""
    return Layer(name="photographs", kind="Point", crs=WGS84, columns=PHOTO_COLUMNS)


def fill(
    sheet: Sheet,
    report: Mapping[str, Any],
    place: Place,
    *,
    about: Mapping[str, Any],
    limits_mm: Sequence[float] = LIMITS_MM,
    cracks: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]] | None = None,
) -> None:
    """Add a photograph to a sheet.

    Args:
        sheet: of the place's kind and reference system.
        report: a ``report.json``.
        place: of the photograph.
        about: what every row says of it: image, link.
        limits_mm: of the bins that cracks are counted by.
        cracks: those to draw, each with what more its row says; None: all.
    """
    attributes = {**about, **photo_row(report)}
    sheet.frames.add([frame(report, place)], attributes)
    for crack, more in cracks if cracks is not None else ((c, {}) for c in report["cracks"]):
        flat = flat_crack(crack)
        row = {
            **attributes,
            **flat,
            "crack": crack["id"],
            "width_bin": bin_label(flat, limits_mm),
            **more,
        }
        lines = lines_of(crack, place)
        if lines:
            sheet.cracks.add(lines, row)
        for station in stations_of(crack, place):
            mm = None if station.width_mm is None else round(station.width_mm, 4)
            px = round(station.width_px, 3)
            here = {"branch": station.branch, "width_px": px, "width_mm": mm}
            sheet.widths.add([_point(station.x, station.y)], {**row, **here})


def photo_row(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the rows of a layer say of a photograph."""
    image, scale = report["image"], report["scale"] or {}
    return {
        "taken_at": image["taken_at"],
        "camera": image["camera"],
        "mm_per_px": scale.get("mm_per_px"),
        "alt_m": (image["gps"] or {}).get("alt_m"),
        "cracks": report["totals"]["cracks"],
        "judged": "yes" if report.get("judged", True) else "no",
        "image_sha256": image["sha256"],
    }


def add_photograph(layer: Layer, report: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Add the place of the camera, where it is known."""
    gps = report["image"]["gps"]
    if gps:
        layer.add([_point(gps["lon_deg"], gps["lat_deg"])], {**about, **photo_row(report)})


def _point(x: float, y: float) -> Array:
    return np.array([[x, y]])


def filled(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Yield the layers that hold something."""
    return (layer for layer in layers if layer.shapes)


def layers_of(values: Mapping[str, Any], name: str) -> tuple[Sheet, Layer]:
    """Return the layers of one ``report.json`` alone, and the layer with its camera's place."""
    place = place_of(values)
    sheet, photographs = new_sheet(place), new_photographs()
    about = {"image": name, "link": "page.html"}
    fill(sheet, values, place, about=about)
    add_photograph(photographs, values, about)
    return sheet, photographs
