"""The map of a face as SVG, GeoJSON and a table of its cracks.

Drawings show the face as it is seen from outside, true in length; GeoJSON holds station and
elevation in m. Colours are the width bins of survey.toml, by the 95 % width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.exports.csv_tables import CsvForm, plain_cell, write_table
from crackseg.face.cracks import STATISTICS, FaceCrack, Interval
from crackseg.face.face_json import (
    COORDINATES,
    OWN_COORDINATES,
    crack_to_dict,
    line_to_dict,
    rounded,
)
from crackseg.face.mapping import FaceMap, extent_m
from crackseg.face.mosaic import Grid
from crackseg.folders import write_json_file
from crackseg.records import Array
from crackseg.survey import WidthBins
from crackseg.words import Words

# Of width bins, from thin to wide: told apart in print and by the colour-blind, red is worst.
COLOURS = ("#4a90d9", "#2ca02c", "#e0a800", "#ef6c00", "#d62728", "#8e1b6b")
DOUBTFUL = "#7a8794"
OTHER = "#1d2126"
_TEXT_COLUMNS = (
    "id", "section", "certainty", "length_mm", "length_u_mm",
    *(f"width_{s}_{part}" for s in STATISTICS for part in
      ("mm", "u_mm", "low_mm", "high_mm", "status", "from")),
    "width_spread_mm", "views_agree", "marked_in", "could_show", "orientation_deg", "leaves_map",
    "station_from_m", "station_to_m", "elevation_from_m", "elevation_to_m", "severity_mm2",
)  # fmt: skip


def limits_of(face: FaceMap) -> tuple[float, ...]:
    """Return the limits between the width bins, mm."""
    return (face.survey.widths if face.survey else WidthBins()).limits_mm


def bin_of(width_mm: float | None, limits: Sequence[float]) -> int | None:
    """Return the number of the bin of a width, or None where it is not known."""
    return None if width_mm is None else int(np.searchsorted(limits, width_mm, side="right"))


def bin_names(limits: Sequence[float], words: Words) -> list[str]:
    """Return the bins in words.

    Example:
        >>> from crackseg.words import read_words
        >>> bin_names([0.2, 1.0], read_words("de"))
        ['unter 0,2 mm', '0,2 bis 1 mm', 'ab 1 mm']
    """
    figures = [words.short(limit) for limit in limits]
    inner = [words("face_bin.between", low=a, high=b) for a, b in itertools.pairwise(figures)]
    first, last = words("face_bin.below", high=figures[0]), words("face_bin.from", low=figures[-1])
    return [first, *inner, last]


def colour(number: int | None, count: int) -> str:
    """Return the colour of a bin; the widest bin has the last."""
    if number is None:
        return DOUBTFUL
    return COLOURS[round(number * (len(COLOURS) - 1) / max(count - 1, 1))]


def legend_of(face: FaceMap, words: Words) -> list[tuple[str, str]]:
    """Return the colours of a drawing and what each stands for."""
    names = bin_names(limits_of(face), words)
    entries = [(colour(n, len(names)), name) for n, name in enumerate(names)]
    return [*entries, (DOUBTFUL, words("face.unknown"))]


def label(crack: FaceCrack, words: Words) -> str:
    """Return what a drawing says of a crack."""
    length = words.number((crack.length.value_mm or 0) / 1000, 2)
    return words(
        "face.crack", id=crack.id, length=length, width=in_words(crack.widths["max"], words)
    )


def in_words(width: Interval, words: Words, unit: str = " mm") -> str:
    """Return a width in mm with its interval."""
    if width.value_mm is None:
        if width.status == "not_resolvable" or width.high_mm is None:
            return words.code("status", "not_resolvable")
        return words("face.below", high=words.number(width.high_mm, 2)) + unit
    low, high = width.low_mm or 0.0, width.high_mm or width.value_mm
    down, up = width.value_mm - low, high - width.value_mm
    value = words.number(width.value_mm, 2)
    if abs(up - down) <= 0.2 * max(up, down):
        return f"{value} ± {words.number(max(up, down), 2)}{unit}"
    between = words("face.range", low=words.number(low, 2), high=words.number(high, 2))
    return f"{value}{unit} ({between})"


def write_csv(face: FaceMap, folder: Path, form: CsvForm) -> Path:
    """Write ``face_cracks.csv``, a row per crack."""
    rows = [crack_to_dict(crack, face) for crack in face.cracks]
    path = folder / "face_cracks.csv"
    header = [*_TEXT_COLUMNS, "photographs"]
    cells = (
        [*(plain_cell(row[name]) for name in _TEXT_COLUMNS),
         " ".join(p["image"] for p in row["photographs"])]
        for row in rows
    )  # fmt: skip
    write_table(path, header, cells, form)
    return path


def write_geojson(face: FaceMap, folder: Path) -> list[Path]:
    """Write cracks, photographs and other lines as GeoJSON in station and elevation."""
    note = COORDINATES if face.scale.placed else OWN_COORDINATES
    cracks = [
        _feature(
            "MultiLineString", row["course"], {k: row[k] for k in _TEXT_COLUMNS}
            | {"photographs": [p["image"] for p in row["photographs"]]}, row["id"],
        )
        for row in (crack_to_dict(crack, face) for crack in face.cracks)
    ]  # fmt: skip
    outlines = []
    for number, (photograph, view) in enumerate(zip(face.photographs, face.views, strict=True), 1):
        ring = rounded(face.plane.to_map(view.outline_m(4)))
        facts = {"image": photograph.name, "mm_per_px": round(view.mm_per_px, 5)}
        outlines.append(_feature("Polygon", [[*ring, ring[0]]], facts, number))
    others = [
        _feature(
            "MultiLineString", row["course"], {k: row[k] for k in row if k != "course"}, row["id"]
        )
        for row in (line_to_dict(line, face) for line in face.other_lines)
    ]
    named = [("face_cracks", cracks), ("face_photographs", outlines)]
    named += [("face_other_lines", others)] if others else []
    written = []
    for name, features in named:
        collection = {
            "type": "FeatureCollection",
            "coordinate_system": f"{note}; not WGS84",
            "features": features,
        }
        written.append(folder / f"{name}.geojson")
        write_json_file(written[-1], collection)
    return written


def _feature(kind: str, coordinates: Any, facts: Mapping[str, Any], number: int) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": number, "geometry": geometry, "properties": dict(facts)}


def _middle(crack: FaceCrack) -> Array:
    longest = max(crack.lines_m, key=len)
    return np.asarray(longest[len(longest) // 2])


def write_svg(face: FaceMap, grid: Grid, folder: Path, words: Words) -> Path:
    """Write ``face.svg``: cracks by width over ``mosaic.jpg``, with axes and legend."""
    drawing = draw(face, grid, words)
    path = folder / "face.svg"
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{drawing["view_box"]}" font-family="Liberation Sans, Arial, sans-serif">'
    )
    ground = f'<rect {drawing["ground"]} fill="#ffffff"/>'
    image = (
        f'<image href="mosaic.jpg" {drawing["image"]} preserveAspectRatio="none" opacity="0.85"/>'
    )
    body = "".join((drawing["axes"], drawing["outlines"], drawing["cracks"], drawing["legend"]))
    path.write_text(f"{head}{ground}{image}{body}</svg>\n", encoding="utf-8")
    return path


def draw(face: FaceMap, grid: Grid, words: Words) -> dict[str, str]:
    """Return the parts of a drawing in mosaic pixels: cracks, axes, outlines, legend."""
    size = max(grid.width_px, grid.height_px)
    unit = size / 1600  # a px of a drawing that is 1600 px wide
    left, top = 70 * unit, 20 * unit
    width, height = grid.width_px + 2 * left, grid.height_px + top + 120 * unit
    box = f"{-left:.1f} {-top:.1f} {width:.1f} {height:.1f}"
    inner = grid.height_px + top + 30 * unit  # without the legend
    return {
        "view_box": box,
        "map_box": f"{-left:.1f} {-top:.1f} {width:.1f} {inner:.1f}",
        "ground": f'x="{-left:.1f}" y="{-top:.1f}" width="{width:.1f}" height="{height:.1f}"',
        "image": f'width="{grid.width_px}" height="{grid.height_px}"',
        "cracks": _cracks(face, grid, unit, words),
        "axes": _axes(face, grid, unit),
        "outlines": _outlines(face, grid),
        "legend": _legend(face, grid, unit, words),
    }


def _to_px(places_m: Array, grid: Grid) -> Array:
    return np.column_stack(
        [
            (places_m[:, 0] - grid.left_m) / grid.m_per_px,
            (grid.top_m - places_m[:, 1]) / grid.m_per_px,
        ]
    )


def _path(points: Array, *, close: bool = False) -> str:
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f"M{text}{'Z' if close else ''}"


def _cracks(face: FaceMap, grid: Grid, unit: float, words: Words) -> str:
    limits = limits_of(face)
    parts = [_other_lines(face, grid, words)]
    for crack in sorted(face.cracks, key=lambda c: c.section == "main"):
        main = crack.section == "main"
        tone = colour(bin_of(crack.widths["p95"].value_mm, limits), len(limits) + 1)
        course = "".join(_path(_to_px(line, grid)) for line in crack.lines_m)
        style = f'stroke="{tone if main else DOUBTFUL}" stroke-width="{(2.2 if main else 1.2)}"'
        dash = "" if main else ' stroke-dasharray="4 3"'
        title = escape(label(crack, words) + ("" if main else f", {words('face.doubtful')}"))
        parts.append(
            f'<g class="crack" data-id="{crack.id}"><title>{title}</title>'
            f'<path d="{course}" fill="none" {style}{dash} vector-effect="non-scaling-stroke"/>'
        )
        if main:
            x, y = _to_px(_middle(crack)[None], grid)[0]
            parts.append(
                f'<text x="{x + 6 * unit:.1f}" y="{y - 4 * unit:.1f}" font-size="{15 * unit:.1f}" '
                f'fill="{tone}" stroke="#fff" stroke-width="{3 * unit:.1f}" '
                f'paint-order="stroke" font-weight="700">{crack.id}</text>'
            )
        parts.append("</g>")
    return "".join(parts)


def _other_lines(face: FaceMap, grid: Grid, words: Words) -> str:
    """Return the lines that are taken for no crack, thin and dotted."""
    return "".join(
        f"<g><title>{escape(words('face.other_line', length=float(line.length_m)))}</title>"
        f'<path d="{"".join(_path(_to_px(part, grid)) for part in line.lines_m)}" fill="none" '
        f'stroke="{OTHER}" stroke-width="1.2" stroke-dasharray="1.5 3" '
        'vector-effect="non-scaling-stroke"/></g>'
        for line in face.other_lines
    )


def _outlines(face: FaceMap, grid: Grid) -> str:
    course = "".join(_path(_to_px(v.outline_m(4), grid), close=True) for v in face.views)
    return (
        f'<path class="outlines" d="{course}" fill="none" stroke="#37506b" stroke-opacity="0.25" '
        'stroke-width="0.8" vector-effect="non-scaling-stroke"/>'
    )


def _axes(face: FaceMap, grid: Grid, unit: float) -> str:
    """Return lines of round stations and elevations with their figures."""
    low, high = extent_m(face.views)
    corners = face.plane.to_map(np.array([low, high]))
    step = _round_step(float(np.ptp(corners[:, 0])), float(np.ptp(corners[:, 1])))
    parts = []
    style = 'stroke="#000" stroke-opacity="0.18" stroke-width="0.7"'
    font = f'font-size="{13 * unit:.1f}" fill="#37506b"'
    digits = max(0, -math.floor(math.log10(step)))
    for axis in (0, 1):
        first, last = sorted(corners[:, axis])
        for value in np.arange(math.ceil(first / step) * step, last + 1e-9, step):
            mark = np.array([[corners[0, 0], corners[0, 1]]])
            mark[0, axis] = value
            x, y = _to_px(face.plane.from_map(mark), grid)[0]
            text = f"{value:.{digits}f}"
            if axis == 0:
                line = f"M{x:.1f},0 V{grid.height_px}"
                place = f'x="{x:.1f}" y="{grid.height_px + 18 * unit:.1f}" text-anchor="middle"'
            else:
                line = f"M0,{y:.1f} H{grid.width_px}"
                place = f'x="{-6 * unit:.1f}" y="{y + 4 * unit:.1f}" text-anchor="end"'
            parts.append(
                f'<path d="{line}" {style} vector-effect="non-scaling-stroke"/>'
                f"<text {place} {font}>{text}</text>"
            )
    return f'<g class="axes">{"".join(parts)}</g>'


def _round_step(width: float, height: float) -> float:
    rough = max(width, height) / 10
    power = 10 ** math.floor(math.log10(max(rough, 1e-6)))
    return float(next(f * power for f in (1, 2, 5, 10) if f * power >= rough))


def _legend(face: FaceMap, grid: Grid, unit: float, words: Words) -> str:
    y = grid.height_px + 48 * unit
    parts = [
        f'<text x="0" y="{y:.1f}" font-size="{14 * unit:.1f}" font-weight="700">'
        f"{escape(words('face.width_95'))}</text>"
    ]
    for place, (tone, name) in enumerate(legend_of(face, words)):
        x = (125 + 175 * place) * unit
        parts.append(
            f'<path d="M{x:.1f},{y - 5 * unit:.1f} h{28 * unit:.1f}" stroke="{tone}" '
            f'stroke-width="{4 * unit:.1f}"/><text x="{x + 34 * unit:.1f}" y="{y:.1f}" '
            f'font-size="{13 * unit:.1f}">{escape(name)}</text>'
        )
    low, high = extent_m(face.views)
    bar = _round_step(*(high - low))
    length = bar / grid.m_per_px
    y += 36 * unit
    parts.append(
        f'<path d="M0,{y:.1f} h{length:.1f}" stroke="#1d2126" stroke-width="{3 * unit:.1f}"/>'
        f'<text x="{length + 8 * unit:.1f}" y="{y + 5 * unit:.1f}" font-size="{13 * unit:.1f}">'
        f"{escape(words('face.axes', bar=words.short(bar)))}</text>"
    )
    return f'<g class="legend">{"".join(parts)}</g>'
