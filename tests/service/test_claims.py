"""Who works on which image: claims in the rows, of living, dead and forgetful workers."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from test_ledger import begin

from service import claims, ledger, worker
from service.claims import Claim
from service.database import State, jobs, open_database, tasks
from service.settings import Settings


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """A fresh database."""
    made = open_database(Settings(data=tmp_path))
    yield made
    made.dispose()


def states(engine: sa.Engine) -> Counter[str]:
    """Return how many images are in which state."""
    with engine.connect() as db:
        return Counter(db.scalars(sa.select(tasks.c.state)))


def test_no_two_workers_have_one_image(engine: sa.Engine) -> None:
    with engine.begin() as db:
        _, job = begin(db, *(f"{n}.png" for n in range(40)))

    def take(slot: int) -> list[Claim]:
        of_slot = []
        while claim := claims.claim(engine, f"slot-{slot}"):
            of_slot.append(claim)
        return of_slot

    with ThreadPoolExecutor(8) as threads:
        taken = [claim for of_worker in threads.map(take, range(8)) for claim in of_worker]
    assert len(taken) == len(set(taken)) == 40
    assert states(engine) == {"running": 40}
    with engine.connect() as db:
        assert {row.attempts for row in ledger.task_rows(db, job)} == {1}
        assert ledger.find_job(db, "dam", job).state == State.RUNNING


def test_single_images_come_first_then_the_oldest_job(engine: sa.Engine) -> None:
    with engine.begin() as db:
        _, first = begin(db, "a.png")
        _, second = begin(db, "b.png")
        _, single = begin(db, "c.png")
        db.execute(jobs.update().where(jobs.c.id == single).values(kind="analysis"))
        _, cancelled = begin(db, "d.png")
        ledger.cancel(db, cancelled)
    order = [claims.claim(engine, "slot-0") for _ in range(4)]
    assert [claim and claim.job_id for claim in order] == [single, first, second, None]


def test_what_a_worker_left_waits_again_and_only_that(engine: sa.Engine) -> None:
    with engine.begin() as db:
        begin(db, "a.png", "b.png", "c.png")
    dead, alive = claims.claim(engine, "slot-0"), claims.claim(engine, "slot-1")
    assert dead
    assert alive
    with engine.begin() as db:
        assert claims.claimed_slots(db) == {"slot-0", "slot-1"}
        assert claims.claims_of(db, "slot-0") == [dead]
        claims.give_back(db, "slot-0", [dead, alive])  # the second is not its own
    assert states(engine) == {"queued": 2, "running": 1}
    assert claims.claim(engine, "slot-1") == dead
    with engine.connect() as db:
        assert ledger.find_task(db, dead.job_id, dead.image_id).attempts == 2


def test_a_job_whose_worker_died_before_closing_it_is_closed(engine: sa.Engine) -> None:
    with engine.begin() as db:
        _, job = begin(db, "a.png")
        _, other = begin(db, "b.png")
    for _ in range(2):
        claims.claim(engine, "slot-0")
    with engine.begin() as db:
        done = tasks.update().where(tasks.c.job_id == job)
        db.execute(done.values(state=State.SUCCEEDED))
        claims.close_finished(db)
        assert ledger.find_job(db, "dam", job).state == State.SUCCEEDED
        assert ledger.find_job(db, "dam", other).state == State.RUNNING


@pytest.fixture
def idle_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[worker.Worker]:
    """A worker whose threads were not started, without processes."""
    monkeypatch.setattr(worker, "slot_sandbox", lambda settings, size: None)
    monkeypatch.setattr(worker, "_AGAIN_S", 0)
    made = worker.Worker(Settings(data=tmp_path, slots=1, min_free_mb=0))
    yield made
    made.engine.dispose()


def test_an_image_that_nobody_works_on_is_seen_twice_and_waits_again(
    idle_worker: worker.Worker,
) -> None:
    with idle_worker.engine.begin() as db:
        begin(db, "lost.png", "held.png")
    lost = claims.claim(idle_worker.engine, idle_worker.lease.slot)  # its answer never came
    held = idle_worker._next()
    assert lost
    assert held
    for expected in ({"running": 2}, {"running": 1, "queued": 1}):
        idle_worker._free_forgotten()
        assert states(idle_worker.engine) == expected
    with idle_worker.engine.connect() as db:
        assert ledger.find_task(db, lost.job_id, lost.image_id).state == State.QUEUED


def test_a_slot_survives_an_error_of_the_program(
    idle_worker: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with idle_worker.engine.begin() as db:
        begin(db, "a.png", "b.png")
    worked: list[Claim] = []

    def fail_first(claim: Claim) -> None:
        worked.append(claim)
        if len(worked) == 1:
            raise KeyError("an error of the program")
        idle_worker.stop.set()

    monkeypatch.setattr(idle_worker.runner, "work_on", fail_first)
    monkeypatch.setattr(idle_worker.stop, "wait", lambda seconds: None)
    idle_worker._work()
    assert len(set(worked)) == 2
    assert idle_worker._active == set()


def test_a_worker_frees_what_its_slot_had_before(tmp_path: Path, engine: sa.Engine) -> None:
    with engine.begin() as db:
        begin(db, "a.png")
    claims.claim(engine, "slot-0")
    made = worker.Worker.__new__(worker.Worker)
    made.engine = engine
    made._free("slot-0")
    assert states(engine) == {"queued": 1}


def test_a_database_of_the_release_before_goes_on(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    engine = open_database(settings)
    with engine.begin() as db:
        _, job = begin(db, "a.png", "b.png")
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / "service.sqlite")) as old, old:
        old.execute("UPDATE about SET schema_version = 1")
        old.execute("ALTER TABLE tasks DROP COLUMN slot")
        old.execute("ALTER TABLE jobs ADD COLUMN round INTEGER NOT NULL DEFAULT 1")
        old.execute("UPDATE jobs SET state = 'running'")
        old.execute("UPDATE tasks SET state = 'running', attempts = 1")
    engine = open_database(settings)
    taken = [claims.claim(engine, "slot-0") for _ in range(3)]
    assert [claim and claim.job_id for claim in taken] == [job, job, None]
    engine.dispose()
    again = open_database(settings)
    with again.begin() as db:
        begin(db, "c.png")
    again.dispose()


def test_an_open_job_without_images_to_take_gives_none(engine: sa.Engine) -> None:
    with engine.begin() as db:
        _, job = begin(db, "a.png")
    assert claims.claim(engine, "slot-0")
    assert claims.claim(engine, "slot-1") is None
    with engine.begin() as db:
        db.execute(tasks.update().values(state=State.CANCELLED))
        assert claims.claimed_slots(db) == set()
        assert claims.claims_of(db, "slot-0") == []
        assert ledger.find_job(db, "dam", job).id == job
