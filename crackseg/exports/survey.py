"""Reports of many images become ``summary.csv``, ``survey.json`` and the gallery ``index.html``.

The gallery shows each image's ``thumb.jpg`` and leads to its ``page.html``.

Images that failed stand first: silence about a photograph would read as "no crack there".
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from crackseg.exports import wording
from crackseg.exports.csv_tables import CsvForm, plain_cell, write_table
from crackseg.exports.page import templates
from crackseg.exports.tables import marks_sha256, read_measure
from crackseg.folders import plain_path, write_json_file
from crackseg.imagery.clarity import is_worth_a_word
from crackseg.metrology import ranking
from crackseg.names import count, figures

COLUMNS = (
    "image", "folder", "status", "reason", "cracks", "length_px", "length_mm", "width_max_px",
    "width_max_u_px", "width_max_low_px", "width_max_high_px", "width_max_mm", "width_max_u_mm",
    "width_max_low_mm", "width_max_high_mm", "width_max_status", "severity_px2", "severity_mm2",
    "area_px2", "area_mm2", "density_m_per_m2", "also_marked", "also_marked_length_px",
    "also_marked_length_mm", "mm_per_px", "scale_source", "taken_at", "camera", "warnings",
    "judged", "impaired_share", "impaired_by", "width_90_px", "width_90_mm",
    "other_lines", "other_lines_length_px", "other_lines_length_mm", "joints", "copy_of",
)  # fmt: skip
_COUNTS = frozenset(c for c in COLUMNS if c.startswith(
    ("cracks", "length_", "area_", "also_marked", "other_lines", "joints")))  # fmt: skip
AS_MEASURED = ("cracks", "also_marked", "severity_mm2", "severity_px2", "judged")  # its place
_SUMS = ("length_px", "length_mm", "area_px2", "area_mm2")
FILES = ("survey.json", "summary.csv", "index.html")
NO_RESULT: dict[str, Any] = dict.fromkeys(COLUMNS)
NOTHING_TELLS = "nothing marked as a crack, too little structure to tell whether it is sharp"
FAILED, NOT_REACHED = "failed", "not_reached"  # states of a photograph without a result


def report_row(report: Mapping[str, Any], folder: str, status: str) -> dict[str, Any]:
    """Return the row of a survey for one ``report.json``: figures of its main list."""
    main = main_list(report)
    worst = main[0] if main else None  # the list is in the order of ``metrology.ranking``
    widest = max(main, key=lambda c: c["width_max_px"] or 0.0, default=None)
    widths = [column for column in COLUMNS if column.startswith("width_max_")]
    scale = report["scale"] or {"mm_per_px": None, "source": None}
    totals = report["totals"]
    sums = (
        "cracks", "length_px", "length_mm", "area_px2", "area_mm2", "density_m_per_m2",
        "also_marked", "also_marked_length_px", "also_marked_length_mm",
    )  # fmt: skip
    detection = report.get("detection") or dict.fromkeys(("width_90_px", "width_90_mm", "text"))
    return {
        **NO_RESULT,
        "image": report["image"]["path"],
        "folder": folder,
        "status": status,
        **{key: totals.get(key) for key in sums},
        "severity_px2": _round(ranking.weight(worst, "px") if worst else None, 2),
        "severity_mm2": _round(ranking.weight(worst, "mm") if worst else None, 3),
        **{key: widest.get(key) if widest else None for key in widths},
        "mm_per_px": scale["mm_per_px"],
        "scale_source": scale["source"],
        "taken_at": report["image"]["taken_at"],
        "camera": report["image"]["camera"],
        "warnings": [notice["code"] for notice in report["warnings"]],
        "judged": report.get("judged", True),
        **_impaired(report),
        **_other_lines(report),
        "joints": len(report.get("joints") or ()),
        "width_90_px": detection["width_90_px"],
        "width_90_mm": detection["width_90_mm"],
        "detection": detection["text"],
        "sha256": report["image"].get("sha256"),
    }


def row_of_result(report: Mapping[str, Any], folder: Path, status: str) -> dict[str, Any]:
    """Return the row of a result of ``analyze``, with a digest of the cracks that it lists."""
    return {**report_row(report, folder.name, status), "marks_sha256": marks_sha256(report)}


def _impaired(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return over which share of a picture cracks are seen less well, and why."""
    parts = report.get("impaired")
    if parts is None:  # of an earlier release
        return {}
    share = round(sum(part["share"] for part in parts), 4)
    worth = is_worth_a_word({part["code"]: part["share"] for part in parts})
    return {"impaired_share": share, "impaired_by": [p["code"] for p in parts] if worth else []}


