"""A report becomes ``report.json`` (see ``report.schema.json``) and a CSV table."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.config import to_plain
from crackseg.detection import UNTESTED
from crackseg.exports import wording
from crackseg.exports.csv_tables import CsvForm, write_table
from crackseg.folders import plain_path, write_json_file
from crackseg.imagery.files import OpenImage
from crackseg.records import (
    Array,
    Crack,
    ImageInfo,
    Measure,
    ModelCard,
    Opening,
    Report,
    Totals,
    Unjudged,
    WidthStatus,
)

SCHEMA = Path(__file__).parent / "report.schema.json"
WIDTHS = ("mean", "median", "p95", "max")
BETWEEN_CLASSES = "between two classes"  # the interval of the width crosses a limit
_BY_HAND = (
    "correction", "corrected_by", "corrected_at", "verdict", "verdict_by", "verdict_at", "note",
)  # fmt: skip
_PARTS = ("", "u_", "low_", "high_")
_HALF_WAY = 1e-6  # from the middle between two multiples: arithmetic errs by far less
_MOST_SCALED = 1e9  # up to here, at least


def report_to_dict(report: Report) -> dict[str, Any]:
    """Return the report as ``report.json`` holds it."""
    return {
        "schema_version": report.schema_version,
        "package_version": report.package_version,
        "image": _image(report.image),
        "model": model_to_dict(report.model, report.thresholds),
        "scale": to_plain(report.scale),
        "options": to_plain(report.options),
        "cracks": [crack_to_dict(crack) for crack in report.cracks],
        "other_lines": None
        if report.other_lines is None
        else [other_line_to_dict(line) for line in report.other_lines],
        "totals": _totals(report.totals),
        "joints": [crack_to_dict(crack) for crack in report.joints],
        "region": {
            "files": [dict(file) for file in report.region_files],
            "left_out": [_rounded(polygon) for polygon in report.left_out],
        },
        "judged": report.judged,
        "detection": _detection(report),
        "unjudged": [_part(part) for part in report.unjudged],
        "impaired": [_part(part) for part in report.impaired],
        "unsteady": [_part(part) for part in report.unsteady],
        "warnings": [to_plain(notice) for notice in report.notices],
        "timing_s": {step: _round(seconds, 4) for step, seconds in report.timing_s.items()},
        **report.recorded,
        **corrections_to_dict(report),
    }


def _part(part: Unjudged) -> dict[str, Any]:
    outlines = [_rounded(polygon) for polygon in part.outlines]
    return {"code": part.code, "share": _round(part.share, 4), "outlines": outlines}


def corrections_to_dict(report: Report) -> dict[str, Any]:
    """Return what ``report.json`` says of corrections: nothing where there are none."""
    if report.corrections is None:
        return {}
    replaced = [
        {"edit": old.edit, **crack_to_dict(old.crack)} for old in report.corrections.replaced
    ]
    edits = [dict(edit) for edit in report.corrections.edits]
    return {"corrections": {"edits": edits, "replaced": replaced}}


def _detection(report: Report) -> dict[str, Any] | None:
    """Return from which width on cracks are found, in words and numbers; None for a given mask."""
    text = wording.detection(report)
    if text is None or report.model is None:
        return None
    tested = report.model.detection
    px = None if tested is None or text == UNTESTED else tested.width_90_95_px
    mm_per_px = None if report.scale is None else report.scale.mm_per_px
    mm = None if px is None or mm_per_px is None else px * mm_per_px
    return {"width_90_px": _round(px, 3), "width_90_mm": _round(mm, 4), "text": text}


def round_all(values: Array, digits: int) -> list[Any]:
    """Return an array of numbers as nested lists, each rounded as ``round`` does; nan is None.

    Rounding one by one would take most of the time of writing a report. A multiple that lies next
    to the middle between two whole numbers is left to ``round``, which knows the exact decimals.
    """
    values = np.asarray(values, np.float64)
    factor = 10.0**digits
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values * factor
        rounded = np.rint(scaled) / factor
        unclear = ~(np.abs(np.abs(scaled - np.trunc(scaled)) - 0.5) > _HALF_WAY)
    unclear |= np.abs(scaled) > _MOST_SCALED
    known = np.isfinite(values)
    for at in np.flatnonzero(unclear & known):
        rounded.flat[at] = round(float(values.flat[at]), digits)
    nested: list[Any] = (
        rounded if known.all() else np.where(known, rounded, np.array(None))
    ).tolist()
    return nested


def _rounded(polygon: Array) -> list[Any]:
    return round_all(polygon, 1)


def crack_to_dict(crack: Crack) -> dict[str, Any]:
    """Return a crack as ``report.json`` holds it."""
    return {
        **_measures(crack),
        "centre_line": [round_all(branch.centre_line, 2) for branch in crack.branches],
        "width_profile_px": [round_all(branch.width_px, 2) for branch in crack.branches],
        **_by_hand(crack),
    }


def crack_facts(crack: Crack) -> dict[str, Any]:
    """Return what ``report.json`` holds of a crack besides its course."""
    return {**_measures(crack), **_by_hand(crack)}


def _by_hand(crack: Crack) -> dict[str, Any]:
    return {**_correction(crack), **_verdict(crack)}


def _measures(crack: Crack) -> dict[str, Any]:
    row, col = crack.width_max_at or (None, None)
    return {
        "id": crack.id,
        "section": crack.section,
        "certainty": _round(crack.certainty, 3),
        "bbox": to_plain(crack.window),
        **_measure("length", crack.length),
        **_measure("bridged_length", crack.bridged_length),
        **_measure("joined_length", crack.joined_length),
        **_measure("hidden_length", crack.hidden_length),
        **{
            key: value
            for name in WIDTHS
            for key, value in _width(f"width_{name}", getattr(crack, f"width_{name}")).items()
        },
        "width_left_out_px": _round(crack.width_left_out_px, 2),
        "openings": [_opening(opening) for opening in crack.openings],
        "width_max_at": None if row is None else {"row": _round(row, 1), "col": _round(col, 1)},
        "area_px2": _round(crack.area_px2, 2),
        "area_mm2": _round(crack.area_mm2, 3),
        "mask_area_px2": _round(crack.mask_area_px2, 2),
        "paper_length_px": _round(crack.paper_length_px, 2),
        "paper_width_px": _round(crack.paper_width_px, 3),
        "orientation_deg": _round(crack.orientation_deg, 1),
        "tortuosity": _round(crack.tortuosity, 4),
        "branches": len(crack.branches),
        "branch_kinds": [branch.kind for branch in crack.branches],
        "branch_nodes": [list(branch.nodes) for branch in crack.branches],
        "tips": crack.tips,
        "junctions": crack.junctions,
        "loops": crack.loops,
        "pattern": crack.pattern,
        "touches_border": crack.touches_border,
        "probability_mean": _round(crack.probability_mean, 4),
        "contrast": _round(crack.contrast, 3),
        "step": _round(crack.step, 3),
        "repetition": _round(crack.repetition, 3),
        "width_classes": to_plain(crack.width_classes),
        "flags": list(crack.flags),
    }


def _correction(crack: Crack) -> dict[str, Any]:
    """Return who drew or changed a crack; nothing of one that is as it was measured."""
    if crack.correction is None:
        return {}
    made = crack.correction
    about = {"correction": made.change, "corrected_by": made.by, "corrected_at": made.at}
    return {**about, "edits": list(made.edits)}


def _verdict(crack: Crack) -> dict[str, Any]:
    """Return what an inspector says of a crack; nothing of one that nobody has judged."""
    if crack.verdict is None:
        return {}
    verdict = crack.verdict
    return {
        "verdict": verdict.word,
        "verdict_by": verdict.by,
        "verdict_at": verdict.at,
        "note": verdict.note,
    }


def other_line_to_dict(line: Crack) -> dict[str, Any]:
    """Return a line that is taken for no crack as ``report.json`` holds it."""
    names = ("length", "width_mean", "width_max")
    return {
        "id": line.id,
        "bbox": to_plain(line.window),
        **{
            key: value
            for name in names
            for key, value in _measure(name, getattr(line, name)).items()
        },
        "probability_mean": _round(line.probability_mean, 4),
        "centre_line": [round_all(branch.centre_line, 2) for branch in line.branches],
    }


def write_json(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``report.json``."""
    path = folder / "report.json"
    write_json_file(path, report_to_dict(report))
    return [path]


