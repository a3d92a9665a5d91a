"""One image from its row to its results and back to its row, whatever happens on the way.

Everything here may be cut off at any point and is then done again: by the same worker after its
restart, or by another one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from crackseg.config import to_plain
from crackseg.exports.survey import report_row
from service import claims, ledger, slot
from service.carry import carry_verdicts, earlier_edits
from service.claims import Claim
from service.cluster import Cluster
from service.database import Record, State, images, jobs, new_id, now, tasks
from service.sandbox import Died, Sandbox, Stopped
from service.schemas import Options
from service.settings import Settings
from service.storage import Storage

log = logging.getLogger("crackseg.worker")
T = TypeVar("T")
_LOOK_S = 0.5  # between two looks at the row of a running image
_RETRY_S = 1.0
DISK_S = 5.0  # between two looks at a full disk


class TaskRunner:
    """What works on images in one worker process; its threads share it."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        engine: Engine,
        sandbox: Sandbox | Cluster,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._engine = engine
        self._sandbox = sandbox
        self._stop = stop

    def work_on(self, claim: Claim) -> None:
        """Bring an image to its end, whatever that is; called again after a crash."""
        task = self._retrying(lambda db: _read(db, claim))
        if task is None:  # cancelled or deleted meanwhile
            return
        started = time.monotonic()
        answer = self._answer(task)
        while answer.get("code") == "disk_full":
            self._wait_for_disk()
            answer = self._answer(task)
        if answer.get("code") == "crashed":
            answer = self._answer(task)  # it may have been killed from outside: once more
        self._end(task, answer, time.monotonic() - started)

    def disk_low(self) -> bool:
        """Return whether work must wait for room on the disk."""
        return self._storage.free_mb() < self._settings.min_free_mb

    def _answer(self, task: Record) -> dict[str, Any]:
        """Return the `row` of an image's results, or `code` and `error` of what went wrong."""
        target = self._storage.result(task.job_id, task.image_id)
        report = target / "report.json"
        if report.is_file():  # killed between the files and the row
            done = json.loads(report.read_text(encoding="utf-8"))
            return {"row": report_row(done, f"images/{task.image_id}", "analyzed")}
        if task.attempts > self._settings.attempts:
            detail = f"It was started {self._settings.attempts} times and never came to an end."
            return {"code": "given_up", "error": detail}
        work = self._storage.data / "work" / new_id()
        try:
            work.mkdir()
            watch = _Watch(self._engine, task)
            return self._sandbox.run(
                slot.analyze_file,
                self._request(task, work, target),
                timeout_s=self._settings.image_timeout_s,
                tick=watch.look,
                on_share=watch.hear,
            )
        except Died as error:
            if error.code == "crashed":
                self._pause(_RETRY_S)  # the signal that ends this worker may have gone to all
            return {"code": error.code, "error": str(error)}
        except Stopped:
            return {"code": "cancelled"}
        except OSError as error:
            return slot.describe(error)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _request(self, task: Record, work: Path, target: Path) -> dict[str, Any]:
        settings = self._settings
        own = self._retrying(lambda db: ledger.own_options(db, task.image_id))
        options = Options.model_validate(task.options).for_image(own).over(settings.analyze)
        is_single = task.kind == "analysis"  # somebody waits for it
        return {
            "path": str(self._storage.upload(task.survey_id, task.image_id)),
            "name": task.name,
            "sha256": task.sha256,
            "options": to_plain(replace(options, max_megapixels=settings.max_image_megapixels)),
            "model": settings.model,
            "threads": settings.most_threads if is_single else settings.thread_count,
            "work": str(work),
            "target": str(target),
            "edits": self._retrying(
                lambda db: earlier_edits(db, self._storage, task.job_id, task.image_id)
            ),
        }

    def _end(self, task: Record, answer: dict[str, Any], seconds: float) -> None:
        """Write what became of an image; what was cancelled meanwhile leaves nothing behind."""
        code, row = answer.get("code"), answer.get("row")
        values = {
            "state": State.SUCCEEDED if row else State.FAILED,
            "summary": row,
            "error_code": code,
            "error": answer.get("error"),
            "finished_at": now(),
            "seconds": seconds,
            "progress": 1.0,
        }
        this = ledger.this_task(task.job_id, task.image_id)
        query = tasks.update().where(this, tasks.c.state == State.RUNNING).values(values)
        if code != "cancelled":
            self._retrying(lambda db: self._write_end(db, query, task))
        state = self._retrying(lambda db: db.scalar(sa.select(tasks.c.state).where(this)))
        if state in (None, State.CANCELLED):  # None: its survey was deleted
            folder = self._storage.result(task.job_id, task.image_id)
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
        log.info(
            "image %s",
            state or "deleted",
            extra={
                "job": task.job_id,
                "image": task.image_id,
                "code": code,
                "seconds": round(seconds, 3),
            },
        )

    def _write_end(self, db: Connection, query: sa.Update, task: Record) -> None:
        """Write an image's end, with the job's if it was the last.

        What inspectors said of an earlier analysis comes with it.
        """
        if db.execute(query).rowcount and task.kind == "survey":
            carry_verdicts(db, self._storage, task.job_id, task.image_id)
        claims.close_if_done(db, task.job_id)

    def _retrying(self, action: Callable[[Connection], T]) -> T:
        """Run a transaction until the database takes it: a full disk or a restart passes."""
        while True:
            try:
                with self._engine.begin() as db:
                    return action(db)
            except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
                log.warning("database: %s; trying again", type(error.orig).__name__)
                self._pause(_RETRY_S)

    def _wait_for_disk(self) -> None:
        log.warning("the disk is nearly full; work waits")
        self._pause(DISK_S)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            wait_for_the_end()


def wait_for_the_end() -> None:
    """Hold this thread until the process ends: its image stays unfinished and is started again."""
    while True:
        time.sleep(60)


def _read(db: Connection, claim: Claim) -> Record | None:
    """Return a claimed image with its job, or None when it is wanted no more."""
    this = ledger.this_task(claim.job_id, claim.image_id) & (tasks.c.state == State.RUNNING)
    columns = (tasks, images.c.name, images.c.sha256, images.c.survey_id, jobs.c.options)
    join = tasks.join(images, images.c.id == tasks.c.image_id).join(jobs)
    query = sa.select(*columns, jobs.c.kind).select_from(join).where(this)
    return db.execute(query).one_or_none()


class _Watch:
    """Called while an image is worked on: writes its progress, notices a cancel."""

    def __init__(self, engine: Engine, task: Record) -> None:
        self._engine = engine
        self._this = ledger.this_task(task.job_id, task.image_id) & (tasks.c.slot == task.slot)
        self._share = self._written = 0.0
        self._looked = time.monotonic()

    def hear(self, share: float) -> None:
        """Remember the share done."""
        self._share = share

    def look(self) -> bool:
        """Write the share into the image's row; return whether the work is still wanted."""
        if time.monotonic() - self._looked < _LOOK_S:
            return True
        self._looked = time.monotonic()
        with contextlib.suppress(sa.exc.OperationalError), self._engine.begin() as db:
            if db.scalar(sa.select(tasks.c.state).where(self._this)) != State.RUNNING:
                return False
            if self._share > self._written:
                self._written = self._share
                db.execute(tasks.update().where(self._this).values(progress=self._written))
        return True
