"""What may happen to surveys, images and jobs, as rows: each function is one step of a transaction.

Nothing here knows of requests or of how an answer looks: an engine on an empty file is enough.

A job is `queued` until a worker has claimed the first of its images, then `running`, and
`succeeded` when its last image is done, `failed` when none of them could be analyzed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from service.database import (
    FINAL,
    Record,
    State,
    changes,
    dismissals,
    drafts,
    facts,
    hidden_verdicts,
    image_options,
    images,
    insert_new,
    jobs,
    new_id,
    now,
    submissions,
    surveys,
    tasks,
    uploads,
    verdicts,
)
from service.errors import Problem, is_disk_full, not_found
from service.storage import Judged, Storage

_LAST_ID = "~"  # sorts after every id


def find_survey(db: Connection, tenant: str, survey_id: str, kind: str | None = "survey") -> Record:
    """Return a survey of the tenant; ``kind`` None: an analysis counts as one.

    Raises:
        Problem: 404.
    """
    query = sa.select(surveys).where(surveys.c.id == survey_id, surveys.c.tenant == tenant)
    if kind:
        query = query.where(surveys.c.kind == kind)
    return db.execute(query).one_or_none() or _missing("survey")


def find_job(db: Connection, tenant: str, job_id: str, kind: str | None = None) -> Record:
    """Return a job of the tenant.

    Raises:
        Problem: 404.
    """
    query = sa.select(jobs).where(jobs.c.id == job_id, jobs.c.tenant == tenant)
    if kind:
        query = query.where(jobs.c.kind == kind)
    return db.execute(query).one_or_none() or _missing(kind or "job")


def _missing(what: str) -> NoReturn:
    raise not_found(what)


def survey_of(db: Connection, job_id: str) -> str:
    """Return the survey of a job."""
    return str(db.scalar(sa.select(jobs.c.survey_id).where(jobs.c.id == job_id)))


def name_of(db: Connection, survey_id: str) -> str:
    """Return the name of a survey."""
    return str(db.scalar(sa.select(surveys.c.name).where(surveys.c.id == survey_id)))


def change_survey(
    db: Connection, survey_id: str, *, name: str | None, options: Mapping[str, Any] | None
) -> None:
    """Give a survey another name, or keep options for it; None changes nothing."""
    if name is not None:
        db.execute(surveys.update().where(surveys.c.id == survey_id).values(name=name))
    if options is not None:
        db.execute(drafts.delete().where(drafts.c.survey_id == survey_id))
        db.execute(drafts.insert().values(survey_id=survey_id, options=dict(options)))


def draft_options(db: Connection, survey_id: str) -> dict[str, Any]:
    """Return the options that were kept for a survey."""
    options = db.scalar(sa.select(drafts.c.options).where(drafts.c.survey_id == survey_id))
    return dict(options or {})


def late_images(db: Connection, survey_id: str, job_id: str) -> dict[str, str]:
    """Return the images that came after a job of their survey had begun: id -> name."""
    in_job = sa.select(tasks.c.image_id).where(tasks.c.job_id == job_id)
    query = sa.select(images.c.id, images.c.name).where(images.c.survey_id == survey_id)
    return {row[0]: row[1] for row in db.execute(query.where(~images.c.id.in_(in_job)))}


def find_surveys(
    db: Connection, tenant: str, *, before: str = "", part: str = "", limit: int
) -> list[Record]:
    """Return surveys of a tenant, the newest first, with a part in their name."""
    query = sa.select(surveys).where(surveys.c.tenant == tenant, surveys.c.kind == "survey")
    query = query.where(surveys.c.id < (before or _LAST_ID)).order_by(surveys.c.id.desc())
    if part.strip():
        name = sa.func.lower(surveys.c.name)
        query = query.where(name.contains(part.strip().lower(), autoescape=True))
    return list(db.execute(query.limit(limit)))


def find_jobs(
    db: Connection, tenant: str, *, before: str = "", states: Sequence[State] = (), limit: int
) -> list[Record]:
    """Return jobs of a tenant, the newest first, in some states."""
    query = sa.select(jobs).where(jobs.c.tenant == tenant, jobs.c.id < (before or _LAST_ID))
    if states:
        query = query.where(jobs.c.state.in_(states))
    return list(db.execute(query.order_by(jobs.c.id.desc()).limit(limit)))


def jobs_of(db: Connection, survey_id: str) -> list[Record]:
    """Return the jobs of a survey, the latest first."""
    query = sa.select(jobs).where(jobs.c.survey_id == survey_id)
    return list(db.execute(query.order_by(jobs.c.id.desc())))


def find_images(db: Connection, survey_id: str, *, after: str = "", limit: int) -> list[Record]:
    """Return the images of a survey in the order they came, with options of their own."""
    query = _images_of(survey_id).where(images.c.id > after)
    return list(db.execute(query.order_by(images.c.id).limit(limit)))


def find_image(db: Connection, survey_id: str, name: str) -> Record:
    """Return an image of a survey by its name.

    Raises:
        Problem: 404.
    """
    query = _images_of(survey_id).where(images.c.name == name)
    return db.execute(query).one_or_none() or _missing("image")


def _images_of(survey_id: str) -> sa.Select[Any]:
    query = sa.select(images, image_options.c.options).outerjoin(image_options)
    return query.where(images.c.survey_id == survey_id)


def own_options(db: Connection, image_id: str) -> dict[str, Any]:
    """Return the options that hold for one image alone."""
    query = sa.select(image_options.c.options).where(image_options.c.image_id == image_id)
    return dict(db.scalar(query) or {})


def set_own_options(db: Connection, image_id: str, options: Mapping[str, Any]) -> None:
    """Keep options for one image alone; none at all leave those of its survey."""
    db.execute(image_options.delete().where(image_options.c.image_id == image_id))
    if options:
        db.execute(image_options.insert().values(image_id=image_id, options=dict(options)))


def remove_image(db: Connection, survey_id: str, name: str) -> str:
    """Take an image out of a survey and return its id.

    Raises:
        Problem: 404, there is none of this name; 409, a job looked at it.
    """
    image_id = str(find_image(db, survey_id, name).id)
    if db.scalar(sa.select(tasks.c.job_id).where(tasks.c.image_id == image_id).limit(1)):
        detail = "The image was in an analysis, whose table names it: it stays with the survey. "
        detail += "Put the file that is to take its place under another name."
        raise Problem(409, "survey-busy", detail)
    set_own_options(db, image_id, {})
    db.execute(images.delete().where(images.c.id == image_id))
    return image_id


def create_survey(db: Connection, tenant: str, name: str, *, kind: str, survey_id: str) -> None:
    """Insert a survey."""
    row = {"id": survey_id, "tenant": tenant, "kind": kind, "name": name, "created_at": now()}
    db.execute(surveys.insert().values(row))


def add_image(
    db: Connection, survey_id: str, judged: Judged, *, image_id: str | None = None
) -> tuple[Record, bool]:
    """Insert an image; return its row and whether it is new: the same bytes again are no news.

    Raises:
        Problem: 409, the name holds other bytes.
    """
    row = {
        "id": image_id or new_id(),
        "survey_id": survey_id,
        "name": judged.name,
        "sha256": judged.received.sha256,
        "size_bytes": judged.received.size_bytes,
        "width_px": judged.width_px,
        "height_px": judged.height_px,
        "format": judged.format,
        "created_at": now(),
    }
    fresh = insert_new(db, images, row)
    stored = find_image(db, survey_id, judged.name)
    if stored.sha256 != judged.received.sha256:
        detail = (
            "The survey holds another image of this name: rename this one, or delete the other "
            "before it is analyzed."
        )
        raise Problem(409, "name-taken", detail)
    return stored, fresh


def create_job(
    db: Connection,
    tenant: str,
    survey_id: str,
    options: Mapping[str, Any],
    *,
    kind: str,
    job_id: str,
) -> None:
    """Insert a job for all images of a survey.

    Raises:
        Problem: 409, the survey holds no image, or is being analyzed.
    """
    image_ids = db.scalars(
        sa.select(images.c.id).where(images.c.survey_id == survey_id).order_by(images.c.id)
    ).all()
    if not image_ids:
        raise Problem(409, "survey-empty", "The survey holds no image yet.")
    busy = sa.select(jobs.c.id).where(jobs.c.survey_id == survey_id, ~jobs.c.state.in_(FINAL))
    if db.scalar(busy.limit(1)):
        raise Problem(409, "survey-busy", "The survey is being analyzed; cancel that job first.")
    created = now()
    row = {"id": job_id, "survey_id": survey_id, "tenant": tenant, "kind": kind}
    row |= {"state": State.QUEUED, "created_at": created, "updated_at": created}
    db.execute(jobs.insert().values(**row, options=dict(options)))
    db.execute(
        tasks.insert(),
        [{"job_id": job_id, "image_id": i, "state": State.QUEUED} for i in image_ids],
    )


def cancel(db: Connection, job_id: str) -> None:
    """Cancel what of a job is not done; workers see it within two seconds."""
    open_tasks = (tasks.c.job_id == job_id) & ~tasks.c.state.in_(FINAL)
    done = now()
    db.execute(tasks.update().where(open_tasks).values(state=State.CANCELLED, finished_at=done))
    open_job = (jobs.c.id == job_id) & ~jobs.c.state.in_(FINAL)
    db.execute(
        jobs.update()
        .where(open_job)
        .values(state=State.CANCELLED, finished_at=done, updated_at=done)
    )


def retry(db: Connection, job_id: str) -> int:
    """Queue what of a finished job failed, was cancelled, or came late; return how many images.

    Raises:
        Problem: 409, it is not finished, or nothing failed.
    """
    row = db.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()
    if row.state not in FINAL:
        raise Problem(409, "job-busy", "The job is not finished.")
    again = (tasks.c.job_id == job_id) & tasks.c.state.in_((State.FAILED, State.CANCELLED))
    fresh = {"state": State.QUEUED, "slot": None, "attempts": 0, "progress": 0.0}
    fresh |= {"error": None, "error_code": None, "finished_at": None}
    count = db.execute(tasks.update().where(again).values(fresh)).rowcount
    late = [
        {"job_id": job_id, "image_id": image, "state": State.QUEUED}
        for image in late_images(db, row.survey_id, job_id)
    ]
    if late:
        db.execute(tasks.insert(), late)
    count += len(late)
    if not count:
        raise Problem(409, "nothing-to-retry", "No image of the job failed.")
    values = {
        "state": State.QUEUED,
        "finished_at": None,
        "updated_at": now(),
    }
    db.execute(jobs.update().where(jobs.c.id == job_id).values(values))
    return count


def task_counts(db: Connection, job_id: str) -> tuple[dict[State, int], float]:
    """Return the images of a job by state, and the share of the work that is done."""
    query = (
        sa.select(tasks.c.state, sa.func.count(), sa.func.sum(tasks.c.progress))
        .where(tasks.c.job_id == job_id)
        .group_by(tasks.c.state)
    )
    rows = db.execute(query).all()
    counts = dict.fromkeys(State, 0)
    counts |= {State(row[0]): row[1] for row in rows}
    total = sum(counts.values())
    done = sum(counts[s] for s in FINAL)
    running = sum(row[2] or 0.0 for row in rows if row[0] == State.RUNNING)
    return counts, (done + running) / total if total else 0.0


def task_rows(
    db: Connection, job_id: str, *, after: str = "", limit: int | None = None
) -> list[Record]:
    """Return the images of a job with what became of them, in the order they came."""
    query = _named_tasks(job_id).where(tasks.c.image_id > after).order_by(tasks.c.image_id)
    return list(db.execute(query.limit(limit) if limit else query))


def running_shares(db: Connection, job_id: str) -> dict[str, float]:
    """Return how far each running image of a job is."""
    query = sa.select(tasks.c.image_id, tasks.c.progress)
    query = query.where(tasks.c.job_id == job_id, tasks.c.state == State.RUNNING)
    return {row[0]: row[1] for row in db.execute(query)}


def done_after(db: Connection, job_id: str, mark: str) -> list[Record]:
    """Return the images of a job that were done after a mark: ``time id`` of another one."""
    moment, _, image_id = mark.partition(" ")
    later = sa.or_(
        tasks.c.finished_at > moment,
        (tasks.c.finished_at == moment) & (tasks.c.image_id > image_id),
    )
    query = _named_tasks(job_id).where(later)
    return list(db.execute(query.order_by(tasks.c.finished_at, tasks.c.image_id)))


def this_task(job_id: str, image_id: str) -> sa.ColumnElement[bool]:
    """Return the condition that names one image of a job."""
    return (tasks.c.job_id == job_id) & (tasks.c.image_id == image_id)


def _named_tasks(job_id: str) -> sa.Select[Any]:
    """Return the query of a job's images with their names and sizes."""
    return (
        sa.select(
            tasks,
            images.c.survey_id,
            images.c.sha256,
            images.c.name,
            images.c.width_px,
            images.c.height_px,
        )
        .join(images, images.c.id == tasks.c.image_id)
        .where(tasks.c.job_id == job_id)
    )