def write_csv(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``cracks.csv``: one row per crack in the order of the report, lines left out."""
    path = folder / "cracks.csv"
    form = CsvForm.of_locale(report.options.get("locale", "en"))
    write_table(path, *crack_table(report, report.image.path.name), form)
    return [path]


def crack_table(report: Report, name: str) -> tuple[list[str], list[list[Any]]]:
    """Return the columns of a table of cracks and its rows, in which the photograph has a name."""
    documents = documents_of(report.cracks)
    header = ["image", *CRACK_COLUMNS, *map(class_column, documents)]
    flat = (flat_crack(crack_facts(crack), documents) for crack in report.cracks)
    return header, [[{"image": name, **row}[column] for column in header] for row in flat]


def documents_of(cracks: Iterable[Crack]) -> list[str]:
    """Return the names of the documents that class the widths of cracks, in their order."""
    return list(dict.fromkeys(entry.document for crack in cracks for entry in crack.width_classes))


def class_column(document: str) -> str:
    """Return the name of the column with one document's classes: it names width and document.

    Example:
        >>> class_column("EN 1992-3 class 1")
        'width_p95_class_en_1992_3_class_1'
    """
    return f"width_p95_class_{re.sub(r'[^a-z0-9]+', '_', document.lower()).strip('_')}"


def flat_crack(crack: Mapping[str, Any], documents: Iterable[str] = ()) -> dict[str, Any]:
    """Return the columns of ``cracks.csv`` from a crack of ``report.json``.

    Args:
        crack: as ``crack_facts`` gives it, or ``crack_to_dict``.
        documents: those that get a column for their class, from ``documents_of``.
    """
    labels = {
        entry["document"]: entry["label"] or BETWEEN_CLASSES for entry in crack["width_classes"]
    }
    at = crack["width_max_at"] or {"row": None, "col": None}
    widest = next(iter(crack["openings"]), {"width_px": None, "width_mm": None})
    flat = {key: crack[key] for key in CRACK_COLUMNS if key in crack}
    flat |= {key: crack["bbox"][key] for key in ("row", "col", "height", "width")}
    return flat | {
        "openings": len(crack["openings"]),
        "opening_max_px": widest["width_px"],
        "opening_max_mm": widest["width_mm"],
        "width_max_row": at["row"],
        "width_max_col": at["col"],
        "flags": " ".join(crack["flags"]),
        **{key: crack.get(key) for key in _BY_HAND},
        **{class_column(document): labels.get(document) for document in documents},
    }


def _image(info: ImageInfo) -> dict[str, Any]:
    return {
        "path": plain_path(info.path),
        "sha256": info.sha256,
        "format": info.format,
        "height_px": info.height_px,
        "width_px": info.width_px,
        "taken_at": info.taken_at.isoformat() if info.taken_at else None,
        "camera": info.camera,
        "gps": to_plain(info.gps),
        "crs": info.crs,
        "transform": to_plain(info.transform),
    }


def model_to_dict(
    card: ModelCard | None, thresholds: tuple[float, float] | None
) -> dict[str, Any] | None:
    """Return a model as ``report.json`` names it, so that two equal ones say the same.

    Args:
        card: None gives None.
        thresholds: those used; None: the card's.
    """
    if card is None:
        return None
    threshold, threshold_low = thresholds or (card.threshold, card.threshold_low)
    meaning = {key: value for key, value in to_plain(card).items() if key != "needs"}
    content = json.dumps(meaning, sort_keys=True)
    return {
        "name": card.name,
        "version": card.version,
        "network": card.network,
        "sha256": card.sha256.get("model.onnx", ""),
        "card_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "threshold": threshold,
        "threshold_low": threshold_low,
    }


def _totals(totals: Totals) -> dict[str, Any]:
    return {key: _round(value, 3) for key, value in to_plain(totals).items()}


def read_measure(record: Mapping[str, Any], name: str) -> Measure:
    """Return a measure as ``report.json`` or a row of a survey holds it.

    Reports of schema 1 have no interval and no status of each width: their U is taken for both
    sides, and a number for a measurement.
    """
    parts = {f"{part}{unit}": f"{name}_{part}{unit}" for part in _PARTS for unit in ("px", "mm")}
    values: dict[str, Any] = {part: record.get(key) for part, key in parts.items()}
    plain: WidthStatus = "not_resolvable" if values["px"] is None else "measured"
    status: WidthStatus = record.get(f"{name}_status") or plain
    if status != "measured" and values["high_px"] is None:
        return Measure(px=None, status="not_resolvable")
    if status == "below_detection":
        values |= {"u_px": None, "u_mm": None}
    return Measure(**values, status=status)


def _measure(name: str, measure: Measure) -> dict[str, Any]:
    return {
        f"{name}_px": _round(measure.px, 3),
        f"{name}_u_px": _round(measure.u_px, 3),
        f"{name}_mm": _round(measure.mm, 4),
        f"{name}_u_mm": _round(measure.u_mm, 4),
    }


def _width(name: str, measure: Measure) -> dict[str, Any]:
    return {
        **_measure(name, measure),
        f"{name}_low_px": _round(measure.low_px, 3),
        f"{name}_high_px": _round(measure.high_px, 3),
        f"{name}_low_mm": _round(measure.low_mm, 4),
        f"{name}_high_mm": _round(measure.high_mm, 4),
        f"{name}_status": measure.status,
    }


def _opening(opening: Opening) -> dict[str, Any]:
    return {
        "row": _round(opening.row, 1),
        "col": _round(opening.col, 1),
        **_width("width", opening.width),
        **_measure("length", opening.length),
    }


def _round(value: float | None, digits: int) -> float | None:
    """Return a number that JSON can hold; nan and infinity are null."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else round(float(value), digits)


_UNITS = ("px", "u_px", "mm", "u_mm")
_INTERVAL = ("low_px", "high_px", "low_mm", "high_mm", "status")
_MEASURED = [
    *(
        f"{name}_{unit}"
        for name in ("length", "bridged_length", "joined_length", "hidden_length")
        for unit in _UNITS
    ),
    *(f"width_{name}_{part}" for name in WIDTHS for part in (*_UNITS, *_INTERVAL)),
]
CRACK_COLUMNS = [
    "id", "section", "certainty", "row", "col", "height", "width", *_MEASURED, "width_max_row",
    "width_max_col", "width_left_out_px", "openings", "opening_max_px", "opening_max_mm",
    "area_px2", "area_mm2", "mask_area_px2", "paper_length_px", "paper_width_px",
    "orientation_deg", "tortuosity", "branches", "tips", "junctions", "loops", "pattern",
    "touches_border", "probability_mean", "contrast", "step", "repetition", "flags",
    *_BY_HAND,
]  # fmt: skip


def marks_sha256(report: Mapping[str, Any]) -> str:
    """Return a digest of the cracks that a ``report.json`` lists, with numbers, sizes and courses.

    What is made of several reports keeps it, to tell whether they still say the same.
    """
    keys = ("id", "section", "length_px", "length_mm", "width_max_px", "width_max_mm",
            "centre_line")  # fmt: skip
    marks = [[crack.get(key) for key in keys] for crack in report["cracks"]]
    return hashlib.sha256(json.dumps(marks).encode()).hexdigest()
