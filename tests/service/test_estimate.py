"""How long a job still takes: from rows alone, so that every figure can be said beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from test_ledger import begin

from service import claims, ledger
from service.database import State, images, jobs, now, open_database, tasks, workers
from service.estimate import remaining_s
from service.settings import Settings

MEGAPIXELS = {"small.png": (1000, 2000), "large.png": (5000, 4000)}  # 2 and 20


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[sa.Connection]:
    """A connection to a fresh database, within a transaction, with a worker that lives."""
    engine = open_database(Settings(data=tmp_path))
    with engine.begin() as db:
        row = {"slot": "slot-0", "pid": 1, "host": "here", "seen_at": now()}
        db.execute(workers.insert().values(row))
        yield db
    engine.dispose()


def start(rows: sa.Connection, *names: str, kind: str = "survey") -> Any:
    """Create the job of photographs of known sizes and return a function that reads its row."""
    survey, job = begin(rows, *names)
    for name in names:
        height, width = MEGAPIXELS[name.partition(" ")[2]]
        this = (images.c.survey_id == survey) & (images.c.name == name)
        rows.execute(images.update().where(this).values(height_px=height, width_px=width))
    rows.execute(jobs.update().where(jobs.c.id == job).values(kind=kind))
    return lambda: ledger.find_job(rows, "dam", job)


def change(rows: sa.Connection, job: str, name: str, **values: Any) -> None:
    """Change the row of an image of a job."""
    image = next(row.image_id for row in ledger.task_rows(rows, job) if row.name == name)
    rows.execute(tasks.update().where(ledger.this_task(job, image)).values(values))
    started = {"state": State.RUNNING, "started_at": now()}
    rows.execute(jobs.update().where(jobs.c.id == job).values(started))


DONE: dict[str, Any] = {"state": State.SUCCEEDED, "progress": 1.0}


def test_it_goes_by_megapixels_of_the_job_itself(rows: sa.Connection) -> None:
    job = start(rows, "1 small.png", "2 large.png", "3 small.png", "4 small.png")
    assert remaining_s(rows, job()) is None  # nothing was ever analyzed here
    change(rows, job().id, "1 small.png", **DONE, seconds=6.0)
    assert remaining_s(rows, job()) == 72.0  # 24 megapixels at 3 s
    change(rows, job().id, "2 large.png", state=State.RUNNING, progress=0.5)
    assert remaining_s(rows, job()) == 42.0  # 14
    change(rows, job().id, "3 small.png", state=State.RUNNING)
    assert remaining_s(rows, job()) == 21.0  # two at once
    change(rows, job().id, "3 small.png", state=State.FAILED, progress=1.0, seconds=0.01)
    assert remaining_s(rows, job()) == 36.0  # that one failed early tells nothing of the others
    for name in ("2 large.png", "4 small.png"):
        change(rows, job().id, name, **DONE, seconds=6.0)
    claims.close_if_done(rows, job().id)
    assert job().state == State.SUCCEEDED
    assert remaining_s(rows, job()) is None


@pytest.mark.parametrize(
    ("small_s", "large_s", "left_s"),
    [(3.0, 12.0, 30.0), (2.0, 40.0, 81.0), (5.0, 3.0, 17.0)],  # each and by size; by size; odd
)
def test_what_each_image_takes_beside_its_size_counts(
    rows: sa.Connection, small_s: float, large_s: float, left_s: float
) -> None:
    names = ["1 small.png", "2 small.png", "3 large.png", "4 small.png", "5 small.png",
             "6 large.png", "7 large.png"]  # fmt: skip
    job = start(rows, *names)
    for name in names[:3]:
        change(rows, job().id, name, **DONE, seconds=large_s if "large" in name else small_s)
    assert remaining_s(rows, job()) == left_s


def test_a_job_that_waits_learns_from_others_and_counts_them(rows: sa.Connection) -> None:
    first = start(rows, "1 small.png", "2 large.png")
    change(rows, first().id, "1 small.png", **DONE, seconds=1.0)
    change(rows, first().id, "2 large.png", state=State.RUNNING)
    waits, single = start(rows, "1 large.png"), start(rows, "1 small.png", kind="analysis")
    assert remaining_s(rows, single()) == 1.0  # single images go first
    assert remaining_s(rows, first()) == 11.0  # and this one waits for the single one
    assert remaining_s(rows, waits()) == 21.0
    ledger.cancel(rows, first().id)
    assert remaining_s(rows, waits()) == 11.0


def test_without_a_living_worker_nothing_is_said(rows: sa.Connection) -> None:
    job = start(rows, "1 small.png", "2 large.png")
    change(rows, job().id, "1 small.png", **DONE, seconds=6.0)
    assert remaining_s(rows, job()) == 60.0
    rows.execute(workers.update().values(seen_at=now(ago=timedelta(minutes=5))))
    assert remaining_s(rows, job()) is None


def test_it_says_no_more_digits_than_it_knows(rows: sa.Connection) -> None:
    job = start(rows, "1 small.png", *(f"{n} large.png" for n in range(2, 9)))
    change(rows, job().id, "1 small.png", **DONE, seconds=1.777)
    assert remaining_s(rows, job()) == 120.0
