"""What an operator looks at: who works, what waits, how full the disk is, what failed of late."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from service.database import FINAL, Record, State, images, jobs, now, tasks, workers
from service.settings import MB
from service.state import Service

SILENCE = timedelta(seconds=60)  # a worker that was not seen for so long counts as gone
_FAILURES = 20
_JOBS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The state of a service at a moment, of all tenants; names of photographs are not in it."""

    workers: list[Record]  # slot, pid, host, seen_at, images (that it works on)
    living: int  # workers that were seen of late
    jobs: list[Record]  # open ones: id, tenant, kind, state, created_at, waiting, running, done
    images: dict[State, int]
    failures: list[Record]  # the last ones: job_id, image_id, error_code, finished_at
    causes: dict[str, int]  # reason -> images that failed by it
    used_mb: float  # of photographs
    free_mb: float
    disk_low: bool


def living_workers(db: Connection) -> int:
    """Return how many workers were seen of late."""
    fresh = workers.c.seen_at > now(ago=SILENCE)
    return int(db.scalar(sa.select(sa.func.count()).select_from(workers).where(fresh)) or 0)


def look(service: Service) -> Overview:
    """Return the state of a service."""
    free_mb = service.storage.free_mb()
    with service.engine.connect() as db:
        by_state = sa.select(tasks.c.state, sa.func.count()).group_by(tasks.c.state)
        return Overview(
            workers=_workers(db),
            living=living_workers(db),
            jobs=_open_jobs(db),
            images=dict.fromkeys(State, 0)
            | {State(row[0]): row[1] for row in db.execute(by_state)},
            failures=_failures(db),
            causes=_causes(db),
            used_mb=_used_bytes(db) / MB,
            free_mb=free_mb,
            disk_low=free_mb < service.settings.min_free_mb,
        )


def _workers(db: Connection) -> list[Record]:
    mine = (tasks.c.slot == workers.c.slot) & (tasks.c.state == State.RUNNING)
    count = sa.select(sa.func.count()).select_from(tasks).where(mine).scalar_subquery()
    query = sa.select(workers, count.label("images")).order_by(workers.c.slot)
    return list(db.execute(query))


def _open_jobs(db: Connection) -> list[Record]:
    def count(*states: State) -> sa.ColumnElement[int]:
        mine = (tasks.c.job_id == jobs.c.id) & tasks.c.state.in_(states)
        return sa.select(sa.func.count()).select_from(tasks).where(mine).scalar_subquery()

    query = sa.select(
        jobs,
        count(State.QUEUED).label("waiting"),
        count(State.RUNNING).label("running"),
        count(*FINAL).label("done"),
    ).where(~jobs.c.state.in_(FINAL))
    return list(db.execute(query.order_by(jobs.c.id).limit(_JOBS)))


def _failures(db: Connection) -> list[Record]:
    query = sa.select(tasks.c.job_id, tasks.c.image_id, tasks.c.error_code, tasks.c.finished_at)
    failed = query.where(tasks.c.state == State.FAILED)
    return list(db.execute(failed.order_by(tasks.c.finished_at.desc()).limit(_FAILURES)))


def _causes(db: Connection) -> dict[str, int]:
    code = tasks.c.error_code
    query = sa.select(code, sa.func.count()).where(code.is_not(None)).group_by(code).order_by(code)
    return {row[0]: row[1] for row in db.execute(query)}


def _used_bytes(db: Connection) -> int:
    return int(db.scalar(sa.select(sa.func.sum(images.c.size_bytes))) or 0)