def find_task(db: Connection, job_id: str, image_id: str) -> Record:
    """Return an image of a job.

    Raises:
        Problem: 404.
    """
    query = _named_tasks(job_id).where(tasks.c.image_id == image_id)
    return db.execute(query).one_or_none() or _missing("image")


def delete_survey(db: Connection, survey_id: str) -> list[str]:
    """Delete the rows of a survey and return the ids of its jobs."""
    mine = sa.select(jobs.c.id).where(jobs.c.survey_id == survey_id)
    job_ids = list(db.scalars(mine))
    for table in (verdicts, hidden_verdicts, dismissals, tasks):
        db.execute(table.delete().where(table.c.job_id.in_(job_ids)))
    db.execute(jobs.delete().where(jobs.c.survey_id == survey_id))
    for table in (uploads, drafts, facts, changes):
        db.execute(table.delete().where(table.c.survey_id == survey_id))
    ours = sa.select(images.c.id).where(images.c.survey_id == survey_id)
    db.execute(image_options.delete().where(image_options.c.image_id.in_(ours)))
    db.execute(images.delete().where(images.c.survey_id == survey_id))
    db.execute(submissions.delete().where(submissions.c.object_id.in_([survey_id, *job_ids])))
    db.execute(surveys.delete().where(surveys.c.id == survey_id))
    return job_ids


