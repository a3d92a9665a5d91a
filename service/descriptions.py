"""What the service says of itself: health, models, quota, and the descriptions of OGC API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from service.schemas import ID, example


class Health(BaseModel):
    """The process answers."""

    model_config = example({"status": "alive"})

    status: str


class Readiness(BaseModel):
    """Work is taken in and done."""

    model_config = example({"status": "ready", "workers": 1})

    status: str
    workers: int


_MODEL = {
    "name": "cracknet",
    "version": "1",
    "network": "unet",
    "sha256": "9f" * 32,
    "threshold": 0.5,
    "tile_px": 512,
    "intended_use": "photographs of concrete",
    "limits": "joints and cables are marked too",
    "data": [{"name": "DeepCrack", "licence": "non-commercial research"}],
    "scores": {"f1": 0.87},
}


class ModelInfo(BaseModel):
    """What a model says of itself."""

    model_config = example(_MODEL)

    name: str
    version: str
    network: str
    sha256: str
    threshold: float
    tile_px: int
    intended_use: str
    limits: str
    data: list[dict[str, Any]]
    scores: dict[str, Any]


class ModelList(BaseModel):
    """The models that analyze."""

    model_config = example({"models": [_MODEL]})

    models: list[ModelInfo]


class Quota(BaseModel):
    """A tenant's limits, and how much of them is used."""

    model_config = example(
        {
            "used_mb": 12.5,
            "queued_images": 3,
            "max_image_mb": 512,
            "max_image_megapixels": 200.0,
            "max_survey_images": 5000,
            "max_tenant_mb": 204800,
            "max_queued_images": 20000,
        }
    )

    used_mb: float
    queued_images: int
    max_image_mb: int
    max_image_megapixels: float
    max_survey_images: int
    max_tenant_mb: int
    max_queued_images: int


class Link(BaseModel):
    """Where something is, as OGC API says it."""

    href: str
    rel: str
    type: str = "application/json"


class Landing(BaseModel):
    """The way to everything else."""

    model_config = example(
        {
            "title": "crackseg",
            "description": "Cracks in photographs of concrete",
            "links": [{"href": "/v1/jobs", "rel": "self", "type": "application/json"}],
        }
    )

    title: str
    description: str
    links: list[Link]


class Conformance(BaseModel):
    """What of OGC API - Processes 1.0 is kept."""

    model_config = example(
        {"conformsTo": ["http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/core"]}
    )

    conformsTo: list[str]


_PROCESS = {
    "id": "crack-segmentation",
    "version": "1.0",
    "title": "Cracks in photographs of concrete",
    "description": "Finds cracks in the images of a survey and measures them.",
    "jobControlOptions": ["async-execute", "dismiss"],
    "outputTransmission": ["reference"],
    "links": [
        {"href": "/v1/processes/crack-segmentation", "rel": "self", "type": "application/json"}
    ],
}


class ProcessSummary(BaseModel):
    """What can be executed."""

    model_config = example(_PROCESS)

    id: str
    version: str
    title: str
    description: str
    jobControlOptions: list[str]
    outputTransmission: list[str]
    links: list[Link]


class ProcessList(BaseModel):
    """All processes: there is one."""

    model_config = example({"processes": [_PROCESS], "links": []})

    processes: list[ProcessSummary]
    links: list[Link]


class Process(ProcessSummary):
    """What goes into a process and what comes out."""

    model_config = example(
        {
            **_PROCESS,
            "inputs": {"survey": {"title": "Id of a survey", "schema": {"type": "string"}}},
            "outputs": {"report.json": {"title": "report.json", "schema": {"type": "string"}}},
        }
    )

    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]


class Reference(BaseModel):
    """A file of a job."""

    href: str


class Results(BaseModel):
    """The OGC results document of a job: links to what it made."""

    model_config = example(
        {
            **{
                name: {"href": f"/v1/jobs/{ID}/{name}"}
                for name in ("report.json", "report.csv", "report.html", "report.geojson")
            },
            "bundle.zip": {"href": f"/v1/jobs/{ID}/bundle.zip"},
            "images": [{"self": f"/v1/jobs/{ID}/images/{ID}"}],
        }
    )

    report_json: Reference = Field(alias="report.json")
    report_csv: Reference = Field(alias="report.csv")
    report_html: Reference = Field(alias="report.html")
    report_geojson: Reference = Field(alias="report.geojson")
    bundle_zip: Reference = Field(alias="bundle.zip")
    images: list[dict[str, str]] = Field(description="Links of each image that was analyzed.")
