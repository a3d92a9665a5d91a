"""The short way: one image in, one report out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from service import ledger, results, submit
from service.answers import analysis_answer
from service.asking import AsMeasured, Here, IdempotencyKey, Reader, WithRejected, Writer
from service.bodies import receive_submission
from service.database import FINAL
from service.files import ImageFile
from service.openapi import RAW_IMAGE
from service.paths import href
from service.schemas import NO_NUL, Analysis, Options
from service.state import Service
from service.uploads import Submission

router = APIRouter(prefix="/v1/analyses", tags=["analyses"])
STREAMS = "POST /v1/analyses"
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
_NAME = {"type": "string", "pattern": NO_NUL, "description": "File name."}
_TAKES: dict[str, Any] = {
    "requestBody": {
        **RAW_IMAGE,
        "content": {**RAW_IMAGE["content"], "multipart/form-data": _FORM},
    },
    "parameters": [
        {"name": "name", "in": "query", "schema": _NAME},
        {"name": "mm_per_px", "in": "query", "schema": _MM_PER_PX},
        {"name": "options", "in": "query", "content": {"application/json": {"schema": _OPTIONS}}},
    ],
}


@router.post("", status_code=202, openapi_extra=_TAKES)
async def create_analysis(
    request: Request,
    response: Response,
    service: Here,
    caller: Writer,
    idempotency_key: IdempotencyKey = None,
) -> Analysis:
    """Take one image, as the raw body or as a form, and queue it.

    With an `Idempotency-Key` the same image and options sent again answer the same analysis.
    """
    submission = await receive_submission(request, caller.tenant)
    analysis = await run_in_threadpool(_create, service, caller.tenant, submission, idempotency_key)
    response.headers["Location"] = href(f"/v1/analyses/{analysis.id}")
    response.headers["Retry-After"] = "1"
    return analysis


def _create(service: Service, tenant: str, submission: Submission, key: str | None) -> Analysis:
    try:
        with service.engine.begin() as db:
            analysis_id = submit.submit_analysis(service, db, tenant, submission, key)
            return analysis_answer(db, tenant, analysis_id)
    finally:
        submission.judged.received.path.unlink(missing_ok=True)


@router.get("/{analysis_id}")
def get_analysis(analysis_id: str, response: Response, service: Here, caller: Reader) -> Analysis:
    """Return how far an analysis is; poll it no faster than `Retry-After` says."""
    with service.engine.connect() as db:
        analysis = analysis_answer(db, caller.tenant, analysis_id)
    if analysis.status not in FINAL:
        response.headers["Retry-After"] = "1"
    return analysis


@router.post("/{analysis_id}/cancel")
def cancel_analysis(analysis_id: str, service: Here, caller: Writer) -> Analysis:
    """Stop an analysis; one that is done stays as it is."""
    with service.engine.begin() as db:
        ledger.find_job(db, caller.tenant, analysis_id, "analysis")
        ledger.cancel(db, analysis_id)
        return analysis_answer(db, caller.tenant, analysis_id)


@router.delete("/{analysis_id}", status_code=204)
def delete_analysis(analysis_id: str, service: Here, caller: Writer) -> None:
    """Delete an analysis with its image and results; a running one is cancelled."""
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, analysis_id, "analysis")
    ledger.delete_with_files(service.engine, service.storage, analysis_id)


@router.get("/{analysis_id}/page", status_code=303, response_class=RedirectResponse)
def get_analysis_page(analysis_id: str, service: Here, caller: Reader) -> RedirectResponse:
    """Lead to the page for people."""
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, analysis_id, "analysis")
    return RedirectResponse(href(f"/surveys/{analysis_id}/images/{analysis_id}"), 303)


@router.get("/{analysis_id}/{file:filename}", response_class=FileResponse)
def get_analysis_file(
    analysis_id: str,
    file: ImageFile,
    request: Request,
    service: Here,
    caller: Reader,
    rejected: WithRejected = False,
    as_measured: AsMeasured = False,
) -> Response:
    """Return a file of an analysis that has succeeded."""
    with service.engine.connect() as db:
        ledger.find_job(db, caller.tenant, analysis_id, "analysis")
        task = ledger.find_task(db, analysis_id, analysis_id)
    return results.file_response(request, task, file, rejected=rejected, as_measured=as_measured)
