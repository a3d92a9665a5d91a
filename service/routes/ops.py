"""What the service says of itself: health, models, limits, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from crackseg.inference.models import default_model, read_card, shipped_models
from crackseg.records import ModelCard
from service.asking import Here, Reader, Watcher
from service.errors import Problem, not_found
from service.metrics import CONTENT_TYPE
from service.overview import living_workers
from service.quota import stored_bytes, waiting_images
from service.schemas import Health, ModelInfo, ModelList, Quota, Readiness
from service.settings import MB
from service.state import Service

router = APIRouter(tags=["service"])
_LIMITS = (
    "max_image_mb",
    "max_image_megapixels",
    "max_survey_images",
    "max_tenant_mb",
    "max_queued_images",
)


@router.get("/healthz")
async def is_alive() -> Health:
    """Say that the process answers."""
    return Health(status="alive")


@router.get("/readyz")
def is_ready(service: Here) -> Readiness:
    """Say whether work is taken in and done: database, disk, model, a living worker."""
    if service.draining:
        raise Problem(503, "not-ready", "The service is shutting down.")
    if service.storage.free_mb() < service.settings.min_free_mb:
        raise Problem(503, "not-ready", "The disk is nearly full.")
    model_card(service)
    with service.engine.connect() as db:
        count = living_workers(db)
    if not count:
        raise Problem(503, "not-ready", "No worker was seen for 60 s.")
    return Readiness(status="ready", workers=count)


def model_card(service: Service) -> ModelCard:
    """Return the card of the model that analyzes.

    Raises:
        ModelError: there is none.
    """
    name = service.settings.model
    name = default_model() if name == "default" else name
    return read_card(shipped_models().get(name, service.model_folder))


def _model_info(card: ModelCard) -> ModelInfo:
    plain: dict[str, Any] = {
        name: getattr(card, name) for name in ModelInfo.model_fields if hasattr(card, name)
    }
    plain["sha256"] = card.sha256.get("model.onnx", "")
    plain["data"] = [dict(entry) for entry in card.data]
    plain["scores"] = dict(card.scores)
    return ModelInfo(**plain)


@router.get("/v1/models")
def list_models(service: Here, caller: Reader) -> ModelList:
    """Return the model that analyzes; an operator chooses it, a request cannot."""
    return ModelList(models=[_model_info(model_card(service))])


@router.get("/v1/models/{name}")
def get_model(name: str, service: Here, caller: Reader) -> ModelInfo:
    """Return what a model says of itself."""
    card = model_card(service)
    if name not in ("default", card.name):
        raise not_found("model")
    return _model_info(card)


@router.get("/v1/quota")
def get_quota(service: Here, caller: Reader) -> Quota:
    """Return the limits, and how much of them is used."""
    with service.engine.connect() as db:
        used, waiting = stored_bytes(db, caller.tenant), waiting_images(db, caller.tenant)
    limits = {name: getattr(service.settings, name) for name in _LIMITS}
    return Quota(used_mb=used / MB, queued_images=waiting, **limits)


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(service: Here, caller: Watcher) -> Response:
    """Return the figures of this process and of all jobs, for Prometheus."""
    figures = service.metrics.render(service.engine, service.storage)
    return Response(figures, media_type=CONTENT_TYPE)
