"""How long a job still takes, by what photographs took per megapixel of late.

No clock is read: the estimate changes with what is done, and stands still where nothing happens.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from service.database import FINAL, Record, State, images, jobs, tasks
from service.overview import living_workers

_PAST_JOBS = 5  # of the whole service: they tell how fast it is while a job has no image done
_MEGAPIXELS = 1e-6 * images.c.width_px * images.c.height_px


def remaining_s(db: Connection, job: Record) -> float | None:
    """Return about how many seconds an open job takes from now on, with those that go first.

    Returns:
        Two digits; None for a job that has ended, or where nothing tells: no image was analyzed
        before, or no worker lives.
    """
    workers = 0 if job.state in FINAL else living_workers(db)
    pace_s = _seconds_per_megapixel(db, job) if workers else None
    if pace_s is None:
        return None
    running = sa.select(sa.func.count()).select_from(tasks).where(tasks.c.state == State.RUNNING)
    at_once = int(db.scalar(running) or workers)
    return float(f"{pace_s * _megapixels_left(db, job) / at_once:.2g}")


def _megapixels_left(db: Connection, job: Record) -> float:
    """Return what is not done of a job and of those whose images are taken before its own."""
    older, single = jobs.c.id <= job.id, jobs.c.kind == "analysis"
    first = older & single if job.kind == "analysis" else older | single
    left = sa.select(sa.func.sum(_MEGAPIXELS * (1 - tasks.c.progress)))
    query = left.select_from(tasks.join(images, images.c.id == tasks.c.image_id).join(jobs))
    open_ones = ~jobs.c.state.in_(FINAL) & ~tasks.c.state.in_(FINAL)
    return float(db.scalar(query.where(open_ones, first)) or 0)


def _seconds_per_megapixel(db: Connection, job: Record) -> float | None:
    """Return what a megapixel took in one slot: in this job, else in the last ones."""
    earlier = sa.select(jobs.c.id).where(jobs.c.started_at.is_not(None), jobs.c.id != job.id)
    last = db.scalars(earlier.order_by(jobs.c.id.desc()).limit(_PAST_JOBS)).all()
    for those in ([job.id], last):
        spent = sa.select(sa.func.sum(tasks.c.seconds), sa.func.sum(_MEGAPIXELS))
        query = spent.select_from(tasks.join(images, images.c.id == tasks.c.image_id))
        done = tasks.c.job_id.in_(those) & (tasks.c.state == State.SUCCEEDED)
        seconds, megapixels = db.execute(query.where(done)).one()
        if seconds and megapixels:
            return float(seconds / megapixels)
    return None
