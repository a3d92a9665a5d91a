"""Corrections: what an inspector draws, erases, splits or joins, measured when it comes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from sqlalchemy.exc import NoResultFound
from starlette.concurrency import run_in_threadpool

from service import corrections, ledger
from service.asking import Here, IdempotencyKey, Reader, Writer
from service.corrections import Wish
from service.database import Record
from service.errors import Problem
from service.keys import Caller
from service.paths import href
from service.schemas import Edits, NewEdit
from service.state import Service
from service.submit import submit_once, submitted
from service.verdicts import not_in_newer

router = APIRouter(prefix="/v1/jobs/{job_id}/images/{image_id}/corrections", tags=["jobs"])
EditId = Annotated[str, Path(pattern="^[0-9a-f-]{36}$")]


@router.get("")
def list_corrections(job_id: str, image_id: str, service: Here, caller: Reader) -> Edits:
    """List what inspectors changed of an image's cracks, in the order of their edits."""
    task = _task(service, caller, job_id, image_id)
    corrections.settle(service.engine, service.storage, task)
    return corrections.edits_of(service.storage, task)


@router.post("", status_code=201)
async def create_correction(
    job_id: str,
    image_id: str,
    new: NewEdit,
    response: Response,
    service: Here,
    caller: Writer,
    idempotency_key: IdempotencyKey = None,
) -> Edits:
    """Do one more edit and measure it; the image's files and figures are those after it.

    What is drawn snaps to the dark line between its places. Nothing of the network's own result is
    lost: the files before the first edit stay in `network/` of the bundle. With an
    `Idempotency-Key` an edit that is sent again, because its answer was lost, is done once.
    """
    response.headers["Location"] = href(f"/v1/jobs/{job_id}/images/{image_id}/corrections")
    wish = Wish(new=new, key=idempotency_key)
    return await _correct(service, caller, job_id, image_id, wish)


@router.delete("/{edit_id}")
async def drop_correction(
    job_id: str, image_id: str, edit_id: EditId, service: Here, caller: Writer
) -> Edits:
    """Undo the last edit: the image's files and figures are those before it."""
    return await _correct(service, caller, job_id, image_id, Wish(drop=edit_id))


async def _correct(
    service: Service, caller: Caller, job_id: str, image_id: str, wish: Wish
) -> Edits:
    """Let the corrector do an edit, or undo one, and return the list after it."""
    if service.corrector is None or service.correcting is None:
        raise Problem(503, "not-ready", "The service is starting; try again.")
    async with service.correcting.take(caller.tenant):
        return await run_in_threadpool(_correct_now, service, caller, job_id, image_id, wish)


def _correct_now(service: Service, caller: Caller, job_id: str, image_id: str, wish: Wish) -> Edits:
    task = _task(service, caller, job_id, image_id)
    once = (caller.tenant, "corrections", wish.key, wish.digest(task))
    corrections.settle(service.engine, service.storage, task)
    with service.engine.connect() as db:
        if submitted(db, *once) is not None:
            return corrections.done_before(service.storage, task, wish)
    service.storage.require_room()
    with service.engine.connect() as db:
        request = corrections.request_for(db, service.settings, service.storage, task)
        add = corrections.new_edit(db, task, wish, caller.key_id)
    request |= {"add": add, "drop": wish.drop, "by": caller.key_id}
    try:
        service.corrector.run(request)  # type: ignore[union-attr]
        edits = corrections.settle(service.engine, service.storage, task)
    except (Problem, OSError, NoResultFound):
        _task(service, caller, job_id, image_id)  # 404: its survey was deleted meanwhile
        raise
    finally:
        corrections.remove_work(request)
    with service.engine.begin() as db:
        submit_once(db, *once, task.job_id)
        elsewhere = not_in_newer(db, task)
    edits = edits or corrections.edits_of(service.storage, task)
    notice = " ".join(filter(None, (edits.notice, elsewhere)))
    return edits.model_copy(update={"notice": notice})


def _task(service: Service, caller: Caller, job_id: str, image_id: str) -> Record:
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, job_id)
        return ledger.find_task(db, job_id, image_id)
