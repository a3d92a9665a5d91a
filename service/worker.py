"""The worker: claims images that wait, one per slot, and sees to it that none is forgotten.

The rows are the only ledger. An image is claimed by one statement that names the worker's slot; the
slot is held by a lock that dies with the process (``lease.py``). Whoever can take another slot's
lock knows that its worker is dead and lets its images wait again. Work on an image may start twice;
its results appear once, because they are renamed into place whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import sqlalchemy as sa

from service import claims, ledger
from service.claims import Claim
from service.cluster import Cluster, slot_sandbox
from service.database import now, open_database, submissions, uploads, workers
from service.lease import Lease
from service.logs import set_up_logging
from service.settings import Settings
from service.storage import Storage
from service.task import DISK_S, TaskRunner

log = logging.getLogger("crackseg.worker")
_TICK_S = 0.2  # between two looks for images that wait
_SCAN_S = 10.0
_SCANS_WITHOUT_SLOT = 3  # the database may hold a lost session's lock for a while
_MAINTENANCE_S = 600.0
_AGAIN_S = 5.0  # after a slot failed: the database is away, or the program has an error


class Worker:
    """One worker process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.storage = Storage(settings)
        self.engine = open_database(settings)
        self.lease = Lease(settings)
        self.stop = threading.Event()
        self._asking = threading.Lock()
        self._active: set[Claim] = set()  # what the threads of this process work on
        self._suspects: set[Claim] = set()
        self._scans_without_slot = 0
        here = settings.engine.name == "processes"
        self.hands = slot_sandbox(settings, settings.slot_count) if here else Cluster(settings)
        self.runner = TaskRunner(settings, self.storage, self.engine, self.hands, self.stop)
        self._free(self.lease.slot)  # whoever had this slot before is dead

    def run(self) -> None:
        """Work until told to stop; then let running images finish, at most ``grace_s`` seconds."""
        for _ in range(self.settings.slot_count):
            threading.Thread(target=self._work, daemon=True).start()
        log.info("worker ready", extra={"slot": self.lease.slot, "pid": os.getpid()})
        maintained = float("-inf")
        while not self.stop.is_set():
            with self._logged("scan"):
                self._scan()
                if time.monotonic() - maintained > _MAINTENANCE_S:
                    maintained = time.monotonic()
                    self._maintain()
            self.stop.wait(_SCAN_S)
        self._drain()

    def _drain(self) -> None:
        log.info("worker draining", extra={"slot": self.lease.slot})
        deadline = time.monotonic() + self.settings.grace_s
        while self._active and time.monotonic() < deadline:
            time.sleep(0.1)
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._free(self.lease.slot)
            with self.engine.begin() as db:
                db.execute(workers.delete().where(workers.c.slot == self.lease.slot))

    @contextlib.contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        """Let a round fail without ending the worker: the next one tries again."""
        try:
            yield
        except (sa.exc.SQLAlchemyError, OSError):
            log.exception("%s failed, will be tried again", what)
            self.stop.wait(5)

    # Working on images --------------------------------------------------------------------------

    def _work(self) -> None:
        """Work on one image after the other; each slot has a thread that does this."""
        while not self.stop.is_set():
            try:
                claim = self._next()
                if claim is not None:
                    self._work_on(claim)
            except Exception:  # whatever it was, the slot goes on; the scan frees the image
                log.exception("a slot failed; its image, if it had one, will be tried again")
                self.stop.wait(_AGAIN_S)

    def _work_on(self, claim: Claim) -> None:
        try:
            self.runner.work_on(claim)
        finally:
            self._active.discard(claim)

    def _next(self) -> Claim | None:
        """Return an image that is now this worker's, waiting for one; None when told to stop.

        One thread asks at a time: idle slots cost the database no more than one.
        """
        with self._asking:
            while not self.stop.is_set():
                if self.runner.disk_low():
                    log.warning("the disk is nearly full; work waits")
                    self.stop.wait(DISK_S)
                    continue
                claim = claims.claim(self.engine, self.lease.slot)
                if claim is not None:
                    self._active.add(claim)
                    return claim
                self.stop.wait(_TICK_S)
        return None

    # Seeing to it that none is forgotten --------------------------------------------------------

    def _scan(self) -> None:
        """Keep this worker's slot, take over what dead workers left, close what is done."""
        if not self.lease.keep():
            self._scans_without_slot += 1
            if self._scans_without_slot > _SCANS_WITHOUT_SLOT:
                log.critical("another worker has this one's slot; ending, to be started anew")
                os._exit(3)
            return
        self._scans_without_slot = 0
        with self.engine.begin() as db:
            slots = claims.claimed_slots(db)
            claims.close_finished(db)
        for other in sorted(slots - {self.lease.slot}):
            with self.lease.of_dead(other) as dead:
                if dead:
                    self._free(other)
        self._free_forgotten()
        self._heartbeat()

    def _free(self, name: str) -> None:
        """Let the images wait again that a dead worker left in the middle."""
        with self.engine.begin() as db:
            orphans = claims.claims_of(db, name)
            claims.give_back(db, name, orphans)
        if orphans:
            log.warning("%d images of dead %s wait again", len(orphans), name)

    def _free_forgotten(self) -> None:
        """Let images wait again that are this worker's and that no thread works on, seen twice.

        The database may have taken a claim whose answer never arrived here, or its slot failed.
        """
        with self.engine.begin() as db:
            idle = set(claims.claims_of(db, self.lease.slot)) - self._active
            forgotten = idle & self._suspects
            self._suspects = idle - forgotten
            claims.give_back(db, self.lease.slot, forgotten)
        if forgotten:
            log.warning("%d images that nobody works on wait again", len(forgotten))

    def _heartbeat(self) -> None:
        row = {"slot": self.lease.slot, "pid": os.getpid(), "host": socket.gethostname()}
        with self.engine.begin() as db:
            db.execute(workers.delete().where(workers.c.slot == self.lease.slot))
            db.execute(workers.insert().values(**row, seen_at=now()))

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
    worker.hands.close()
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
