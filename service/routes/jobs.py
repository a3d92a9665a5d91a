"""Jobs: how far they are, their images, events, verdicts and files."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from service import corrections, ledger, results, verdicts
from service.answers import job_answer, task_answer
from service.asking import (
    AsMeasured,
    CrackId,
    Here,
    LocaleName,
    Paged,
    PagedShort,
    Reader,
    TileNumber,
    WithRejected,
    Writer,
)
from service.database import FINAL, State
from service.errors import Problem
from service.files import INSPECTIONS, ImageFile, JobFile
from service.schemas import Job, JobPage, NewVerdict, Task, TaskPage, Verdict, Verdicts
from service.state import Service

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_POLL_S = 0.5
_COMMENT_S = 15.0


@router.get("")
def list_jobs(
    service: Here,
    caller: Reader,
    paging: PagedShort,
    status: Annotated[list[State] | None, Query()] = None,
) -> JobPage:
    """List jobs, the newest first."""
    with service.engine.connect() as db:
        rows = ledger.find_jobs(
            db, caller.tenant, before=paging.cursor, states=status or (), limit=paging.rows
        )
        page = [job_answer(db, row) for row in rows[: paging.limit]]
    return JobPage(jobs=page, next=paging.next(rows))


@router.get(
    "/{job_id}", response_model=Job, responses={304: {"description": "Nothing has changed."}}
)
def get_job(
    job_id: str, request: Request, response: Response, service: Here, caller: Reader
) -> Job | Response:
    """Return how far a job is; with the `ETag` of the last answer, 304 while nothing changes."""
    with service.engine.connect() as db:
        job = job_answer(db, ledger.find_job(db, caller.tenant, job_id))
    etag = f'"{hashlib.sha256(job.model_dump_json().encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag} | ({} if job.status in FINAL else {"Retry-After": "1"})
    if results.etag_matches(request, etag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return job


@router.delete("/{job_id}")
def cancel_job(job_id: str, service: Here, caller: Writer) -> Job:
    """Cancel a job: waiting images at once, running ones within two seconds."""
    with service.engine.begin() as db:
        ledger.find_job(db, caller.tenant, job_id)
        ledger.cancel(db, job_id)
        return job_answer(db, ledger.find_job(db, caller.tenant, job_id))


@router.post("/{job_id}/retry")
def retry_job(job_id: str, service: Here, caller: Writer) -> Job:
    """Analyze the failed and cancelled images of a finished job again, and those that came late."""
    with service.engine.begin() as db:
        ledger.find_job(db, caller.tenant, job_id)
        ledger.retry(db, job_id)
        return job_answer(db, ledger.find_job(db, caller.tenant, job_id))


@router.get("/{job_id}/events", response_class=StreamingResponse)
async def watch_job(
    job_id: str,
    service: Here,
    caller: Reader,
    last_event_id: Annotated[str, Header(max_length=200)] = "",
) -> StreamingResponse:
    """Send server-sent events until the job ends; `Last-Event-ID` leaves out what was seen.

    `status` (the job), `progress` (of running images), `image` (one is done), `end`.
    """
    await run_in_threadpool(_look, service, caller.tenant, job_id, "")
    events = _events(service, caller.tenant, job_id, last_event_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


@dataclass(frozen=True, slots=True)
class _Look:
    job: Job
    running: dict[str, float]  # id of an image -> share of it that is done
    done: list[tuple[str, Task]]  # with the mark to go on from


def _look(service: Service, tenant: str, job_id: str, mark: str) -> _Look:
    """Return the job, its running images' progress, and its images done after a mark."""
    with service.engine.connect() as db:
        job = job_answer(db, ledger.find_job(db, tenant, job_id))
        running = ledger.running_shares(db, job_id)
        done = [
            (f"{row.finished_at} {row.image_id}", task_answer(row))
            for row in ledger.done_after(db, job_id, mark)
        ]
    return _Look(job, running, done)


async def _events(service: Service, tenant: str, job_id: str, mark: str) -> AsyncIterator[str]:
    status, quiet_s = "", 0.0
    shares: dict[str, float] = {}
    while not service.draining:
        try:
            look = await run_in_threadpool(_look, service, tenant, job_id, mark)
        except Problem:  # the survey was deleted meanwhile
            yield _event("end", mark, json.dumps({"status": State.CANCELLED}))
            return
        for mark, task in look.done:
            yield _event("image", mark, task.model_dump_json())
        if look.running != shares:
            shares = look.running
            yield _event("progress", mark, json.dumps(shares))
        if (text := look.job.model_dump_json()) != status:
            status, quiet_s = text, 0.0
            yield _event("status", mark, status)
        if look.job.finished:
            yield _event("end", mark, status)
            return
        quiet_s += _POLL_S
        if quiet_s >= _COMMENT_S:
            quiet_s = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(_POLL_S)


