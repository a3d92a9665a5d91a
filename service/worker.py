"""The worker: takes queued jobs, hands their images to the durable engine, works on them.

DBOS remembers which image is being worked on by whom, so that a worker that was killed goes on
where it was, and a living one adopts what a dead one left. Work on an image may start twice; its
results appear once, because they are renamed into place whole.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID

from crackseg.exports.survey import report_row
from service import jobs as domain
from service import sandbox
from service.database import (
    FINAL,
    images,
    jobs,
    new_id,
    now,
    open_database,
    submissions,
    tasks,
    workers,
)
from service.lease import Lease
from service.logs import set_up_logging
from service.settings import Settings
from service.storage import Storage

log = logging.getLogger("crackseg.worker")
QUEUE = "images"
APPLICATION_VERSION = "1"  # of the stored workflows: raise it when their arguments change
_TICK_S = 0.2
_SCAN_S = 10.0
_MAINTENANCE_S = 600.0
_RECOVERIES = 1000  # the engine's own limit; ours is `settings.attempts` per image


class Worker:
    """One worker process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.storage = Storage(settings)
        self.engine = open_database(settings)
        self.lease = Lease(settings)
        self.stop = threading.Event()
        self._active: set[str] = set()  # images that a thread of this process works on
        self._suspects: set[str] = set()
        self.sandbox = sandbox.Sandbox(
            settings.slot_count, memory_mb=settings.image_memory_mb, cpu_s=settings.image_cpu_s
        )
        self.sandbox.warm_up(settings.slot_count, settings.model)
        self._start_engine()

    def _start_engine(self) -> None:
        url = self.settings.db
        if not url:
            path = self.settings.data / "jobs.sqlite"
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA journal_mode=WAL")  # stays with the file
            url = f"sqlite:///{path}"
        DBOS(
            config={
                "name": "crackseg",
                "system_database_url": url,
                "application_version": APPLICATION_VERSION,
                "executor_id": self.lease.slot,
                "serializer": DBOSPortableJSONSerializer(),
                "use_listen_notify": False,
                "log_level": "WARNING",
            }
        )

        @DBOS.step(name="work_on_image")
        def step(job_id: str, image_id: str) -> None:
            name = str(DBOS.workflow_id)
            if self.stop.is_set():
                _wait_for_the_end()
            self._active.add(name)
            try:
                self._work_on(job_id, image_id)
            finally:
                self._active.discard(name)

        @DBOS.workflow(name="image", max_recovery_attempts=_RECOVERIES)
        def image(job_id: str, image_id: str, round_number: int) -> None:
            step(job_id, image_id)

        self._image = image
        DBOS.launch()
        # Twice the slots: the next image is at hand when one is done.
        DBOS.register_queue(
            QUEUE, worker_concurrency=2 * self.settings.slot_count, polling_interval_sec=_TICK_S,
            on_conflict="always_update",
        )  # fmt: skip

    def run(self) -> None:
        """Work until told to stop; then let running images finish, at most ``grace_s`` seconds."""
        log.info("worker ready", extra={"slot": self.lease.slot, "pid": os.getpid()})
        last_scan = last_maintenance = float("-inf")
        while not self.stop.wait(_TICK_S):
            moment = time.monotonic()
            with self._logged("dispatch"):
                self._dispatch()
            if moment - last_scan > _SCAN_S:
                last_scan = moment
                with self._logged("scan"):
                    self._heartbeat()
                    self._adopt()
            if moment - last_maintenance > _MAINTENANCE_S:
                last_maintenance = moment
                with self._logged("maintenance"):
                    self._reconcile()
                    self._maintain()
        self._drain()

    def _drain(self) -> None:
        log.info("worker draining", extra={"slot": self.lease.slot})
        deadline = time.monotonic() + self.settings.grace_s
        while self._active and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)  # for the engine to note what was finished last; if not, it is seen later
        with contextlib.suppress(sa.exc.SQLAlchemyError), self.engine.begin() as db:
            db.execute(workers.delete().where(workers.c.slot == self.lease.slot))

    @contextlib.contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        """Let a round fail without ending the worker: the next one tries again."""
        try:
            yield
        except (sa.exc.SQLAlchemyError, OSError):
            log.exception("%s failed, will be tried again", what)
            self.stop.wait(5)

    # Handing jobs to the engine ------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Enqueue the images of queued jobs; the same image twice is one workflow."""
        with self.engine.connect() as db:
            waiting = db.execute(sa.select(jobs).where(jobs.c.state == "queued")).all()
        if not waiting or self._disk_low():
            return
        for job in waiting:
            with self.engine.connect() as db:
                mine = (tasks.c.job_id == job.id) & tasks.c.state.in_(("queued", "running"))
                todo = db.scalars(sa.select(tasks.c.image_id).where(mine)).all()
            priority = 1 if job.kind == "analysis" else 10
            for image_id in todo:
                name = f"{job.id}:{image_id}:{job.round}"
                with SetWorkflowID(name), SetEnqueueOptions(priority=priority):
                    DBOS.enqueue_workflow(QUEUE, self._image, job.id, image_id, job.round)
            with self.engine.begin() as db:
                same = (jobs.c.id == job.id) & (jobs.c.state == "queued")
                values = {"state": "running", "updated_at": now()}
                values["started_at"] = job.started_at or now()
                db.execute(jobs.update().where(same, jobs.c.round == job.round).values(values))
                domain.close_if_done(db, job.id)

    def _adopt(self) -> None:
        """Take over what workers that died left behind."""
        if not self.lease.alive():
            log.critical("the slot's lock is lost; ending, so that no other has the same name")
            os._exit(3)
        pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        self._resume_forgotten([w.workflow_id for w in pending if w.executor_id == self.lease.slot])
        owners = {str(w.executor_id) for w in pending} - {self.lease.slot}
        for slot in sorted(owner for owner in owners if owner.startswith("slot-")):
            with self.lease.of_dead(slot) as dead:
                if not dead:
                    continue
                left = DBOS.list_workflows(
                    status="PENDING", executor_id=slot, load_input=False, load_output=False
                )
                DBOS.resume_workflows([w.workflow_id for w in left], queue_name=QUEUE)
                log.warning("adopted %d images of dead %s", len(left), slot)

    def _resume_forgotten(self, mine: list[str]) -> None:
        """Start again what the engine believes to run here and does not, seen twice in a row.

        A full disk can fail the engine's own writes between two steps.
        """
        idle = {name for name in mine if name not in self._active}
        forgotten = idle & self._suspects
        self._suspects = idle - forgotten
        if forgotten:
            log.warning("resuming %d images that nobody works on", len(forgotten))
            DBOS.resume_workflows(sorted(forgotten), queue_name=QUEUE)

    def _heartbeat(self) -> None:
        row = {"slot": self.lease.slot, "pid": os.getpid(), "host": socket.gethostname()}
        with self.engine.begin() as db:
            db.execute(workers.delete().where(workers.c.slot == self.lease.slot))
            db.execute(workers.insert().values(**row, seen_at=now()))

    # Working on an image -------------------------------------------------------------------------

    def _work_on(self, job_id: str, image_id: str) -> None:
        """Bring an image to its end, whatever that is; called again after a crash."""
        while True:
            task = self._begin(job_id, image_id)
            if task is None:
                break
            started = time.monotonic()
            answer = self._answer(task)
            if answer.get("code") == "disk_full":
                self._wait_for_disk()
                continue
            if answer.get("code") != "cancelled":
                self._end(job_id, image_id, answer, time.monotonic() - started)
            break
        self._retrying(lambda db: domain.close_if_done(db, job_id))

    def _begin(self, job_id: str, image_id: str) -> sa.Row[Any] | None:
        """Mark an image as running and return it with its job, or None when it is done."""
        while self._disk_low():
            self._wait_for_disk()
        this = (tasks.c.job_id == job_id) & (tasks.c.image_id == image_id)

        def begin(db: sa.Connection) -> sa.Row[Any] | None:
            alive = this & ~tasks.c.state.in_(FINAL)
            db.execute(
                tasks.update().where(alive).values(state="running", attempts=tasks.c.attempts + 1)
            )
            columns = (tasks, images.c.name, images.c.survey_id, jobs.c.options, jobs.c.kind)
            join = tasks.join(images, images.c.id == tasks.c.image_id).join(jobs)
            return db.execute(sa.select(*columns).select_from(join).where(alive)).one_or_none()

        task: sa.Row[Any] | None = self._retrying(begin)
        return task

    def _answer(self, task: sa.Row[Any]) -> dict[str, Any]:
        target = self.storage.result(task.job_id, task.image_id)
        report = target / "report.json"
        if report.is_file():  # killed between the files and the row
            done = json.loads(report.read_text(encoding="utf-8"))
            return {"row": report_row(done, f"images/{task.image_id}", "analyzed")}
        if task.attempts > self.settings.attempts:
            detail = f"It was started {self.settings.attempts} times and never came to an end."
            return {"code": "crashed", "error": detail}
        if target.exists():
            shutil.rmtree(target)
        work = self.settings.data / "work" / new_id()
        progress = work / "progress"
        request = {
            "path": str(self.storage.upload(task.survey_id, task.image_id)),
            "name": task.name,
            "options": task.options,
            "model": self.settings.model,
            "threads": self._threads(task.kind),
            "max_megapixels": self.settings.max_image_megapixels,
            "progress": str(progress),
            "work": str(work),
            "target": str(target),
        }
        watch = _Watch(self, task.job_id, task.image_id, progress)
        try:
            work.mkdir()
            return self.sandbox.run(
                sandbox.analyze_file, request, timeout_s=self.settings.image_timeout_s, tick=watch
            )
        except sandbox.Died as error:
            if error.code == "crashed" and self.stop.wait(1):
                _wait_for_the_end()  # the signal that ends this worker went to its child as well
            return {"code": error.code, "error": str(error)}
        except sandbox.Stopped:
            return {"code": "cancelled"}
        except OSError as error:
            code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "io"
            return {"code": code, "error": error.strerror}
        except Exception:
            log.exception("image failed", extra={"job": task.job_id, "image": task.image_id})
            return {"code": "internal", "error": "An internal error; the log of the worker has it."}
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _threads(self, kind: str) -> int:
        """Return the network's threads: somebody waits for a single image, give it more."""
        count = self.settings.thread_count
        return count * self.settings.slot_count if kind == "analysis" else count

    def _end(self, job_id: str, image_id: str, answer: dict[str, Any], seconds: float) -> None:
        row = answer.get("row")
        values: dict[str, Any] = {"finished_at": now(), "seconds": seconds, "progress": 1.0}
        if row:
            values |= {"state": "succeeded", "summary": row, "error": None, "error_code": None}
        else:
            values |= {
                "state": "failed",
                "error_code": answer["code"],
                "error": answer.get("error"),
            }
        this = (tasks.c.job_id == job_id) & (tasks.c.image_id == image_id)
        query = tasks.update().where(this, tasks.c.state == "running").values(values)
        self._retrying(lambda db: db.execute(query))
        state = self._retrying(lambda db: db.scalar(sa.select(tasks.c.state).where(this)))
        if row and state in (None, "cancelled"):  # or its survey deleted, in the last moment
            folder = self.storage.result(job_id, image_id)
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
        log.info(
            "image %s", "done" if row else "failed",
            extra={"job": job_id, "image": image_id, "code": answer.get("code"),
                   "seconds": round(seconds, 3)},
        )  # fmt: skip

    def _retrying(self, action: Any) -> Any:
        """Run a transaction until the database takes it: a full disk or a restart passes."""
        while True:
            try:
                with self.engine.begin() as db:
                    return action(db)
            except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
                log.warning("database: %s; trying again", type(error.orig).__name__)
                self._pause(1)

    def _pause(self, seconds: float) -> None:
        """Wait; once the worker is to end, wait for that: the next one starts the image again."""
        if self.stop.wait(seconds):
            _wait_for_the_end()

    def _disk_low(self) -> bool:
        return self.storage.free_mb() < self.settings.min_free_mb

    def _wait_for_disk(self) -> None:
        log.warning("the disk is nearly full; work waits")
        self._pause(5)

    # Housekeeping -------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        """Queue a running job again when the engine does not know of its images (any more)."""
        with self.engine.connect() as db:
            open_jobs = db.execute(sa.select(jobs).where(jobs.c.state == "running")).all()
        for job in open_jobs:
            known = {
                w.workflow_id.split(":")[1]
                for w in DBOS.list_workflows(
                    workflow_id_prefix=f"{job.id}:", status=["PENDING", "ENQUEUED", "DELAYED"],
                    load_input=False, load_output=False,
                )
            }  # fmt: skip
            mine = (tasks.c.job_id == job.id) & ~tasks.c.state.in_(FINAL)
            with self.engine.begin() as db:
                lost = set(db.scalars(sa.select(tasks.c.image_id).where(mine))) - known
                same = (jobs.c.id == job.id) & (jobs.c.state == "running")
                if lost:
                    log.warning("job %s: the engine lost %d images", job.id, len(lost))
                    values = {"state": "queued", "round": job.round + 1}
                    db.execute(jobs.update().where(same).values(values))
                else:
                    domain.close_if_done(db, job.id)

    def _maintain(self) -> None:
        """Delete what is past its time."""
        settings = self.settings
        self.storage.sweep(settings.keep_uploads_h * 3600, keep=set())
        with self.engine.begin() as db:
            old = submissions.c.created_at < now(ago=timedelta(days=1))
            db.execute(submissions.delete().where(old))
            gone = domain.expired_surveys(db, settings.keep_days) if settings.keep_days else []
        for survey_id in gone:
            with self.engine.begin() as db:
                job_ids = domain.delete_survey(db, survey_id)
            self.storage.remove_survey(survey_id, job_ids)
        done = DBOS.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED"], load_input=False, load_output=False,
            completed_before=now(ago=timedelta(days=1)), limit=10_000,
        )  # fmt: skip
        if done:
            DBOS.delete_workflows([w.workflow_id for w in done])


