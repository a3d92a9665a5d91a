"""Corrections: what an inspector draws, erases, splits or joins, measured when it comes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from starlette.concurrency import run_in_threadpool

from service import corrections, ledger
from service.asking import Here, Reader, Writer
from service.database import Record
from service.errors import Problem
from service.keys import Caller
from service.paths import href
from service.schemas import Edits, NewEdit
from service.state import Service

router = APIRouter(prefix="/v1/jobs/{job_id}/images/{image_id}/corrections", tags=["jobs"])
EditId = Annotated[str, Path(pattern="^[0-9a-f-]{36}$")]


@router.get("")
def list_corrections(job_id: str, image_id: str, service: Here, caller: Reader) -> Edits:
    """List what inspectors changed of an image's cracks, in the order of their edits."""
    return corrections.edits_of(service.storage, _task(service, caller, job_id, image_id))


@router.post("", status_code=201)
async def create_correction(
    job_id: str,
    image_id: str,
    new: NewEdit,
    response: Response,
    service: Here,
    caller: Writer,
) -> Edits:
    """Do one more edit and measure it; the image's files and figures are those after it.

    What is drawn snaps to the dark line between its places. Nothing of the network's own result is
    lost: the files before the first edit stay in `network/` of the bundle.
    """
    response.headers["Location"] = href(f"/v1/jobs/{job_id}/images/{image_id}/corrections")
    return await _correct(service, caller, job_id, image_id, new=new)


@router.delete("/{edit_id}")
async def drop_correction(
    job_id: str, image_id: str, edit_id: EditId, service: Here, caller: Writer
) -> Edits:
    """Undo the last edit: the image's files and figures are those before it."""
    return await _correct(service, caller, job_id, image_id, drop=edit_id)


async def _correct(
    service: Service,
    caller: Caller,
    job_id: str,
    image_id: str,
    *,
    new: NewEdit | None = None,
    drop: str = "",
) -> Edits:
    """Let the corrector do an edit, or undo one, and return the list after it."""
    if service.corrector is None or service.correcting is None:
        raise Problem(503, "not-ready", "The service is starting; try again.")
    async with service.correcting.take(caller.tenant):
        return await run_in_threadpool(
            _correct_now, service, caller, job_id, image_id, new=new, drop=drop
        )


def _correct_now(
    service: Service, caller: Caller, job_id: str, image_id: str, *, new: NewEdit | None, drop: str
) -> Edits:
    task = _task(service, caller, job_id, image_id)
    service.storage.require_room()
    before = corrections.edits_of(service.storage, task)
    with service.engine.connect() as db:
        request = corrections.request_for(db, service.settings, service.storage, task)
        add = None if new is None else corrections.new_edit(db, new, caller.key_id)
    try:
        service.corrector.run({**request, "add": add, "drop": drop})  # type: ignore[union-attr]
    finally:
        corrections.remove_work(request)
    with service.engine.begin() as db:
        return corrections.take_over(db, service.storage, task, before, caller.key_id)


def _task(service: Service, caller: Caller, job_id: str, image_id: str) -> Record:
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, job_id)
        return ledger.find_task(db, job_id, image_id)
