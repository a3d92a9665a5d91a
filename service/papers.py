"""An image's papers as they leave the house: page, overlay, table and map, with verdicts.

What the network measured stays in the image's folder as it is. Papers with verdicts are made from
it when somebody asks for them, in a process of their own, and kept until the verdicts change.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from service import slot
from service.database import Record, new_id
from service.errors import Problem
from service.files import ImageFile
from service.sandbox import Died
from service.state import Service
from service.verdicts import WORDS, verdict_rows

PAPERS = (
    ImageFile.PAGE,
    ImageFile.THUMB,
    ImageFile.OVERLAY,
    ImageFile.CRACKS_CSV,
    ImageFile.CRACKS_GEOJSON,
)
_FOLDER = ".papers"
_TIMEOUT_S = 300.0
_KEEP_S = 600.0  # somebody may be reading older ones

Spoken = dict[int, dict[str, str]]  # crack -> word, by, at, note


def spoken(db: Connection, task: Record) -> Spoken:
    """Return what was said of the cracks of an image, in the words of the papers."""
    return _by_image(verdict_rows(db, task.job_id, task.image_id)).get(task.image_id, {})


def spoken_of_job(db: Connection, job_id: str) -> dict[str, Spoken]:
    """Return ``spoken`` of each image of a job; one of which nothing was said is not in it."""
    return _by_image(verdict_rows(db, job_id))


def _by_image(rows: list[dict[str, Any]]) -> dict[str, Spoken]:
    images: dict[str, Spoken] = {}
    for row in rows:
        if row["verdict"] != "open" or row["note"]:
            images.setdefault(row["image"], {})[row["crack"]] = {
                "word": WORDS[row["verdict"]],
                "by": row["by_name"] or row["by"],
                "at": row["updated_at"],
                "note": row["note"],
            }
    return images


def paper(
    service: Service,
    task: Record,
    name: ImageFile,
    verdicts: Spoken,
    *,
    with_rejected: bool,
    patient: bool = False,
) -> Path:
    """Return the file of a paper with what was said; without a word of it that is the measured one.

    Args:
        service: whose storage has the files.
        task: the image.
        name: of the file.
        verdicts: from ``spoken``.
        with_rejected: keep rejected cracks, in no figure.
        patient: wait for as long as others come first.

    Raises:
        Problem: 409, the result is of an earlier release; 503, the papers could not be made, or
            too many wait for theirs.
    """
    measured = service.storage.result(task.job_id, task.image_id)
    if name not in PAPERS or not verdicts:
        return measured / name
    report = (measured / "report.json").stat()
    what = [verdicts, with_rejected, report.st_mtime_ns, report.st_size]
    key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    target = measured / _FOLDER / key
    if (target / name).is_file():
        return target / name
    if not service.press_turns.acquire(blocking=patient):  # each one that waits holds a thread
        raise Problem(503, "busy", "Many papers are being made; try again.")
    try:
        if not (target / name).is_file():
            _write(service, task, target, verdicts, with_rejected=with_rejected)
    finally:
        service.press_turns.release()
    return target / name


def _write(
    service: Service, task: Record, target: Path, verdicts: Spoken, *, with_rejected: bool
) -> None:
    service.storage.require_room()
    work = service.storage.data / "work" / new_id()
    work.mkdir()
    request: dict[str, Any] = {
        "path": str(service.storage.upload(task.survey_id, task.image_id)),
        "name": task.name,
        "sha256": task.sha256,
        "max_megapixels": service.settings.max_image_megapixels,
        "folder": str(target.parent.parent),
        "verdicts": verdicts,
        "with_rejected": with_rejected,
        "work": str(work),
        "target": str(target),
    }
    try:
        if service.press is None:
            raise Problem(503, "not-ready", "The service is starting or shutting down.")
        answer = service.press.run(slot.write_papers, request, timeout_s=_TIMEOUT_S)
    except Died as error:
        raise Problem(503, "papers-failed", f"The papers could not be made: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if "error" in answer:
        detail = f"{answer['error']} As it was measured: `?as_measured=true`."
        raise Problem(409, "papers-unavailable", detail)
    for old in target.parent.iterdir():
        if old != target and time.time() - old.stat().st_mtime > _KEEP_S:
            shutil.rmtree(old, ignore_errors=True)
