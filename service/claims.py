"""Who works on which image: a worker's claim on a row, given back when it dies, and a job's end.

Like ``ledger.py``, which has the rows themselves, this knows of no request and of no process.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from service.database import FINAL, State, jobs, now, tasks
from service.ledger import this_task


@dataclass(frozen=True, slots=True)
class Claim:
    """An image of a job that is one worker's to work on."""

    job_id: str
    image_id: str


_TRIES = 100  # claims that other workers may take first


def claim(engine: Engine, slot: str) -> Claim | None:
    """Take the next image that waits, or None: single images first, then the oldest job's.

    One statement changes the row only where it still waits, so that no two workers have one image.
    """
    for _ in range(_TRIES):
        with engine.begin() as db:
            waiting = _first_waiting(db)
            if waiting is None or _claim(db, waiting, slot):
                return waiting
    return None


def _first_waiting(db: Connection) -> Claim | None:
    waits = sa.exists().where(tasks.c.job_id == jobs.c.id, tasks.c.state == State.QUEUED)
    query = sa.select(jobs.c.id).where(~jobs.c.state.in_(FINAL), waits)
    job_id = db.scalar(query.order_by(jobs.c.kind != "analysis", jobs.c.id).limit(1))
    mine = (tasks.c.job_id == job_id) & (tasks.c.state == State.QUEUED)
    first = sa.select(tasks.c.image_id).where(mine).order_by(tasks.c.image_id).limit(1)
    image_id = db.scalar(first) if job_id else None
    return Claim(job_id, image_id) if job_id and image_id else None


def _claim(db: Connection, waiting: Claim, slot: str) -> bool:
    this = this_task(waiting.job_id, waiting.image_id) & (tasks.c.state == State.QUEUED)
    values = {"state": State.RUNNING, "slot": slot, "attempts": tasks.c.attempts + 1}
    if not db.execute(tasks.update().where(this).values(values)).rowcount:
        return False
    moment = now()
    started = {"started_at": sa.func.coalesce(jobs.c.started_at, moment), "updated_at": moment}
    fresh = (jobs.c.id == waiting.job_id) & (jobs.c.state == State.QUEUED)
    db.execute(jobs.update().where(fresh).values(state=State.RUNNING, **started))
    return True


def claimed_slots(db: Connection) -> set[str]:
    """Return the slots of all workers that have images."""
    return {
        slot for slot in db.scalars(sa.select(tasks.c.slot).where(_at_work()).distinct()) if slot
    }


def claims_of(db: Connection, slot: str) -> list[Claim]:
    """Return the images that a worker has."""
    query = sa.select(tasks.c.job_id, tasks.c.image_id).where(_at_work(), tasks.c.slot == slot)
    return [Claim(*row) for row in db.execute(query)]


def _at_work() -> sa.ColumnElement[bool]:
    open_jobs = sa.select(jobs.c.id).where(jobs.c.state == State.RUNNING)
    return (tasks.c.state == State.RUNNING) & tasks.c.job_id.in_(open_jobs)


def give_back(db: Connection, slot: str, claims: Iterable[Claim]) -> None:
    """Let images of a worker wait again that it works on no more."""
    for one in claims:
        this = this_task(one.job_id, one.image_id) & (tasks.c.slot == slot)
        query = tasks.update().where(this, tasks.c.state == State.RUNNING)
        db.execute(query.values(state=State.QUEUED, slot=None))


def close_finished(db: Connection) -> None:
    """Finish the jobs that have no open image: a worker may have died just before it did so."""
    still = sa.exists().where(tasks.c.job_id == jobs.c.id, ~tasks.c.state.in_(FINAL))
    for job_id in db.scalars(sa.select(jobs.c.id).where(jobs.c.state == State.RUNNING, ~still)):
        close_if_done(db, job_id)


def close_if_done(db: Connection, job_id: str) -> None:
    """Finish a job whose images are all done; may be called any number of times.

    The job's row is locked before its images are counted: of two workers that end the last two at
    the same moment, the second one sees both.
    """
    db.execute(sa.select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())
    query = sa.select(tasks.c.state, sa.func.count()).where(tasks.c.job_id == job_id)
    counts = {row[0]: row[1] for row in db.execute(query.group_by(tasks.c.state))}
    if counts.keys() - set(FINAL):
        return
    state = State.SUCCEEDED if counts.get(State.SUCCEEDED) else State.FAILED
    moment = now()
    db.execute(
        jobs.update()
        .where(jobs.c.id == job_id, jobs.c.state == State.RUNNING)
        .values(state=state, finished_at=moment, updated_at=moment)
    )
