"""What inspectors say of cracks, and the figures of an image without the cracks they reject.

An image's own files know nothing of it. Its row of the survey, from which the pages, totals and
tables are made, is written anew with each verdict: rejected cracks are left out and counted in
``rejected``; a doubtful mark that is accepted counts as a crack of the main list.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from crackseg.exports.csv_tables import text_cell
from crackseg.exports.survey import report_row
from crackseg.metrology import ranking
from service.database import Record, State, images, now, tasks, verdicts
from service.errors import Problem
from service.history import Place, note_change, people
from service.schemas import NewVerdict, Verdict
from service.storage import Storage

COLUMNS = ("image", "image_name", "crack", "verdict", "note", "by", "by_name", "updated_at")
WORDS = {"accept": "accepted", "reject": "rejected", "open": "undecided"}  # on papers
AS_MEASURED = ("cracks", "also_marked", "severity_mm2", "severity_px2", "judged")  # its place
_SUMS = ("length_px", "length_mm", "area_px2", "area_mm2")


def put_verdict(
    db: Connection, storage: Storage, task: Record, crack_id: int, new: NewVerdict, by: str
) -> Verdict:
    """Keep a verdict, bring the image's row up to date and return what was kept.

    Raises:
        Problem: 404, the image has no such crack; 409, it has no results, or somebody else has
            spoken since ``new.seen_at``.
    """
    this = (tasks.c.job_id == task.job_id) & (tasks.c.image_id == task.image_id)
    state = db.scalar(sa.select(tasks.c.state).where(this).with_for_update())  # one at a time
    if state != State.SUCCEEDED:
        raise Problem(409, "result-not-ready", "The image has no results to judge.")
    path = storage.result(task.job_id, task.image_id) / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    if crack_id not in {crack["id"] for crack in report["cracks"]}:
        raise Problem(404, "no-such-crack", "The image has no crack of this number.")
    row = {"job_id": task.job_id, "image_id": task.image_id, "crack_id": crack_id, "by": by}
    row |= {"verdict": new.verdict, "note": new.note, "updated_at": now()}
    same = [verdicts.c[name] == row[name] for name in ("job_id", "image_id", "crack_id")]
    before = db.execute(sa.select(verdicts).where(*same)).one_or_none()
    if before is not None:
        _refuse_late(db, before, new, by)
    place = Place(
        survey_id=task.survey_id, job_id=task.job_id, image_id=task.image_id, crack_id=crack_id
    )
    note_change(
        db,
        place,
        "verdict",
        by,
        before={
            "verdict": before.verdict if before else "open",
            "note": before.note if before else "",
        },
        after={"verdict": new.verdict, "note": new.note},
    )
    db.execute(verdicts.delete().where(*same))
    db.execute(verdicts.insert().values(row))
    mine = (verdicts.c.job_id == task.job_id) & (verdicts.c.image_id == task.image_id)
    words = dict(db.execute(sa.select(verdicts.c.crack_id, verdicts.c.verdict).where(mine)).all())
    summary = judged_row(report, task.summary, words)
    db.execute(tasks.update().where(this).values(summary=summary))
    about = {"image": task.image_id, "crack": crack_id, "by_name": people(db).get(by, "")}
    return Verdict.model_validate(row | about)


def _refuse_late(db: Connection, before: Record, new: NewVerdict, by: str) -> None:
    """Refuse to replace what somebody else said and whoever speaks now has not seen.

    Raises:
        Problem: 409.
    """
    same = (before.verdict, before.note) == (new.verdict, new.note)
    if new.seen_at in (None, before.updated_at) or before.by == by or same:
        return
    name, note = people(db).get(before.by, before.by), f" ({before.note})" if before.note else ""
    detail = (
        f"{name} has said meanwhile: {WORDS[before.verdict]}{note}. Say it again to replace it."
    )
    raise Problem(409, "verdict-changed", detail)


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
        _judged(crack, words) for crack in report["cracks"] if words.get(crack["id"]) != "reject"
    ]
    main = [crack for crack in remaining if crack["section"] == "main"]
    besides = [crack for crack in remaining if crack["section"] != "main"]
    totals = dict(report["totals"])
    for name in _SUMS:
        if totals[name] is not None:
            totals[name] = sum(crack[name] or 0.0 for crack in main)
    totals["cracks"] = len(main)
    totals["also_marked"] = len(besides)
    for unit in ("px", "mm"):
        lengths = [crack[f"length_{unit}"] or 0.0 for crack in besides]
        has_length = totals[f"length_{unit}"] is not None
        totals[f"also_marked_length_{unit}"] = sum(lengths) if has_length else None
    if totals["analyzed_mm2"]:
        totals["density_m_per_m2"] = 1000 * totals["length_mm"] / totals["analyzed_mm2"]
    judged = {**report, "cracks": sorted(remaining, key=ranking.place), "totals": totals}
    fresh = report_row(judged, row["folder"], row["status"])
    measured = report_row(report, row["folder"], row["status"])
    first = row.get("as_measured") or {name: measured[name] for name in AS_MEASURED}
    return {**fresh, "rejected": len(report["cracks"]) - len(remaining), "as_measured": first}


def _judged(crack: Mapping[str, Any], words: Mapping[int, str]) -> dict[str, Any]:
    """Return a crack in the section where a verdict puts it: one that is accepted is certain."""
    if words.get(crack["id"]) == "accept":
        return {**crack, "section": "main", "certainty": 1.0}
    return {**crack, "section": crack.get("section", "main")}


def verdict_rows(db: Connection, job_id: str, image_id: str | None = None) -> list[dict[str, Any]]:
    """Return what inspectors said of the cracks of a job, or of one image of it."""
    inspectors = people(db)
    query = sa.select(verdicts, images.c.name.label("image_name"))
    query = query.join(images, images.c.id == verdicts.c.image_id)
    query = query.where(verdicts.c.job_id == job_id)
    if image_id:
        query = query.where(verdicts.c.image_id == image_id)
    rows = db.execute(query.order_by(verdicts.c.image_id, verdicts.c.crack_id)).mappings()
    return [
        {
            "image": row["image_id"],
            "image_name": row["image_name"],
            "crack": row["crack_id"],
            "verdict": row["verdict"],
            "note": row["note"],
            "by": row["by"],
            "by_name": inspectors.get(row["by"], ""),
            "updated_at": row["updated_at"],
        }
        for row in rows
    ]


def verdict_counts(db: Connection, job_id: str) -> dict[str, int]:
    """Return how many cracks of each image of a job have a verdict; of the others nothing."""
    query = sa.select(verdicts.c.image_id, sa.func.count()).where(verdicts.c.job_id == job_id)
    return {row[0]: row[1] for row in db.execute(query.group_by(verdicts.c.image_id))}


def verdicts_csv(rows: list[dict[str, Any]]) -> str:
    """Return verdicts as a table; cells that a spreadsheet would run are made text."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([text_cell(row[column]) for column in COLUMNS])
    return text.getvalue()
