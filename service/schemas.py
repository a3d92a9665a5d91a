"""What requests and answers look like; the examples are those of the OpenAPI document."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from crackseg.config import AnalyzeOptions, merge, read_options, to_plain
from service.names import clean_text

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
OgcStatus = Literal["accepted", "running", "successful", "failed", "dismissed"]
ID = "01939f6e-5a80-7c11-9e0b-3f1f2f6f7a10"
_TIME = "2026-11-21T10:20:30.123Z"
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
MmPerPx = Annotated[float, Field(ge=1e-3, le=100, allow_inf_nan=False)]
NO_NUL = r"^[^\x00]*$"  # PostgreSQL takes none
Name = Annotated[
    str, Field(min_length=1, max_length=200, pattern=NO_NUL), AfterValidator(clean_text)
]


def _whole(value: Any) -> Any:
    """Return 5.0 as 5: JSON knows one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Pixels = Annotated[int, Field(ge=1, le=10**6), BeforeValidator(_whole)]
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


NULL = "\0null"  # stands for null in an example: FastAPI drops every None from its document


def marked(value: Any) -> Any:
    """Return an example with ``NULL`` for each None."""
    if isinstance(value, dict):
        return {key: marked(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [marked(entry) for entry in value]
    return NULL if value is None else value


def example(value: dict[str, Any], *, strict: bool = False) -> ConfigDict:
    """Return a model's settings with its example; ``strict``: no key more, no text for a number."""
    shown: dict[str, Any] = {"examples": [marked(value)]}
    if strict:
        return ConfigDict(extra="forbid", strict=True, json_schema_extra=shown)
    return ConfigDict(json_schema_extra=shown)


class Options(BaseModel):
    """How an image is analyzed; what is left out has the default of `crackseg analyze`."""

    model_config = example({"mm_per_px": 0.8, "threshold": 0.5}, strict=True)

    mm_per_px: MmPerPx | None = Field(default=None, description="Size of a pixel on the structure.")
    distance_m: Positive | None = Field(default=None, description="From camera to face.")
    marker_mm: Positive | None = Field(default=None, description="Side of a marker in the picture.")
    use_metadata: bool = Field(
        default=True, description="Take the scale from EXIF and XMP if it is there."
    )
    threshold: Share | None = Field(
        default=None, description="Probability from which a pixel is crack."
    )
    threshold_low: Share | None = None
    min_area_px: Pixels | None = None
    gap_px: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = None
    min_length_px: Annotated[float, Field(ge=0, le=10**5, allow_inf_nan=False)] | None = None

    def plain(self) -> dict[str, Any]:
        """Return what was given, as it is kept."""
        return self.model_dump(exclude_unset=True, exclude_none=True)

    def over(self, defaults: AnalyzeOptions) -> AnalyzeOptions:
        """Return the options as the pipeline takes them: what was given, laid over the operator's.

        Raises:
            ConfigError: values contradict each other.
        """
        tables: dict[str, dict[str, Any]] = {}
        for name, value in self.plain().items():
            tables.setdefault(_TABLES[name], {})[name] = value
        return read_options(AnalyzeOptions, merge(to_plain(defaults), tables))


_TABLES = {  # name of an option -> the table of `AnalyzeOptions` that has it
    option.name: table
    for table, kind in typing.get_type_hints(AnalyzeOptions).items()
    if dataclasses.is_dataclass(kind)
    for option in dataclasses.fields(kind)
    if option.name in Options.model_fields
}


_COUNTS = {"total": 200, "queued": 186, "running": 2, "succeeded": 12, "failed": 0, "cancelled": 0}


class Counts(BaseModel):
    """Images of a job by state."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class ErrorInfo(BaseModel):
    """Why an image was not analyzed."""

    code: str
    message: str


class Analysis(BaseModel):
    """One image and what became of it."""

    model_config = example(
        {
            "id": ID,
            "status": "running",
            "progress": 0.4,
            "image": "DJI_0042.JPG",
            "created_at": _TIME,
            "finished_at": None,
            "error": None,
            "cracks": None,
            "judged": None,
            "links": {"self": f"/v1/analyses/{ID}"},
        }
    )

    id: str
    status: State
    progress: float
    image: str
    created_at: str
    finished_at: str | None
    error: ErrorInfo | None
    cracks: int | None = Field(description="Without those that an inspector rejected.")
    judged: bool | None = Field(
        description="False where the picture shows nothing: that no crack was found says nothing."
    )
    links: dict[str, str]


class NewSurvey(BaseModel):
    """A survey to be."""

    model_config = example({"name": "North face, spring 2026"}, strict=True)

    name: Name
    options: Options | None = Field(default=None, description="Kept for when it is analyzed.")


class SurveyChange(BaseModel):
    """What of a survey is to be changed; what is left out stays."""

    model_config = example({"name": "North face, autumn 2026"}, strict=True)

    name: Name | None = None
    options: Options | None = Field(default=None, description="Kept for when it is analyzed.")


_SURVEY = {
    "id": ID,
    "name": "North face, spring 2026",
    "created_at": _TIME,
    "images": 3,
    "size_bytes": 31457280,
    "job": None,
    "status": "draft",
    "not_analyzed": 3,
    "options": {"mm_per_px": 0.8},
}


class Survey(BaseModel):
    """A set of images that are analyzed together."""

    model_config = example(_SURVEY)

    id: str
    name: str
    created_at: str
    images: int
    size_bytes: int
    job: str | None = Field(description="The latest job.")
    status: Literal["draft", "queued", "running", "succeeded", "failed", "cancelled"]
    not_analyzed: int = Field(description="Images that the latest job does not hold.")
    options: dict[str, Any] = Field(description="What was kept for when it is analyzed.")


class SurveyPage(BaseModel):
    """Some surveys, the newest first."""

    model_config = example({"surveys": [_SURVEY], "next": None})

    surveys: list[Survey]
    next: str | None = Field(description="Cursor of the next page.")


_IMAGE = {
    "id": ID,
    "name": "DJI_0042.JPG",
    "sha256": "9f" * 32,
    "size_bytes": 10485760,
    "width_px": 5280,
    "height_px": 3956,
    "format": "JPEG",
    "created_at": _TIME,
}


class Image(BaseModel):
    """An image that was taken in."""

    model_config = example(_IMAGE)

    id: str
    name: str
    sha256: str
    size_bytes: int
    width_px: int
    height_px: int
    format: str
    created_at: str


class ImagePage(BaseModel):
    """Some images, in the order they came."""

    model_config = example({"images": [_IMAGE], "next": ID})

    images: list[Image]
    next: str | None


_JOB = {
    "jobID": ID,
    "processID": "crack-segmentation",
    "type": "process",
    "status": "running",
    "message": "12 of 200 images done",
    "progress": 6,
    "created": _TIME,
    "started": _TIME,
    "finished": None,
    "updated": _TIME,
    "survey": ID,
    "options": {"mm_per_px": 0.8},
    "counts": _COUNTS,
    "links": [{"href": f"/v1/jobs/{ID}", "rel": "self"}],
}


class Job(BaseModel):
    """A job as OGC API - Processes 1.0 says it (statusInfo), with counts."""

    model_config = example(_JOB)

    jobID: str
    processID: Literal["crack-segmentation"] = "crack-segmentation"
    type: Literal["process"] = "process"
    status: OgcStatus
    message: str
    progress: int
    created: str
    started: str | None
    finished: str | None
    updated: str
    survey: str
    options: dict[str, Any]
    counts: Counts
    links: list[dict[str, str]]


class JobPage(BaseModel):
    """Some jobs, the newest first."""

    model_config = example({"jobs": [_JOB], "links": [{"href": "/v1/jobs", "rel": "self"}]})

    jobs: list[Job]
    links: list[dict[str, str]]


_TASK = {
    "image": ID,
    "name": "DJI_0042.JPG",
    "status": "failed",
    "progress": 1.0,
    "error": {"code": "image", "message": "`DJI_0042.JPG` ends early."},
    "summary": None,
    "finished_at": _TIME,
    "links": {"self": f"/v1/jobs/{ID}/images/{ID}"},
}


class Task(BaseModel):
    """What became of one image of a job."""

    model_config = example(_TASK)

    image: str = Field(description="The image's id.")
    name: str
    status: State
    progress: float
    error: ErrorInfo | None
    summary: dict[str, Any] | None = Field(description="The image's row of the survey.")
    finished_at: str | None
    links: dict[str, str]


class TaskPage(BaseModel):
    """Some images of a job, in the order they came."""

    model_config = example({"images": [_TASK], "next": None})

    images: list[Task]
    next: str | None


_SAID = {"verdict": "reject", "note": "formwork joint"}


class NewVerdict(BaseModel):
    """What an inspector says of a crack."""

    model_config = example(_SAID, strict=True)

    verdict: Literal["accept", "reject", "open"]
    note: str = Field(default="", max_length=2000, pattern=NO_NUL)


_VERDICT = {**_SAID, "image": ID, "crack": 3, "by": "4f3a2b1c0d9e", "updated_at": _TIME}


class Verdict(BaseModel):
    """A verdict with the crack it is about."""

    model_config = example(_VERDICT)

    verdict: Literal["accept", "reject", "open"]
    note: str
    image: str
    crack: int
    by: str = Field(description="Id of the key that said so.")
    updated_at: str


class Verdicts(BaseModel):
    """All verdicts of a job."""

    model_config = example({"verdicts": [_VERDICT]})

    verdicts: list[Verdict]


class Inputs(BaseModel):
    """What is analyzed, and how."""

    model_config = ConfigDict(extra="forbid", strict=True)

    survey: str = Field(max_length=64, pattern=NO_NUL)
    options: Options = Field(default_factory=Options)


class Execution(BaseModel):
    """An execute request of OGC API - Processes 1.0; answers are always asynchronous."""

    model_config = example({"inputs": {"survey": ID, "options": {"mm_per_px": 0.8}}})

    inputs: Inputs


class ProblemBody(BaseModel):
    """An error, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[dict[str, Any]] | None = None
