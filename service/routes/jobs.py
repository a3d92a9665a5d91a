"""Jobs, in the shape of OGC API - Processes 1.0, with their images, events and files."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from service import jobs as domain
from service import results
from service.database import FINAL, jobs
from service.descriptions import Results
from service.errors import Problem
from service.inspection import put_verdict as keep_verdict
from service.inspection import verdict_rows, verdicts_csv
from service.keys import Caller, reader, writer
from service.paths import href
from service.routes.documents import (
    READ,
    WRITE,
    file_answer,
    headers,
    kept_file_answers,
    links,
    problems,
)
from service.routes.surveys import JOB_LINKS, PAGED, Cursor, Limit, next_cursor
from service.schemas import Job, JobPage, NewVerdict, OgcStatus, Task, TaskPage, Verdict, Verdicts

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_STATES = {ogc: state for state, ogc in domain.OGC_STATUS.items()}
_LAST_ID = "~"
_POLL_S = 0.5
_COMMENT_S = 15.0
CrackId = Annotated[int, Path(ge=1, le=10**9)]
_POLLED = headers(ETag='"9f86d081884c7d65"', Retry_After="1")
_IMAGE_LINKS = ("getJobImage", *(f"getImage_{name.replace('.', '_')}" for name in domain.ARTEFACTS))


@router.get(
    "", response_model=JobPage, operation_id="listJobs",
    responses={
        **problems(*READ),
        200: PAGED | links({"job_id": "$response.body#/jobs/0/jobID"}, *JOB_LINKS),
    },
)  # fmt: skip
def list_jobs(
    request: Request, response: Response, caller: Annotated[Caller, Depends(reader)],
    status: Annotated[list[OgcStatus] | None, Query()] = None, limit: Limit = 50,
    cursor: Cursor = "",
) -> Any:  # fmt: skip
    """List jobs, the newest first."""
    query = sa.select(jobs).where(jobs.c.tenant == caller.tenant)
    query = query.where(jobs.c.id < (cursor or _LAST_ID)).order_by(jobs.c.id.desc())
    if status:
        query = query.where(jobs.c.state.in_([_STATES[s] for s in status]))
    with request.app.state.engine.connect() as db:
        rows = db.execute(query.limit(limit + 1)).all()
        page = [domain.status_info(db, row) for row in rows[:limit]]
    following = next_cursor(request, response, rows, limit, "id")
    links = [{"href": href("/v1/jobs"), "rel": "self"}]
    if following:
        page_of = href(f"/v1/jobs?cursor={following}&limit={limit}")
        links.append({"href": page_of, "rel": "next"})
    return {"jobs": page, "links": links}


@router.get(
    "/{job_id}", response_model=Job, operation_id="getJob",
    responses={
        **problems(*READ), 200: _POLLED, 304: {"description": "Nothing has changed.", **_POLLED}
    },
)  # fmt: skip
def get_job(
    job_id: str, request: Request, response: Response,
    caller: Annotated[Caller, Depends(reader)],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Any:  # fmt: skip
    """Return how far a job is; with the `ETag` of the last answer, 304 while nothing changes."""
    with request.app.state.engine.connect() as db:
        job = domain.find_job(db, caller.tenant, job_id)
        status = domain.status_info(db, job)
    etag = f'"{hashlib.sha256(json.dumps(status).encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag} | ({} if job.state in FINAL else {"Retry-After": "1"})
    if results.etag_matches(request, etag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return status


@router.delete(
    "/{job_id}", response_model=Job, responses=problems(*WRITE), operation_id="dismissJob"
)
def dismiss_job(job_id: str, request: Request, caller: Annotated[Caller, Depends(writer)]) -> Any:
    """Cancel a job: waiting images at once, running ones within two seconds."""
    with request.app.state.engine.begin() as db:
        domain.find_job(db, caller.tenant, job_id)
        domain.cancel(db, job_id)
        return domain.status_info(db, domain.find_job(db, caller.tenant, job_id))


@router.post(
    "/{job_id}/retry", response_model=Job, responses=problems(*WRITE), operation_id="retryJob"
)
def retry_job(job_id: str, request: Request, caller: Annotated[Caller, Depends(writer)]) -> Any:
    """Analyze the failed and cancelled images of a finished job again, and those that came late."""
    with request.app.state.engine.begin() as db:
        domain.find_job(db, caller.tenant, job_id)
        domain.retry(db, job_id)
        return domain.status_info(db, domain.find_job(db, caller.tenant, job_id))


@router.get(
    "/{job_id}/events", response_class=StreamingResponse, operation_id="watchJob",
    responses={**problems(*READ), 200: {
        "description": "`status` (job), `progress` (of running images), `image` (done), `end`.",
        "content": {"text/event-stream": {
            "schema": {"type": "object"},  # of one event
            "example": {"event": "end", "id": "", "data": '{"status": "successful"}'},
        }},
    }},
)  # fmt: skip
async def watch_job(
    job_id: str, request: Request, caller: Annotated[Caller, Depends(reader)],
    last_event_id: Annotated[str, Header(max_length=200)] = "",
) -> StreamingResponse:  # fmt: skip
    """Send server-sent events until the job ends; `Last-Event-ID` leaves out what was seen."""
    await run_in_threadpool(_look, request, caller, job_id, "")
    events = _events(request, caller, job_id, last_event_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


def _look(
    request: Request, caller: Caller, job_id: str, seen: str
) -> tuple[dict[str, Any], dict[str, float], list[dict[str, Any]]]:
    """Return the job, its running images' progress, and its images done after ``seen``."""
    with request.app.state.engine.connect() as db:
        status = domain.status_info(db, domain.find_job(db, caller.tenant, job_id))
        running = domain.running_shares(db, job_id)
        done = [domain.task_info(row) for row in domain.done_after(db, job_id, seen)]
    return status, running, done


