"""The map of a face as ``face.html``: pan and zoom over the mosaic, its tiles loaded by need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from crackseg.exports.page import templates
from crackseg.face.cracks import FaceCrack, Interval
from crackseg.face.drawing import bin_of, colour, draw, legend_of, limits_of
from crackseg.face.face_json import face_to_dict
from crackseg.face.mapping import FaceMap
from crackseg.face.mosaic import TILE_PX, Grid
from crackseg.folders import plain_path

SOURCES = {
    "reference_length": "reference lengths",
    "reference_points": "reference points",
    "poses": "the places that the drone wrote",
    "photographs": "the photographs' own scales",
    "orthomosaic": "the raster's georeference",
}


def write_page(face: FaceMap, grid: Grid, tiles: Sequence[Sequence[int]], folder: Path,
               up: str | None) -> Path:  # fmt: skip
    """Write ``face.html``.

    Args:
        face: the map.
        grid: of the mosaic.
        tiles: level, row, col of those that are written.
        folder: where to write.
        up: relative address of the photographs' folders; None: no links to them.
    """
    values, drawing = face_to_dict(face), draw(face, grid)
    frame = {
        "width": grid.width_px,
        "height": grid.height_px,
        "tile": TILE_PX,
        "tiles": [list(tile) for tile in tiles],
        "left": face.plane.to_map(_corner(grid))[0].tolist(),
        "m_per_px": grid.m_per_px,
        "sign": 1 if face.plane.rightwards else -1,
        "rise": face.plane.rise,
    }
    html = templates().get_template("face.html.j2").render(
        face=values,
        name=_name(face),
        drawing={k: Markup(v) for k, v in drawing.items()},
        legend=legend_of(face),
        shape=" / ".join(drawing["map_box"].split()[2:]),
        frame=Markup(json.dumps(frame).replace("<", "\\u003c")),
        rows=[_row(crack, face, up) for crack in face.cracks],
        scale=SOURCES.get(face.scale.source, face.scale.source),
    )  # fmt: skip
    path = folder / "face.html"
    path.write_text(html, encoding="utf-8", errors="replace")
    return path


def _corner(grid: Grid) -> Any:
    import numpy as np

    return np.array([[grid.left_m, grid.top_m]])


def _name(face: FaceMap) -> str:
    survey = face.survey
    parts = [] if survey is None else [survey.dam, survey.part or face.plane.name]
    return ", ".join(part for part in parts if part) or "Map of the face"


def _row(crack: FaceCrack, face: FaceMap, up: str | None) -> dict[str, Any]:
    limits = limits_of(face)
    points = face.plane.to_map(crack.points_m)
    photographs = [
        {
            "name": plain_path(face.photographs[n].name),
            "link": None
            if up is None or not (face.photographs[n].folder / "page.html").is_file()
            else f"{up}{quote(face.photographs[n].folder.name)}/page.html",
        }
        for n, _ in crack.views
    ]
    return {
        "id": crack.id,
        "main": crack.section == "main",
        "colour": colour(bin_of(crack.widths["p95"].value_mm, limits), len(limits) + 1),
        "length": f"{(crack.length.value_mm or 0) / 1000:.2f} ± "
        f"{(crack.length.u_mm or 0) / 1000:.2f}",
        "mean": in_words(crack.widths["mean"]),
        "max": in_words(crack.widths["max"]),
        "spread": None if crack.spread_mm is None else f"{crack.spread_mm:.2f}",
        "agree": crack.agree,
        "station": f"{points[:, 0].min():.2f} to {points[:, 0].max():.2f}",
        "elevation": f"{points[:, 1].min():.2f} to {points[:, 1].max():.2f}",
        "marked": len(crack.views),
        "could": crack.could_show,
        "leaves": crack.leaves_map,
        "certainty": None if crack.certainty is None else f"{100 * crack.certainty:.0f} %",
        "photographs": photographs,
    }


def in_words(width: Interval) -> str:
    """Return a width in mm with its interval."""
    if width.status == "not_resolvable":
        return "not resolved"
    if width.value_mm is None:
        return f"below {width.high_mm or 0:.2f}"
    low, high = width.low_mm or 0.0, width.high_mm or width.value_mm
    down, up = width.value_mm - low, high - width.value_mm
    if abs(up - down) <= 0.2 * max(up, down):
        return f"{width.value_mm:.2f} ± {max(up, down):.2f}"
    return f"{width.value_mm:.2f} ({low:.2f} to {high:.2f})"
