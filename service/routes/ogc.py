"""The service as an OGC API - Processes 1.0, under ``/v1/ogc``: core and dismiss.

A mapping of surveys and jobs onto the standard's words and nothing else: without this file the
service does all the same under its own.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy.engine import Connection

from crackseg import __version__
from service import ledger, submit
from service.answers import job_answer, task_answer
from service.asking import Here, IdempotencyKey, Reader, Writer
from service.database import FINAL, Record, State, dismissals, insert_new
from service.errors import Problem, not_found
from service.files import JobFile, media_type
from service.keys import Caller
from service.paths import href
from service.schemas import NO_NUL, STRICT, Job, Options

router = APIRouter(prefix="/v1/ogc", tags=["OGC API - Processes"])
Json = dict[str, Any]
_STATUS = {
    State.QUEUED: "accepted",
    State.RUNNING: "running",
    State.SUCCEEDED: "successful",
    State.FAILED: "failed",
    State.CANCELLED: "dismissed",
}
_CONFORMANCE = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf"
_RELATION = "http://www.opengis.net/def/rel/ogc/1.0"
_PROCESS = {
    "id": "crack-segmentation",
    "version": __version__,
    "title": "Cracks in photographs of concrete",
    "description": "Finds cracks in the images of a survey and measures them.",
    "jobControlOptions": ["async-execute", "dismiss"],
    "outputTransmission": ["reference"],
}


class Inputs(BaseModel):
    """What is analyzed, and how."""

    model_config = STRICT

    survey: str = Field(max_length=64, pattern=NO_NUL)
    options: Options = Field(default_factory=Options)


class Execution(BaseModel):
    """An execute request; answers are always asynchronous."""

    inputs: Inputs


def _link(path: str, rel: str) -> Json:
    return {"href": href(f"/v1/ogc{path}"), "rel": rel, "type": "application/json"}


@router.get("")
async def get_landing_page() -> Json:
    """Lead to everything else."""
    links = [
        {"href": href("/openapi.json"), "rel": "service-desc", "type": "application/json"},
        _link("/conformance", f"{_RELATION}/conformance"),
        _link("/processes", f"{_RELATION}/processes"),
    ]
    return {"title": "crackseg", "description": _PROCESS["title"], "links": links}


@router.get("/conformance")
async def get_conformance() -> Json:
    """Say what of OGC API - Processes 1.0 is kept."""
    classes = ("core", "ogc-process-description", "json", "dismiss")
    return {"conformsTo": [f"{_CONFORMANCE}/{name}" for name in classes]}


def _summary() -> Json:
    return {**_PROCESS, "links": [_link(f"/processes/{_PROCESS['id']}", "self")]}


@router.get("/processes")
async def list_processes() -> Json:
    """List the one process."""
    return {"processes": [_summary()], "links": [_link("/processes", "self")]}


@router.get("/processes/{process_id}")
async def get_process(process_id: str) -> Json:
    """Describe the process: what goes in and what comes out."""
    _require_process(process_id)
    inputs: Json = {
        "survey": {"title": "Id of a survey", "schema": {"type": "string"}},
        "options": {"title": "Options", "minOccurs": 0, "schema": Options.model_json_schema()},
    }
    outputs: Json = {
        name: {
            "title": name,
            "schema": {"type": "string", "contentMediaType": media_type(name)},
        }
        for name in JobFile
    }
    outputs["images"] = {"title": "Links of each image", "schema": {"type": "array"}}
    return {**_summary(), "inputs": inputs, "outputs": outputs}


def _require_process(process_id: str) -> None:
    if process_id != _PROCESS["id"]:
        raise Problem(404, "no-such-process", "There is no such process.")


@router.post("/processes/{process_id}/execution", status_code=201)
def execute(
    process_id: str,
    execution: Execution,
    response: Response,
    service: Here,
    caller: Writer,
    idempotency_key: IdempotencyKey = None,
) -> Json:
    """Analyze a survey; the answer is always asynchronous."""
    _require_process(process_id)
    survey_id, options = execution.inputs.survey, execution.inputs.options
    with service.engine.begin() as db:
        job_id = submit.submit_job(service, db, caller.tenant, survey_id, options, idempotency_key)
        job = job_answer(db, ledger.find_job(db, caller.tenant, job_id))
    response.headers["Location"] = href(f"/v1/ogc/jobs/{job_id}")
    response.headers["Preference-Applied"] = "respond-async"
    return _status_info(job)


def _status_info(job: Job) -> Json:
    links = [_link(f"/jobs/{job.id}", "self")]
    if job.status is State.SUCCEEDED:
        links.append(_link(f"/jobs/{job.id}/results", f"{_RELATION}/results"))
    same = job.model_dump(include={"message", "progress", "created", "started", "finished"})
    return {
        "jobID": job.id,
        "processID": _PROCESS["id"],
        "type": "process",
        "status": _STATUS[job.status],
        "updated": job.updated,
        "links": links,
        **{name: value for name, value in same.items() if value is not None},
    }


@router.get("/jobs/{job_id}")
def get_ogc_job(job_id: str, service: Here, caller: Reader) -> Json:
    """Return how far a job is, as statusInfo."""
    with service.engine.connect() as db:
        return _status_info(job_answer(db, _find(db, caller, job_id)))


def _find(db: Connection, caller: Caller, job_id: str) -> Record:
    """Return a job of the caller's that nobody dismissed.

    Raises:
        Problem: 404.
    """
    job = ledger.find_job(db, caller.tenant, job_id)
    if db.scalar(sa.select(dismissals).where(dismissals.c.job_id == job_id)):
        raise not_found("job")
    return job


@router.delete("/jobs/{job_id}")
def dismiss_ogc_job(job_id: str, service: Here, caller: Writer) -> Json:
    """Dismiss a job: it ends and is gone from here; its survey keeps what was made of it."""
    with service.engine.begin() as db:
        _find(db, caller, job_id)
        ledger.cancel(db, job_id)
        insert_new(db, dismissals, {"job_id": job_id})  # once, whoever comes twice
        job = job_answer(db, ledger.find_job(db, caller.tenant, job_id))
    return {**_status_info(job), "status": "dismissed", "links": []}


@router.get("/jobs/{job_id}/results")
def get_results(job_id: str, service: Here, caller: Reader) -> Json:
    """Return links to what a job made."""
    with service.engine.connect() as db:
        job = job_answer(db, _find(db, caller, job_id))
        rows = ledger.task_rows(db, job_id)
    if job.status not in FINAL:
        raise Problem(404, "result-not-ready", "The job is not finished.")
    if job.status is State.FAILED:
        raise Problem(500, "job-failed", "No image of the job could be analyzed.")
    files = {str(name): {"href": job.links[name]} for name in JobFile}
    done = [task_answer(row).links for row in rows if row.state == State.SUCCEEDED]
    return {**files, "images": done}
