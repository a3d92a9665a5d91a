"""What inspectors change of an image's list of cracks: kept with its results, measured at once.

The edits are in the image's ``report.json`` itself; the files as the network left them lie in
``network/`` beside it. Processes with the limits of a slot measure them, for each tenant one after
the other.
"""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from crackseg.exports.survey import AS_MEASURED, judged_row
from service import ledger, slot
from service.database import (
    Record,
    State,
    fingerprint,
    images,
    insert_new,
    new_id,
    now,
    submissions,
    tasks,
    verdicts,
)
from service.errors import Problem
from service.files import NETWORK
from service.heirs import about_edit, pass_on
from service.history import Place, note_change, people
from service.offers import read_json
from service.sandbox import Died, OnDemand, Sandbox
from service.schemas import Edits, NewEdit
from service.settings import Settings
from service.storage import Storage

log = logging.getLogger("crackseg.service")
_KINDS = {  # code of a slot's answer -> status and kind of the problem
    "edit": (422, "edit"),
    "not_last": (409, "not-the-last-edit"),
    "disk_full": (507, "disk-low"),
}


PLACES = 2  # edits measured at once; one tenant gets all but one of them


class Corrector:
    """The processes that measure edits; they start with the first one."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.image_timeout_s
        self._sandbox = OnDemand(
            lambda: Sandbox(
                PLACES,
                memory_mb=settings.image_memory_mb,
                cpu_s=settings.image_cpu_s,
                prepare=slot.get_ready_to_correct,
            )
        )

    def run(self, request: dict[str, Any]) -> None:
        """Do one edit, see ``slot.correct_file``.

        Raises:
            Problem: it could not be done; nothing has changed.
        """
        try:
            answer = self._sandbox.run(slot.correct_file, request, timeout_s=self._timeout_s)
        except Died as error:
            raise Problem(503, "not-measured", str(error)) from error
        if "code" in answer:
            status, kind = _KINDS.get(answer["code"], (500, "internal"))
            raise Problem(status, kind, answer["error"])

    def close(self) -> None:
        """End the process."""
        self._sandbox.close()


def edits_of(storage: Storage, task: Record) -> Edits:
    """Return the edits of an image.

    Raises:
        Problem: 409, it has no results.
    """
    report = report_of(storage, task)
    made = report.get("corrections") or {"edits": []}
    return Edits(edits=made["edits"], cracks=len(report["cracks"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a request asks of an image's list: one more edit, or to undo one."""

    new: NewEdit | None = None
    drop: str = ""
    key: str | None = None  # Idempotency-Key

    def digest(self, task: Record) -> str:
        """Return a digest of what is asked."""
        edit = None if self.new is None else self.new.model_dump()
        return fingerprint(task.job_id, task.image_id, edit)

    def edit_id(self, task: Record) -> str:
        """Return the id of the new edit: with a key the same each time that it is asked for."""
        if not self.key:
            return new_id()
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.key} {self.digest(task)}"))


def done_before(storage: Storage, task: Record, wish: Wish) -> Edits:
    """Return the edits of an image as the answer to a wish that was granted before."""
    edits = edits_of(storage, task)
    stands = any(edit["id"] == wish.edit_id(task) for edit in edits.edits)
    notice = "" if stands else "The edit was done, and somebody has undone it since."
    return edits.model_copy(update={"notice": notice})


def new_edit(db: Connection, task: Record, wish: Wish, key_id: str) -> dict[str, Any] | None:
    """Return an edit as ``corrections.json`` holds it, with who made it and when."""
    if wish.new is None:
        return None
    by = {"by": people(db).get(key_id, key_id)[:200], "at": now().replace("Z", "+00:00")}
    return {"id": wish.edit_id(task), **wish.new.model_dump(exclude_none=True), **by}


def request_for(
    db: Connection, settings: Settings, storage: Storage, task: Record
) -> dict[str, Any]:
    """Return what a slot must know to correct an image, without the edit.

    Raises:
        Problem: 409, it has no results.
    """
    report_of(storage, task)
    image = db.execute(sa.select(images).where(images.c.id == task.image_id)).one()
    return {
        "path": str(storage.upload(image.survey_id, image.id)),
        "name": image.name,
        "sha256": image.sha256,
        "max_megapixels": settings.max_image_megapixels,
        "model": settings.model,
        "folder": str(storage.result(task.job_id, task.image_id)),
        "before": str(storage.before_edit(task.job_id, task.image_id)),
        "work": str(storage.data / "work" / new_id()),
    }


