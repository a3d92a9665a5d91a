"""Rows as answers hold them: every route, page and stream shows an object in this one shape."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from service import ledger
from service.database import FINAL, Record, State, images, jobs
from service.estimate import remaining_s
from service.files import ImageFile, JobFile
from service.paths import href
from service.schemas import Analysis, Change, Counts, ErrorInfo, Image, Job, Survey, Task


def survey_answer(db: Connection, row: Record) -> Survey:
    """Return a survey."""
    mine = images.c.survey_id == row.id
    size = sa.func.sum(images.c.size_bytes)
    count, size_bytes = db.execute(sa.select(sa.func.count(), size).where(mine)).one()
    query = sa.select(jobs.c.id, jobs.c.state).where(jobs.c.survey_id == row.id)
    job = db.execute(query.order_by(jobs.c.id.desc()).limit(1)).one_or_none()
    return Survey(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        images=count,
        size_bytes=int(size_bytes or 0),
        job=job.id if job else None,
        status=State(job.state) if job else "draft",
        not_analyzed=len(ledger.late_images(db, row.id, job.id)) if job else count,
        options=ledger.draft_options(db, row.id),
    )


def image_answer(row: Record) -> Image:
    """Return an image of a survey."""
    return Image.model_validate(row._asdict())


def job_answer(db: Connection, job: Record) -> Job:
    """Return a job: how far it is, and where what it made can be had."""
    counts, share = ledger.task_counts(db, job.id)
    done, total = counts[State.SUCCEEDED] + counts[State.FAILED], sum(counts.values())
    message = f"{done} of {total} images done"
    if counts[State.FAILED]:
        message += f", {counts[State.FAILED]} failed"
    base = href(f"/v1/jobs/{job.id}")
    names = ["images", "verdicts", "events", *(JobFile if job.state in FINAL else ())]
    return Job(
        id=job.id,
        status=State(job.state),
        message=message,
        progress=100 if job.state in FINAL else min(int(100 * share), 99),
        remaining_s=remaining_s(db, job),
        created=job.created_at,
        started=job.started_at,
        finished=job.finished_at,
        updated=job.updated_at,
        survey=job.survey_id,
        options=job.options,
        counts=Counts(total=total, **{str(state): n for state, n in counts.items()}),
        links={"self": base, **{str(name): f"{base}/{name}" for name in names}},
    )


def task_answer(row: Record) -> Task:
    """Return an image of a job, and what became of it."""
    base = href(f"/v1/jobs/{row.job_id}/images/{row.image_id}")
    return Task(
        image=row.image_id,
        name=row.name,
        status=State(row.state),
        progress=1.0 if row.state in FINAL else row.progress,
        error=_error(row),
        summary=row.summary,
        finished_at=row.finished_at,
        links={"self": base, **_files(base, row)},
    )


def analysis_answer(db: Connection, tenant: str, analysis_id: str) -> Analysis:
    """Return an analysis of one image.

    Raises:
        Problem: 404.
    """
    job = ledger.find_job(db, tenant, analysis_id, "analysis")
    task = ledger.find_task(db, analysis_id, analysis_id)
    base = href(f"/v1/analyses/{analysis_id}")
    page = href(f"/surveys/{analysis_id}/images/{analysis_id}")
    return Analysis(
        id=analysis_id,
        status=State(task.state),
        progress=1.0 if task.state in FINAL else task.progress,
        image=task.name,
        created_at=job.created_at,
        finished_at=task.finished_at,
        error=_error(task),
        cracks=task.summary["cracks"] if task.summary else None,
        judged=task.summary.get("judged", True) if task.summary else None,
        links={"self": base, "page": page, **_files(base, task)},
    )


def change_answer(row: Record, names: Mapping[str, str]) -> Change:
    """Return a change; ``names`` are those of the keys."""
    return Change(
        id=row.id,
        at=row.at,
        by=row.by,
        by_name=names.get(row.by, ""),
        kind=row.kind,
        job=row.job_id,
        image=row.image_id,
        crack=row.crack_id,
        before=row.before,
        after=row.after,
    )


def _error(task: Record) -> ErrorInfo | None:
    return ErrorInfo(code=task.error_code, message=task.error or "") if task.error_code else None


def _files(base: str, task: Record) -> dict[str, str]:
    made = ImageFile if task.state == State.SUCCEEDED else ()
    return {str(name): f"{base}/{name}" for name in made}
