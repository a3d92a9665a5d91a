"""Who changed what, and when: every change that people make is kept beside what it replaced."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from crackseg.exports.csv_tables import text_cell
from service.database import Record, changes, images, keys, new_id, now
from service.names import clean_text

COLUMNS = ("at", "by_name", "by", "kind", "image_name", "crack", "change", "job")
THIS_MACHINE = "this machine"  # who works where no keys are in use


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a change is about; parts that it does not concern are None."""

    survey_id: str
    job_id: str | None = None
    image_id: str | None = None
    crack_id: int | None = None


def note_change(
    db: Connection,
    place: Place,
    kind: str,
    by: str,
    *,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
) -> None:
    """Keep a change; one that changes nothing is none."""
    if before is not None and dict(before) == dict(after):
        return
    row = {
        "id": new_id(),
        "survey_id": place.survey_id,
        "job_id": place.job_id,
        "image_id": place.image_id,
        "crack_id": place.crack_id,
        "kind": kind,
        "before": None if before is None else dict(before),
        "after": dict(after),
        "by": by,
        "at": now(),
    }
    db.execute(changes.insert().values(row))


def find_changes(
    db: Connection,
    survey_id: str,
    *,
    image_id: str | None = None,
    before: str = "",
    limit: int | None = None,
) -> list[Record]:
    """Return the changes of a survey, or of one image of it, the latest first."""
    query = sa.select(changes, images.c.name.label("image_name"))
    query = query.outerjoin(images, images.c.id == changes.c.image_id)
    query = query.where(changes.c.survey_id == survey_id)
    if image_id:
        query = query.where(changes.c.image_id == image_id)
    if before:
        query = query.where(changes.c.id < before)
    return list(db.execute(query.order_by(changes.c.id.desc()).limit(limit)))


def people(db: Connection) -> dict[str, str]:
    """Return the name of each key by its id."""
    rows = db.execute(sa.select(keys.c.id, keys.c.name))
    names = {row[0]: clean_text(row[1]) for row in rows}  # earlier releases kept them as they came
    return {"local": THIS_MACHINE, **names}


def sentence(row: Record) -> str:
    """Return what a change did, in words."""
    before, after = row.before or {}, row.after
    parts = [
        f"{name.replace('_', ' ')} {_word(before.get(name))} → {_word(value)}"
        for name, value in after.items()
        if before.get(name) != value and name != "reason"
    ]
    reason = f" ({after['reason']})" if after.get("reason") else ""
    return f"{'; '.join(parts)}{reason}"


def _word(value: object) -> str:
    return (
        "–" if value in (None, "", {}) else f"“{value}”" if isinstance(value, str) else str(value)
    )


def changes_csv(rows: list[Record], names: Mapping[str, str]) -> str:
    """Return changes as a table; cells that a spreadsheet would run are made text."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        plain = row._asdict() | {
            "by_name": names.get(row.by, ""),
            "crack": row.crack_id,
            "job": row.job_id,
            "change": sentence(row),
        }
        writer.writerow([text_cell(plain[column]) for column in COLUMNS])
    return text.getvalue()
