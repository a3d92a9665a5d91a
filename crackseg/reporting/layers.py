"""The cracks of a whole survey as GIS layers and drawings.

Georeferenced pictures keep their places in the map. Photographs that have none are laid out side by
side like prints on a table: those with a scale true to size in metres, those without in pixels.
What an inspector rejected is in no file; what is doubtful says so in ``section``.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.exports.dxf import write_dxf
from crackseg.exports.layers import (
    Layer,
    Sheet,
    add_photograph,
    fill,
    new_photographs,
    new_sheet,
)
from crackseg.exports.places import Place, frame, place_of
from crackseg.exports.svg import write_svg
from crackseg.exports.vector_files import write_geojson, write_gpkg, write_shapefiles
from crackseg.records import Array
from crackseg.reporting.content import Content
from crackseg.reporting.gather import COPY, Gathered, Photograph, SurveyCrack, read_report

_GAP = 0.08  # between photographs, against their width
_SUFFIX = {"map": "_map", "metres": "_m", "pixels": "_px"}
_SIDE_BY_SIDE = {
    "metres": "metres, photographs laid out side by side, y upwards; not WGS84",
    "pixels": "pixels, photographs laid out side by side, y upwards; not WGS84",
}


def write(content: Content, folder: Path, names: Sequence[str]) -> list[Path]:
    """Write the formats of these names; the results are read once for all of them."""
    drawn = _draw(content.gathered, folder)
    return [path for name in names for path in _WRITERS[name](drawn, folder)]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The sheets of a survey, one per reference system or unit, and the cameras."""

    sheets: list[Sheet]
    photographs: Layer
    limits_mm: tuple[float, ...]

    @property
    def layers(self) -> list[Layer]:
        """All layers, the cameras last."""
        each = (layer for s in self.sheets for layer in (s.cracks, s.widths, s.frames))
        return [*each, self.photographs]


def _geojson(drawn: _Drawn, folder: Path) -> list[Path]:
    """Write centre lines and cameras, in WGS84 where there is a reference system."""
    paths: list[Path] = []
    for sheet in drawn.sheets:
        layer, system = _to_wgs84(sheet.cracks), _SIDE_BY_SIDE.get(sheet.kind)
        system_text = system or ("WGS84 (RFC 7946)" if layer.crs == "EPSG:4326" else _as_is(layer))
        paths += write_geojson(folder / f"{layer.name}.geojson", layer, system_text)
    if drawn.photographs.shapes:
        path = folder / "photographs.geojson"
        paths += write_geojson(path, drawn.photographs, "WGS84 (RFC 7946)")
    return paths


def _dxf(drawn: _Drawn, folder: Path) -> list[Path]:
    named = [(folder / f"{sheet.cracks.name}.dxf", sheet) for sheet in drawn.sheets]
    return [made for path, sheet in named for made in write_dxf(path, sheet, drawn.limits_mm)]


def _svg(drawn: _Drawn, folder: Path) -> list[Path]:
    named = [(folder / f"{sheet.cracks.name}.svg", sheet) for sheet in drawn.sheets]
    return [made for path, sheet in named for made in write_svg(path, sheet, drawn.limits_mm)]


_WRITERS: dict[str, Callable[[_Drawn, Path], list[Path]]] = {
    "geojson": _geojson,
    "gpkg": lambda drawn, folder: write_gpkg(folder / "survey.gpkg", drawn.layers),
    "shp": lambda drawn, folder: write_shapefiles(folder, drawn.layers),
    "dxf": _dxf,
    "svg": _svg,
}


