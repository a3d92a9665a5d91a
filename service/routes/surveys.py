"""Surveys: a set of images that comes one by one and is analyzed together."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.engine import Connection, Row
from starlette.concurrency import run_in_threadpool

from service import jobs as domain
from service.database import images, jobs, new_id, surveys, tasks
from service.errors import Problem
from service.intake import Judged, content_length, judge, receive_body
from service.keys import Caller, reader, writer
from service.names import clean_name
from service.paths import href
from service.quota import require_bytes, require_place, require_queue
from service.routes.analyses import IdempotencyKey
from service.routes.documents import RAW_IMAGE, READ, UPLOAD, WRITE, headers, links, problems
from service.schemas import (
    ID,
    NO_NUL,
    Image,
    ImagePage,
    Job,
    NewSurvey,
    Options,
    Survey,
    SurveyChange,
    SurveyPage,
)

router = APIRouter(prefix="/v1/surveys", tags=["surveys"])
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[
    str, Query(pattern="^[0-9a-f-]{0,36}$", description="`next` of the page before.")
]
ImageName = Annotated[str, Path(max_length=300, pattern=NO_NUL)]
_LAST_ID = "~"  # sorts after every id
_SURVEY_LINKS = ("getSurvey", "changeSurvey", "deleteSurvey", "listImages", "putImage",
                 "deleteImage", "executeSurvey")  # fmt: skip
JOB_LINKS = ("getJob", "dismissJob", "retryJob", "watchJob", "listJobImages", "listVerdicts",
              "getVerdictsCsv", "getResults", "getSurvey_report_json", "getSurvey_report_csv",
              "getSurvey_report_html", "getSurveyGeojson", "getBundle")  # fmt: skip
JOB_STARTED = links({"job_id": "$response.body#/jobID"}, *JOB_LINKS) | headers(
    Location=f"/v1/jobs/{ID}", Preference_Applied="respond-async"
)
PAGED = headers(Link='</v1/surveys?cursor=…>; rel="next"')


@router.post(
    "", status_code=201, response_model=Survey, operation_id="createSurvey",
    responses={
        **problems(*WRITE),
        201: links({"survey_id": "$response.body#/id"}, *_SURVEY_LINKS)
        | headers(Location=f"/v1/surveys/{ID}"),
    },
)  # fmt: skip
def create_survey(
    new: NewSurvey, request: Request, response: Response,
    caller: Annotated[Caller, Depends(writer)], idempotency_key: IdempotencyKey = None,
) -> Any:  # fmt: skip
    """Begin a survey; images follow by `PUT /v1/surveys/{id}/images/{name}`."""
    fresh = new_id()
    if new.options:
        new.options.over(request.app.state.settings.analyze)
    with request.app.state.engine.begin() as db:
        typed = new.options.plain() if new.options else None
        digest = domain.fingerprint(new.name, *([typed] if typed else []))
        found = domain.submit_once(db, caller.tenant, "surveys", idempotency_key, digest, fresh)
        if found == fresh:
            domain.create_survey(db, caller.tenant, new.name, kind="survey", survey_id=fresh)
            domain.change_survey(db, fresh, name=None, options=typed)
        survey = survey_info(db, domain.find_survey(db, caller.tenant, found))
    response.headers["Location"] = href(f"/v1/surveys/{found}")
    return survey


def survey_info(db: Connection, row: Row[Any]) -> dict[str, Any]:
    """Return a survey as answers hold it."""
    count, size = db.execute(
        sa.select(sa.func.count(), sa.func.sum(images.c.size_bytes)).where(
            images.c.survey_id == row.id
        )
    ).one()
    query = sa.select(jobs.c.id, jobs.c.state).where(jobs.c.survey_id == row.id)
    job = db.execute(query.order_by(jobs.c.id.desc()).limit(1)).one_or_none()
    return {
        "id": row.id,
        "name": row.name,
        "created_at": row.created_at,
        "images": count,
        "size_bytes": int(size or 0),
        "job": job.id if job else None,
        "status": job.state if job else "draft",
        "not_analyzed": len(domain.late_images(db, row.id, job.id)) if job else count,
        "options": domain.draft_options(db, row.id),
    }


@router.get(
    "", response_model=SurveyPage, operation_id="listSurveys",
    responses={
        **problems(*READ),
        200: PAGED | links({"survey_id": "$response.body#/surveys/0/id"}, *_SURVEY_LINKS),
    },
)  # fmt: skip
def list_surveys(
    request: Request, response: Response, caller: Annotated[Caller, Depends(reader)],
    limit: Limit = 50, cursor: Cursor = "",
    q: Annotated[str, Query(max_length=200, pattern=NO_NUL, description="Part of the name.")] = "",
) -> Any:  # fmt: skip
    """List surveys, the newest first."""
    with request.app.state.engine.connect() as db:
        rows = find_surveys(db, caller.tenant, cursor=cursor, part=q, limit=limit + 1)
        page = [survey_info(db, row) for row in rows[:limit]]
    following = next_cursor(request, response, rows, limit, "id")
    return {"surveys": page, "next": following}


def find_surveys(
    db: Connection, tenant: str, *, cursor: str, part: str, limit: int
) -> list[Row[Any]]:
    """Return surveys of a tenant, the newest first, with a part in their name."""
    query = (
        sa.select(surveys)
        .where(surveys.c.tenant == tenant, surveys.c.kind == "survey")
        .where(surveys.c.id < (cursor or _LAST_ID))
        .order_by(surveys.c.id.desc())
        .limit(limit)
    )
    if part.strip():
        name = sa.func.lower(surveys.c.name)
        query = query.where(name.contains(part.strip().lower(), autoescape=True))
    return list(db.execute(query))


def next_cursor(
    request: Request, response: Response, rows: list[Any] | Any, limit: int, column: str
) -> str | None:
    """Return the cursor of the next page, or None on the last, and say it in `Link`."""
    if len(rows) <= limit:
        return None
    cursor = str(getattr(rows[limit - 1], column))
    url = request.url.include_query_params(cursor=cursor)
    response.headers["Link"] = f'<{href(url.path)}?{url.query}>; rel="next"'
    return cursor


@router.get(
    "/{survey_id}", response_model=Survey, responses=problems(*READ), operation_id="getSurvey"
)
def get_survey(survey_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]) -> Any:
    """Return a survey."""
    with request.app.state.engine.connect() as db:
        return survey_info(db, domain.find_survey(db, caller.tenant, survey_id))


@router.put(
    "/{survey_id}", response_model=Survey, responses=problems(*WRITE), operation_id="changeSurvey"
)
def change_survey(
    survey_id: str, change: SurveyChange, request: Request,
    caller: Annotated[Caller, Depends(writer)],
) -> Any:  # fmt: skip
    """Rename a survey, or keep other options for it; what is left out stays."""
    if change.options:
        change.options.over(request.app.state.settings.analyze)
    options = None if change.options is None else change.options.plain()
    with request.app.state.engine.begin() as db:
        domain.find_survey(db, caller.tenant, survey_id)
        domain.change_survey(db, survey_id, name=change.name, options=options)
        return survey_info(db, domain.find_survey(db, caller.tenant, survey_id))


@router.delete(
    "/{survey_id}", status_code=204, responses=problems(*WRITE), operation_id="deleteSurvey"
)
def delete_survey(
    survey_id: str, request: Request, caller: Annotated[Caller, Depends(writer)]
) -> None:
    """Delete a survey with its images and results; a running job is cancelled."""
    state = request.app.state
    with state.engine.connect() as db:
        domain.find_survey(db, caller.tenant, survey_id)
    domain.delete_with_files(state.engine, state.storage, survey_id)


@router.get(
    "/{survey_id}/images", response_model=ImagePage, operation_id="listImages",
    responses={
        **problems(*READ),
        200: PAGED | links(
            {"survey_id": "$request.path.survey_id", "name": "$response.body#/images/0/name"},
            "putImage", "deleteImage",
        ),
    },
)  # fmt: skip
def list_images(
    survey_id: str, request: Request, response: Response,
    caller: Annotated[Caller, Depends(reader)], limit: Limit = 100, cursor: Cursor = "",
) -> Any:  # fmt: skip
    """List the images of a survey in the order they came."""
    with request.app.state.engine.connect() as db:
        domain.find_survey(db, caller.tenant, survey_id)
        query = sa.select(images).where(images.c.survey_id == survey_id, images.c.id > cursor)
        rows = db.execute(query.order_by(images.c.id).limit(limit + 1)).all()
    following = next_cursor(request, response, rows, limit, "id")
    return {"images": [row._asdict() for row in rows[:limit]], "next": following}


@router.put(
    "/{survey_id}/images/{name}", status_code=201, response_model=Image,
    responses={
        **problems(*UPLOAD, 411),
        200: {"model": Image, "description": "The survey held this very image already."},
    },
    operation_id="putImage", openapi_extra={"requestBody": RAW_IMAGE},
)  # fmt: skip
async def put_image(
    survey_id: str,
    name: ImageName,
    request: Request,
    response: Response,
    caller: Annotated[Caller, Depends(writer)],
) -> Any:
    """Add an image, streamed; the same again is a no-op, another of that name a conflict.

    `Repr-Digest: sha-256=:BASE64:` is compared with what arrives.
    """
    if content_length(request) is None:
        raise Problem(411, "length-required", "A `Content-Length` is needed.")
    shown = clean_name(name)
    await run_in_threadpool(require_draft, request, caller.tenant, survey_id)
    judged = await judge(request, await receive_body(request), shown)
    row, fresh = await run_in_threadpool(
        keep_image, request, caller.tenant, survey_id, shown, judged
    )
    response.status_code = 201 if fresh else 200
    response.headers["Location"] = href(f"/v1/surveys/{survey_id}/images")
    return row._asdict()


def require_draft(request: Request, tenant: str, survey_id: str) -> None:
    """Refuse images for a survey that is not there or is full.

    Raises:
        Problem: 404, 413.
    """
    with request.app.state.engine.connect() as db:
        domain.find_survey(db, tenant, survey_id)
        require_place(db, survey_id, request.app.state.settings)


def keep_image(
    request: Request, tenant: str, survey_id: str, name: str, judged: Judged, announced: int = 0
) -> tuple[Row[Any], bool]:
    """Put a judged image into a survey; return its row and whether it is new.

    ``announced`` are its bytes that the tenant's quota counts already.

    Raises:
        Problem: 404, 409, 413, 429.
    """
    state, received = request.app.state, judged.received
    try:
        with state.engine.begin() as db:
            domain.find_survey(db, tenant, survey_id)
            row, fresh = domain.add_image(db, survey_id, name, received, judged.info)
            if fresh:
                require_bytes(db, tenant, state.settings, -announced)
                state.storage.keep(received.path, survey_id, row.id)
        return row, fresh
    finally:
        received.path.unlink(missing_ok=True)


@router.delete(
    "/{survey_id}/images/{name}", status_code=204, responses=problems(*WRITE),
    operation_id="deleteImage",
)  # fmt: skip
def delete_image(
    survey_id: str, name: ImageName, request: Request,
    caller: Annotated[Caller, Depends(writer)],
) -> None:  # fmt: skip
    """Take an image out of a survey, as long as no job looked at it."""
    state = request.app.state
    with state.engine.begin() as db:
        domain.find_survey(db, caller.tenant, survey_id)
        this = (images.c.survey_id == survey_id) & (images.c.name == clean_name(name))
        image_id = db.scalar(sa.select(images.c.id).where(this))
        if image_id is None:
            raise Problem(404, "no-such-image", "The survey has no image of this name.")
        if db.scalar(sa.select(tasks.c.job_id).where(tasks.c.image_id == image_id).limit(1)):
            raise Problem(409, "survey-busy", "The image was analyzed; it stays.")
        db.execute(images.delete().where(this))
    state.storage.upload(survey_id, image_id).unlink(missing_ok=True)


@router.post(
    "/{survey_id}/execution", status_code=201, response_model=Job,
    responses={201: JOB_STARTED, **problems(*WRITE, 429, 507)}, operation_id="executeSurvey",
)  # fmt: skip
def execute_survey(
    survey_id: str, options: Options, request: Request, response: Response,
    caller: Annotated[Caller, Depends(writer)], idempotency_key: IdempotencyKey = None,
) -> Any:  # fmt: skip
    """Analyze all images of a survey; the answer's `Location` is the job."""
    return start_job(request, response, caller, survey_id, options, idempotency_key)


def start_job(
    request: Request, response: Response, caller: Caller, survey_id: str, options: Options,
    key: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Create the job of a survey, once per Idempotency-Key, and return its status.

    Raises:
        Problem: 404, 409, 422, 429, 507.
    """
    state, fresh = request.app.state, new_id()
    options.over(state.settings.analyze)
    state.storage.require_room()
    given = options.plain()
    with state.engine.begin() as db:
        domain.find_survey(db, caller.tenant, survey_id)
        digest = domain.fingerprint(survey_id, given)
        found = domain.submit_once(db, caller.tenant, "jobs", key, digest, fresh)
        if found == fresh:
            require_queue(db, caller.tenant, state.settings)
            domain.create_job(db, caller.tenant, survey_id, given, kind="survey", job_id=fresh)
        status = domain.status_info(db, domain.find_job(db, caller.tenant, found))
    response.headers["Location"] = href(f"/v1/jobs/{found}")
    response.headers["Preference-Applied"] = "respond-async"
    return status