def delete_with_files(engine: Engine, storage: Storage, survey_id: str) -> None:
    """Delete a survey, also from a disk that is full to the last byte."""
    try:
        with engine.begin() as db:
            job_ids = delete_survey(db, survey_id)
    except sa.exc.OperationalError as error:
        if not is_disk_full(error):
            raise
        storage.spend_reserve()  # rows take room even to be deleted
        with engine.begin() as db:
            job_ids = delete_survey(db, survey_id)
    storage.remove_survey(survey_id, job_ids)
    storage.keep_reserve()


def expired_surveys(db: Connection, keep_days: float) -> list[str]:
    """Return the surveys in which nothing has happened for long.

    What counts is the survey itself, its images and those that are on their way, its jobs (an open
    one never ends it), and what people changed.
    """
    limit = now(ago=timedelta(days=keep_days))
    alive = sa.union(
        sa.select(images.c.survey_id).where(images.c.created_at > limit),
        sa.select(uploads.c.survey_id).where(uploads.c.created_at > limit),
        sa.select(changes.c.survey_id).where(changes.c.at > limit),
        sa.select(jobs.c.survey_id).where(
            sa.or_(jobs.c.finished_at.is_(None), jobs.c.finished_at > limit)
        ),
    )
    query = sa.select(surveys.c.id).where(surveys.c.created_at < limit, surveys.c.id.not_in(alive))
    return list(db.scalars(query))


def safe_stem(name: str, number: int) -> str:
    """Return a folder name for an image in a bundle: unique by its number, plain characters."""
    stem = "".join(c if c.isalnum() or c in "-_ ." else "_" for c in Path(name).stem)
    return f"{number:04d}_{stem.strip('. ')[:80] or 'image'}"