def _event(name: str, mark: str, data: str) -> str:
    return f"event: {name}\nid: {mark}\ndata: {data}\n\n"


@router.get("/{job_id}/images")
def list_job_images(
    job_id: str,
    service: Here,
    caller: Reader,
    paging: Paged,
) -> TaskPage:
    """List the images of a job with what became of them, in the order they came."""
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, job_id)
        rows = ledger.task_rows(db, job_id, after=paging.cursor, limit=paging.rows)
    page = [task_answer(row) for row in rows[: paging.limit]]
    return TaskPage(images=page, next=paging.next(rows, "image_id"))


@router.get("/{job_id}/images/{image_id}")
def get_job_image(job_id: str, image_id: str, service: Here, caller: Reader) -> Task:
    """Return what became of one image."""
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, job_id)
        return task_answer(ledger.find_task(db, job_id, image_id))


@router.put("/{job_id}/images/{image_id}/cracks/{crack_id}/verdict")
def put_verdict(
    job_id: str, image_id: str, crack_id: CrackId, new: NewVerdict, service: Here, caller: Writer
) -> Verdict:
    """Keep what an inspector says of a crack: `accept`, `reject` or `open`, with a note.

    Rejected cracks leave the figures of the survey and the papers; `report.json` stays as measured.
    """
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, job_id)
        task = ledger.find_task(db, job_id, image_id)
    corrections.settle(service.engine, service.storage, task)
    with service.engine.begin() as db:
        task = ledger.find_task(db, job_id, image_id)
        return verdicts.put_verdict(db, service.storage, task, crack_id, new, caller.key_id)


@router.get("/{job_id}/verdicts")
def list_verdicts(job_id: str, service: Here, caller: Reader) -> Verdicts:
    """Return all verdicts of a job."""
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, job_id)
        rows = verdicts.verdict_rows(db, job_id)
    return Verdicts(verdicts=[Verdict.model_validate(row) for row in rows])


@router.get(
    "/{job_id}/images/{image_id}/tiles/{level}/{col}/{row}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
def get_image_tile(
    job_id: str,
    image_id: str,
    level: TileNumber,
    col: TileNumber,
    row: TileNumber,
    service: Here,
    caller: Reader,
) -> Response:
    """Return a part of the photograph of at most 512 x 512 px, JPEG.

    Level 0 is the whole picture in one tile; each level doubles the size, up to its own pixels.
    """
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, job_id)
        task = ledger.find_task(db, job_id, image_id)
    return results.tile_response(service, task, level, col, row)


@router.get("/{job_id}/images/{image_id}/{file:filename}", response_class=FileResponse)
def get_image_file(
    job_id: str,
    image_id: str,
    file: ImageFile,
    request: Request,
    service: Here,
    caller: Reader,
    rejected: WithRejected = False,
    as_measured: AsMeasured = False,
) -> Response:
    """Return a file of an image that was analyzed; page, overlay, table and map with verdicts."""
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, job_id)
        task = ledger.find_task(db, job_id, image_id)
    return results.file_response(request, task, file, rejected=rejected, as_measured=as_measured)


@router.get("/{job_id}/{file:filename}", response_class=Response)
def get_job_file(
    job_id: str,
    file: JobFile,
    service: Here,
    caller: Reader,
    rejected: WithRejected = False,
    locale: LocaleName = "en",
) -> Response:
    """Return a file of a finished job, made anew: verdicts may have changed.

    The verdicts and the history can be had before the job is finished. `inspection.*` is the report
    for the client, in the language of `locale`; it takes a while: 202 means to ask again.
    """
    with service.engine.connect() as db:
        job = ledger.find_job(db, caller.tenant, job_id)
    if job.state not in FINAL and file not in (JobFile.VERDICTS_CSV, JobFile.CHANGES_CSV):
        raise results.not_ready(job.state)
    if file in INSPECTIONS:
        return results.inspection_response(service, job, file, locale, rejected=rejected)
    return results.job_file_response(service, job, file, rejected=rejected)
