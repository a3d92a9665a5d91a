"""The short way: one image in, one report out."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from service import jobs as domain
from service.database import FINAL, new_id
from service.intake import Submission, receive_submission
from service.keys import Caller, reader, writer
from service.paths import href
from service.quota import require_bytes, require_queue
from service.results import file_response
from service.routes.documents import (
    RAW_IMAGE,
    READ,
    UPLOAD,
    WRITE,
    headers,
    kept_file_answers,
    links,
    problems,
)
from service.schemas import ID, NO_NUL, Analysis, Options

router = APIRouter(prefix="/v1/analyses", tags=["analyses"])
_OPTIONS = Options.model_json_schema()
_MM_PER_PX = {"type": "number", "minimum": 1e-3, "maximum": 100}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {
            "image": {"type": "string", "format": "binary"},
            "mm_per_px": _MM_PER_PX,
            "options": _OPTIONS,
        },
    },
    "encoding": {
        "image": {"contentType": "image/png, image/jpeg, image/tiff"},
        "options": {"contentType": "application/json"},
    },
}
_QUERY = [
    {
        "name": "name",
        "in": "query",
        "schema": {"type": "string", "pattern": NO_NUL},
        "description": "File name.",
    },
    {"name": "mm_per_px", "in": "query", "schema": _MM_PER_PX},
    {"name": "options", "in": "query", "content": {"application/json": {"schema": _OPTIONS}}},
]
_LINKS = ("getAnalysis", "cancelAnalysis", "deleteAnalysis", "getAnalysisPage",
          *(f"getAnalysis_{name.replace('.', '_')}" for name in domain.ARTEFACTS))  # fmt: skip
IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="The same key, the same answer, for a day.")
]


@router.post(
    "", status_code=202, response_model=Analysis, operation_id="createAnalysis",
    responses={
        **problems(*UPLOAD),
        202: links({"analysis_id": "$response.body#/id"}, *_LINKS)
        | headers(Location=f"/v1/analyses/{ID}", Retry_After="1"),
    },
    openapi_extra={
        "requestBody": {
            **RAW_IMAGE, "content": {**RAW_IMAGE["content"], "multipart/form-data": _FORM}
        },
        "parameters": _QUERY,
    },
)  # fmt: skip
async def create_analysis(
    request: Request,
    response: Response,
    caller: Annotated[Caller, Depends(writer)],
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Take one image, as the raw body or as a form, and queue it.

    With an `Idempotency-Key` the same image and options sent again answer the same analysis.
    """
    submission = await receive_submission(request)
    analysis = await run_in_threadpool(_create, request, caller, submission, idempotency_key)
    response.headers["Location"] = href(f"/v1/analyses/{analysis['id']}")
    response.headers["Retry-After"] = "1"
    return analysis


def _create(
    request: Request, caller: Caller, submission: Submission, key: str | None
) -> dict[str, Any]:
    state = request.app.state
    received, fresh = submission.judged.received, new_id()
    options = submission.options.plain()
    digest = domain.fingerprint(received.sha256, submission.name, options)
    try:
        with state.engine.begin() as db:
            found = domain.submit_once(db, caller.tenant, "analyses", key, digest, fresh)
            if found == fresh:
                require_bytes(db, caller.tenant, state.settings, received.size_bytes)
                require_queue(db, caller.tenant, state.settings)
                name = submission.name
                domain.create_survey(db, caller.tenant, name, kind="analysis", survey_id=fresh)
                domain.add_image(db, fresh, name, received, submission.judged.info, image_id=fresh)
                domain.create_job(db, caller.tenant, fresh, options, kind="analysis", job_id=fresh)
                state.storage.keep(received.path, fresh, fresh)  # before the row can be seen
            return _analysis(db, caller.tenant, found)
    finally:
        received.path.unlink(missing_ok=True)


