"""How long a job still takes, by what photographs took of late: a part for each, one per megapixel.

No clock is read: the estimate changes with what is done, and stands still where nothing happens.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from service.database import FINAL, Record, State, images, jobs, tasks
from service.overview import living_workers

_ENOUGH = 3  # images of a job itself that tell how fast it is; before, those of others help
_PAST_JOBS = 5  # of the whole service
_MEGAPIXELS = 1e-6 * images.c.width_px * images.c.height_px


def remaining_s(db: Connection, job: Record) -> float | None:
    """Return about how many seconds an open job takes from now on, with those that go first.

    Returns:
        Two digits; None for a job that has ended, or where nothing tells: no image was analyzed
        before, or no worker lives.
    """
    workers = 0 if job.state in FINAL else living_workers(db)
    pace = _pace(db, job) if workers else None
    if pace is None:
        return None
    each_s, per_megapixel_s = pace
    count, megapixels = _rest(db, job)
    running = sa.select(sa.func.count()).select_from(tasks).where(tasks.c.state == State.RUNNING)
    at_once = int(db.scalar(running) or workers)
    return float(f"{(each_s * count + per_megapixel_s * megapixels) / at_once:.2g}")


def _rest(db: Connection, job: Record) -> tuple[float, float]:
    """Return images and megapixels that are to do of a job and of those that go before it."""
    older, single = jobs.c.id <= job.id, jobs.c.kind == "analysis"
    first = older & single if job.kind == "analysis" else older | single
    share = 1 - tasks.c.progress
    sums = sa.select(sa.func.sum(share), sa.func.sum(_MEGAPIXELS * share))
    query = sums.select_from(tasks.join(images, images.c.id == tasks.c.image_id).join(jobs))
    open_ones = ~jobs.c.state.in_(FINAL) & ~tasks.c.state.in_(FINAL)
    count, megapixels = db.execute(query.where(open_ones, first)).one()
    return float(count or 0), float(megapixels or 0)


def _pace(db: Connection, job: Record) -> tuple[float, float] | None:
    """Return the seconds that an image takes in one slot: each one, and per megapixel of it."""
    earlier = sa.select(jobs.c.id).where(jobs.c.started_at.is_not(None), jobs.c.id != job.id)
    last = db.scalars(earlier.order_by(jobs.c.id.desc()).limit(_PAST_JOBS)).all()
    for those, enough in (([job.id], _ENOUGH), ([job.id, *last], 1)):
        size, took = _MEGAPIXELS, tasks.c.seconds
        sums = (sa.func.sum(value) for value in (size, took, size * size, size * took))
        query = sa.select(sa.func.count(), *sums).select_from(
            tasks.join(images, images.c.id == tasks.c.image_id)
        )
        done = tasks.c.job_id.in_(those) & (tasks.c.state == State.SUCCEEDED)
        row = db.execute(query.where(done, took.is_not(None))).one()
        if row[0] >= enough:
            return _line(*row)
    return None


def _line(n: int, x: float, y: float, xx: float, xy: float) -> tuple[float, float]:
    """Return a and b >= 0 of the line a + b x that lies nearest to n points, by their sums."""
    spread = n * xx - x * x
    if spread < 1e-6 * n * xx:  # all of one size
        return 0.0, y / x
    slope = max(0.0, (n * xy - x * y) / spread)
    slope = slope if slope * x <= y else y / x
    return max(0.0, (y - slope * x) / n), slope
