"""The steps of surveys, images and jobs on an empty database: no server, no worker, no files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service import claims, ledger, submit
from service.database import (
    State,
    changes,
    images,
    jobs,
    new_id,
    now,
    open_database,
    surveys,
    tasks,
    uploads,
)
from service.errors import Problem
from service.settings import Settings
from service.storage import Judged, Received


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sa.Connection]:
    """A connection to a fresh database, within a transaction."""
    engine = open_database(Settings(data=tmp_path))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def add_image(db: sa.Connection, survey: str, name: str, digest: str = "0") -> Any:
    """Put an image's row into a survey; return it and whether it is new."""
    received = Received(Path("none"), digest * 64, 1)
    judged = Judged(received=received, name=name, width_px=8, height_px=8, format="PNG")
    return ledger.add_image(db, survey, judged)


def begin(db: sa.Connection, *names: str) -> tuple[str, str]:
    """Create a survey of images and its job; return their ids."""
    survey, job = new_id(), new_id()
    ledger.create_survey(db, "dam", "face", kind="survey", survey_id=survey)
    for name in names:
        add_image(db, survey, name)
    ledger.create_job(db, "dam", survey, {}, kind="survey", job_id=job)
    return survey, job


def end(db: sa.Connection, job: str, *states: State) -> None:
    """Let the images of a job end, in the order they came, and close it where all have."""
    db.execute(jobs.update().where(jobs.c.id == job).values(state=State.RUNNING))
    for row, state in zip(ledger.task_rows(db, job), states, strict=True):
        this = ledger.this_task(job, row.image_id)
        db.execute(tasks.update().where(this).values(state=state))
    claims.close_if_done(db, job)


def state_of(db: sa.Connection, job: str) -> str:
    """Return the state of a job."""
    return str(ledger.find_job(db, "dam", job).state)


@pytest.mark.parametrize(
    ("states", "closed"),
    [
        ((State.SUCCEEDED, State.SUCCEEDED), State.SUCCEEDED),
        ((State.SUCCEEDED, State.FAILED), State.SUCCEEDED),
        ((State.FAILED, State.FAILED), State.FAILED),
        ((State.SUCCEEDED, State.RUNNING), State.RUNNING),
        ((State.QUEUED, State.FAILED), State.RUNNING),
    ],
)
def test_a_job_is_closed_by_its_last_image(
    db: sa.Connection, states: tuple[State, ...], closed: State
) -> None:
    _, job = begin(db, "a.png", "b.png")
    end(db, job, *states)
    assert state_of(db, job) == closed
    counts, share = ledger.task_counts(db, job)
    assert sum(counts.values()) == 2
    assert (share == 1) == (closed is not State.RUNNING)


def test_a_retry_takes_what_failed_and_what_came_late(db: sa.Connection) -> None:
    survey, job = begin(db, "a.png", "b.png")
    with pytest.raises(Problem) as busy:
        ledger.retry(db, job)
    assert (busy.value.status, busy.value.kind) == (409, "job-busy")
    end(db, job, State.SUCCEEDED, State.FAILED)
    late, fresh = add_image(db, survey, "late.png")
    assert fresh
    assert ledger.late_images(db, survey, job) == {late.id: "late.png"}
    assert ledger.retry(db, job) == 2
    assert [row.state for row in ledger.task_rows(db, job)] == ["succeeded", "queued", "queued"]
    end(db, job, *[State.SUCCEEDED] * 3)
    with pytest.raises(Problem) as nothing:
        ledger.retry(db, job)
    assert nothing.value.kind == "nothing-to-retry"


def test_a_cancel_spares_what_is_done(db: sa.Connection) -> None:
    _, job = begin(db, "a.png", "b.png", "c.png")
    end(db, job, State.SUCCEEDED, State.RUNNING, State.QUEUED)
    ledger.cancel(db, job)
    assert [row.state for row in ledger.task_rows(db, job)] == [
        "succeeded", "cancelled", "cancelled"
    ]  # fmt: skip
    assert state_of(db, job) == State.CANCELLED


def test_a_survey_is_analyzed_by_one_job_at_a_time(db: sa.Connection) -> None:
    survey, job = begin(db, "a.png")
    with pytest.raises(Problem) as busy:
        ledger.create_job(db, "dam", survey, {}, kind="survey", job_id=new_id())
    assert busy.value.kind == "survey-busy"
    end(db, job, State.FAILED)
    ledger.create_job(db, "dam", survey, {}, kind="survey", job_id=new_id())
    assert len(ledger.jobs_of(db, survey)) == 2