def _analysis(db: sa.Connection, tenant: str, analysis_id: str) -> dict[str, Any]:
    job = domain.find_job(db, tenant, analysis_id, "analysis")
    task = domain.find_task(db, analysis_id, analysis_id)
    info = domain.task_info(task)
    base = href(f"/v1/analyses/{analysis_id}")
    done = task.state == "succeeded"
    return {
        "id": analysis_id,
        "status": task.state,
        "progress": info["progress"],
        "image": task.name,
        "created_at": job.created_at,
        "finished_at": task.finished_at,
        "error": info["error"],
        "cracks": task.summary["cracks"] if task.summary else None,
        "judged": task.summary.get("judged", True) if task.summary else None,
        "links": {
            "self": base,
            "page": href(f"/surveys/{analysis_id}/images/{analysis_id}"),
            **({name: f"{base}/{name}" for name in domain.ARTEFACTS} if done else {}),
        },
    }


@router.get(
    "/{analysis_id}", response_model=Analysis, operation_id="getAnalysis",
    responses={**problems(*READ), 200: headers(Retry_After="1")},
)  # fmt: skip
def get_analysis(
    analysis_id: str, request: Request, response: Response,
    caller: Annotated[Caller, Depends(reader)],
) -> Any:  # fmt: skip
    """Return how far an analysis is; poll it no faster than `Retry-After` says."""
    with request.app.state.engine.connect() as db:
        analysis = _analysis(db, caller.tenant, analysis_id)
    if analysis["status"] not in FINAL:
        response.headers["Retry-After"] = "1"
    return analysis


@router.post(
    "/{analysis_id}/cancel", response_model=Analysis, responses=problems(*WRITE),
    operation_id="cancelAnalysis",
)  # fmt: skip
def cancel_analysis(
    analysis_id: str, request: Request, caller: Annotated[Caller, Depends(writer)]
) -> Any:
    """Stop an analysis; one that is done stays as it is."""
    with request.app.state.engine.begin() as db:
        domain.find_job(db, caller.tenant, analysis_id, "analysis")
        domain.cancel(db, analysis_id)
        return _analysis(db, caller.tenant, analysis_id)


@router.delete(
    "/{analysis_id}", status_code=204, responses=problems(*WRITE), operation_id="deleteAnalysis"
)
def delete_analysis(
    analysis_id: str, request: Request, caller: Annotated[Caller, Depends(writer)]
) -> None:
    """Delete an analysis with its image and results; a running one is cancelled."""
    state = request.app.state
    with state.engine.connect() as db:
        domain.find_job(db, caller.tenant, analysis_id, "analysis")
    domain.delete_with_files(state.engine, state.storage, analysis_id)


@router.get(
    "/{analysis_id}/page", status_code=303, response_class=RedirectResponse,
    responses={**problems(*READ), 303: {"description": "The page of the analysis."}},
    operation_id="getAnalysisPage",
)  # fmt: skip
def get_analysis_page(
    analysis_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]
) -> RedirectResponse:
    """Lead to the page for people."""
    with request.app.state.engine.connect() as db:
        domain.find_job(db, caller.tenant, analysis_id, "analysis")
    return RedirectResponse(href(f"/surveys/{analysis_id}/images/{analysis_id}"), 303)


def _add_file_route(name: str, media: str) -> None:
    def get_file(
        analysis_id: str, request: Request, caller: Annotated[Caller, Depends(reader)]
    ) -> Response:
        with request.app.state.engine.connect() as db:
            domain.find_job(db, caller.tenant, analysis_id, "analysis")
            task = domain.find_task(db, analysis_id, analysis_id)
        return file_response(request, task, name)

    router.add_api_route(
        f"/{{analysis_id}}/{name}", get_file, methods=["GET"], response_class=FileResponse,
        responses=kept_file_answers(media),
        operation_id=f"getAnalysis_{name.replace('.', '_')}", summary=f"Get {name}",
    )  # fmt: skip


for _name, _media in domain.ARTEFACTS.items():
    _add_file_route(_name, _media)

__all__ = ["router"]
