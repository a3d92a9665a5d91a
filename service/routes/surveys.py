"""Surveys: a set of images that comes one by one and is analyzed together."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service import facts, ledger, submit, uploads
from service.answers import change_answer, image_answer, job_answer, survey_answer
from service.asking import (
    Here,
    IdempotencyKey,
    ImageName,
    Paged,
    PagedShort,
    Reader,
    Writer,
)
from service.bodies import content_length, receive_body
from service.errors import Problem
from service.history import Place, find_changes, note_change, people
from service.names import clean_name
from service.openapi import RAW_IMAGE
from service.paths import href
from service.schemas import (
    NO_NUL,
    ChangePage,
    Facts,
    Image,
    ImageOptions,
    ImagePage,
    Job,
    NewFacts,
    NewSurvey,
    Options,
    Survey,
    SurveyChange,
    SurveyPage,
)

router = APIRouter(prefix="/v1/surveys", tags=["surveys"])
STREAMS = r"PUT /v1/surveys/[^/]+/images/[^/]+"


@router.post("", status_code=201)
def create_survey(
    new: NewSurvey,
    response: Response,
    service: Here,
    caller: Writer,
    idempotency_key: IdempotencyKey = None,
) -> Survey:
    """Begin a survey; images follow by `PUT /v1/surveys/{id}/images/{name}`."""
    with service.engine.begin() as db:
        survey_id = submit.submit_survey(service, db, caller.tenant, new, idempotency_key)
        survey = survey_answer(db, ledger.find_survey(db, caller.tenant, survey_id))
    response.headers["Location"] = href(f"/v1/surveys/{survey_id}")
    return survey


@router.get("")
def list_surveys(
    service: Here,
    caller: Reader,
    paging: PagedShort,
    q: Annotated[str, Query(max_length=200, pattern=NO_NUL, description="Part of the name.")] = "",
) -> SurveyPage:
    """List surveys, the newest first."""
    with service.engine.connect() as db:
        rows = ledger.find_surveys(
            db, caller.tenant, before=paging.cursor, part=q, limit=paging.rows
        )
        page = [survey_answer(db, row) for row in rows[: paging.limit]]
    return SurveyPage(surveys=page, next=paging.next(rows))


@router.get("/{survey_id}")
def get_survey(survey_id: str, service: Here, caller: Reader) -> Survey:
    """Return a survey."""
    with service.engine.connect() as db:
        return survey_answer(db, ledger.find_survey(db, caller.tenant, survey_id))


@router.put("/{survey_id}")
def change_survey(survey_id: str, change: SurveyChange, service: Here, caller: Writer) -> Survey:
    """Rename a survey, or keep other options for it; what is left out stays."""
    options = change.options.checked(service.settings.analyze) if change.options else None
    with service.engine.begin() as db:
        row = ledger.find_survey(db, caller.tenant, survey_id)
        place, by = Place(survey_id=survey_id), caller.key_id
        if change.name is not None:
            old = {"name": row.name}
            note_change(db, place, "name", by, before=old, after={"name": change.name})
        if options is not None:
            old = ledger.draft_options(db, survey_id)
            note_change(db, place, "options", by, before=old, after=options)
        ledger.change_survey(db, survey_id, name=change.name, options=options)
        return survey_answer(db, ledger.find_survey(db, caller.tenant, survey_id))


@router.get("/{survey_id}/facts")
def get_facts(survey_id: str, service: Here, caller: Reader) -> Facts:
    """Return what people know of a survey; the head of its report is made of it."""
    with service.engine.connect() as db:
        ledger.find_survey(db, caller.tenant, survey_id, kind=None)
        return facts.answer(db, survey_id)


@router.put("/{survey_id}/facts")
def put_facts(survey_id: str, new: NewFacts, service: Here, caller: Writer) -> Facts:
    """Keep the text of a `survey.toml`: who, where, when, which face; "" takes it back."""
    with service.engine.begin() as db:
        ledger.find_survey(db, caller.tenant, survey_id, kind=None)
        facts.keep(db, survey_id, new.toml, caller.key_id)
        return facts.answer(db, survey_id)


@router.get("/{survey_id}/changes")
def list_changes(
    survey_id: str,
    service: Here,
    caller: Reader,
    paging: Paged,
) -> ChangePage:
    """List who changed what in a survey, the latest first."""
    with service.engine.connect() as db:
        ledger.find_survey(db, caller.tenant, survey_id)
        rows = find_changes(db, survey_id, before=paging.cursor, limit=paging.rows)
        names = people(db)
    page = [change_answer(row, names) for row in rows[: paging.limit]]
    return ChangePage(changes=page, next=paging.next(rows))


@router.delete("/{survey_id}", status_code=204)
def delete_survey(survey_id: str, service: Here, caller: Writer) -> None:
    """Delete a survey with its images and results; a running job is cancelled."""
    with service.engine.connect() as db:
        ledger.find_survey(db, caller.tenant, survey_id)
    ledger.delete_with_files(service.engine, service.storage, survey_id)


@router.get("/{survey_id}/images")
def list_images(
    survey_id: str,
    service: Here,
    caller: Reader,
    paging: Paged,
) -> ImagePage:
    """List the images of a survey in the order they came."""
    with service.engine.connect() as db:
        ledger.find_survey(db, caller.tenant, survey_id)
        rows = ledger.find_images(db, survey_id, after=paging.cursor, limit=paging.rows)
    page = [image_answer(row) for row in rows[: paging.limit]]
    return ImagePage(images=page, next=paging.next(rows))


@router.put(
    "/{survey_id}/images/{name}",
    status_code=201,
    responses={200: {"model": Image, "description": "The survey held this very image already."}},
    openapi_extra={"requestBody": RAW_IMAGE},
)
async def put_image(
    survey_id: str,
    name: ImageName,
    request: Request,
    response: Response,
    service: Here,
    caller: Writer,
) -> Image:
    """Add an image, streamed; the same again is a no-op, another of that name a conflict.

    `Repr-Digest: sha-256=:BASE64:` is compared with what arrives.
    """
    if content_length(request) is None:
        raise Problem(411, "length-required", "A `Content-Length` is needed.")
    tenant = caller.tenant
    await run_in_threadpool(uploads.require_draft, service, tenant, survey_id)
    received = await receive_body(request)
    judged = await uploads.judge(service, tenant, received, clean_name(name))
    row, fresh = await run_in_threadpool(uploads.keep_image, service, tenant, survey_id, judged)
    response.status_code = 201 if fresh else 200
    response.headers["Location"] = href(f"/v1/surveys/{survey_id}/images")
    return image_answer(row)


@router.put("/{survey_id}/images/{name}/options")
def put_image_options(
    survey_id: str, name: ImageName, new: ImageOptions, service: Here, caller: Writer
) -> Image:
    """Say where the scale of one image comes from, for its next analysis; {}: as all.

    `retry` takes it where the image failed.
    """
    with service.engine.begin() as db:
        ledger.find_survey(db, caller.tenant, survey_id, kind=None)
        image = ledger.find_image(db, survey_id, clean_name(name))
        place = Place(survey_id=survey_id, image_id=image.id)
        old, fresh = image.options or {}, new.plain()
        note_change(
            db, place, "options", caller.key_id, before={"options": old}, after={"options": fresh}
        )
        ledger.set_own_options(db, image.id, fresh)
        return image_answer(ledger.find_image(db, survey_id, image.name))


@router.delete("/{survey_id}/images/{name}", status_code=204)
def delete_image(survey_id: str, name: ImageName, service: Here, caller: Writer) -> None:
    """Take an image out of a survey, as long as no job looked at it."""
    with service.engine.begin() as db:
        ledger.find_survey(db, caller.tenant, survey_id)
        image_id = ledger.remove_image(db, survey_id, clean_name(name))
    service.storage.upload(survey_id, image_id).unlink(missing_ok=True)


@router.post("/{survey_id}/execution", status_code=201)
def execute_survey(
    survey_id: str,
    options: Options,
    response: Response,
    service: Here,
    caller: Writer,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Analyze all images of a survey; the answer's `Location` is the job."""
    with service.engine.begin() as db:
        job_id = submit.submit_job(service, db, caller.tenant, survey_id, options, idempotency_key)
        job = job_answer(db, ledger.find_job(db, caller.tenant, job_id))
    response.headers["Location"] = href(f"/v1/jobs/{job_id}")
    return job
