"""The map of a face as ``face.html``: pan and zoom over the mosaic, its tiles loaded by need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from crackseg.exports.page import templates
from crackseg.exports.wording import certainty
from crackseg.face.cracks import FaceCrack
from crackseg.face.drawing import bin_of, colour, draw, in_words, legend_of, limits_of
from crackseg.face.face_json import face_to_dict
from crackseg.face.mapping import FaceMap
from crackseg.face.mosaic import TILE_PX, Grid
from crackseg.folders import plain_path
from crackseg.records import Array
from crackseg.words import Words


def write_page(face: FaceMap, grid: Grid, tiles: Sequence[Sequence[int]], folder: Path,
               words: Words, up: str | None) -> Path:  # fmt: skip
    """Write ``face.html``.

    Args:
        face: the map.
        grid: of the mosaic.
        tiles: level, row, col of those that are written.
        folder: where to write.
        words: of the reader's language.
        up: relative address of the photographs' folders; None: no links to them.
    """
    values, drawing = face_to_dict(face), draw(face, grid, words)
    frame = {
        "width": grid.width_px,
        "height": grid.height_px,
        "tile": TILE_PX,
        "tiles": [list(tile) for tile in tiles],
        "left": face.plane.to_map(_corner(grid))[0].tolist(),
        "m_per_px": grid.m_per_px,
        "sign": 1 if face.plane.rightwards else -1,
        "rise": face.plane.rise,
        "decimal": words.decimal,
        "digits": 2,
        "at": str(words.texts["face"]["at"]),
    }
    html = templates().get_template("face.html.j2").render(
        face=values,
        words=words,
        name=_name(face, words),
        inspected_on=face.survey.inspected_on if face.survey else None,
        drawing={k: Markup(v) for k, v in drawing.items()},
        legend=legend_of(face, words),
        shape=" / ".join(drawing["map_box"].split()[2:]),
        frame=Markup(json.dumps(frame).replace("<", "\\u003c")),
        rows=[_row(crack, face, words, up) for crack in face.cracks],
    )  # fmt: skip
    path = folder / "face.html"
    path.write_text(html, encoding="utf-8", errors="replace")
    return path


def _corner(grid: Grid) -> Any:
    import numpy as np

    return np.array([[grid.left_m, grid.top_m]])


def _name(face: FaceMap, words: Words) -> str:
    survey = face.survey
    parts = [] if survey is None else [survey.dam, survey.part or face.plane.name]
    return ", ".join(part for part in parts if part) or words("face.title")


def _row(crack: FaceCrack, face: FaceMap, words: Words, up: str | None) -> dict[str, Any]:
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
        "length": f"{words.number((crack.length.value_mm or 0) / 1000, 2)} ± "
        f"{words.number((crack.length.u_mm or 0) / 1000, 2)}",
        "mean": in_words(crack.widths["mean"], words, unit=""),
        "max": in_words(crack.widths["max"], words, unit=""),
        "spread": None if crack.spread_mm is None else words.number(crack.spread_mm, 2),
        "agree": crack.agree,
        "station": _range(points[:, 0], words),
        "elevation": _range(points[:, 1], words),
        "marked": len(crack.views),
        "could": crack.could_show,
        "leaves": crack.leaves_map,
        "certainty": None if crack.certainty is None else certainty(crack.certainty),
        "photographs": photographs,
    }


def _range(values_m: Array, words: Words) -> str:
    low, high = (words.number(float(value), 2) for value in (values_m.min(), values_m.max()))
    return words("face.range", low=low, high=high)
