"""Reports of many images become ``summary.csv``, ``survey.json`` and the gallery ``index.html``.

The gallery shows each image's ``thumb.jpg`` and leads to its ``page.html``.

Images that failed stand first: silence about a photograph would read as "no crack there".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from crackseg.exports import wording
from crackseg.exports.page import templates
from crackseg.exports.tables import write_table

COLUMNS = (
    "image", "folder", "status", "reason", "cracks", "length_px", "length_mm", "width_max_px",
    "width_max_u_px", "width_max_mm", "width_max_u_mm", "area_px2", "area_mm2",
    "density_m_per_m2", "mm_per_px", "scale_source", "taken_at", "camera", "warnings",
)  # fmt: skip
NO_RESULT: dict[str, Any] = dict.fromkeys(COLUMNS)


def report_row(report: Mapping[str, Any], folder: str, status: str) -> dict[str, Any]:
    """Return the row of a survey for one ``report.json``."""
    widest = max(report["cracks"], key=lambda c: c["width_max_px"] or 0.0, default=None)
    widths = ("width_max_px", "width_max_u_px", "width_max_mm", "width_max_u_mm")
    scale = report["scale"] or {"mm_per_px": None, "source": None}
    totals = report["totals"]
    sums = ("cracks", "length_px", "length_mm", "area_px2", "area_mm2", "density_m_per_m2")
    return {
        **NO_RESULT,
        "image": report["image"]["path"],
        "folder": folder,
        "status": status,
        **{key: totals[key] for key in sums},
        **{key: widest[key] if widest else None for key in widths},
        "mm_per_px": scale["mm_per_px"],
        "scale_source": scale["source"],
        "taken_at": report["image"]["taken_at"],
        "camera": report["image"]["camera"],
        "warnings": [notice["code"] for notice in report["warnings"]],
    }


def failure_row(path: Path, reason: str) -> dict[str, Any]:
    """Return the row of an image that could not be analyzed."""
    return {
        **NO_RESULT,
        "image": str(path),
        "status": "failed",
        "reason": reason,
        "warnings": [],
    }


def write_survey(
    rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], out: Path, *, gallery: bool
) -> list[Path]:
    """Write the files of a survey and return their paths.

    Args:
        rows: one per image, from ``report_row`` or ``failure_row``.
        about: what holds for the whole run: versions, model, options, times.
        out: the folder that holds the image folders.
        gallery: write ``index.html`` too; the images need the export ``page``.
    """
    totals = survey_totals(rows)
    survey = {"schema_version": "1", **about, "totals": totals, "images": list(rows)}
    text = json.dumps(survey, ensure_ascii=False, allow_nan=False, indent=1)
    cells = ([_cell(row[column]) for column in COLUMNS] for row in rows)
    paths = [
        _replace(out / "survey.json", lambda path: path.write_text(text + "\n", "utf-8")),
        _replace(out / "summary.csv", lambda path: write_table(path, COLUMNS, cells)),
    ]
    if gallery:
        template = templates().get_template("index.html.j2")
        tiles = [_tile(row) for row in sorted(rows, key=_severity)]
        html = template.render(totals=totals, images=tiles, about=about)
        paths.append(_replace(out / "index.html", lambda path: path.write_text(html, "utf-8")))
    return paths


def survey_totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return sums over the images; lengths in mm only of the images that have a scale."""
    done = [row for row in rows if row["status"] != "failed"]
    scaled = [row for row in done if row["length_mm"] is not None]
    return {
        "images": len(rows),
        "failed": len(rows) - len(done),
        "unchanged": sum(row["status"] == "unchanged" for row in done),
        "with_cracks": sum(bool(row["cracks"]) for row in done),
        "without_scale": len(done) - len(scaled),
        "cracks": sum(row["cracks"] for row in done),
        "length_mm": sum(row["length_mm"] for row in scaled) if scaled else None,
    }


def _severity(row: Mapping[str, Any]) -> tuple[int, float]:
    """Sort failed images first, then by width in mm, then by width in px, crack-free ones last."""
    if row["status"] == "failed":
        return 0, 0.0
    if not row["cracks"]:
        return 3, 0.0
    if row["width_max_mm"] is not None:
        return 1, -row["width_max_mm"]
    return 2, -(row["width_max_px"] or 0.0)


def width_text(row: Mapping[str, Any]) -> str:
    """Return the largest width of a row in words."""
    if row["width_max_mm"] is not None:
        return wording.quantity(row["width_max_mm"], row["width_max_u_mm"], "mm")
    return wording.quantity(row["width_max_px"], row["width_max_u_px"], "px")


def length_text(row: Mapping[str, Any]) -> str:
    """Return the total length of a row in words."""
    if row["length_mm"] is not None:
        return f"{row['length_mm'] / 1000:.2f} m"
    return f"{row['length_px']:.0f} px"


def _tile(row: Mapping[str, Any]) -> dict[str, Any]:
    failed = row["status"] == "failed"
    found = bool(row["cracks"])
    return {
        "name": Path(row["image"]).name,
        "link": None if failed else quote(row["folder"]),
        "failed": failed,
        "reason": row["reason"],
        "cracks": row["cracks"],
        "rejected": row.get("rejected", 0),  # by inspectors, whom the service asks
        "length": length_text(row) if found else None,
        "width": width_text(row) if found else None,
        "warnings": [code.replace("_", " ") for code in row["warnings"]],
    }


def _cell(value: Any) -> Any:
    return " ".join(value) if isinstance(value, list) else value


def _replace(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file beside ``path``, put it in place when it is whole, and return ``path``."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        write(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path