async def _events(request: Request, caller: Caller, job_id: str, seen: str) -> AsyncIterator[str]:
    said, quiet_s = "", 0.0
    shares: dict[str, float] = {}
    while not request.app.state.draining:
        try:
            status, running, done = await run_in_threadpool(_look, request, caller, job_id, seen)
        except Problem:  # the survey was deleted meanwhile
            yield _event("end", seen, {"status": "dismissed"})
            return
        for task in done:
            seen = f"{task['finished_at']} {task['image']}"
            yield _event("image", seen, task)
        if running != shares:
            shares = running
            yield _event("progress", seen, shares)
        text = json.dumps(status)
        if text != said:
            said, quiet_s = text, 0.0
            yield _event("status", seen, status)
        if status["finished"]:
            yield _event("end", seen, status)
            return
        quiet_s += _POLL_S
        if quiet_s >= _COMMENT_S:
            quiet_s = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(_POLL_S)


def _event(name: str, identity: str, data: dict[str, Any]) -> str:
    return f"event: {name}\nid: {identity}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


@router.get(
    "/{job_id}/images", response_model=TaskPage, operation_id="listJobImages",
    responses={
        **problems(*READ),
        200: PAGED | links(
            {"job_id": "$request.path.job_id", "image_id": "$response.body#/images/0/image"},
            *_IMAGE_LINKS, "putVerdict",
        ),
    },
)  # fmt: skip
def list_job_images(
    job_id: str, request: Request, response: Response,
    caller: Annotated[Caller, Depends(reader)], limit: Limit = 100, cursor: Cursor = "",
) -> Any:  # fmt: skip
    """List the images of a job with what became of them, in the order they came."""
    with request.app.state.engine.connect() as db:
        domain.find_job(db, caller.tenant, job_id)
        rows = domain.task_rows(db, job_id, after=cursor, limit=limit + 1)
    following = next_cursor(request, response, rows, limit, "image_id")
    return {"images": [domain.task_info(row) for row in rows[:limit]], "next": following}


@router.get(
    "/{job_id}/images/{image_id}", response_model=Task, responses=problems(*READ),
    operation_id="getJobImage",
)  # fmt: skip
def get_job_image(
    job_id: str, image_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]
) -> Any:
    """Return what became of one image."""
    with request.app.state.engine.connect() as db:
        domain.find_job(db, caller.tenant, job_id)
        return domain.task_info(domain.find_task(db, job_id, image_id))


@router.put(
    "/{job_id}/images/{image_id}/cracks/{crack_id}/verdict", response_model=Verdict,
    responses=problems(*WRITE), operation_id="putVerdict",
)  # fmt: skip
def put_verdict(
    job_id: str, image_id: str, crack_id: CrackId, new: NewVerdict, request: Request,
    caller: Annotated[Caller, Depends(writer)],
) -> Any:  # fmt: skip
    """Keep what an inspector says of a crack: `accept`, `reject` or `open`, with a note.

    Rejected cracks leave the figures of the survey; the image's own files stay as measured.
    """
    state = request.app.state
    with state.engine.begin() as db:
        domain.find_job(db, caller.tenant, job_id)
        task = domain.find_task(db, job_id, image_id)
        return keep_verdict(db, state.storage, task, crack_id, new, caller.key_id)


@router.get(
    "/{job_id}/verdicts", response_model=Verdicts, responses=problems(*READ),
    operation_id="listVerdicts",
)  # fmt: skip
def list_verdicts(job_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]) -> Any:
    """Return all verdicts of a job."""
    with request.app.state.engine.connect() as db:
        domain.find_job(db, caller.tenant, job_id)
        return {"verdicts": verdict_rows(db, job_id)}