class _Watch:
    """Called while an image is worked on: writes its progress, notices a cancel or the end."""

    def __init__(self, worker: Worker, job_id: str, image_id: str, progress: Path) -> None:
        self._worker = worker
        self._this = (tasks.c.job_id == job_id) & (tasks.c.image_id == image_id)
        self._progress = progress
        self._last = 0.0
        self._checked = time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self._checked < 0.5:
            return True
        self._checked = time.monotonic()
        with contextlib.suppress(sa.exc.OperationalError), self._worker.engine.begin() as db:
            state = db.scalar(sa.select(tasks.c.state).where(self._this))
            if state != "running":
                return False
            share = _read_share(self._progress)
            if share > self._last:
                self._last = share
                db.execute(tasks.update().where(self._this).values(progress=share))
        return True


def _wait_for_the_end() -> None:
    """Hold this thread until the process ends, so that the engine sees the image as unfinished."""
    while True:
        time.sleep(60)


def _read_share(path: Path) -> float:
    try:
        return min(max(float(path.read_text()), 0.0), 1.0)
    except (OSError, ValueError):
        return 0.0


def work(settings: Settings) -> None:
    """Run a worker in this process until SIGTERM or SIGINT."""
    set_up_logging()
    worker = Worker(settings)

    def end(number: int, frame: object) -> None:
        worker.stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    worker.run()
    sys.stdout.flush()
    os._exit(0)  # threads of images that were cut off must not hold the process


def work_for_parent() -> None:
    """Run the worker of ``crackseg serve``: settings come on stdin, which ends with the parent."""
    settings = Settings.from_json(sys.stdin.readline())

    def follow() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
    work(settings)
