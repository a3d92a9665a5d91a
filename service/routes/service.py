"""What the service says of itself: health, models, limits, metrics, and OGC's descriptions."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response

from crackseg import __version__
from crackseg.inference.models import default_model, read_card, shipped_models
from crackseg.records import ModelCard
from service.database import now, workers
from service.descriptions import (
    Conformance,
    Health,
    Landing,
    ModelInfo,
    ModelList,
    Process,
    ProcessList,
    Quota,
    Readiness,
)
from service.errors import Problem, not_found
from service.keys import Caller, reader, watcher, writer
from service.metrics import CONTENT_TYPE
from service.paths import href
from service.quota import stored_bytes, waiting_images
from service.routes.analyses import IdempotencyKey
from service.routes.documents import READ, WRITE, file_answer, links, problems
from service.routes.surveys import JOB_STARTED, start_job
from service.schemas import Execution, Job, Options
from service.settings import MB

router = APIRouter(tags=["service"])
_WORKER_SILENCE = timedelta(seconds=60)
_OGC = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf"
PROCESS = {
    "id": "crack-segmentation",
    "version": __version__,
    "title": "Cracks in photographs of concrete",
    "description": "Finds cracks in the images of a survey and measures them.",
    "jobControlOptions": ["async-execute", "dismiss"],
    "outputTransmission": ["reference"],
}
_OUTPUTS = {
    "report.json": "application/json",
    "report.csv": "text/csv",
    "report.html": "text/html",
    "report.geojson": "application/geo+json",
    "bundle.zip": "application/zip",
}


@router.get("/healthz", operation_id="isAlive", response_model=Health, responses=problems(500))
async def is_alive() -> Any:
    """Say that the process answers."""
    return {"status": "alive"}


@router.get(
    "/readyz", operation_id="isReady", response_model=Readiness, responses=problems(500, 503)
)
def is_ready(request: Request) -> Any:
    """Say whether work is taken in and done: database, disk, model, a living worker."""
    state = request.app.state
    if state.draining:
        raise Problem(503, "not-ready", "The service is shutting down.")
    if state.storage.free_mb() < state.settings.min_free_mb:
        raise Problem(503, "not-ready", "The disk is nearly full.")
    model_card(request)
    with state.engine.connect() as db:
        fresh = workers.c.seen_at > now(ago=_WORKER_SILENCE)
        count = db.scalar(sa.select(sa.func.count()).select_from(workers).where(fresh))
    if not count:
        raise Problem(503, "not-ready", "No worker was seen for 60 s.")
    return {"status": "ready", "workers": count}


def model_card(request: Request) -> ModelCard:
    """Return the card of the model that analyzes.

    Raises:
        ModelError: there is none.
    """
    name = request.app.state.settings.model
    known = shipped_models()
    name = default_model() if name == "default" else name
    return read_card(known.get(name, request.app.state.model_folder))


def _model_info(card: ModelCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "version": card.version,
        "network": card.network,
        "sha256": card.sha256.get("model.onnx", ""),
        "threshold": card.threshold,
        "tile_px": card.tile_px,
        "intended_use": card.intended_use,
        "limits": card.limits,
        "data": [dict(entry) for entry in card.data],
        "scores": dict(card.scores),
    }


@router.get(
    "/v1/models", operation_id="listModels", response_model=ModelList,
    responses={200: links({"name": "$response.body#/models/0/name"}, "getModel"),
               **problems(*READ)},
)  # fmt: skip
def list_models(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Any:
    """Return the model that analyzes; an operator chooses it, a request cannot."""
    return {"models": [_model_info(model_card(request))]}


@router.get(
    "/v1/models/{name}", operation_id="getModel", response_model=ModelInfo,
    responses=problems(*READ),
)  # fmt: skip
def get_model(name: str, request: Request, caller: Annotated[Caller, Depends(reader)]) -> Any:
    """Return what a model says of itself."""
    card = model_card(request)
    if name not in ("default", card.name):
        raise not_found("model")
    return _model_info(card)


@router.get("/v1/quota", operation_id="getQuota", response_model=Quota, responses=problems(*READ))
def get_quota(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Any:
    """Return the limits, and how much of them is used."""
    settings = request.app.state.settings
    with request.app.state.engine.connect() as db:
        used, waiting = stored_bytes(db, caller.tenant), waiting_images(db, caller.tenant)
    limits = ("max_image_mb", "max_image_megapixels", "max_survey_images", "max_tenant_mb",
              "max_queued_images")  # fmt: skip
    return {
        "used_mb": used / MB, "queued_images": waiting,
        **{name: getattr(settings, name) for name in limits},
    }  # fmt: skip


@router.get(
    "/metrics", operation_id="getMetrics", response_class=Response,
    responses={200: file_answer("text/plain"), **problems(401, 403, 500, 503)},
)  # fmt: skip
def get_metrics(request: Request, caller: Annotated[Caller, Depends(watcher)]) -> Response:
    """Return the figures of this process and of all jobs, for Prometheus."""
    state = request.app.state
    return Response(state.metrics.render(state.engine, state.storage), media_type=CONTENT_TYPE)


@router.get("/v1", operation_id="getLandingPage", response_model=Landing, responses=problems(500))
async def get_landing_page() -> Any:
    """Lead to everything else."""
    rels = {
        "service-desc": "/openapi.json",
        "http://www.opengis.net/def/rel/ogc/1.0/conformance": "/v1/conformance",
        "http://www.opengis.net/def/rel/ogc/1.0/processes": "/v1/processes",
        "http://www.opengis.net/def/rel/ogc/1.0/job-list": "/v1/jobs",
    }
    links = [
        {"rel": rel, "href": href(path), "type": "application/json"} for rel, path in rels.items()
    ]
    return {"title": "crackseg", "description": PROCESS["title"], "links": links}


@router.get(
    "/v1/conformance", operation_id="getConformance", response_model=Conformance,
    responses=problems(500),
)  # fmt: skip
async def get_conformance() -> Any:
    """Say what of OGC API - Processes 1.0 is kept."""
    classes = ("core", "ogc-process-description", "json", "job-list", "dismiss")
    return {"conformsTo": [f"{_OGC}/{name}" for name in classes]}


@router.get(
    "/v1/processes", operation_id="listProcesses", response_model=ProcessList,
    responses={200: links({"process_id": "$response.body#/processes/0/id"}, "getProcess",
                          "execute"), **problems(500)},
)  # fmt: skip
async def list_processes() -> Any:
    """List the one process."""
    return {"processes": [_process()], "links": []}


@router.get(
    "/v1/processes/{process_id}", operation_id="getProcess", response_model=Process,
    responses=problems(400, 404, 422, 500),
)  # fmt: skip
async def get_process(process_id: str) -> Any:
    """Describe the process: what goes in and what comes out."""
    _require_process(process_id)
    inputs = {
        "survey": {"title": "Id of a survey", "schema": {"type": "string"}},
        "options": {"title": "Options", "minOccurs": 0, "schema": Options.model_json_schema()},
    }
    outputs: dict[str, Any] = {
        name: {"title": name, "schema": {"type": "string", "contentMediaType": media}}
        for name, media in _OUTPUTS.items()
    }
    outputs["images"] = {"title": "Links of each image", "schema": {"type": "array"}}
    return {**_process(), "inputs": inputs, "outputs": outputs}


def _process() -> dict[str, Any]:
    return {**PROCESS, "links": [{"rel": "self", "href": href(f"/v1/processes/{PROCESS['id']}")}]}


def _require_process(process_id: str) -> None:
    if process_id != PROCESS["id"]:
        raise Problem(404, "no-such-process", "There is no such process.")


@router.post(
    "/v1/processes/{process_id}/execution", status_code=201, response_model=Job,
    responses={201: JOB_STARTED, **problems(*WRITE, 429, 507)}, operation_id="execute",
)  # fmt: skip
def execute(
    process_id: str, execution: Execution, request: Request, response: Response,
    caller: Annotated[Caller, Depends(writer)], idempotency_key: IdempotencyKey = None,
) -> Any:  # fmt: skip
    """Analyze a survey, the OGC way; the answer is always asynchronous."""
    _require_process(process_id)
    given = execution.inputs
    return start_job(request, response, caller, given.survey, given.options, idempotency_key)
