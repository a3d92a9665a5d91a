"""The files of a survey as the service writes them: tables, its page, verdicts and history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from crackseg import __version__
from crackseg.exports.survey import NOT_REACHED, counted, failure_row, write_survey
from service import facts, ledger
from service.database import Record, State
from service.history import changes_csv, find_changes, people
from service.storage import Storage
from service.verdicts import verdict_rows, verdicts_csv


def survey_rows(db: Connection, job_id: str) -> list[dict[str, Any]]:
    """Return the rows of a survey's tables, without rejected cracks; who is not done is marked."""
    rows = []
    for task in ledger.task_rows(db, job_id):
        if task.state == State.SUCCEEDED:
            rows.append({k: v for k, v in task.summary.items() if k != "as_measured"})
        elif task.state == State.FAILED:
            rows.append(failure_row(Path(task.name), task.error or task.error_code))
        else:
            rows.append(failure_row(Path(task.name), f"Not analyzed: {task.state}.", NOT_REACHED))
    late = ledger.late_images(db, ledger.survey_of(db, job_id), job_id)
    why = "Not analyzed: it came after the analysis had begun."
    return rows + [failure_row(Path(name), why, NOT_REACHED) for name in late.values()]


def write_verdicts(rows: list[dict[str, Any]], job_id: str, folder: Path) -> None:
    """Write verdicts of a job as a table; without the mark at its start Excel garbles umlauts."""
    (folder / "verdicts.csv").write_text(verdicts_csv(rows, job_id), encoding="utf-8-sig")


def write_changes(db: Connection, survey_id: str, folder: Path) -> None:
    """Write who changed what in a survey as a table."""
    text = changes_csv(find_changes(db, survey_id), people(db))
    (folder / "changes.csv").write_text(text, encoding="utf-8-sig")


def write_survey_files(
    db: Connection,
    job: Record,
    storage: Storage,
    folder: Path,
    names: Mapping[str, str] | None = None,
) -> None:
    """Write the survey's tables, its page and the verdicts of a job into a folder.

    ``names`` gives images folders of another name than their id.
    """
    rows = survey_rows(db, job.id)
    for row in rows:
        row["folder"] = (names or {}).get(row["folder"], row["folder"])
    verdicts_of_images = verdict_rows(db, job.id)
    name = ledger.name_of(db, job.survey_id)
    about = {
        "package_version": __version__,
        "started_at": job.started_at or job.created_at,
        "ended_at": job.finished_at,
        "model": _model_of(db, job, storage),
        "survey": name,
        "facts": facts.for_report(db, job.survey_id, name),
        "options": job.options,
        "verdicts": verdicts_of_images,
        "rejected": sum(row.get("rejected", 0) for row in counted(rows)),
    }
    write_survey(rows, about, folder, gallery=True)
    write_verdicts(verdicts_of_images, job.id, folder)
    write_changes(db, job.survey_id, folder)


def _model_of(db: Connection, job: Record, storage: Storage) -> dict[str, Any]:
    """Return the model that the reports name."""
    for task in ledger.task_rows(db, job.id):
        report = storage.result(job.id, task.image_id) / "report.json"
        if task.state == State.SUCCEEDED and report.is_file():
            model = json.loads(report.read_text(encoding="utf-8"))["model"]
            return {key: model[key] for key in ("name", "version", "sha256")}
    return {"name": "none", "version": "", "sha256": ""}
