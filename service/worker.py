"""The worker: takes queued jobs, hands their images to the durable engine, works on them.

DBOS remembers which image is being worked on by whom, so that a worker that was killed goes on
where it was, and a living one adopts what a dead one left. Work on an image may start twice; its
results appear once, because they are renamed into place whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import sqlalchemy as sa
from dbos import DBOS, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID

from service import ledger, slot
from service.database import (
    FINAL,
    State,
    jobs,
    now,
    open_database,
    submissions,
    tasks,
    uploads,
    workers,
)
from service.lease import Lease
from service.logs import set_up_logging, take_loggers
from service.private import private_file
from service.sandbox import Sandbox
from service.settings import Settings
from service.storage import Storage
from service.task import DISK_S, TaskRunner, wait_for_the_end

log = logging.getLogger("crackseg.worker")
QUEUE = "images"
APPLICATION_VERSION = "1"  # of the stored workflows: raise it when their arguments change
_TICK_S = 0.2
_SCAN_S = 10.0
_SCANS_WITHOUT_SLOT = 3  # the database may hold a lost session's lock for a while
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
        self._scans_without_slot = 0
        sandbox = Sandbox(
            settings.slot_count,
            memory_mb=settings.slot_memory_mb,
            cpu_s=settings.image_cpu_s,
            prepare=partial(
                slot.get_ready_to_analyze,
                settings.model,
                settings.analyze.predict,
                settings.thread_count,
            ),
        )
        self.runner = TaskRunner(settings, self.storage, self.engine, sandbox, self.stop)
        self._start_engine()

    def _start_engine(self) -> None:
        url = self.settings.db
        if not url:
            path = private_file(self.settings.data / "jobs.sqlite")
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
                wait_for_the_end()
            self._active.add(name)
            try:
                self.runner.work_on(job_id, image_id)
            finally:
                self._active.discard(name)

        @DBOS.workflow(name="image", max_recovery_attempts=_RECOVERIES)
        def image(job_id: str, image_id: str, round_number: int) -> None:
            step(job_id, image_id)

        self._image = image
        DBOS.launch()
        take_loggers("dbos")
        # Twice the slots: the next image is at hand when one is done.
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=2 * self.settings.slot_count,
            polling_interval_sec=_TICK_S,
            on_conflict="always_update",
        )

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
                    self._adopt()
                    self._heartbeat()
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
            waiting = db.execute(sa.select(jobs).where(jobs.c.state == State.QUEUED)).all()
        if waiting and self.runner.disk_low():
            log.warning("the disk is nearly full; %d jobs wait", len(waiting))
            self.stop.wait(DISK_S)
            return
        for job in waiting:
            with self.engine.connect() as db:
                mine = (tasks.c.job_id == job.id) & tasks.c.state.in_((State.QUEUED, State.RUNNING))
                todo = db.scalars(sa.select(tasks.c.image_id).where(mine)).all()
            priority = 1 if job.kind == "analysis" else 10
            for image_id in todo:
                if self.stop.is_set():
                    return
                name = f"{job.id}:{image_id}:{job.round}"
                with SetWorkflowID(name), SetEnqueueOptions(priority=priority):
                    DBOS.enqueue_workflow(QUEUE, self._image, job.id, image_id, job.round)
            with self.engine.begin() as db:
                same = (jobs.c.id == job.id) & (jobs.c.state == State.QUEUED)
                values = {"state": State.RUNNING, "updated_at": now()}
                values["started_at"] = job.started_at or now()
                db.execute(jobs.update().where(same, jobs.c.round == job.round).values(values))
                ledger.close_if_done(db, job.id)

    def _adopt(self) -> None:
        """Take over what workers that died left behind."""
        if not self.lease.keep():
            self._scans_without_slot += 1
            if self._scans_without_slot > _SCANS_WITHOUT_SLOT:
                log.critical("another worker has this one's slot; ending, to be started anew")
                os._exit(3)
            return
        self._scans_without_slot = 0
        pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        self._resume_forgotten([w.workflow_id for w in pending if w.executor_id == self.lease.slot])
        owners = {str(w.executor_id) for w in pending} - {self.lease.slot}
        for name in sorted(owner for owner in owners if owner.startswith("slot-")):
            with self.lease.of_dead(name) as dead:
                if not dead:
                    continue
                left = DBOS.list_workflows(
                    status="PENDING", executor_id=name, load_input=False, load_output=False
                )
                DBOS.resume_workflows([w.workflow_id for w in left], queue_name=QUEUE)
                log.warning("adopted %d images of dead %s", len(left), name)

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

    # Housekeeping -------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        """Queue a running job again when the engine does not know of its images (any more)."""
        with self.engine.connect() as db:
            open_jobs = db.execute(sa.select(jobs).where(jobs.c.state == State.RUNNING)).all()
        for job in open_jobs:
            known = {
                w.workflow_id.split(":")[1]
                for w in DBOS.list_workflows(
                    workflow_id_prefix=f"{job.id}:",
                    status=["PENDING", "ENQUEUED", "DELAYED"],
                    load_input=False,
                    load_output=False,
                )
            }
            mine = (tasks.c.job_id == job.id) & ~tasks.c.state.in_(FINAL)
            with self.engine.begin() as db:
                lost = set(db.scalars(sa.select(tasks.c.image_id).where(mine))) - known
                same = (jobs.c.id == job.id) & (jobs.c.state == State.RUNNING)
                if lost:
                    log.warning("job %s: the engine lost %d images", job.id, len(lost))
                    values = {"state": State.QUEUED, "round": job.round + 1}
                    db.execute(jobs.update().where(same).values(values))
                else:
                    ledger.close_if_done(db, job.id)

    def _maintain(self) -> None:
        """Delete what is past its time."""
        settings = self.settings
        self.storage.sweep(settings.keep_uploads_h * 3600)
        with self.engine.begin() as db:
            old = submissions.c.created_at < now(ago=timedelta(days=1))
            db.execute(submissions.delete().where(old))
            begun = uploads.c.created_at < now(ago=timedelta(hours=settings.keep_uploads_h))
            ids = db.scalars(sa.select(uploads.c.id).where(begun)).all()
            swept = [upload for upload in ids if not self.storage.part(upload).exists()]
            db.execute(uploads.delete().where(uploads.c.id.in_(swept)))
            gone = ledger.expired_surveys(db, settings.keep_days) if settings.keep_days else []
        for survey_id in gone:
            ledger.delete_with_files(self.engine, self.storage, survey_id)
        done = DBOS.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED"],
            load_input=False,
            load_output=False,
            completed_before=now(ago=timedelta(days=1)),
            limit=10_000,
        )
        if done:
            DBOS.delete_workflows([w.workflow_id for w in done])


def work(settings: Settings) -> None:
    """Run a worker in this process until SIGTERM or SIGINT."""
    set_up_logging()
    os.umask(0o077)
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