def settle(engine: Engine, storage: Storage, task: Record) -> Edits | None:
    """Bring an image's rows up to an edit that its files show, None where they are.

    Called after each edit, and before whatever goes by the rows: the service may have been killed,
    or the database away, when the files were there.
    """
    path = storage.before_edit(task.job_id, task.image_id)
    if not path.is_file():
        return None
    with slot.locked(storage.result(task.job_id, task.image_id)):
        pending = read_json(path)
        if pending is None:  # somebody else was here first
            return None
        edits = None
        with engine.begin() as db:
            if _is_first(db, pending["id"], task.job_id):  # not killed before the file went
                edits = take_over(db, storage, task, pending["report"], pending["by"])
        path.unlink()
    return edits


def settle_all(engine: Engine, storage: Storage) -> None:
    """Bring all rows up to the edits that files show: at the start, after a service was killed."""
    for path in (storage.data / "edits").glob("*.json"):
        job_id, image_id, _ = path.name.split(".")
        try:
            with engine.connect() as db:
                task = ledger.find_task(db, job_id, image_id)
            settle(engine, storage, task)
        except Problem:  # its survey was deleted
            path.unlink(missing_ok=True)
        except OSError as error:
            log.error("an edit of image %s cannot be taken over: %s", image_id, error)


def _is_first(db: Connection, edit: str, job_id: str) -> bool:
    row = {"tenant": "", "route": "edits", "key": edit, "fingerprint": "", "object_id": job_id}
    return insert_new(db, submissions, {**row, "created_at": now()})


def take_over(
    db: Connection, storage: Storage, task: Record, before: dict[str, Any], key_id: str
) -> Edits:
    """Bring an image's row of the survey up to date with its corrected files; return its edits.

    Args:
        before: its report before the edit.

    Verdicts follow the cracks, see ``heirs``. One on a crack that is on no list any more goes: the
    next edit gives its number anew.
    """
    this = (tasks.c.job_id == task.job_id) & (tasks.c.image_id == task.image_id)
    mine = (verdicts.c.job_id == task.job_id) & (verdicts.c.image_id == task.image_id)
    query = sa.select(tasks.c.summary).where(this).with_for_update()
    summary: dict[str, Any] = db.execute(query).scalar_one()
    report = report_of(storage, task)
    own = report_of(storage, task, NETWORK) or report
    place = _place(db, task)
    crack_id, was, is_now = about_edit(before, report)
    at = replace(place, crack_id=crack_id)
    note_change(db, at, "correction", key_id, before=was, after=is_now)
    notice = pass_on(db, place, before, report, key_id)
    ids = {crack["id"] for crack in (*report["cracks"], *own["cracks"])}
    db.execute(verdicts.delete().where(mine, ~verdicts.c.crack_id.in_(ids)))
    words = dict(db.execute(sa.select(verdicts.c.crack_id, verdicts.c.verdict).where(mine)).all())
    first = summary.get("as_measured") or {name: summary[name] for name in AS_MEASURED}
    row = judged_row(report, {**summary, "as_measured": first}, words)
    db.execute(tasks.update().where(this).values(summary=row))
    return edits_of(storage, task).model_copy(update={"notice": notice})


def _place(db: Connection, task: Record) -> Place:
    survey_id = db.execute(sa.select(images.c.survey_id).where(images.c.id == task.image_id))
    return Place(survey_id=survey_id.scalar_one(), job_id=task.job_id, image_id=task.image_id)


def remove_work(request: dict[str, Any]) -> None:
    """Remove what a process that died left behind."""
    shutil.rmtree(request["work"], ignore_errors=True)


def report_of(storage: Storage, task: Record, below: str = "") -> dict[str, Any]:
    """Return an image's report.

    Args:
        below: a folder of its results; {} where it is not there.

    Raises:
        Problem: 409, it has no results.
    """
    if task.state != State.SUCCEEDED:
        raise Problem(409, "result-not-ready", "The image has no results to correct.")
    path: Path = storage.result(task.job_id, task.image_id) / below / "report.json"
    if below and not path.is_file():
        return {}
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report
