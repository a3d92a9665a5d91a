"""The report of a survey, page, PDF and workbook in one language, with verdicts and corrections.

It is made in a process of its own when somebody asks for it, one after the other, and kept until
something that it says changes. What takes longer than a request may wait is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection, Engine

from crackseg import __version__
from crackseg.words import read_words
from service import facts, ledger, slot
from service.database import Record, State, new_id
from service.errors import Problem
from service.sandbox import Died, OnDemand, Sandbox
from service.settings import Settings
from service.storage import REPORTS, Storage
from service.survey_files import write_survey_files
from service.verdicts import verdict_rows

LANGUAGES = (("en", "English"), ("de", "Deutsch"))  # offered in the page; any locale may be asked
_PATIENCE_S = 5.0  # of a request, which holds a thread; clients give up from ten seconds on
_PATIENT = 4  # requests that wait at once
_MOST = 3  # reports of one tenant that are made or wait to be
_TIMEOUT_S = 3600.0
_KEEP_S = 600.0  # somebody may be reading older ones


@dataclass(frozen=True, slots=True)
class _Wish:
    tenant: str
    job_id: str
    locale: str
    with_rejected: bool


class Inspections:
    """The reports that are being made; nobody's wish is done twice."""

    def __init__(self, settings: Settings, storage: Storage, engine: Engine) -> None:
        self._storage = storage
        self._engine = engine
        self._sandbox = OnDemand(
            lambda: Sandbox(
                1,
                memory_mb=settings.image_memory_mb,
                cpu_s=settings.image_cpu_s,
                prepare=slot.get_ready_to_report,
            )
        )
        self._pool = ThreadPoolExecutor(1, "inspections")
        self._made: dict[_Wish, Future[Path]] = {}  # until somebody has fetched it
        self._lock = threading.Lock()
        self._patient = threading.BoundedSemaphore(_PATIENT)

    def folder(self, job: Record, locale: str, *, with_rejected: bool) -> Path | None:
        """Return the folder of a job's report, None while it is being made.

        Args:
            job: that is finished.
            locale: language and form of numbers.
            with_rejected: list rejected cracks too.

        Raises:
            ConfigError: there is no such locale.
            Problem: 503, 507, it could not be made, or the tenant waits for too many.
        """
        wish = _Wish(job.tenant, job.id, read_words(locale).locale.name, with_rejected)
        with self._lock:
            made = self._made.get(wish)
        if made is None:
            with self._engine.connect() as db:
                target = self._target(db, job, wish)
            if target.is_dir():
                return target
            made = self._start(wish, job, target)
        if not self._patient.acquire(blocking=False):
            return None
        try:
            return made.result(_PATIENCE_S)
        except TimeoutError:
            return None
        except CancelledError as error:
            raise Problem(503, "not-ready", "The service is shutting down.") from error
        finally:
            self._patient.release()
            self._forget(wish, made)

    def _start(self, wish: _Wish, job: Record, target: Path) -> Future[Path]:
        """Let a report be made, unless that was begun meanwhile."""
        self._storage.require_room()
        with self._lock:
            self._made = {
                w: future for w, future in self._made.items() if w == wish or not future.done()
            }
            if wish in self._made:
                return self._made[wish]
            if sum(other.tenant == wish.tenant for other in self._made) >= _MOST:
                raise Problem(503, "busy", "Several reports are being made; try again.")
            self._made[wish] = self._pool.submit(self._make, job, wish, target)
            return self._made[wish]

    def _forget(self, wish: _Wish, made: Future[Path]) -> None:
        with self._lock:
            if made.done() and self._made.get(wish) is made:
                del self._made[wish]

    def _target(self, db: Connection, job: Record, wish: _Wish) -> Path:
        """Return where the report of a job as it is now lies, or will."""
        tasks = ledger.task_rows(db, job.id)
        edited = [
            report.stat().st_mtime_ns if report.is_file() else 0
            for task in tasks
            if (report := self._storage.result(job.id, task.image_id) / "report.json")
        ]
        says = [
            __version__,
            [wish.locale, wish.with_rejected],
            facts.text_of(db, job.survey_id),
            ledger.name_of(db, job.survey_id),
            ledger.late_images(db, job.survey_id, job.id),
            [[task.image_id, task.state, task.finished_at, task.summary] for task in tasks],
            edited,
            verdict_rows(db, job.id),
        ]
        key = hashlib.sha256(json.dumps(says, sort_keys=True).encode()).hexdigest()[:16]
        return self._storage.result(str(job.id), REPORTS) / key

    def _make(self, job: Record, wish: _Wish, target: Path) -> Path:
        work = self._storage.data / "work" / new_id()
        work.mkdir()
        try:
            with self._engine.connect() as db:
                _lay_out(db, job, self._storage, work)
            request = {
                "results": str(work / "results"),
                "photographs": str(work / "photographs"),
                "locale": wish.locale,
                "with_rejected": wish.with_rejected,
                "work": str(work),
                "target": str(target),
            }
            answer = self._sandbox.run(slot.write_inspection, request, timeout_s=_TIMEOUT_S)
        except Died as error:
            raise Problem(503, "report-failed", f"The report was not made: {error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if answer.get("code") == "disk_full":
            raise Problem(507, "disk-low", "The disk of the service is nearly full; try later.")
        if "error" in answer:
            raise Problem(503, "report-failed", f"The report was not made: {answer['error']}")
        for old in target.parent.iterdir():
            if old != target and time.time() - old.stat().st_mtime > _KEEP_S:
                shutil.rmtree(old, ignore_errors=True)
        return target

    def close(self) -> None:
        """End the process; what waits is asked for again after the next start."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._sandbox.close()


def _lay_out(db: Connection, job: Record, storage: Storage, work: Path) -> None:
    """Lay links to the results and photographs of a job as ``crackseg analyze`` leaves them."""
    images, photographs = work / "results" / "images", work / "photographs"
    images.mkdir(parents=True)
    photographs.mkdir()
    write_survey_files(db, job, storage, work / "results")
    for task in ledger.task_rows(db, job.id):
        (photographs / task.name).symlink_to(storage.upload(job.survey_id, task.image_id))
        if task.state == State.SUCCEEDED:
            (images / task.image_id).symlink_to(storage.result(job.id, task.image_id))
