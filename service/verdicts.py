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
from crackseg.exports.survey import judged_row
from service.database import Record, State, images, now, tasks, verdicts
from service.errors import Problem
from service.history import Place, note_change, people
from service.schemas import NewVerdict, Verdict
from service.storage import Storage

COLUMNS = ("image", "image_name", "crack", "verdict", "note", "by", "by_name", "updated_at")
WITH_JOB = (*COLUMNS, "job")  # of the table: it means nothing beside another analysis
WORDS = {"accept": "accepted", "reject": "rejected", "open": "undecided"}  # on papers


def put_verdict(
    db: Connection, storage: Storage, task: Record, crack_id: int, new: NewVerdict, by: str
) -> Verdict:
    """Keep a verdict, bring the image's row up to date and return what was kept.

    Raises:
        Problem: 404, the image has no such crack; 409, it has no results, somebody else has
            spoken since ``new.seen_at``, or edited the crack since ``new.seen_edits``.
    """
    this = (tasks.c.job_id == task.job_id) & (tasks.c.image_id == task.image_id)
    state = db.scalar(sa.select(tasks.c.state).where(this).with_for_update())  # one at a time
    if state != State.SUCCEEDED:
        raise Problem(409, "result-not-ready", "The image has no results to judge.")
    path = storage.result(task.job_id, task.image_id) / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    _refuse_changed(report, crack_id, new)
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
    return Verdict.model_validate(row | about | {"notice": not_in_newer(db, task)})


def not_in_newer(db: Connection, task: Record) -> str:
    """Return the sentence for what is said of an image that a newer analysis has done already.

    One that has not come to the image yet takes it along.
    """
    newer = (tasks.c.job_id > task.job_id) & (tasks.c.image_id == task.image_id)
    done = sa.select(tasks.c.job_id).where(newer, tasks.c.state == State.SUCCEEDED).limit(1)
    if db.scalar(done) is None:
        return ""
    return (
        "A newer analysis of this photograph does not have it: say it there too, or analyze the "
        "survey again."
    )


def _refuse_changed(report: Mapping[str, Any], crack_id: int, new: NewVerdict) -> None:
    """Refuse a verdict on a crack that is not, or is not any more, the one that was looked at.

    Raises:
        Problem: 404, 409.
    """
    edits = {crack["id"]: list(crack.get("edits") or ()) for crack in report["cracks"]}
    if crack_id not in edits:
        raise Problem(404, "no-such-crack", "The image has no crack of this number.")
    if new.seen_edits not in (None, edits[crack_id]):
        detail = (
            f"An edit has changed crack {crack_id} since you looked at it. Look at it as it is "
            "now, then say it again."
        )
        raise Problem(409, "crack-changed", detail)


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
    """Return how many cracks of each image of a job are accepted or rejected; of others nothing."""
    query = sa.select(verdicts.c.image_id, sa.func.count()).where(
        verdicts.c.job_id == job_id,
        verdicts.c.verdict != "open",  # taken back, or a note alone
    )
    return {row[0]: row[1] for row in db.execute(query.group_by(verdicts.c.image_id))}


def verdicts_csv(rows: list[dict[str, Any]], job_id: str) -> str:
    """Return verdicts of a job as a table; cells that a spreadsheet would run are made text."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(WITH_JOB)
    for row in rows:
        writer.writerow([text_cell({**row, "job": job_id}[column]) for column in WITH_JOB])
    return text.getvalue()