@router.get(
    "/{job_id}/verdicts.csv", operation_id="getVerdictsCsv", response_class=Response,
    responses={**problems(*READ), 200: file_answer("text/csv")},
)  # fmt: skip
def get_verdicts_csv(
    job_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]
) -> Response:
    """Return all verdicts of a job as a table."""
    with request.app.state.engine.connect() as db:
        domain.find_job(db, caller.tenant, job_id)
        text = verdicts_csv(verdict_rows(db, job_id))
    headers = {"Content-Disposition": 'attachment; filename="verdicts.csv"'}
    marked = text.encode("utf-8-sig")  # without the mark Excel garbles umlauts
    return Response(marked, media_type="text/csv; charset=utf-8", headers=headers)


@router.get(
    "/{job_id}/results", operation_id="getResults", response_model=Results,
    responses=problems(*READ),
)  # fmt: skip
def get_results(job_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]) -> Any:
    """Return the OGC results document: links to what the job made."""
    with request.app.state.engine.connect() as db:
        job = domain.find_job(db, caller.tenant, job_id)
        rows = domain.task_rows(db, job_id)
    if job.state not in FINAL:
        raise Problem(404, "result-not-ready", "The job is not finished.")
    if job.state == "failed":
        raise Problem(500, "job-failed", "No image of the job could be analyzed.")
    base = href(f"/v1/jobs/{job_id}")
    files = {name: {"href": f"{base}/{name}"} for name in _SURVEY_NAMES}
    images = [domain.task_info(row)["links"] for row in rows if row.state == "succeeded"]
    return {**files, "images": images}


_SURVEY_NAMES = (*results.SURVEY_FILES, "report.geojson", "bundle.zip")


def _finished(request: Request, caller: Caller, job_id: str) -> Any:
    """Return a finished job.

    Raises:
        Problem: 404; 409, it is not finished.
    """
    with request.app.state.engine.connect() as db:
        job = domain.find_job(db, caller.tenant, job_id)
    if job.state not in FINAL:
        raise results.not_ready(job.state)
    return job


@router.get(
    "/{job_id}/bundle.zip", response_class=StreamingResponse, operation_id="getBundle",
    responses={**problems(*READ, 409), 200: file_answer("application/zip")},
)  # fmt: skip
def get_bundle(
    job_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]
) -> StreamingResponse:
    """Return everything a job made as one ZIP, made while it is sent."""
    job = _finished(request, caller, job_id)
    headers = {"Content-Disposition": f'attachment; filename="crackseg-{job_id[:13]}.zip"'}
    stream = results.bundle(request, job)
    return StreamingResponse(stream, media_type="application/zip", headers=headers)


@router.get(
    "/{job_id}/report.geojson", response_class=StreamingResponse, operation_id="getSurveyGeojson",
    responses={
        **problems(*READ, 409),
        200: file_answer("application/geo+json"),
    },
)  # fmt: skip
def get_survey_geojson(
    job_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]
) -> StreamingResponse:
    """Return the cracks of all images as one feature collection."""
    job = _finished(request, caller, job_id)
    headers = {"Content-Disposition": 'attachment; filename="cracks.geojson"'}
    stream = results.survey_geojson(request, job)
    return StreamingResponse(stream, media_type="application/geo+json", headers=headers)


def _add_survey_route(name: str, media: str) -> None:
    kind = "survey" if name == "report.json" else ""

    def get_file(
        job_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]
    ) -> Response:
        return results.survey_file(request, _finished(request, caller, job_id), name)

    router.add_api_route(
        f"/{{job_id}}/{name}", get_file, methods=["GET"], response_class=Response,
        responses={**problems(*READ, 409), 200: file_answer(media, kind)},
        operation_id=f"getSurvey_{name.replace('.', '_')}", summary=f"Get the survey's {name}",
    )  # fmt: skip


def _add_image_route(name: str, media: str) -> None:
    def get_file(
        job_id: str, image_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]
    ) -> Response:
        with request.app.state.engine.connect() as db:
            domain.find_job(db, caller.tenant, job_id)
            task = domain.find_task(db, job_id, image_id)
        return results.file_response(request, task, name)

    router.add_api_route(
        f"/{{job_id}}/images/{{image_id}}/{name}", get_file, methods=["GET"],
        response_class=FileResponse,
        responses=kept_file_answers(media),
        operation_id=f"getImage_{name.replace('.', '_')}", summary=f"Get an image's {name}",
    )  # fmt: skip


for _name, (_, _media) in results.SURVEY_FILES.items():
    _add_survey_route(_name, _media)
for _name, _media in domain.ARTEFACTS.items():
    _add_image_route(_name, _media)