def test_a_name_holds_one_content(db: sa.Connection) -> None:
    survey, _ = begin(db, "a.png")
    _, fresh = add_image(db, survey, "a.png")
    assert not fresh
    with pytest.raises(Problem) as taken:
        add_image(db, survey, "a.png", digest="1")
    assert (taken.value.status, taken.value.kind) == (409, "name-taken")
    with pytest.raises(Problem) as analyzed:
        ledger.remove_image(db, survey, "a.png")
    assert analyzed.value.kind == "survey-busy"


def test_a_key_leads_to_what_it_led_to_first(db: sa.Connection) -> None:
    first = submit.submit_once(db, "dam", "jobs", "k", submit.fingerprint("a"), "one")
    again = submit.submit_once(db, "dam", "jobs", "k", submit.fingerprint("a"), "two")
    others = [
        submit.submit_once(db, tenant, route, key, submit.fingerprint("a"), "three")
        for tenant, route, key in (
            ("quarry", "jobs", "k"), ("dam", "surveys", "k"), ("dam", "jobs", None)
        )
    ]  # fmt: skip
    assert (first, again, others) == ("one", "one", ["three"] * 3)
    with pytest.raises(Problem) as conflict:
        submit.submit_once(db, "dam", "jobs", "k", submit.fingerprint("b"), "four")
    assert conflict.value.status == 422


def test_what_belongs_to_others_is_not_found(db: sa.Connection) -> None:
    survey, job = begin(db, "a.png")
    for find, one in ((ledger.find_survey, survey), (ledger.find_job, job)):
        assert find(db, "dam", one).id == one
        with pytest.raises(Problem) as missing:
            find(db, "quarry", one)
        assert missing.value.status == 404
    assert ledger.find_jobs(db, "quarry", limit=9) == []


def test_a_deleted_survey_leaves_no_row(db: sa.Connection) -> None:
    survey, job = begin(db, "a.png")
    ledger.change_survey(db, survey, name="other", options={"mm_per_px": 1.0})
    assert ledger.delete_survey(db, survey) == [job]
    assert not db.execute(sa.select(tasks)).all()
    assert ledger.find_surveys(db, "dam", limit=9) == []


LONG_AGO, SHORT_AGO = (now(ago=timedelta(days=days)) for days in (40, 20))


@pytest.mark.parametrize("newest", ["survey", "image", "upload", "verdict", "job", "open", None])
def test_a_survey_is_kept_for_what_happened_last_in_it(db: sa.Connection, newest: str) -> None:
    """Each thing that is young keeps a survey by itself: with all of them old it is past."""

    def at(what: str) -> str:
        return SHORT_AGO if what == newest else LONG_AGO

    survey, job = begin(db, "a.png")
    other, _ = begin(db, "b.png")
    end(db, job, State.SUCCEEDED)
    db.execute(surveys.update().values(created_at=LONG_AGO))
    db.execute(surveys.update().where(surveys.c.id == survey).values(created_at=at("survey")))
    db.execute(images.update().values(created_at=LONG_AGO))
    db.execute(images.update().where(images.c.survey_id == survey).values(created_at=at("image")))
    finished = None if newest == "open" else at("job")
    db.execute(jobs.update().values(finished_at=LONG_AGO))
    db.execute(jobs.update().where(jobs.c.id == job).values(finished_at=finished))
    row = {"id": new_id(), "survey_id": survey, "tenant": "dam", "name": "c.png", "size_bytes": 1}
    db.execute(uploads.insert().values(**row, created_at=at("upload")))
    row = {"id": new_id(), "survey_id": survey, "kind": "verdict", "by": "local"}
    db.execute(changes.insert().values(**row, after={}, at=at("verdict")))
    assert set(ledger.expired_surveys(db, 30)) == ({other} if newest else {survey, other})


def test_a_survey_that_was_never_analyzed_is_kept_for_a_photograph_of_today(
    db: sa.Connection,
) -> None:
    survey = new_id()
    ledger.create_survey(db, "dam", "face", kind="survey", survey_id=survey)
    db.execute(surveys.update().values(created_at=LONG_AGO))
    assert ledger.expired_surveys(db, 30) == [survey]
    add_image(db, survey, "today.png")
    assert ledger.expired_surveys(db, 30) == []