def _other_lines(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many dark lines were taken for no crack, and how long they are; {}: not told."""
    lines = report.get("other_lines")
    if lines is None:
        return {}
    sums: dict[str, Any] = {"other_lines": len(lines)}
    for unit in ("px", "mm"):
        lengths = [line[f"length_{unit}"] for line in lines]
        known = unit == "px" or report["scale"] is not None
        sums[f"other_lines_length_{unit}"] = _sum(lengths) if known else None
    return sums


def _sum(values: Iterable[float | None]) -> float | None:
    """Return a sum to as many digits as ``report.json`` gives sums; None: one is not known."""
    known = list(values)
    return None if None in known else _round(math.fsum(v or 0.0 for v in known), 3)


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def main_list(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the cracks of a ``report.json`` that its headlines are about, in their order."""
    return [crack for crack in report["cracks"] if crack.get("section", "main") == "main"]


def without_counts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a copy for a table, whose columns add up to the totals of the survey."""
    return {name: None if name in _COUNTS else value for name, value in row.items()}


def has_result(row: Mapping[str, Any]) -> bool:
    """Return whether the row of an image tells of a report; else it failed or was not reached."""
    return row["status"] not in (FAILED, NOT_REACHED)


def failure_row(path: Path, reason: str, status: str = FAILED) -> dict[str, Any]:
    """Return the row of an image that could not be analyzed, or was not (``NOT_REACHED``)."""
    return {
        **NO_RESULT,
        "image": plain_path(path),
        "status": status,
        "reason": reason,
        "warnings": [],
    }


def judged_row(
    report: Mapping[str, Any], row: Mapping[str, Any], words: Mapping[int, str]
) -> dict[str, Any]:
    """Return an image's row of the survey by the verdicts on its cracks.

    Args:
        report: the image's ``report.json``.
        row: its row so far.
        words: id of a crack -> accept, reject or open.
    """
    remaining = [
        judged_crack(crack, words)
        for crack in report["cracks"]
        if words.get(crack["id"]) != "reject"
    ]
    main = [crack for crack in remaining if crack["section"] == "main"]
    besides = [crack for crack in remaining if crack["section"] != "main"]
    totals = dict(report["totals"])
    for name in _SUMS:
        if totals[name] is not None:
            totals[name] = _sum(crack[name] or 0.0 for crack in main)
    totals["cracks"] = len(main)
    totals["also_marked"] = len(besides)
    for unit in ("px", "mm"):
        lengths = [crack[f"length_{unit}"] or 0.0 for crack in besides]
        has_length = totals[f"length_{unit}"] is not None
        totals[f"also_marked_length_{unit}"] = _sum(lengths) if has_length else None
    if totals["analyzed_mm2"]:
        density = 1000 * totals["length_mm"] / totals["analyzed_mm2"]
        totals["density_m_per_m2"] = _round(density, 3)
    judged = {**report, "cracks": sorted(remaining, key=ranking.place), "totals": totals}
    fresh = report_row(judged, row["folder"], row["status"])
    measured = report_row(report, row["folder"], row["status"])
    first = row.get("as_measured") or {name: measured[name] for name in AS_MEASURED}
    return {**fresh, "rejected": len(report["cracks"]) - len(remaining), "as_measured": first}


def judged_crack(crack: Mapping[str, Any], words: Mapping[int, str]) -> dict[str, Any]:
    """Return a crack in the section where a verdict puts it: one that is accepted is certain."""
    if words.get(crack["id"]) == "accept":
        return {**crack, "section": "main", "certainty": 1.0}
    return {**crack, "section": crack.get("section", "main")}


def short_names(paths: Sequence[str | Path]) -> list[str]:
    """Return a name for each path: that of its file, with folders where two files share one."""
    names = [Path(path).name for path in paths]
    if len(set(names)) == len(set(paths)):
        return names
    try:
        above = os.path.commonpath([Path(path).parent for path in paths])
        return [Path(path).relative_to(above).as_posix() for path in paths]
    except ValueError:  # some relative, some absolute
        return [Path(path).as_posix() for path in paths]


def write_survey(
    rows: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    out: Path,
    *,
    gallery: bool,
    passed: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the files of a survey and return their paths.

    Args:
        rows: one per image, from ``report_row`` or ``failure_row``; the table and the gallery put
            them in the order of ``row_place``. Columns that an earlier release had not are empty.
        about: what holds for the whole run: versions, model, options, times.
        out: the folder that holds the image folders.
        gallery: write ``index.html`` too; the images need the export ``page``.
        passed: files that are no failure and were not analyzed -> why.
    """
    again = {id(row): first["image"] for row, first in copies(rows)}
    rows = [{**row, "copy_of": again.get(id(row))} for row in rows]
    aside = [{"path": plain_path(Path(p)), "reason": why} for p, why in (passed or {}).items()]
    totals = survey_totals(rows) | {"passed_over": len(aside)}
    survey = {"schema_version": "1", **about, "totals": totals, "images": list(rows)}
    survey["passed_over"] = aside
    survey["detection"] = detection = survey_detection(rows)
    paths = [out / "survey.json", out / "summary.csv"]
    write_json_file(paths[0], survey, indent=1)
    passed_rows = [
        NO_RESULT | {"image": i["path"], "status": "passed over", "reason": i["reason"]}
        for i in aside
    ]
    ranked = sorted(rows, key=row_place)
    told = [without_counts(row) if row["copy_of"] else row for row in ranked]
    cells = ([plain_cell(row.get(column)) for column in COLUMNS] for row in [*told, *passed_rows])
    form = CsvForm.of_locale((about.get("options") or {}).get("locale", "en"))
    write_table(paths[1], COLUMNS, cells, form)
    if gallery:
        template = templates().get_template("index.html.j2")
        names = dict(zip(map(id, rows), short_names([row["image"] for row in rows]), strict=True))
        of_path = {row["image"]: names[id(row)] for row in rows}
        tiles = [_tile(row, names[id(row)], of_path.get(row["copy_of"], "")) for row in ranked]
        paths.append(out / "index.html")
        html = template.render(
            totals=totals,
            length=wording.total_length(totals["length_mm"], None),
            images=tiles,
            about=about,
            passed=aside,
            detection=detection,
        )
        paths[2].write_text(html, encoding="utf-8", errors="replace")
    return paths


def copies(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the rows whose very file has another name too, each with the row that counts for it.

    That is one whose cracks a person looked at, else one with a scale, else the first by name.
    """
    told = [row for row in rows if has_result(row) and row.get("sha256")]
    first: dict[str, Mapping[str, Any]] = {}

    for row in sorted(told, key=copy_rank):
        first.setdefault(row["sha256"], row)
    return [(row, first[row["sha256"]]) for row in told if first[row["sha256"]] is not row]


def copy_rank(row: Mapping[str, Any]) -> tuple[bool, bool, str]:
    """Return what to sort the names of one file by, the one that counts first: see ``copies``."""
    return not _is_looked_at(row), row.get("mm_per_px") is None, str(row["image"])


def counted(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows that count: a file that stands there under two names does so once."""
    again = {id(row) for row, _ in copies(rows)}
    return [row for row in rows if id(row) not in again]


def _is_looked_at(row: Mapping[str, Any]) -> bool:
    """Return whether a person decided on cracks of a row, as far as its figures show it.

    A verdict that was taken back decides nothing.
    """
    if row.get("looked_at") or "corrected" in row["warnings"]:
        return True
    first = row.get("as_measured") or {}
    return bool(row.get("rejected")) or any(row.get(name) != first[name] for name in first)


def survey_totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return sums over the images; lengths in mm only of the images that have a scale.

    A file that stands there under two names counts once.
    """
    analyzed = [row for row in rows if has_result(row)]
    not_reached = sum(row["status"] == NOT_REACHED for row in rows)
    done = counted(analyzed)
    scaled = [row for row in done if row["length_mm"] is not None]
    return {
        "images": len(rows),
        "failed": len(rows) - len(analyzed) - not_reached,
        "not_reached": not_reached,
        "copies": len(analyzed) - len(done),
        "unchanged": sum(row["status"] == "unchanged" for row in done),
        "earlier": sum(row["status"] == "earlier" for row in done),
        "with_cracks": sum(bool(row["cracks"]) for row in done),
        "without_cracks": sum(
            not row["cracks"] and not row.get("also_marked") and row.get("judged") is not False
            for row in done
        ),
        "without_scale": len(done) - len(scaled),
        "not_judged": sum(row.get("judged") is False for row in done),
        "cracks": sum(row["cracks"] for row in done),
        "also_marked": sum(row.get("also_marked") or 0 for row in done),
        "with_doubtful_marks_alone": sum(
            bool(not row["cracks"] and row.get("also_marked")) for row in done
        ),
        "length_mm": _sum(row["length_mm"] for row in scaled) if scaled else None,
    }


def survey_detection(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return from which width on cracks are found, at the coarsest scale of the images.

    None where no image says it: a given mask, reports of earlier releases.
    """
    telling = [row for row in rows if row.get("detection")]
    if not telling:
        return None
    coarsest = max(telling, key=lambda row: row["mm_per_px"] or 0.0)
    text: str = coarsest["detection"]
    if len({row["mm_per_px"] for row in telling}) == 1:
        return text
    missing = any(row["mm_per_px"] is None for row in telling)
    besides = " Images without a scale: the same in px." if missing else ""
    mm_per_px = figures(coarsest["mm_per_px"], 3)
    return f"At the coarsest scale here, {mm_per_px} mm per px: {text}{besides}"


def row_place(row: Mapping[str, Any]) -> tuple[int, float]:
    """Return the place of an image in a survey: sort by it.

    Failed images stand first, then those not reached, those that cannot be judged, those with
    cracks by the severity x certainty of the worst, in mm before px, those with doubtful marks
    alone, and those without.
    """
    if row.get("status") == FAILED:
        return 0, 0.0
    if row.get("status") == NOT_REACHED:
        return 0, 0.5
    if row.get("judged") is False:
        return 0, 1.0
    if not row.get("cracks"):
        return (3 if row.get("also_marked") else 4), 0.0
    if row.get("severity_mm2") is not None:
        return 1, -row["severity_mm2"]
    return 2, -(row.get("severity_px2") or 0.0)


def width_text(row: Mapping[str, Any]) -> str:
    """Return the largest width of a row in words."""
    return wording.measured(read_measure(row, "width_max"))


def length_text(row: Mapping[str, Any]) -> str:
    """Return the total length of a row in words."""
    return wording.total_length(row["length_mm"], row["length_px"])


def other_lines_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many dark lines of some rows count as no crack, and how long; empty: none."""
    rows = [row for row in rows if row.get("other_lines")]
    if not rows:
        return ""
    scaled = [row for row in rows if row["other_lines_length_mm"] is not None]
    lengths = []
    if scaled:
        mm = sum(row["other_lines_length_mm"] for row in scaled)
        lengths.append(wording.total_length(mm, None))
    if len(scaled) < len(rows):
        lacking = [row for row in rows if row["other_lines_length_mm"] is None]
        px = sum(row["other_lines_length_px"] for row in lacking)
        lengths.append(f"{px:.0f} px")
    number = sum(row["other_lines"] for row in rows)
    together = "" if number == 1 else " together"
    return f"{count(number, 'other dark line')}, {' + '.join(lengths)} long{together}"


def not_counted_text(row: Mapping[str, Any]) -> str:
    """Return which lines of a picture are in no figure of cracks; empty: none."""
    lines, joints = other_lines_text([row]), row.get("joints")
    along = f"{count(joints, 'line')} along named joints" if joints else ""
    text = " and ".join(part for part in (lines, along) if part)
    return f"{text}, not counted" if text else ""


def impaired_text(row: Mapping[str, Any]) -> str:
    """Return how much of a picture shows cracks less well; empty where that is little."""
    codes = row.get("impaired_by")
    return f"{100 * row['impaired_share']:.0f} % {', '.join(codes)}" if codes else ""


def nothing_text(row: Mapping[str, Any], free: str = "no crack found") -> str:
    """Return what is said of a picture in which nothing is marked: ``free`` where it tells that."""
    unsure = "no_structure" in (row.get("warnings") or ())
    return NOTHING_TELLS if unsure else free


def warning_tags(
    row: Mapping[str, Any], said: Collection[str] = ("cannot_be_judged",)
) -> list[str]:
    """Return the warnings of a picture in words, but for the codes ``said`` of it elsewhere."""
    codes = row.get("warnings") or ()
    return [code.replace("_", " ") for code in codes if code not in said]


def _tile(row: Mapping[str, Any], name: str, copy_of: str) -> dict[str, Any]:
    result = has_result(row)
    has_cracks = bool(row["cracks"])
    return {
        "name": name,
        "link": quote(row["folder"]) if result else None,
        "failed": row["status"] == FAILED,
        "earlier": row["status"] == "earlier",
        "copy_of": copy_of,
        "reason": row["reason"],
        "judged": row.get("judged") is not False,
        "impaired": impaired_text(row),
        "nothing": nothing_text(row),
        "cracks": row["cracks"],
        "also_marked": row.get("also_marked") or 0,
        "not_counted": not_counted_text(row),
        "rejected": row.get("rejected", 0),  # by inspectors, whom the service asks
        "length": length_text(row) if has_cracks else None,
        "width": width_text(row) if has_cracks else None,
        "warnings": warning_tags(row),
    }