@dataclass(slots=True)
class _Table:
    """Where the next photograph of a kind is laid."""

    columns: int
    x: float = 0.0
    y: float = 0.0
    lowest: float = 0.0
    laid: int = field(default=0)

    def lay(self, report: Mapping[str, Any], place: Place) -> Place:
        """Return the place moved to where the next photograph lies."""
        corners = frame(report, place)
        (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
        if self.laid and self.laid % self.columns == 0:
            self.x, self.y = 0.0, self.lowest
        moved = place.moved(self.x - left, self.y - top)
        self.x += (right - left) * (1 + _GAP)
        self.lowest = min(self.lowest, self.y - (top - bottom) * (1 + _GAP))
        self.laid += 1
        return moved


def _draw(gathered: Gathered, folder: Path) -> _Drawn:
    limits = gathered.survey.widths.limits_mm
    judged = _by_photograph(gathered)
    with_results = [p for p in gathered.photographs if p.folder and p.status != COPY]
    sheets: dict[tuple[str, str | None], Sheet] = {}
    tables = {kind: _Table(columns=_columns(with_results, kind)) for kind in _SIDE_BY_SIDE}
    photographs = new_photographs()
    for photograph in with_results:
        report = read_report(photograph)
        place = place_of(report)
        key = (place.kind, place.crs)
        sheet = sheets.setdefault(key, new_sheet(place))
        if place.kind in tables:
            place = tables[place.kind].lay(report, place)
        about = {"image": photograph.name, "link": _link(photograph, folder)}
        drawn = _drawn(report, judged.get(photograph.number, {}))
        fill(sheet, report, place, about=about, limits_mm=limits, cracks=drawn)
        add_photograph(photographs, report, about)
    return _Drawn(_named(sheets), photographs, limits)


def _named(sheets: Mapping[tuple[str, str | None], Sheet]) -> list[Sheet]:
    """Return the sheets with layers named by their kind where there are several."""
    if len(sheets) < 2:
        return list(sheets.values())
    named, suffixes = [], set()
    for (kind, _), sheet in sheets.items():
        suffix = _SUFFIX[kind]
        number = 1
        while suffix in suffixes:
            number += 1
            suffix = f"{_SUFFIX[kind]}{number}"
        suffixes.add(suffix)
        layers = {
            name: replace(layer, name=f"{layer.name}{suffix}")
            for name in ("cracks", "widths", "frames")
            if (layer := getattr(sheet, name))
        }
        named.append(replace(sheet, **layers))
    return named


def _columns(photographs: list[Photograph], kind: str) -> int:
    """Return how many photographs of a kind lie in a row."""
    free = [p for p in photographs if p.image.get("transform") is None]
    count = sum((p.scale is not None) == (kind == "metres") for p in free)
    return max(math.ceil(math.sqrt(count)), 1)


def _by_photograph(gathered: Gathered) -> dict[int, dict[int, SurveyCrack]]:
    cracks: dict[int, dict[int, SurveyCrack]] = {}
    for crack in (*gathered.cracks, *gathered.doubtful):
        cracks.setdefault(crack.photograph.number, {})[crack.id] = crack
    return cracks


def _drawn(
    report: Mapping[str, Any], judged: Mapping[int, SurveyCrack]
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the cracks that are not rejected, with what an inspector said of each."""
    for crack in report["cracks"]:
        entry = judged.get(crack["id"])
        if entry is None:
            continue
        section = "main" if entry.verdict == "accept" else crack.get("section", "main")
        attributes = {"verdict": entry.verdict or None, "note": entry.note or None}
        yield crack, {**attributes, "section": section}


def _link(photograph: Photograph, folder: Path) -> str | None:
    """Return the address of a photograph's page, seen from the files."""
    page = None if photograph.folder is None else photograph.folder / "page.html"
    if page is None or not page.is_file():
        return None
    return Path(os.path.relpath(page, folder)).as_posix()


def _as_is(layer: Layer) -> str:
    return f"{layer.crs or 'map units, no CRS known'}; not WGS84"


def _to_wgs84(layer: Layer) -> Layer:
    """Return a layer in WGS84, as it is where it has no system or pyproj is not installed."""
    if layer.crs is None or importlib.util.find_spec("pyproj") is None:
        return layer
    from pyproj import Transformer

    change = Transformer.from_crs(layer.crs, "EPSG:4326", always_xy=True).transform

    def moved(part: Array) -> Array:
        return np.round(np.column_stack(change(*part[:, :2].T)), 9)

    shapes = [[moved(part) for part in parts] for parts in layer.shapes]
    return replace(layer, crs="EPSG:4326", shapes=shapes)
